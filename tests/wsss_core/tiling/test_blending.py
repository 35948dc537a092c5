"""Blended maps against a plain sum over all pixels of all windows in float64."""

import numpy as np
import pytest

from wsss_core.evaluate import normalise, resize
from wsss_core.tiling import (
    BandBlender,
    PictureWindows,
    blend_windows,
    normalise_windows,
    tile_boxes,
    with_edges,
)
from wsss_core.tiling.windows import inside_cells

RANDOM = np.random.default_rng(1)
CASES = [
    ((1, 1), 8, 4),
    ((1, 30), 8, 4),
    ((7, 3), 8, 8),
    ((8, 8), 8, 4),
    ((16, 24), 8, 8),
    ((17, 9), 8, 3),
    ((40, 23), 9, 4),
    ((5, 64), 8, 5),
    ((19, 21), 10, 1),
]


def summed(maps, boxes, shape):
    """The weighted mean at each pixel, in float64, window after window and pixel after pixel."""
    total = np.zeros((maps.shape[1], *shape))
    weights = np.zeros(shape)
    for window, (top, left, height, width) in zip(maps, boxes.tolist(), strict=True):
        rows, columns = inside_cells((top, left, height, width), shape, window.shape[1:])
        edged = np.pad(
            window[:, rows, columns],
            (
                (0, 0),
                (rows.start, window.shape[1] - rows.stop),
                (columns.start, window.shape[2] - columns.stop),
            ),
            mode="edge",
        )
        values = resize(edged, (height, width)).astype(np.float64)
        for y in range(height):
            for x in range(width):
                row, column = top + y, left + x
                if 0 <= row < shape[0] and 0 <= column < shape[1]:
                    weight = min(y + 0.5, height - y - 0.5) * min(x + 0.5, width - x - 0.5)
                    total[:, row, column] += weight * values[:, y, x]
                    weights[row, column] += weight
    return total / weights


@pytest.mark.parametrize(("shape", "size", "stride"), CASES)
def test_blending_is_the_weighted_mean_of_all_windows(shape, size, stride):
    boxes = tile_boxes(shape, size, stride)
    maps = RANDOM.random((len(boxes), 2, 5, 4), np.float32)
    found = blend_windows(maps, boxes, shape)
    assert found.dtype == np.float32
    assert found.shape == (2, *shape)
    assert found == pytest.approx(summed(maps, boxes, shape), abs=2e-6)


@pytest.mark.parametrize(("shape", "size", "stride"), CASES)
def test_a_constant_stays_a_constant(shape, size, stride):
    boxes = tile_boxes(shape, size, stride)
    found = blend_windows(np.full((len(boxes), 1, 3, 3), 0.7, np.float32), boxes, shape)
    assert found == pytest.approx(np.full((1, *shape), 0.7), abs=1e-6)


def test_one_window_gives_the_whole_images_map_to_the_bit():
    maps = RANDOM.random((1, 3, 7, 7), np.float32)
    boxes = tile_boxes((20, 20), 20, 5)
    assert np.array_equal(blend_windows(maps, boxes, (20, 20)), resize(maps[0], (20, 20)))
    bands = list(BandBlender(boxes, (20, 20)).add(maps))
    assert [first for first, _ in bands] == [0]
    assert np.array_equal(bands[0][1], resize(maps[0], (20, 20)))


def test_windows_without_overlap_are_laid_side_by_side_to_the_bit():
    boxes = tile_boxes((16, 24), 8, 8)
    maps = RANDOM.random((6, 1, 8, 8), np.float32)
    rows = [np.concatenate(list(maps[n : n + 3, 0]), axis=1) for n in (0, 3)]
    assert np.array_equal(blend_windows(maps, boxes, (16, 24))[0], np.concatenate(rows))


def test_padding_has_no_influence_on_what_is_blended():
    boxes = tile_boxes((5, 30), 16, 8)
    maps = RANDOM.random((len(boxes), 1, 8, 8), np.float32)
    spoilt = maps.copy()
    for box, one in zip(boxes, spoilt, strict=True):
        rows, columns = inside_cells(box, (5, 30), (8, 8))
        kept = one[:, rows, columns].copy()
        one[...] = 1e6
        one[:, rows, columns] = kept
    assert (spoilt != maps).any()
    assert np.array_equal(
        blend_windows(maps, boxes, (5, 30)), blend_windows(spoilt, boxes, (5, 30))
    )


