"""Tiles chosen by the labels of their pixels, which are counted in every tile by itself."""

import numpy as np
import pytest

from wsss_core.data.formats import CropRule, crop_windows
from wsss_core.tiling import TileSettings, choose_tiles, evenly_spread, tile_boxes
from wsss_core.tiling.choosing import TileKind, judge_tiles

RANDOM = np.random.default_rng(3)


@pytest.mark.parametrize("shape", [(1, 1), (5, 40), (16, 16), (33, 20)])
@pytest.mark.parametrize("least_share", [0.0, 0.1, 0.6])
def test_each_tile_is_judged_by_its_known_pixels(shape, least_share):
    labels = RANDOM.choice([0, 0, 0, 0, 0, 1, 2, 255], shape).astype(np.uint8)
    labels[: shape[0] // 2, : shape[1] // 2] = 0
    boxes = tile_boxes(shape, 8, 4)
    for tile, (top, left, height, width) in zip(
        judge_tiles(labels, boxes, least_share, 2), boxes.tolist(), strict=True
    ):
        own = labels[max(0, top) : top + height, max(0, left) : left + width]
        known = int((own != 255).sum())
        areas = [int((own == code).sum()) for code in (1, 2)]
        held = tuple(k for k in (0, 1) if areas[k] > 0 and areas[k] / max(1, known) >= least_share)
        assert tile.classes == held
        assert tile.area == sum(areas)
        if held:
            assert tile.kind is TileKind.LABELLED
        elif known and sum(areas) == 0:
            assert tile.kind is TileKind.CLEAR
        else:
            assert tile.kind is TileKind.UNKNOWN


def test_with_the_thesiss_numbers_the_tiles_are_its_crops():
    mask = np.zeros((640, 832), np.uint8)
    mask[100:260, 500:700] = 1
    mask[400:420, 30:300] = 1
    boxes = tile_boxes(mask.shape, 512, 64)
    chosen = choose_tiles(mask, boxes, TileSettings(512, 64, keep=3, least_share=0.005), 1)
    expected = crop_windows(mask, CropRule(top=0, left=0))
    assert [boxes[tile.place].tolist() for tile in chosen] == [
        [one.top, one.left, one.height, one.width] for one in expected
    ]


def test_a_picture_without_a_labelled_tile_gives_clear_ones_evenly_spread():
    boxes = tile_boxes((8, 80), 8, 8)
    nothing = np.zeros((8, 80), np.uint8)
    chosen = choose_tiles(nothing, boxes, TileSettings(8, 8, keep=3), 1)
    assert [tile.place for tile in chosen] == [0, 4, 9]
    speck = nothing.copy()
    speck[0, 0] = 1
    chosen = choose_tiles(speck, boxes, TileSettings(8, 8, keep=3, least_share=0.5), 1)
    assert 0 not in [tile.place for tile in chosen]  # too little to be labelled, too much for clear
    assert len(choose_tiles(nothing, boxes, TileSettings(8, 8), 1)) == 10


def test_tiles_whose_label_is_unknown_are_left_out():
    void = np.full((8, 8), 255, np.uint8)
    assert choose_tiles(void, tile_boxes((8, 8), 8, 8), TileSettings(8, 8), 1) == []


@pytest.mark.parametrize("count", range(12))
@pytest.mark.parametrize("most", [1, 2, 3, 5, None])
def test_places_are_spread_from_end_to_end(count, most):
    found = evenly_spread(count, most)
    assert len(found) == min(count, most or count)
    assert found == sorted(set(found))
    assert all(0 <= place < count for place in found)
    if most is not None and most > 1 and count >= most:
        assert (found[0], found[-1]) == (0, count - 1)
        assert max(np.diff(found)) - min(np.diff(found)) <= 1
