"""Segmenters trained as the field trains: views, averages and sampling beside loops written out."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from wsss_core.augmentation import Passes, Stored, sample_views
from wsss_core.errors import InputError
from wsss_core.segmentation import FitSettings, LabelledImages, cross_entropy, fit, fitting

PLAIN = FitSettings(steps=6, batch_size=5, learning_rate=0.01, record_every=2)
WHOLE = replace(
    PLAIN,
    ema=0.8,
    sampling="balanced",
    rescale=(0.5, 2.0),
    jitter=(0.3, 0.3, 0.3, 0.1),
    randaugment=(2, 9),
    cutmix=0.5,
)


def state(segmenter):
    return {name: value.clone() for name, value in segmenter.state_dict().items()}


def equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.ci
def test_a_training_with_every_option_that_is_broken_off_ends_in_the_same_bits(
    setr, squares, tmp_path
):
    class StoppedError(Exception):
        pass

    def interrupt(record):
        if record.step == 2:
            raise StoppedError

    given = {"model": "vit_dpt", "widths": (8, 8, 8, 8), "dropout": 0.5}
    whole, again = setr(**given), setr(**given)
    expected = fit(whole, squares, WHOLE, seed=0)
    file = tmp_path / "c.pt"
    with pytest.raises(StoppedError):
        fit(setr(**given), squares, WHOLE, seed=0, checkpoint=file, on_record=interrupt)
    torch.manual_seed(99)
    records = fit(again, squares, WHOLE, seed=0, checkpoint=file)
    assert equal(state(whole), state(again))
    assert [r.loss for r in records] == [r.loss for r in expected]


def written_out(segmenter, data, settings, seed):
    """Yield the weights after each step of the training as a loop at a prompt."""
    groups = [
        {"params": list(segmenter.encoder_parameters()), "factor": 1},
        {"params": list(segmenter.head_parameters()), "factor": 10},
    ]
    optimizer = torch.optim.SGD(groups, lr=1, momentum=0.9, weight_decay=1e-4, fused=True)
    classes = np.array([[1 in np.unique(mask)] for mask in data.masks])
    passes = Passes(settings, len(data.images), flip=True, seed=seed, classes=classes)
    segmenter.train()
    for step in range(settings.steps):
        drawn, batch = passes.batch(step, settings.batch_size), np.arange(settings.batch_size)
        views = sample_views(
            settings,
            drawn,
            lambda chosen: Stored(data.images[chosen], None, data.masks[chosen]),
            batch,
            batch,
            "cpu",
        )
        colour = segmenter.mean.view(1, 3, 1, 1)
        valid = torch.ones_like(views.images[:, :1]) if views.valid is None else views.valid
        output = segmenter.with_auxiliary(valid * views.images + (1 - valid) * colour)
        loss = cross_entropy(output.logits, views.masks)
        loss = loss + 0.4 * sum(cross_entropy(one, views.masks) for one in output.auxiliary)
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(step) * group["factor"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield {name: value.detach().double().clone() for name, value in state(segmenter).items()}


def test_a_training_is_the_loop_that_its_settings_describe_and_ends_in_the_average(setr, squares):
    segmenter, expected = setr(), setr()
    fit(segmenter, squares, WHOLE, seed=4)
    average = None
    for step, weights in enumerate(written_out(expected, squares, WHOLE, seed=4), 1):
        share = min(0.8, 1 - 1 / step)
        average = weights if average is None else {
            name: share * value + (1 - share) * weights[name] for name, value in average.items()
        }  # fmt: skip
    for name, value in state(segmenter).items():
        if value.is_floating_point():
            assert torch.allclose(value.double(), average[name], atol=2e-4, rtol=1e-3), name


def test_padding_is_void_and_of_the_colour_that_the_encoder_takes_for_none(setr, squares):
    seen = []
    segmenter = setr()
    normalised = segmenter.normalised
    segmenter.normalised = lambda images: seen.append(normalised(images)) or seen[-1]
    settings = replace(PLAIN, steps=1, rescale=(0.5, 0.5), flip=False)
    fit(segmenter, squares, settings, seed=0)
    zeros = (seen[0].abs() < 1e-6).all(1)
    assert zeros.sum((1, 2)).tolist() == [16 * 16 - 8 * 8] * 5


def test_masks_that_lie_on_padding_alone_change_nothing(setr, squares):
    """Void pixels and padding count alike: nothing."""
    settings = replace(PLAIN, rescale=(0.5, 0.8), steps=2)
    weights = np.ones(squares.masks.shape)
    one, other = setr(), setr()
    fit(one, squares, settings, seed=0)
    fit(other, LabelledImages(squares.images, squares.masks, weights), settings, seed=0)
    assert equal(state(one), state(other))


def limited(segmenter, most):
    """Return the segmenter, which runs out of memory for more images at once than so many."""
    # The statistics of BatchNorm are those of a part; they stay out of this.
    for norm in (m for m in segmenter.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.eval()
        norm.train = lambda mode=True, norm=norm: norm
    compute = segmenter.with_auxiliary

    def with_auxiliary(images):
        if len(images) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return compute(images)

    segmenter.with_auxiliary = with_auxiliary
    return segmenter


@pytest.mark.ci
def test_parts_of_a_batch_take_the_views_of_the_batch(setr, squares):
    whole, small = limited(setr(), 5), limited(setr(), 2)
    expected = fit(whole, squares, replace(WHOLE, steps=2), seed=0)
    found = fit(small, squares, replace(WHOLE, steps=2), seed=0)
    assert [r.loss for r in found] == pytest.approx([r.loss for r in expected], rel=1e-5)
    for name, value in state(small).items():
        assert torch.allclose(value, state(whole)[name], atol=1e-5), name


def test_the_views_of_the_whole_batch_are_made_once_for_all_its_parts(setr, squares, monkeypatch):
    made = []

    def counted(settings, drawn, load, places, batch, device):
        made.append(len(places))
        return sample_views(settings, drawn, load, places, batch, device)

    monkeypatch.setattr(fitting, "sample_views", counted)
    fit(limited(setr(), 2), squares, replace(WHOLE, steps=2), seed=0)
    assert made == [5, 3, *(2, 5, 2, 1), *(2, 5, 2, 1)]  # 5 and 3 did not fit


@pytest.mark.parametrize(("name", "value"), [("ema", 0.0), ("rescale", (2, 1)), ("cutmix", 2)])
def test_a_bad_value_is_a_line_that_names_it(name, value):
    with pytest.raises(InputError, match=f"^{name} is "):
        FitSettings(**{name: value})
