"""Diagnostics against the maps and masks they are about, pixel by pixel."""

import math
import warnings

import numpy as np
import pytest

from wsss_core.errors import InputError
from wsss_core.evaluate.diagnostics import (
    confusion_ratio,
    false_positive_area,
    mass_shares,
    pointing_game,
    reliance,
)


def histogram(levels: np.ndarray, region: np.ndarray) -> np.ndarray:
    return np.bincount(levels[region], minlength=256)


@pytest.fixture
def maps() -> tuple[list[np.ndarray], dict[str, list[np.ndarray]]]:
    """Five maps with disjoint regions; the last map is empty."""
    random = np.random.default_rng(0)
    levels = [random.integers(0, 256, (6, 7)).astype(np.uint8) for _ in range(5)]
    levels[-1][:] = 0
    which = [random.integers(0, 4, (6, 7)) for _ in range(5)]
    names = ("object", "context", "ring", "elsewhere")
    return levels, {name: [w == k for w in which] for k, name in enumerate(names)}


def stack(levels: list[np.ndarray], regions: list[np.ndarray]) -> np.ndarray:
    return np.stack([histogram(a, b) for a, b in zip(levels, regions, strict=True)])


def test_mass_shares_are_those_of_the_maps_averaged_over_images_with_any_mass(maps):
    levels, regions = maps
    outside = [~one for one in regions["object"]]
    shares = mass_shares(
        stack(levels, regions["object"]),
        stack(levels, outside),
        stack(levels, regions["context"]),
        stack(levels, regions["ring"]),
    )
    for name in ("object", "context", "ring", "elsewhere"):
        each = [
            levels[i][regions[name][i]].astype(float).sum() / levels[i].astype(float).sum()
            for i in range(4)
        ]
        assert getattr(shares, name) == pytest.approx(np.mean(each))
    pixels = [region.mean() for region in regions["object"]]
    assert shares.object_pixels == pytest.approx(np.mean(pixels))


def test_a_context_that_is_unknown_is_part_of_elsewhere(maps):
    levels, regions = maps
    outside = stack(levels, [~one for one in regions["object"]])
    shares = mass_shares(stack(levels, regions["object"]), outside, None, None)
    assert math.isnan(shares.context)
    assert shares.object + shares.elsewhere == pytest.approx(1)


def test_a_map_without_any_shape_has_the_object_s_share_of_the_pixels_on_it(maps):
    _, regions = maps
    flat = [np.full((6, 7), 80, np.uint8)] * 5
    parts = {name: stack(flat, masks) for name, masks in regions.items()}
    outside = stack(flat, [~one for one in regions["object"]])
    shares = mass_shares(parts["object"], outside, parts["context"], parts["ring"])
    assert shares.object == pytest.approx(shares.object_pixels)


def test_unsigned_counts_as_a_ledger_holds_them_give_the_same_shares(maps):
    levels, regions = maps
    counts = [stack(levels, regions["object"]), stack(levels, [~o for o in regions["object"]])]
    counts += [stack(levels, regions["context"]), stack(levels, regions["ring"])]
    assert mass_shares(*(one.astype(np.uint32) for one in counts)) == mass_shares(*counts)


def test_a_map_that_lies_on_known_regions_alone_has_exactly_nothing_elsewhere():
    counts = np.zeros((3, 1, 256), int)
    counts[:, 0, [77, 130, 201]] = 1, 3, 7
    on_object, context, ring = counts
    assert mass_shares(on_object, context + ring, context, ring).elsewhere == 0


def test_regions_that_are_no_part_of_the_background_are_refused():
    one = np.ones((2, 256), int)
    with pytest.raises(InputError, match=r"^context and ring: expected disjoint parts"):
        mass_shares(one, one, one, one)
    with pytest.raises(InputError, match=r"^ring: .*\[2, 256\], got \[1, 256\]"):
        mass_shares(one, one, None, one[:1])


def test_maps_without_any_mass_have_no_shares():
    empty = np.zeros((2, 256), int)
    empty[:, 0] = 9
    assert math.isnan(mass_shares(empty, empty, None, None).object)


def test_the_confusion_ratio_counts_marked_pixels(maps):
    levels, regions = maps
    objects = regions["object"]
    marked = [one >= 90 for one in levels]
    right = sum(int((m & o).sum()) for m, o in zip(marked, objects, strict=True))
    wrong = sum(int((m & ~o).sum()) for m, o in zip(marked, objects, strict=True))
    outside = stack(levels, [~one for one in objects])
    assert confusion_ratio(stack(levels, objects), outside, 90) == wrong / right


def test_nothing_found_has_no_confusion_ratio():
    counts = np.zeros((1, 256), int)
    counts[0, 10] = 4
    assert math.isnan(confusion_ratio(counts, counts, 11))


def test_gating_leaves_images_unmarked_that_are_predicted_clear():
    background = np.zeros((3, 256), int)
    background[:, 0], background[:, 200] = 60, 40
    logits = np.array([1.0, -1.0, 0.0])
    assert false_positive_area(background, logits, 100, gated=False) == pytest.approx(0.4)
    assert false_positive_area(background, logits, 100, gated=True) == pytest.approx(0.4 / 3)
    assert math.isnan(false_positive_area(background[:0], logits[:0], 100, gated=True))


def test_an_image_of_ignored_pixels_alone_counts_as_unmarked():
    background = np.zeros((2, 256), int)
    background[0, 200] = 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert false_positive_area(background, np.ones(2), 100, gated=False) == 0.5


@pytest.mark.parametrize("level", [-1, 256])
def test_a_level_that_is_none_is_refused(level):
    counts = np.ones((1, 256), int)
    with pytest.raises(InputError, match=f"^level: expected 0-255, got {level}"):
        confusion_ratio(counts, counts, level)
    with pytest.raises(InputError, match=f"^level: expected 0-255, got {level}"):
        false_positive_area(counts, np.ones(1), level, gated=True)


def test_logits_of_other_images_are_refused():
    with pytest.raises(InputError, match=r"^logits: expected one for each of 2 images"):
        false_positive_area(np.ones((2, 256), int), np.ones(3), 1, gated=True)


def test_the_pointing_game_shares_add_up():
    shares = pointing_game(["object", "ring", "object", "context", "elsewhere"])
    assert shares == {"object": 0.4, "context": 0.2, "ring": 0.2, "elsewhere": 0.2}


def test_a_map_that_peaks_nowhere_is_a_miss_of_every_region():
    shares = pointing_game(["object", "nowhere", "nowhere", "context"])
    assert shares == {"object": 0.25, "context": 0.25, "ring": 0.0, "elsewhere": 0.0}


def test_reliance_leaves_out_what_is_not_known():
    logits = np.array([3.0, 1.0, -1.0, 2.0])
    without_object = np.array([0.0, 0.0, -2.0, 1.0])
    without_context = np.array([1.0, -1.0, -3.0, np.nan])
    found = reliance(logits, without_object, without_context)
    assert found.on_object == pytest.approx((3 + 1 + 1 + 1) / 4)
    assert found.on_context == pytest.approx(2.0)
    assert found.context_share == pytest.approx(2 / 3.5)
    assert found.flips == pytest.approx(1 / 2)


def test_reliance_on_nothing_known_is_no_number():
    unknown = np.full(2, np.nan)
    found = reliance(np.ones(2), unknown, unknown)
    assert math.isnan(found.on_context)
    assert math.isnan(found.flips)
