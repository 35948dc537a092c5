"""Training of a segmenter: repeatable, resumable to the bit, and equal to a loop written out."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from wsss_core.augmentation import ImagePass, Passes
from wsss_core.augmentation import passes as passes_module
from wsss_core.data import ImageSet, PixelMaps, to_input
from wsss_core.errors import InputError
from wsss_core.evaluate import ConfusionCounts
from wsss_core.segmentation import (
    FitSettings,
    LabelledImages,
    LossSettings,
    cross_entropy,
    fit,
    predict_masks,
)
from wsss_core.segmentation.fitting import nearest_size
from wsss_core.training import CollapseError

ADAM = FitSettings(
    steps=7, batch_size=3, optimizer="adamw", learning_rate=0.003, head_multiple=2, record_every=2
)
SGD = FitSettings(steps=7, batch_size=3, learning_rate=0.01, record_every=2)


def state(segmenter):
    return {name: value.clone() for name, value in segmenter.state_dict().items()}


def equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("settings", [ADAM, SGD])
def test_a_seed_repeats_a_training_to_the_bit(setr, squares, settings):
    ends = []
    for seed in (0, 0, 1):
        segmenter = setr()
        fit(segmenter, squares, settings, seed=seed)
        ends.append(state(segmenter))
    assert equal(ends[0], ends[1])
    assert not equal(ends[0], ends[2])


@pytest.mark.parametrize("settings", [ADAM, SGD])
def test_an_interrupted_training_ends_in_the_same_bits(setr, squares, settings, tmp_path):
    # Dropout draws from torch's own generator, whose state the checkpoint has to hold.
    given = {"model": "vit_dpt", "widths": (8, 8, 8, 8), "dropout": 0.5}
    whole = setr(**given)
    expected = fit(whole, squares, settings, seed=0)

    class StoppedError(Exception):
        pass

    def interrupt(record):
        if record.step == 4:
            raise StoppedError

    segmenter = setr(**given)
    with pytest.raises(StoppedError):
        fit(segmenter, squares, settings, seed=0, checkpoint=tmp_path / "c.pt", on_record=interrupt)
    torch.manual_seed(99)
    again = setr(**given)
    records = fit(again, squares, settings, seed=0, checkpoint=tmp_path / "c.pt")
    assert equal(state(whole), state(again))
    assert [r.step for r in records] == [r.step for r in expected] == [2, 4, 6, 7]
    assert [r.loss for r in records] == [r.loss for r in expected]


def test_a_finished_training_is_not_repeated(setr, squares, tmp_path):
    segmenter = setr()
    fit(segmenter, squares, ADAM, seed=0, checkpoint=tmp_path / "c.pt")
    again, steps = setr(seed=1), []
    fit(again, squares, ADAM, seed=0, checkpoint=tmp_path / "c.pt", on_record=steps.append)
    assert steps == []
    assert equal(state(segmenter), state(again))


def test_a_corrupt_checkpoint_is_dropped_and_the_training_begins_anew(setr, squares, tmp_path):
    expected = setr()
    fit(expected, squares, ADAM, seed=0)
    (tmp_path / "c.pt").write_bytes(b"nothing")
    segmenter = setr()
    fit(segmenter, squares, ADAM, seed=0, checkpoint=tmp_path / "c.pt")
    assert equal(state(expected), state(segmenter))


def test_the_checkpoint_of_a_frozen_encoder_does_not_hold_it(sam, squares, tmp_path):
    segmenter = sam()
    fit(segmenter, squares, replace(ADAM, steps=1), seed=0, checkpoint=tmp_path / "c.pt")
    kept = torch.load(tmp_path / "c.pt", weights_only=True)["paradigm"]
    assert any("mask_decoder" in name for name in kept)
    assert not any("vision_encoder" in name for name in kept)


def batch_of(count: int, batch_size: int, seed: int, step: int) -> ImagePass:
    return Passes(FitSettings(), count, flip=True, seed=seed).batch(step, batch_size)


def written_out(segmenter, data, settings, seed):
    """The same training as a loop at a prompt."""
    head = [
        {
            "params": list(segmenter.head.parameters())
            + list(segmenter.auxiliary_heads.parameters()),
            "factor": settings.head_multiple,
        }
    ]
    groups = [{"params": list(segmenter.encoder.parameters()), "factor": 1}, *head]
    if settings.optimizer == "sgd":
        optimizer = torch.optim.SGD(groups, lr=1, momentum=0.9, weight_decay=1e-4, fused=True)
    else:
        optimizer = torch.optim.AdamW(groups, lr=1, weight_decay=1e-4, fused=True)
    count, size = len(data.images), settings.batch_size
    draws = []
    for number in itertools.count():
        random = np.random.default_rng([seed, number])
        order, flips = random.permutation(count), random.random(count) < 0.5
        draws += zip(order, flips, strict=True)
        if len(draws) >= settings.steps * size:
            break
    segmenter.train()
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            rate = settings.learning_rate * (1 - step / settings.steps) ** 0.9
            group["lr"] = rate * group["factor"]
        batch = draws[step * size : (step + 1) * size]
        images = [data.images[i][:, ::-1] if f else data.images[i] for i, f in batch]
        masks = [data.masks[i][:, ::-1] if f else data.masks[i] for i, f in batch]
        labels = torch.from_numpy(np.stack(masks)).long()
        output = segmenter.with_auxiliary(to_input(np.stack(images)))
        loss = torch.nn.functional.cross_entropy(output.logits, labels, ignore_index=255)
        for logits in output.auxiliary:
            loss = loss + 0.4 * torch.nn.functional.cross_entropy(logits, labels, ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.mark.parametrize("settings", [ADAM, SGD])
def test_a_training_is_the_loop_that_the_settings_describe(setr, squares, settings):
    segmenter, expected = setr("setr_pup"), setr("setr_pup")
    fit(segmenter, squares, settings, seed=4)
    written_out(expected, squares, settings, seed=4)
    for name, value in state(expected).items():
        found = segmenter.state_dict()[name]
        assert torch.allclose(found, value, atol=2e-4, rtol=1e-3), name


def test_every_batch_is_full_and_every_pass_takes_each_image_once():
    drawn = np.concatenate([batch_of(10, 4, seed=3, step=step).order for step in range(10)])
    assert len(drawn) == 40
    for start in range(0, 40, 10):
        assert sorted(drawn[start : start + 10]) == list(range(10))
    assert not np.array_equal(drawn[:10], drawn[10:20])


def test_fewer_images_than_a_batch_fill_it_several_times():
    drawn = batch_of(2, 5, seed=0, step=0)
    assert sorted(drawn.order[:4]) == [0, 0, 1, 1]
    assert len(drawn.flipped) == 5


def test_masks_and_weights_are_mirrored_with_their_images(setr, squares):
    """A training on mirrored copies without flips is the training with flips."""
    settings = replace(SGD, steps=4, batch_size=12)
    weights = np.random.default_rng(0).random(squares.masks.shape)
    flips = np.concatenate([batch_of(12, 12, 0, step).flipped for step in range(4)])
    order = np.concatenate([batch_of(12, 12, 0, step).order for step in range(4)])
    segmenter = setr()
    fit(segmenter, LabelledImages(squares.images, squares.masks, weights), settings, seed=0)

    expected = setr()
    expected.train()
    optimizer = torch.optim.SGD(
        [
            {"params": list(expected.encoder_parameters()), "factor": 1},
            {"params": list(expected.head_parameters()), "factor": 10},
        ],
        lr=1, momentum=0.9, weight_decay=1e-4, fused=True,
    )  # fmt: skip
    for step in range(4):
        part = slice(12 * step, 12 * step + 12)
        pairs = list(zip(order[part], flips[part], strict=True))

        def turned(values, pairs=pairs):
            return np.stack([np.flip(values[i], 1) if f else values[i] for i, f in pairs])

        labels = torch.from_numpy(turned(squares.masks)).long()
        own = torch.from_numpy(turned(weights)).float()
        output = expected.with_auxiliary(to_input(turned(squares.images)))
        loss = cross_entropy(output.logits, labels, pixel_weights=own)
        loss = loss + 0.4 * sum(
            cross_entropy(one, labels, pixel_weights=own) for one in output.auxiliary
        )
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(step) * group["factor"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for name, value in state(expected).items():
        assert torch.allclose(segmenter.state_dict()[name], value, atol=1e-4), name


def test_micro_batches_take_the_step_of_the_whole_batch(setr, squares, monkeypatch):
    # BatchNorm alone would tell them apart, so it keeps its statistics here.
    def build():
        segmenter = setr(auxiliary=False)
        for module in segmenter.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.train = lambda mode=True, module=module: module
                module.training = False
        return segmenter

    masks = squares.masks.copy()
    masks[::2, :8] = 255  # images of unequal numbers of pixels that count
    data = LabelledImages(squares.images, masks, np.random.default_rng(0).random(masks.shape))
    settings = replace(
        SGD, steps=2, batch_size=6, loss=LossSettings(class_weighting="inverse"), record_every=1
    )
    whole = build()
    fit(whole, data, settings, seed=0)
    halves = build()
    original = halves.with_auxiliary

    def small(images):
        if len(images) > 2:
            raise torch.OutOfMemoryError
        return original(images)

    monkeypatch.setattr(halves, "with_auxiliary", small)
    records = fit(halves, data, settings, seed=0)
    assert records[-1].micro_batch == 2
    for name, value in state(whole).items():
        assert torch.allclose(halves.state_dict()[name], value, atol=1e-5), name


def test_frozen_parameters_and_void_pixels_do_not_move_a_training(setr, squares):
    segmenter = setr()
    other = squares.images.copy()
    settings = replace(ADAM, loss=LossSettings(class_weighting="inverse"))
    fit(segmenter, squares, settings, seed=0)
    masks = squares.masks.copy()
    assert (masks == 255).any()
    again = setr()
    fit(again, LabelledImages(other, masks, np.where(masks == 255, 7.0, 1.0)), settings, seed=0)
    for name, value in state(segmenter).items():
        assert torch.allclose(again.state_dict()[name], value, atol=1e-5), name


@pytest.mark.parametrize(
    "terms",
    [
        {"cross_entropy": 1.0},
        {"binary": 1.0},
        {"dice": 0.8, "cross_entropy": 0.2},
        {"generalised_cross_entropy": 1.0},
        {"symmetric_cross_entropy": 1.0},
    ],
)
def test_every_loss_teaches_a_segmenter_to_find_squares(setr, squares, terms):
    segmenter = setr("setr_pup", seed=1)
    settings = FitSettings(
        steps=60, batch_size=6, optimizer="adamw", learning_rate=0.003, head_multiple=1,
        loss=LossSettings(terms=terms),
    )  # fmt: skip
    fit(segmenter, squares, settings, seed=0)
    pairs = zip(predict_masks(segmenter, squares.images), squares.masks, strict=True)
    assert ConfusionCounts.of_maps(pairs, 1).iou()[1] > 0.9


def test_a_loss_that_is_no_number_is_a_collapse_with_the_records_before(setr, squares):
    segmenter = setr()

    def poison(record):
        if record.step == 4:
            torch.nn.init.constant_(segmenter.head.classifier.weight, float("inf"))

    with pytest.raises(CollapseError, match="the loss became nan by step 6") as caught:
        fit(segmenter, squares, ADAM, seed=0, on_record=poison)
    assert [record.step for record in caught.value.history] == [2, 4]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"masks": np.zeros((12, 16, 16), np.uint8)}, "hold no pixel of class 1"),
        ({"masks": np.ones((12, 16, 16), np.uint8)}, "hold no pixel of the background"),
        ({"masks": np.full((12, 16, 16), 3, np.uint8)}, "hold the value 3; expected 0 to 1, or"),
        (
            {
                "images": np.zeros((1, 20, 20, 3), np.uint8),
                "masks": np.eye(20, dtype=np.uint8)[np.newaxis],
            },
            "multiples of 8 px, got 20",
        ),
    ],
)  # fmt: skip
def test_data_that_cannot_be_trained_on_is_refused_before_training(setr, squares, change, said):
    data = replace(squares, **change)
    with pytest.raises(InputError, match=said):
        fit(setr(), data, ADAM, seed=0)


@pytest.mark.parametrize(
    ("images", "masks", "weights", "said"),
    [
        ((2, 8, 8, 3), (3, 8, 8), None, r"got uint8 \[2, 8, 8, 3\] with masks \[3, 8, 8\]"),
        ((2, 8, 8, 3), (2, 8, 4), None, r"expected uint8 \[N, H, W, 3\]"),
        ((0, 8, 8, 3), (0, 8, 8), None, "one image or more"),
        ((2, 8, 8, 3), (2, 8, 8), (2, 8, 9), r"weights are \[2, 8, 9\]"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(images, masks, weights, said):
    with pytest.raises(InputError, match=said):
        LabelledImages(
            np.zeros(images, np.uint8),
            np.zeros(masks, np.uint8),
            None if weights is None else np.ones(weights),
        )


def test_masks_of_an_image_set_come_to_the_images_size_with_void_kept():
    masks = PixelMaps.from_arrays([np.array([[0, 1], [255, 1]], np.uint8), None], [(2, 2), (3, 5)])
    given = ImageSet(
        classes=("smoke",),
        images=np.zeros((2, 4, 4, 3), np.uint8),
        labels=np.array([[True], [False]]),
        identifiers=("a", "b"),
        groups=("a", "b"),
        masks=masks,
    )
    data = LabelledImages.of_image_set(given)
    expected = [[0, 0, 1, 1], [0, 0, 1, 1], [255, 255, 1, 1], [255, 255, 1, 1]]
    assert data.masks.tolist() == [expected, [[0] * 4] * 4]
    with pytest.raises(InputError, match="image-level labels only"):
        LabelledImages.of_image_set(replace(given, masks=None))


def test_the_nearest_pixel_is_that_of_pillow():
    from PIL import Image

    labels = np.random.default_rng(0).integers(0, 5, (37, 53)).astype(np.uint8)
    for size in ((16, 16), (64, 64), (37, 53), (100, 20)):
        expected = Image.fromarray(labels).resize(size[::-1], Image.Resampling.NEAREST)
        assert np.array_equal(nearest_size(labels, size), np.asarray(expected))


def test_a_segmenter_without_trainable_parameters_is_refused(setr, squares):
    segmenter = setr()
    segmenter.requires_grad_(False)
    with pytest.raises(InputError, match="no parameter to train"):
        fit(segmenter, squares, ADAM, seed=0)


def test_passes_are_drawn_once_each(monkeypatch):
    drawn, draw = [], passes_module.draw_pass

    def counted(*given, number, **more):
        drawn.append(number)
        return draw(*given, number=number, **more)

    monkeypatch.setattr(passes_module, "draw_pass", counted)
    passes = Passes(FitSettings(), 16, flip=True, seed=0)
    for step in range(8):
        passes.batch(step, 4)
    assert drawn == [0, 1]
