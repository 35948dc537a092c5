"""Which training images get a true mask: nested by seed, by groups, never those that are scored."""

import itertools

import numpy as np
import pytest

from studies.stages.segmentation.selection import drawn_in_order, may_join
from wsss_core.data.image_set import ImageSet

GROUPS = [f"frame{number // 3}" for number in range(60)]


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_fewer_masks_are_among_more_and_an_order_holds_every_place_once(seed: int) -> None:
    order = drawn_in_order(range(60), GROUPS, seed)
    assert sorted(order) == list(range(60))
    assert order == drawn_in_order(range(60), GROUPS, seed)


def test_seeds_draw_different_masks() -> None:
    assert len({tuple(drawn_in_order(range(60), GROUPS, seed)[:9]) for seed in range(5)}) == 5


def test_the_masks_of_a_group_are_drawn_together() -> None:
    drawn = [GROUPS[place] for place in drawn_in_order(range(60), GROUPS, 3)]
    changes = sum(a != b for a, b in itertools.pairwise(drawn))
    assert changes == len(set(GROUPS)) - 1


def image_set(identifiers: list[str], groups: list[str]) -> ImageSet:
    count = len(identifiers)
    return ImageSet(
        ("smoke",),
        np.zeros((count, 16, 16, 3), np.uint8),
        np.ones((count, 1), np.bool_),
        tuple(identifiers),
        tuple(groups),
    )


def test_an_image_whose_group_is_scored_does_not_join_but_one_of_the_same_name_does() -> None:
    train = image_set(["a", "b", "c"], ["a", "frame 1", "frame 2"])
    test = image_set(["a", "z"], ["a", "frame 1"])
    assert may_join(train, {"test": test}).tolist() == [True, False, True]
