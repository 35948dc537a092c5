import numpy as np
import pytest
import torch
import torch.nn.functional as F

from wsss_core.errors import InputError
from wsss_core.segmentation import predict_masks, predict_probabilities
from wsss_core.segmentation.predicting import to_input

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