@pytest.mark.parametrize("at_once", [1, 2, 5, 100])
def test_bands_follow_each_other_however_many_windows_are_added_at_a_time(at_once):
    shape, boxes = (40, 23), tile_boxes((40, 23), 9, 4)
    maps = RANDOM.random((len(boxes), 2, 5, 5), np.float32)
    blender = BandBlender(boxes, shape)
    bands = [
        band for at in range(0, len(maps), at_once) for band in blender.add(maps[at : at + at_once])
    ]
    ends = [first + band.shape[1] for first, band in bands]
    assert [first for first, _ in bands] == [0, *ends[:-1]]
    assert ends[-1] == shape[0]
    assert max(band.shape[1] for _, band in bands) <= 9
    found = np.concatenate([band for _, band in bands], axis=1)
    assert np.array_equal(found, blend_windows(maps, boxes, shape))


def test_the_order_of_channels_and_pictures_does_not_matter():
    shapes = [(12, 20), (20, 12), (9, 9)]
    boxes = [tile_boxes(shape, 8, 4) for shape in shapes]
    maps = [RANDOM.normal(size=(len(one), 3, 4, 4)).astype(np.float32) for one in boxes]
    order, channels = [2, 0, 1], [1, 2, 0]
    first = normalise_windows(np.concatenate(maps), PictureWindows.of(shapes, boxes), "min_max")
    other = normalise_windows(
        np.concatenate([maps[n] for n in order])[:, channels],
        PictureWindows.of([shapes[n] for n in order], [boxes[n] for n in order]),
        "min_max",
    )
    ends = np.cumsum([0, *(len(maps[n]) for n in order)])
    starts = np.cumsum([0, *(len(one) for one in maps)])
    for place, number in enumerate(order):
        mine = first[starts[number] : starts[number + 1]][:, channels]
        assert np.array_equal(mine, other[ends[place] : ends[place + 1]])


@pytest.mark.parametrize("how", ["min_max", "max", "sigmoid"])
def test_windows_of_a_picture_are_normalised_together_over_its_own_cells(how):
    shape, boxes = (5, 30), tile_boxes((5, 30), 16, 8)
    maps = RANDOM.normal(size=(len(boxes), 2, 8, 8)).astype(np.float32)
    found = normalise_windows(maps, PictureWindows.of([shape], [boxes]), how)
    inside = [inside_cells(box, shape, (8, 8)) for box in boxes]
    for channel in range(2):
        cells = np.concatenate(
            [one[channel, r, c].ravel() for one, (r, c) in zip(maps, inside, strict=True)]
        ).astype(np.float64)
        expected = {
            "min_max": (cells - cells.min()) / (cells.max() - cells.min()),
            "max": np.maximum(cells, 0) / cells.max(),
            "sigmoid": 1 / (1 + np.exp(-cells)),
        }[how]
        got = np.concatenate(
            [one[channel, r, c].ravel() for one, (r, c) in zip(found, inside, strict=True)]
        )
        assert got == pytest.approx(expected, abs=1e-6)


def test_a_picture_of_one_window_is_normalised_as_a_plain_map_to_the_bit():
    maps = RANDOM.normal(size=(3, 2, 7, 7)).astype(np.float16)
    windows = PictureWindows.of([(9, 9)] * 3, [tile_boxes((9, 9), 9, 9)] * 3)
    for how in ("min_max", "max", "sigmoid"):
        assert np.array_equal(normalise_windows(maps, windows, how), normalise(maps, how))


def test_padding_repeats_the_nearest_cell_of_the_picture():
    maps = np.arange(16.0).reshape(1, 4, 4)
    edged = with_edges(maps, (-4, 0, 8, 8), (2, 8))  # rows of cells 0, 1 and 3 are padding
    assert edged[0].tolist() == [maps[0, 2].tolist()] * 4
