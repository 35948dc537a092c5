import numpy as np
import pytest
import torch

from wsss_core.errors import InputError
from wsss_core.segmentation import (
    LossSettings,
    SegmentationLoss,
    class_weights,
    count_labels,
    cross_entropy,
    dice,
    label_confidence,
)


def test_pixels_are_counted_by_class_without_void():
    masks = np.array([[[0, 2, 255]], [[2, 2, 0]]], np.uint8)
    assert count_labels(masks, 3).tolist() == [2, 0, 3, 0]


def test_a_mask_with_another_value_is_refused_by_name():
    with pytest.raises(InputError, match="hold the value 7; expected 0 to 1, or 255"):
        count_labels(np.array([0, 1, 7, 9], np.uint8), 1)


def test_inverse_weights_give_every_class_the_same_share():
    counts = np.array([700, 200, 100])
    weights = class_weights(counts, "inverse")
    assert (weights * counts).tolist() == pytest.approx([1000 / 3] * 3)


def test_median_weights_leave_the_class_of_median_size_alone():
    assert class_weights(np.array([800, 200, 100]), "median").tolist() == [0.25, 1, 2]
    assert class_weights(np.array([800, 0]), "none").tolist() == [1, 1]


def test_a_class_without_pixels_has_no_weight_and_is_refused():
    with pytest.raises(InputError, match="class 1 has no pixel"):
        class_weights(np.array([5, 0, 3]), "inverse")
    with pytest.raises(InputError, match="expected one of none, inverse, median"):
        class_weights(np.array([5, 3]), "inverted")


def test_a_pixel_weighs_the_score_of_its_label():
    scores = np.array([[[0.9, 0.2, 0.6]], [[0.1, 0.3, 0.6]]])
    labels = np.array([[1, 0, 2]], np.uint8)
    expected = np.array([[0.9, 1 - 0.3, 0.6]])
    assert label_confidence(scores, labels) == pytest.approx(expected, abs=1e-6)
    squared = label_confidence(scores, labels, power=2)
    assert squared == pytest.approx(expected**2, abs=1e-6)


def test_void_pixels_weigh_nothing():
    scores = np.array([[[0.9, 0.2]]])
    assert label_confidence(scores, np.array([[255, 255]], np.uint8)).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("scores", "labels", "power", "said"),
    [
        (np.zeros((1, 2, 2)), np.zeros((3, 3), np.uint8), 1, r"expected \[K, 3, 3\]"),
        (np.full((1, 2, 2), 1.5), np.zeros((2, 2), np.uint8), 1, "expected 0 to 1, got 1.5"),
        (np.full((1, 2, 2), np.nan), np.zeros((2, 2), np.uint8), 1, "expected 0 to 1, got nan"),
        (np.zeros((1, 2, 2)), np.full((2, 2), 2, np.uint8), 1, "hold the value 2"),
        (np.zeros((1, 2, 2)), np.zeros((2, 2), np.uint8), 0, "power"),
    ],
)
def test_soft_maps_that_do_not_fit_are_refused(scores, labels, power, said):
    with pytest.raises(InputError, match=said):
        label_confidence(scores, labels, power=power)


def test_a_loss_of_settings_is_the_weighted_sum_of_its_terms():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    weights, pixels = torch.tensor([1.0, 2.0, 3.0]), torch.rand(2, 4, 4)
    loss = SegmentationLoss(LossSettings(terms={"cross_entropy": 0.2, "dice": 0.8}), weights)
    given = {"class_weights": weights, "pixel_weights": pixels}
    expected = 0.2 * cross_entropy(logits, labels, **given) + 0.8 * dice(logits, labels, **given)
    assert loss(logits, labels, pixels).item() == pytest.approx(expected.item())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"terms": {}}, "terms"),
        ({"terms": {"lovasz": 1.0}}, "loss 'lovasz': expected one of cross_entropy, binary"),
        ({"terms": {"dice": 0.0}}, "weight 0.0, expected a number above 0"),
        ({"exponent": 0.0}, "exponent is 0.0; expected above 0, 1 at most"),
        ({"alpha": -1.0}, "alpha"),
        ({"class_weighting": "inverted"}, "class_weighting is 'inverted'"),
    ],
)
def test_settings_of_losses_out_of_range_are_refused(given, said):
    with pytest.raises(InputError, match=said):
        LossSettings(**given)
