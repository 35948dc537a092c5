"""What is drawn, for which place, and what it depends on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from wsss_core.augmentation import (
    AugmentationSettings,
    Passes,
    Stored,
    balanced_order,
    draw_pass,
    sample_views,
)
from wsss_core.errors import InputError

ALL = AugmentationSettings(
    rescale=(0.5, 2.0), jitter=(0.3, 0.3, 0.3, 0.1), randaugment=(2, 12), cutmix=0.5
)
IMAGES = np.random.default_rng(0).integers(0, 256, (10, 16, 16, 3)).astype(np.uint8)
MASKS = np.random.default_rng(1).integers(0, 3, (10, 16, 16)).astype(np.uint8)
LABELS = torch.from_numpy(np.random.default_rng(2).random((10, 2)) < 0.5).float()


def load(chosen: np.ndarray) -> Stored:
    return Stored(IMAGES[chosen], LABELS[chosen], MASKS[chosen], MASKS[chosen] / 2)


def test_views_of_a_batch_do_not_depend_on_how_it_is_split():
    drawn = draw_pass(ALL, 10, flip=True, seed=0, number=0)
    batch = np.arange(2, 9)
    whole = sample_views(ALL, drawn, load, batch, batch, "cpu")
    for parts in ([batch[:4], batch[4:]], [np.array([place]) for place in batch]):
        views = [sample_views(ALL, drawn, load, part, batch, "cpu") for part in parts]
        for name in ("images", "labels", "masks", "weights"):
            joined = torch.cat([getattr(view, name) for view in views])
            assert torch.equal(joined, getattr(whole, name)), name
        valid = torch.cat([view.with_valid().valid for view in views])
        assert torch.equal(valid, whole.valid)


@pytest.mark.parametrize("option", ["rescale", "jitter", "randaugment", "cutmix"])
def test_an_option_moves_the_draws_of_no_other(option):
    one = draw_pass(ALL, 10, flip=True, seed=0, number=3)
    less = draw_pass(replace(ALL, **{option: None}), 10, flip=True, seed=0, number=3)
    assert set(one.drawn) - set(less.drawn) == {option}
    assert all(np.array_equal(one.drawn[other], less.drawn[other]) for other in less.drawn)
    assert np.array_equal(one.order, less.order)
    assert np.array_equal(one.flipped, less.flipped)


def test_each_pass_seed_and_place_has_numbers_of_its_own():
    drawn = [
        draw_pass(ALL, 10, flip=True, seed=seed, number=number).drawn["rescale"]
        for seed in (0, 1)
        for number in (0, 1)
    ]
    assert len(np.unique(np.concatenate(drawn))) == 4 * 30


def test_balanced_sampling_looks_for_every_class_and_for_none_equally_often():
    classes = np.zeros((400, 3), bool)
    classes[:200, 0] = True
    classes[200:210, 1] = True
    classes[210:215, 2] = True
    counts = np.zeros(4)
    for seed in range(30):
        order = balanced_order(np.random.default_rng(seed), classes)
        assert len(order) == 400
        found = classes[order]
        counts += [*found.sum(0), (~found.any(1)).sum()]
    assert np.abs(counts / 12000 - 0.25).max() < 0.02


def test_within_a_class_every_image_is_as_likely_as_the_others():
    classes = np.arange(8)[:, None] < 5
    drawn = np.concatenate(
        [balanced_order(np.random.default_rng(seed), classes) for seed in range(2000)]
    )
    shares = np.bincount(drawn, minlength=8) / len(drawn)
    np.testing.assert_allclose(shares, [0.1] * 5 + [1 / 6] * 3, atol=0.01)


def test_a_class_without_images_is_not_looked_for():
    order = balanced_order(np.random.default_rng(0), np.ones((6, 2), bool) * [True, False])
    assert set(order) <= set(range(6))


def test_an_image_that_comes_twice_in_a_pass_is_changed_differently():
    settings = replace(ALL, sampling="balanced")
    classes = np.zeros((10, 1), bool)
    classes[0] = True
    drawn = draw_pass(settings, 10, flip=True, seed=0, number=0, classes=classes)
    twice = np.flatnonzero(drawn.order == 0)
    assert len(twice) > 1
    assert len(np.unique(drawn.drawn["rescale"][twice], axis=0)) == len(twice)
    assert len(set(drawn.flipped[twice])) == 2


def test_batches_across_two_passes_hold_the_draws_of_both():
    passes = Passes(ALL, 10, flip=True, seed=0)
    batch = passes.batch(2, 4)
    first, second = (
        draw_pass(ALL, 10, flip=True, seed=0, number=n, flips_of_places=True) for n in (0, 1)
    )
    assert batch.order.tolist() == [*first.order[8:], *second.order[:2]]
    for option in ALL_OPTIONS:
        expected = np.concatenate([first.drawn[option][8:], second.drawn[option][:2]])
        assert np.array_equal(batch.drawn[option], expected)


ALL_OPTIONS = ("rescale", "jitter", "randaugment", "cutmix")


def test_views_are_fixed_where_nothing_but_mirroring_is_drawn():
    assert AugmentationSettings().has_fixed_views
    assert AugmentationSettings(sampling="balanced").has_fixed_views
    for option in ALL_OPTIONS:
        only = AugmentationSettings(**{option: getattr(ALL, option)})
        assert not only.has_fixed_views


def test_padding_comes_from_shrinking_and_moving_alone():
    assert not AugmentationSettings(rescale=(1.0, 2.0), cutmix=1.0).pads
    assert AugmentationSettings(rescale=(0.9, 2.0)).pads
    assert AugmentationSettings(randaugment=(1, 1)).pads


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("sampling", "even", "one of shuffled, balanced"),
        ("rescale", (2.0, 0.5), "two factors above 0"),
        ("rescale", (0.0, 0.5), "two factors above 0"),
        ("rescale", (0.5, 5.0), "4 at most"),
        ("rescale", (0.5,), "the lower first"),
        ("rescale", (0.5, float("nan")), "the lower first"),
        ("jitter", (0.3, 0.3, 0.3), "hue of 0 to 0.5"),
        ("jitter", (0.3, 0.3, 0.3, 0.6), "hue of 0 to 0.5"),
        ("jitter", (1.3, 0.3, 0.3, 0.1), "saturation of 0 to 1"),
        ("randaugment", (0, 9), "operations, 1 to 14"),
        ("randaugment", (2, 31), "magnitude, 0 to 30"),
        ("randaugment", (2.5, 9), "operations, 1 to 14"),
        ("cutmix", 0.0, "above 0, 1 at most"),
        ("cutmix", 1.5, "above 0, 1 at most"),
    ],
)
def test_a_value_out_of_its_range_is_a_line_that_names_it(name, value, expected):
    with pytest.raises(InputError, match=rf"^{name} is ") as error:
        AugmentationSettings(**{name: value})
    assert expected in str(error.value)
    assert "\n" not in str(error.value)
