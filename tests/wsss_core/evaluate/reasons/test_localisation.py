"""Figures of localisation against naive loops and scikit-learn."""

import numpy as np
import pytest

from wsss_core.errors import InputError
from wsss_core.evaluate import HistogramStack, ScoreHistogram
from wsss_core.evaluate.reasons import (
    box_overlaps,
    delta_density,
    max_box_accuracy,
    pixel_average_precision,
    saliency_recall,
)

GENERATOR = np.random.default_rng(0)
MAPS = GENERATOR.integers(0, 256, (4, 9, 11)).astype(np.uint8)
TRUTHS = GENERATOR.random((4, 9, 11)) < 0.3


def stack(maps: np.ndarray, truths: np.ndarray) -> HistogramStack:
    return HistogramStack.from_histograms(
        ScoreHistogram.from_scores(one, truth) for one, truth in zip(maps, truths, strict=True)
    )


@pytest.mark.parametrize("mass", [0.25, 0.5, 0.75, 1.0])
def test_saliency_recall_is_that_of_sorted_pixels(mass: float) -> None:
    found = saliency_recall(stack(MAPS, TRUTHS), mass)
    for place, (scores, truth) in enumerate(zip(MAPS, TRUTHS, strict=True)):
        level = 255
        while scores[scores >= level].sum(dtype=int) < mass * scores.sum(dtype=int):
            level -= 1
        assert found[place] == pytest.approx((scores[truth] >= level).mean())


def test_saliency_recall_is_unknown_without_a_map_or_an_object() -> None:
    maps = np.stack([np.zeros((9, 11), np.uint8), MAPS[0]])
    truths = np.stack([TRUTHS[0], np.zeros((9, 11), bool)])
    assert np.isnan(saliency_recall(stack(maps, truths), 0.5)).all()
    with pytest.raises(InputError, match="mass: expected above 0, at most 1, got 0"):
        saliency_recall(stack(maps, truths), 0)


def test_delta_density_is_the_difference_of_two_means() -> None:
    found = delta_density(stack(MAPS, TRUTHS))
    for place, (scores, truth) in enumerate(zip(MAPS, TRUTHS, strict=True)):
        expected = scores[truth].mean() / 255 - scores[~truth].mean() / 255
        assert found[place] == pytest.approx(expected)
    assert np.isnan(delta_density(stack(MAPS[:1], np.ones((1, 9, 11), bool))))


def test_average_precision_of_pixels_is_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    expected = metrics.average_precision_score(TRUTHS.ravel(), MAPS.ravel())
    assert pixel_average_precision(stack(MAPS, TRUTHS)) == pytest.approx(expected)
    assert np.isnan(pixel_average_precision(stack(MAPS, np.zeros_like(TRUTHS))))


def boxes_by_flooding(region: np.ndarray) -> list[tuple[int, int, int, int]]:
    left, boxes = {(int(row), int(column)) for row, column in np.argwhere(region)}, []
    while left:
        queue, members = [left.pop()], []
        while queue:
            row, column = queue.pop()
            members.append((row, column))
            near = {(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)}
            queue += near & left
            left -= near
        rows, columns = zip(*members, strict=True)
        boxes.append((min(rows), min(columns), max(rows) + 1, max(columns) + 1))
    return boxes


def overlap(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    pixels = [
        {(row, column) for row in range(box[0], box[2]) for column in range(box[1], box[3])}
        for box in (one, other)
    ]
    return len(pixels[0] & pixels[1]) / len(pixels[0] | pixels[1])


def test_boxes_overlap_as_their_pixels_do() -> None:
    at = (1, 128, 200, 250)
    for scores, truth in zip(MAPS, TRUTHS, strict=True):
        expected = [
            max(
                (
                    overlap(one, other)
                    for one in boxes_by_flooding(scores >= level)
                    for other in boxes_by_flooding(truth)
                ),
                default=0,
            )
            for level in at
        ]
        np.testing.assert_allclose(box_overlaps(scores, truth, at), expected)


def test_boxes_of_nothing() -> None:
    nothing = np.zeros((9, 11), np.uint8)
    np.testing.assert_array_equal(box_overlaps(nothing, TRUTHS[0], (1, 9)), [0, 0])
    assert np.isnan(box_overlaps(MAPS[0], nothing > 0, (1, 9))).all()
    with pytest.raises(InputError, match="levels and truth: expected uint8 and bool"):
        box_overlaps(MAPS[0] / 255, TRUTHS[0])


def test_box_accuracy_takes_the_best_threshold_of_each_overlap() -> None:
    # By hand: at .3 the first threshold finds both, at .5 the second one of two, at .7 nothing.
    overlaps = [[0.3, 0.6], [0.4, 0.1], [np.nan, np.nan]]
    assert max_box_accuracy(overlaps) == pytest.approx((1 + 0.5 + 0) / 3)
    assert np.isnan(max_box_accuracy([[np.nan, np.nan]]))
