import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from wsss_core.errors import InputError
from wsss_core.segmentation import (
    predict_masks,
    predict_picture,
    predict_probabilities,
)
from wsss_core.segmentation.predicting import to_input
from wsss_core.tiling import Framing, PictureWindows, TileSettings, cut_view, tile_boxes

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
SIZES = [(16, 16), (40, 30), (7, 9), (16, 50), (33, 33)]


def plain(segmenter):
    """Image after image, with softmax and argmax behind the enlargement."""
    for image, size in zip(IMAGES, SIZES, strict=True):
        with torch.no_grad():
            logits = segmenter(to_input(image[np.newaxis]))
        larger = F.interpolate(logits, size, mode="bilinear", align_corners=False)
        yield larger.softmax(1)[0].numpy()


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_predictions_are_those_of_a_plain_loop_at_each_images_size(setr, batch_size):
    segmenter = setr(classes=2).eval()
    found = list(predict_probabilities(segmenter, IMAGES, SIZES, batch_size=batch_size))
    masks = list(predict_masks(segmenter, IMAGES, SIZES, batch_size=batch_size))
    for probabilities, mask, expected in zip(found, masks, plain(segmenter), strict=True):
        assert probabilities.dtype == np.float32
        assert probabilities == pytest.approx(expected, abs=1e-5)
        assert probabilities.sum(0) == pytest.approx(np.ones(mask.shape), abs=1e-5)
        assert mask.dtype == np.uint8
        assert (mask == expected.argmax(0)).mean() > 0.99


def test_without_sizes_maps_have_the_images_own(setr):
    assert [mask.shape for mask in predict_masks(setr(), IMAGES)] == [(16, 16)] * 5


def test_batches_that_do_not_fit_are_halved(setr, monkeypatch):
    segmenter = setr().eval()
    expected = list(predict_masks(segmenter, IMAGES, SIZES))
    taken = []
    original = segmenter.forward

    def small(images):
        if len(images) > 2:
            raise torch.OutOfMemoryError
        taken.append(len(images))
        return original(images)

    monkeypatch.setattr(segmenter, "forward", small)
    found = list(predict_masks(segmenter, IMAGES, SIZES, batch_size=5))
    assert taken == [2, 2, 1] or max(taken) <= 2
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))

    def never(images):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(segmenter, "forward", never)
    with pytest.raises(torch.OutOfMemoryError, match="predicting masks of 16 x 16 px"):
        next(predict_masks(segmenter, IMAGES))


def test_another_error_is_not_taken_for_memory(setr, monkeypatch):
    segmenter = setr()

    def fail(images):
        raise RuntimeError("a shape")

    monkeypatch.setattr(segmenter, "forward", fail)
    with pytest.raises(RuntimeError, match="a shape"):
        next(predict_masks(segmenter, IMAGES))


def test_the_segmenter_is_in_its_own_mode_between_images(setr):
    segmenter = setr().train()
    for _ in predict_masks(segmenter, IMAGES):
        assert segmenter.training


def test_other_numbers_of_sizes_are_refused(setr):
    with pytest.raises(InputError, match="2 sizes for 5 images"):
        next(predict_masks(setr(), IMAGES, SIZES[:2]))


def whole_picture(segmenter, picture, size):
    """The prediction of a picture that is squashed to a square, at its own size."""
    small = np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR))
    return next(predict_probabilities(segmenter, small[None], [picture.shape[:2]]))


def test_where_one_window_covers_a_picture_its_prediction_is_that_of_the_whole(setr):
    segmenter = setr(classes=2).eval()
    picture = np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8)
    tiles = Framing.chosen("tiles", TileSettings(40), 16)
    for framing in (tiles, Framing("pad"), Framing()):
        ((first, found),) = predict_picture(segmenter, picture, (40, 40), framing)
        assert first == 0
        assert np.array_equal(found, whole_picture(segmenter, picture, 16))


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_windows_of_pictures_are_blended_one_picture_after_another(setr, batch_size):
    segmenter = setr(classes=2).eval()
    random = np.random.default_rng(2)
    pictures = [random.integers(0, 256, (*shape, 3), np.uint8) for shape in [(20, 41), (9, 5)]]
    shapes = [picture.shape[:2] for picture in pictures]
    boxes = [tile_boxes(shape, 16, 6) for shape in shapes]
    views = [
        cut_view(picture, shape, box, 16)
        for picture, shape, own in zip(pictures, shapes, boxes, strict=True)
        for box in own
    ]
    windows = PictureWindows.of(shapes, boxes)
    found = list(predict_masks(segmenter, np.stack(views), windows=windows, batch_size=batch_size))
    single = iter([next(predict_probabilities(segmenter, view[None])) for view in views])
    for picture, shape, own, mask in zip(pictures, shapes, boxes, found, strict=True):
        total, weights = np.zeros((3, *shape)), np.zeros(shape)
        for top, left, _, _ in own.tolist():
            probabilities = next(single)
            for y in range(16):
                for x in range(16):
                    row, column = top + y, left + x
                    if 0 <= row < shape[0] and 0 <= column < shape[1]:
                        weight = min(y + 0.5, 15.5 - y) * min(x + 0.5, 15.5 - x)
                        total[:, row, column] += weight * probabilities[:, y, x]
                        weights[row, column] += weight
        mean = total / weights
        assert mask.shape == shape
        assert (mask == mean.argmax(0)).mean() > 0.995
        framing = Framing.chosen("tiles", TileSettings(16, 6), 16)
        bands = list(predict_picture(segmenter, picture, shape, framing, batch_size=batch_size))
        assert np.concatenate([band for _, band in bands], axis=1) == pytest.approx(mean, abs=1e-5)


def test_windows_that_do_not_fit_the_images_are_refused(setr):
    windows = PictureWindows.of([(16, 16)], [tile_boxes((16, 16), 16, 16)])
    with pytest.raises(InputError, match="1 windows for 5 images; expected as many, and no sizes"):
        next(predict_masks(setr(), IMAGES, windows=windows))
    with pytest.raises(InputError, match="1 windows for 1 images; expected as many, and no sizes"):
        next(predict_masks(setr(), IMAGES[:1], SIZES[:1], windows=windows))
