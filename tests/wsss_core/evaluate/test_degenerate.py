"""When a network says nothing, and when it is merely wrong."""

import numpy as np
import pytest

from wsss_core.evaluate import collapse_reason


def one_level(level: int, images: int = 200) -> np.ndarray:
    counts = np.zeros((images, 256), int)
    counts[:, level] = 50
    return counts


def spread(images: int = 200) -> np.ndarray:
    counts = np.zeros((images, 256), int)
    counts[:, 10] = 30
    counts[:, 200] = 20
    return counts


LOGITS = np.random.default_rng(0).normal(size=(200, 2))


@pytest.mark.parametrize(
    ("level", "said"),
    [
        (0, "empty CAMs"),
        (24, "empty CAMs"),
        (25, "flat CAMs"),
        (128, "flat CAMs"),
        (230, "flat CAMs"),
        (231, "full CAMs"),
        (255, "full CAMs"),
    ],
)
def test_maps_of_one_level_are_named_by_where_it_lies(level, said):
    assert collapse_reason(one_level(level), LOGITS) == said


def test_logits_that_do_not_differ_between_images_are_constant():
    assert collapse_reason(spread(), np.full((200, 2), 3.0) + 1e-4 * LOGITS) == "constant logits"


def test_one_class_that_differs_is_enough():
    logits = LOGITS.copy()
    logits[:, 0] = 1.0
    assert collapse_reason(spread(), logits) is None


def test_a_wrong_but_lively_network_has_not_collapsed():
    assert collapse_reason(spread(), -LOGITS) is None
    assert collapse_reason(spread(), 10 + LOGITS) is None


@pytest.mark.parametrize(("lively", "said"), [(2, "empty CAMs"), (3, None)])
def test_almost_all_maps_have_to_be_degenerate(lively, said):
    levels = one_level(0)
    levels[:lively] = spread(lively)
    assert collapse_reason(levels, LOGITS) == said


@pytest.mark.parametrize(("step", "said"), [(4, "constant logits"), (9, None)])
def test_rounding_of_great_logits_is_no_difference(step, said):
    great = np.float32(2**17)  # one step of float32 is 1/64: far beyond the absolute tolerance
    logits = np.full((200, 2), great)
    logits[::2] += step * np.spacing(great)
    assert logits.dtype == np.float32
    assert collapse_reason(spread(), logits) == said


def test_logits_that_differ_a_little_more_than_nothing_are_alive():
    logits = np.full((200, 1), 3.0)
    logits[0] += 1.1e-3
    assert collapse_reason(spread(), logits) is None


def test_maps_of_two_levels_are_alive_however_near_these_are():
    levels = one_level(0)
    levels[:, 0] -= 1
    levels[:, 1] += 1
    assert collapse_reason(levels, LOGITS) is None


@pytest.mark.parametrize("nothing", [np.zeros((0, 256), int), np.array([])])
def test_of_no_image_nothing_is_degenerate_but_its_logits(nothing):
    assert collapse_reason(nothing, LOGITS) is None
    assert collapse_reason(nothing, np.zeros((0, 2))) is None
    assert collapse_reason(nothing, np.zeros((9, 2))) == "constant logits"


def test_a_single_image_has_no_constant_logits():
    assert collapse_reason(spread(1), LOGITS[:1]) is None
