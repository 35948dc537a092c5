import numpy as np
import pytest
import torch

from wsss_core.data import to_input
from wsss_core.errors import InputError
from wsss_core.refine import load_foundation
from wsss_core.segmentation import UPPER_BOUND, masks_from_true_boxes

pytest.importorskip("transformers")


def truth():
    mask = np.zeros((40, 40), np.uint8)
    mask[3:9, 4:20] = 1
    mask[25:37, 10:16] = 1
    mask[20:30, 25:39] = 2
    mask[0, :] = 255
    return mask


@pytest.mark.parametrize("kind", ["sam", "sam2"])
def test_masks_are_the_answers_to_the_boxes_of_the_true_objects(kind, sam, lively):
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    model, processor = load_foundation("sam", lively(kind))
    boxes = [[4, 3, 19, 8], [10, 25, 15, 36], [25, 20, 38, 29]]
    asked = processor(images=image, input_boxes=[[*map(list, boxes)]], return_tensors="pt")
    with torch.no_grad():
        raw = model.train()(
            pixel_values=asked["pixel_values"],
            input_boxes=asked["input_boxes"],
            multimask_output=False,
        )
    sizes = {"original_sizes": asked["original_sizes"]}
    if kind == "sam":
        sizes["reshaped_input_sizes"] = asked["reshaped_input_sizes"]
    logits = processor.post_process_masks(raw.pred_masks, **sizes, binarize=False)[0][:, 0]
    values = np.array([1, 1, 2])[logits.argmax(0).numpy()]
    expected = np.where(logits.max(0).values.numpy() > 0, values, 0)

    found = masks_from_true_boxes(sam(kind, classes=2), image[np.newaxis], [truth()])
    # The processor rounds the resized image to whole grey levels.
    assert (found.masks[0] == expected).mean() > 0.98
    assert len(np.unique(expected)) > 1
    assert found.label == UPPER_BOUND == "upper bound: prompts are the boxes of the true masks"


def test_an_image_without_objects_is_not_asked_and_is_background(sam):
    image = np.zeros((1, 40, 40, 3), np.uint8)
    (mask,) = masks_from_true_boxes(sam(), image, [np.zeros((20, 30), np.uint8)]).masks
    assert mask.shape == (20, 30)
    assert not mask.any()


def test_the_mode_of_the_segmenter_stays(sam):
    segmenter = sam().train()
    masks_from_true_boxes(
        segmenter, np.zeros((1, 40, 40, 3), np.uint8), [(truth() == 1).astype("uint8")]
    )
    assert segmenter.training


def test_other_numbers_and_values_of_masks_are_refused(sam):
    images = np.zeros((1, 40, 40, 3), np.uint8)
    with pytest.raises(InputError, match="0 true masks for 1 images"):
        masks_from_true_boxes(sam(), images, [])
    with pytest.raises(InputError, match="hold the value 2"):
        masks_from_true_boxes(sam(), images, [truth()])


def test_a_box_is_scaled_from_the_masks_size_to_the_models(sam):
    image = np.random.default_rng(0).integers(0, 256, (1, 40, 40, 3), np.uint8)
    segmenter = sam()
    asked = []
    original = segmenter.model.prompt_encoder.forward

    def noting(**given):
        asked.append(given["input_boxes"])
        return original(**given)

    segmenter.model.prompt_encoder.forward = noting
    mask = np.zeros((20, 10), np.uint8)
    mask[5:10, 2:4] = 1
    masks_from_true_boxes(segmenter, image, [mask])
    assert segmenter.fitted(to_input(image)) == (64, 64)
    assert asked[0].tolist() == [[pytest.approx([2 * 6.4, 5 * 3.2, 3 * 6.4, 9 * 3.2])]]
