import numpy as np
import pytest
from PIL import Image

from wsss_core.tiling import PADDING_COLOUR, cut_labels, cut_view, cut_views, tile_boxes

RANDOM = np.random.default_rng(2)
PICTURE = RANDOM.integers(0, 256, (30, 50, 3), np.uint8)


def test_a_window_of_the_networks_size_is_a_slice_of_the_picture():
    view = cut_view(PICTURE, (30, 50), (4, 9, 16, 16), 16)
    assert np.array_equal(view, PICTURE[4:20, 9:25])


def test_a_window_over_the_whole_picture_is_resized_as_a_squashed_image_is():
    square = PICTURE[:, :30]
    expected = Image.fromarray(square).resize((12, 12), Image.Resampling.BILINEAR)
    view = cut_view(square, (30, 30), (0, 0, 30, 30), 12)
    assert np.array_equal(view, np.asarray(expected))


def test_padding_has_one_colour_and_lets_none_of_it_into_the_picture():
    white = np.full((10, 40, 3), 255, np.uint8)
    view = cut_view(white, (10, 40), (-15, 0, 40, 40), 20)
    rows = (view == 255).all(axis=(1, 2))
    assert np.flatnonzero(rows).tolist() == [8, 9, 10, 11, 12]  # 15 / 2 to 25 / 2
    assert (view[~rows] == PADDING_COLOUR).all()


def test_rows_may_be_read_instead_of_held():
    asked = []

    def read(first, stop):
        asked.append((first, stop))
        return PICTURE[first:stop]

    boxes = tile_boxes((30, 50), 16, 8)
    found = np.concatenate(list(cut_views(read, (30, 50), boxes, 8, at_once=3)))
    assert len(found) == len(boxes)
    for box, view in zip(boxes, found, strict=True):
        assert np.array_equal(view, cut_view(PICTURE, (30, 50), box, 8))
    assert asked == sorted(asked)


@pytest.mark.parametrize("shape", [(1, 1), (3, 9), (12, 12), (30, 7)])
def test_labels_of_a_window_are_those_at_the_centres_and_padding_is_void(shape):
    labels = RANDOM.integers(0, 3, shape).astype(np.uint8)
    for box in [*tile_boxes(shape, 8, 4).tolist(), [-3, -2, 20, 20]]:
        found = cut_labels(labels, box, 5)
        for y in range(5):
            for x in range(5):
                row = int(np.floor(box[0] + (y + 0.5) * box[2] / 5))
                column = int(np.floor(box[1] + (x + 0.5) * box[3] / 5))
                inside = 0 <= row < shape[0] and 0 <= column < shape[1]
                assert found[y, x] == (labels[row, column] if inside else 255)


def test_a_picture_of_one_pixel_can_be_cut():
    view = cut_view(PICTURE[:1, :1], (1, 1), (-3, -3, 8, 8), 4)
    here = (view == PICTURE[0, 0]).all(axis=-1)
    assert here.sum() == 1
    assert (view[~here] == PADDING_COLOUR).all()
