"""The threshold of pseudo masks that is tuned on the entry's own true masks."""

from typing import Any

import numpy as np
import pytest

from studies.spec.study import Study
from studies.stages.scoring import gated_histograms
from studies.stages.segmentation.pseudo_masks import level_on_masks
from wsss_core.errors import InputError
from wsss_core.evaluate import NoThresholdError, ScoreHistogram, compete

SIDE = 6


def drawn(classes: int, images: int = 4) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images of competing classes with masks that hold every class, void pixels among them."""
    random = np.random.default_rng(classes)
    found = []
    for _ in range(images):
        levels = random.integers(0, 256, (classes, SIDE, SIDE), np.uint8)
        mask = random.choice([*range(classes + 1), 255], (SIDE, SIDE)).astype(np.uint8)
        found.append((levels if classes == 1 else compete(levels), mask))
    return found


def counted(image: tuple[np.ndarray, np.ndarray]) -> list[ScoreHistogram]:
    levels, mask = image
    return gated_histograms(levels, np.zeros(len(levels), np.bool_), mask)[0]


def mean_iou(images: list[tuple[np.ndarray, np.ndarray]], classes: int, level: int) -> float:
    """The mean over classes of the mean IoU over the images that hold the class, by pixels."""
    of_class = []
    for number in range(1, classes + 1):
        each = []
        for levels, mask in images:
            pixels = zip(levels[number - 1].ravel(), mask.ravel(), strict=True)
            pairs = [(score >= level, true == number) for score, true in pixels if true != 255]
            if any(true for _, true in pairs):
                each.append(sum(p and t for p, t in pairs) / sum(p or t for p, t in pairs))
        of_class.append(np.mean(each))
    return float(np.mean(of_class))


@pytest.mark.parametrize("classes", [1, 3])
def test_the_level_is_the_best_of_a_search_through_all(classes: int) -> None:
    images = drawn(classes)
    scores = [mean_iou(images, classes, level) for level in range(1, 256)]
    found = level_on_masks(map(counted, images), "per_image_iou")
    assert scores[max(found, 1) - 1] == pytest.approx(max(scores))


def test_without_a_mask_it_is_said() -> None:
    with pytest.raises(NoThresholdError, match="own_masks: no image has a true mask"):
        level_on_masks([], "per_image_iou")


def test_a_class_that_no_mask_holds_is_said() -> None:
    images = [(levels, np.where(mask == 2, 0, mask)) for levels, mask in drawn(2)]
    with pytest.raises(NoThresholdError, match="a class is in none of the true masks"):
        level_on_masks(map(counted, images), "per_image_iou")


def test_the_rule_is_refused_for_an_entry_without_true_masks(segmented: dict[str, Any]) -> None:
    labels = {"configuration": "CNN alone", "rule": "own_masks"}
    segmented["segment"]["entries"] = {"pseudo masks": {"labels": labels}}
    with pytest.raises((InputError, ValueError), match="own_masks tunes on the entry's true masks"):
        Study.model_validate(segmented)
