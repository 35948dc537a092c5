"""Competing classes: histograms against the label map they stand for, pixel by pixel."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from wsss_core.errors import InputError
from wsss_core.evaluate import HistogramStack, MultiClassStack, ScoreHistogram, compete

CLASSES = ("smoke", "steam", "cloud")


def predicted(levels: np.ndarray, threshold: int) -> np.ndarray:
    """The label map: class k + 1 of the highest level where it reaches the threshold, else 0."""
    _, height, width = levels.shape
    labels = np.zeros((height, width), int)
    for y in range(height):
        for x in range(width):
            best = max(range(len(levels)), key=lambda k: (levels[k, y, x], -k))
            if max(int(levels[best, y, x]), 1) >= threshold:
                labels[y, x] = best + 1
    return labels


def drawn(seed: int, images: int = 4) -> tuple[list[np.ndarray], list[np.ndarray]]:
    random = np.random.default_rng(seed)
    kinds = (
        lambda: random.integers(0, 256, (3, 5, 6)),
        lambda: random.integers(0, 3, (3, 5, 6)) * 100,  # ties
        lambda: np.zeros((3, 5, 6)),
        lambda: np.full((3, 5, 6), 255),
    )
    levels = [kinds[index % 4]().astype(np.uint8) for index in range(images)]
    masks = [random.integers(0, 4, (5, 6)) for _ in range(images)]
    masks[-1][:] = 0  # an image without any class
    return levels, masks


def stacked(levels: list[np.ndarray], masks: list[np.ndarray], ignore=None) -> MultiClassStack:
    competing = [compete(one) for one in levels]
    ignore = ignore or [None] * len(masks)

    def stack(of: list[np.ndarray], holds: list[np.ndarray]) -> HistogramStack:
        each = (
            ScoreHistogram.from_scores(score, mask, ignore=ignored)
            for score, mask, ignored in zip(of, holds, ignore, strict=True)
        )
        return HistogramStack.from_histograms(each)

    return MultiClassStack(
        {
            name: stack([c[k] for c in competing], [mask == k + 1 for mask in masks])
            for k, name in enumerate(CLASSES)
        },
        stack([c.max(axis=0) for c in competing], [mask > 0 for mask in masks]),
    )


def iou(labels: list[np.ndarray], masks: list[np.ndarray], value: int) -> float:
    both = sum(int(((p == value) & (m == value)).sum()) for p, m in zip(labels, masks, strict=True))
    any_ = sum(int(((p == value) | (m == value)).sum()) for p, m in zip(labels, masks, strict=True))
    return both / any_ if any_ else 0.0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", [1, 2, 100, 101, 200, 255])
def test_every_figure_is_that_of_the_label_map(seed, threshold):
    levels, masks = drawn(seed)
    stack = stacked(levels, masks)
    labels = [predicted(one, threshold) for one in levels]
    pooled = [i for i, mask in enumerate(masks) if (mask > 0).any()]
    some = [labels[i] for i in pooled], [masks[i] for i in pooled]
    for k, name in enumerate(CLASSES):
        each = [
            iou([p], [m], k + 1) for p, m in zip(labels, masks, strict=True) if (m == k + 1).any()
        ]
        assert stack.per_image_iou(name)[threshold] == pytest.approx(np.mean(each))
        assert stack.dataset_iou(name)[threshold] == pytest.approx(iou(*some, k + 1))
    assert stack.background_iou()[threshold] == pytest.approx(iou(*some, 0))
    voc = np.mean([iou(*some, value) for value in range(4)])
    assert stack.dataset_miou()[threshold] == pytest.approx(voc)


def test_ignored_pixels_count_for_nothing():
    levels, masks = drawn(5)
    random = np.random.default_rng(0)
    ignore = [random.random(mask.shape) < 0.3 for mask in masks]
    stack = stacked(levels, masks, ignore)
    labels = [np.where(i, -1, predicted(one, 90)) for one, i in zip(levels, ignore, strict=True)]
    kept = [np.where(i, -1, mask) for mask, i in zip(masks, ignore, strict=True)]
    pooled = [i for i, mask in enumerate(kept) if (mask > 0).any()]
    some = [labels[i] for i in pooled], [kept[i] for i in pooled]
    assert stack.dataset_iou("steam")[90] == pytest.approx(iou(*some, 2))
    voc = np.mean([iou(*some, value) for value in range(4)])
    assert stack.dataset_miou()[90] == pytest.approx(voc)
    each = [iou([p], [m], 2) for p, m in zip(labels, kept, strict=True) if (m == 2).any()]
    assert stack.per_image_iou("steam")[90] == pytest.approx(np.mean(each))


@pytest.mark.parametrize("objective", ["per_image_iou", "dataset_iou", "dataset_miou"])
def test_the_best_level_is_the_smallest_of_the_best_and_never_0(objective):
    levels, masks = drawn(7)
    stack = stacked(levels, masks)
    curve = stack.objective(objective)
    best = stack.best_level(objective)
    assert best == 1 + next(i for i, v in enumerate(curve[1:]) if v == np.nanmax(curve))
    assert np.isnan(curve[0])


def test_the_oracle_cuts_each_image_at_its_own_best_level():
    levels, masks = drawn(8)
    stack = stacked(levels, masks)
    own = stack.image_levels()
    assert np.isnan(own[-1])
    for index in range(3):
        there = [k for k in range(3) if (masks[index] == k + 1).any()]
        means = [
            np.mean([iou([predicted(levels[index], t)], [masks[index]], k + 1) for k in there])
            for t in range(1, 256)
        ]
        assert own[index] == 1 + int(np.argmax(means))
    cut = stack.cut_at(own)
    labels = [predicted(levels[i], int(own[i])) for i in range(3)]
    assert cut.dataset_iou("smoke")[255] == pytest.approx(iou(labels, masks[:3], 1))


def background_or_class(levels: np.ndarray, threshold: int) -> np.ndarray:
    """The usual prediction: background (the first of equals) against the K classes, by argmax."""
    reaching = np.where(levels >= threshold, levels.astype(int), -1)
    return np.concatenate([np.zeros((1, *levels.shape[1:]), int) - 1, reaching]).argmax(axis=0)


def iou_of(labels: np.ndarray, mask: np.ndarray, value: int) -> float:
    union = int(((labels == value) | (mask == value)).sum())
    return int(((labels == value) & (mask == value)).sum()) / union if union else 0.0


@settings(max_examples=25, deadline=None)
@given(data=st.data(), classes=st.integers(1, 4), shape=st.tuples(*[st.integers(1, 4)] * 2))
def test_any_maps_give_the_label_map_s_iou_at_every_threshold(data, classes, shape):
    few = st.sampled_from([0, 1, 2, 100, 254, 255])  # ties and both ends come up often
    levels = data.draw(arrays.arrays(np.uint8, (classes, *shape), elements=few | st.integers(3, 9)))
    mask = data.draw(arrays.arrays(np.int64, shape, elements=st.integers(0, classes)))
    curves = [
        ScoreHistogram.from_scores(one, mask == k + 1).iou()
        for k, one in enumerate(compete(levels))
    ]
    for k, curve in enumerate(curves):
        expected = [iou_of(background_or_class(levels, t), mask, k + 1) for t in range(2, 256)]
        assert curve[2:].tolist() == expected
        assert curve[1] == iou_of(levels.argmax(axis=0) + 1, mask, k + 1)


def test_level_1_leaves_no_background_and_level_2_does():
    levels = np.zeros((2, 1, 3), np.uint8)
    levels[1, 0, 2] = 2
    winners = compete(levels)
    assert (winners >= 1).sum(axis=0).tolist() == [[1, 1, 1]]
    assert (winners >= 2).tolist() == [[[False] * 3], [[False, False, True]]]


@pytest.mark.parametrize(
    "levels", [np.zeros((2, 3, 3)), np.zeros((3, 3), np.uint8), np.zeros((0, 3, 3), np.uint8)]
)
def test_levels_of_another_type_or_shape_are_refused(levels):
    with pytest.raises(InputError, match=r"^levels: expected uint8 \[K, h, w\]"):
        compete(levels)


def test_a_class_alone_keeps_its_levels_and_wins_everywhere():
    levels = np.array([[[0, 7, 255]]], dtype=np.uint8)
    assert compete(levels).tolist() == [[[1, 7, 255]]]


def test_a_class_that_no_image_holds_leaves_no_level_to_choose():
    levels, masks = drawn(1)
    masks = [np.where(mask == 2, 0, mask) for mask in masks]
    assert stacked(levels, masks).best_level("per_image_iou") is None


def test_stacks_of_different_images_are_an_error():
    one = HistogramStack(np.zeros((1, 256), int), np.zeros((1, 256), int))
    two = HistogramStack(np.zeros((2, 256), int), np.zeros((2, 256), int))
    with pytest.raises(InputError, match="class 'smoke': 1 images, expected 2"):
        MultiClassStack({"smoke": one}, two)
    with pytest.raises(InputError, match=r"^classes: expected at least one"):
        MultiClassStack({}, two)


def test_an_unknown_objective_is_named_with_the_known_ones():
    with pytest.raises(InputError, match=r"^objective 'dice': .*per_image_iou, dataset_iou, "):
        stacked(*drawn(2)).objective("dice")


def test_one_threshold_serves_all_classes_by_the_mean_of_their_curves():
    levels, masks = drawn(9)
    stack = stacked(levels, masks)
    for objective in ("per_image_iou", "dataset_iou"):
        each = [getattr(stack, objective)(name) for name in CLASSES]
        for level in range(1, 256):
            mean = sum(float(curve[level]) for curve in each) / 3
            assert stack.objective(objective)[level] == pytest.approx(mean)


def test_images_without_any_class_change_no_iou_and_alone_have_none():
    levels, masks = drawn(3)  # the last holds none
    stack, holding = stacked(levels, masks), stacked(levels[:-1], masks[:-1])
    np.testing.assert_array_equal(stack.dataset_miou(), holding.dataset_miou())
    clear = stacked(levels[-1:], masks[-1:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for curve in (clear.background_iou(), clear.dataset_miou(), clear.dataset_iou("smoke")):
            assert np.isnan(curve).all()
        assert np.isnan(clear.image_levels()).all()
