"""Where windows lie, against coverage counted pixel by pixel."""

import numpy as np
import pytest

from wsss_core.errors import InputError
from wsss_core.tiling import Framing, PictureWindows, TileSettings, tile_boxes
from wsss_core.tiling.windows import framed_boxes, inside_cells

RANDOM = np.random.default_rng(0)
ODD = [(1, 1), (1, 30), (7, 3), (8, 8), (16, 8), (17, 9), (40, 23), (5, 64)]
"""Pictures of one pixel, smaller than a window, exact multiples of it, and no squares."""


def counted(shape, boxes):
    """How many windows show each pixel, by asking every pixel of every window."""
    found = np.zeros(shape, int)
    for top, left, height, width in boxes.tolist():
        for row in range(top, top + height):
            for column in range(left, left + width):
                if 0 <= row < shape[0] and 0 <= column < shape[1]:
                    found[row, column] += 1
    return found


@pytest.mark.parametrize("shape", ODD)
@pytest.mark.parametrize(("size", "stride"), [(8, 8), (8, 4), (8, 3), (8, 1), (1, 1), (5, 2)])
def test_every_pixel_is_in_a_window_and_windows_pad_small_pictures_alone(shape, size, stride):
    boxes = tile_boxes(shape, size, stride)
    assert counted(shape, boxes).min() >= 1
    assert len({tuple(box) for box in boxes.tolist()}) == len(boxes)
    for axis in (0, 1):
        beyond = (boxes[:, axis] < 0) | (boxes[:, axis] + size > shape[axis])
        assert beyond.all() == beyond.any() == (shape[axis] < size)
        starts = sorted(set(boxes[:, axis].tolist()))
        assert max(np.diff(starts), default=0) <= stride
    assert boxes.tolist() == sorted(boxes.tolist())


def test_exact_multiples_have_no_window_twice_and_none_that_is_needless():
    assert tile_boxes((16, 24), 8, 8)[:, :2].tolist() == [
        [top, left] for top in (0, 8) for left in (0, 8, 16)
    ]


def test_a_padded_picture_is_seen_by_one_square_with_the_picture_in_its_middle():
    padded = Framing("pad")
    assert framed_boxes((10, 4), padded).tolist() == [[0, -3, 10, 10]]
    assert framed_boxes((4, 9), padded).tolist() == [[-2, 0, 9, 9]]
    assert framed_boxes((6, 6), padded).tolist() == [[0, 0, 6, 6]]


@pytest.mark.parametrize("shape", ODD)
def test_cells_of_the_picture_are_those_whose_centre_lies_in_it(shape):
    grid = (5, 7)
    for box in [(0, 0, 8, 8), (-3, -2, 8, 8), (-40, 0, 100, 100), (shape[0] - 4, 0, 8, 8)]:
        rows, columns = inside_cells(box, shape, grid)
        for cells, axis, n in ((rows, 0, 5), (columns, 1, 7)):
            centres = box[axis] + (np.arange(n) + 0.5) * box[axis + 2] / n
            expected = np.flatnonzero((centres >= 0) & (centres < shape[axis]))
            found = np.arange(n)[cells]
            if len(expected):
                assert found.tolist() == expected.tolist()
            else:  # thinner than a cell: the nearest one stands for the picture
                distance = np.abs(centres - shape[axis] / 2)
                assert distance[found].max() <= distance.min() + box[axis + 2] / n
                assert len(found) == 1


def test_windows_of_several_pictures_know_their_own_and_survive_a_file(tmp_path):
    shapes = [(8, 8), (20, 9), (3, 4)]
    boxes = [tile_boxes(shape, 8, 4) for shape in shapes]
    windows = PictureWindows.of(shapes, boxes)
    windows.save(tmp_path)
    again = PictureWindows.load(tmp_path)
    for number, (shape, own) in enumerate(zip(shapes, boxes, strict=True)):
        assert again.shape(number) == shape
        assert again.boxes[again.part(number)].tolist() == own.tolist()
    values = RANDOM.normal(size=(len(windows), 2))
    expected = [values[windows.picture == n].max(axis=0).tolist() for n in range(3)]
    assert windows.highest(values).tolist() == expected
    assert not windows.whole
    assert PictureWindows.of(shapes[:1], boxes[:1]).whole


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"size": 0}, "size 0, expected 1 or more"),
        ({"stride": -1}, "stride -1, expected 1 or more"),
        ({"keep": 0}, "keep 0, expected 1 or more"),
        ({"least_share": 1.0}, "least_share 1.0, expected 0 to below 1"),
        ({"size": 8, "stride": 9}, "stride 9 is larger than the size 8"),
    ],
)
def test_tiles_that_make_no_sense_are_refused_in_a_line(given, said):
    with pytest.raises(InputError, match=said) as raised:
        TileSettings(**given)
    assert "\n" not in str(raised.value)


def test_framings_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="stride 300 is larger than the size 224"):
        Framing.chosen("tiles", TileSettings(stride=300), 224)
    with pytest.raises(InputError, match="aspect is pad; expected aspect: tiles, or no tiles"):
        Framing.chosen("pad", TileSettings(), 224)
    with pytest.raises(InputError, match="aspect 'crop', expected one of squash, pad, tiles"):
        Framing.chosen("crop", None, 224)


def test_a_framing_is_read_from_what_keys_hold_of_it():
    framing = Framing.chosen("tiles", TileSettings(size=300, keep=3, least_share=0.5), 224)
    assert framing.as_config() == {"aspect": "tiles", "size": 300, "stride": 150}
    assert framing.as_config(training=True)["keep"] == 3
    assert Framing.from_config(framing.as_config()).tile == (300, 150)
    assert Framing.from_config(None) == Framing()
    assert Framing.from_config({"aspect": "pad"}) == Framing("pad")
