"""Losses against float64 NumPy, pixel by pixel, on maps with void and absent classes."""

import numpy as np
import pytest
import torch

from wsss_core.segmentation.losses import (
    binary_cross_entropy,
    counted_weight,
    cross_entropy,
    dice,
    generalised_cross_entropy,
    symmetric_cross_entropy,
)

OF_PIXELS = {
    "cross_entropy": cross_entropy,
    "binary": binary_cross_entropy,
    "generalised": generalised_cross_entropy,
    "symmetric": symmetric_cross_entropy,
}
EVERY = {**OF_PIXELS, "dice": dice}


def softmax(logits):
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def of_pixel(name, logits, label):
    p = softmax(logits)[label]
    if name == "cross_entropy":
        return -np.log(p)
    if name == "generalised":
        return (1 - p**0.7) / 0.7
    if name == "symmetric":
        one_hot = np.eye(len(logits))[label]
        reverse = -np.sum(softmax(logits) * np.where(one_hot == 1, 0.0, -4.0))
        return 0.1 * -np.log(p) + 1.0 * reverse
    says_yes = 1 / (1 + np.exp(-(logits[1:] - logits[0])))
    wanted = np.arange(1, len(logits)) == label
    return -np.mean(np.where(wanted, np.log(says_yes), np.log(1 - says_yes)))


def oracle(name, logits, labels, class_weights, pixel_weights):
    if name == "dice":
        return dice_oracle(logits, labels, class_weights, pixel_weights)
    total = weight = 0.0
    for image, row, column in np.argwhere(labels != 255):
        label = labels[image, row, column]
        own = class_weights[label] * pixel_weights[image, row, column]
        total += own * of_pixel(name, logits[image, :, row, column], label)
        weight += own
    return total / weight


def dice_oracle(logits, labels, class_weights, pixel_weights):
    classes = logits.shape[1]
    total = weight = 0.0
    for value in range(classes):
        hits = size = true = 0.0
        for image, row, column in np.argwhere(labels != 255):
            own = pixel_weights[image, row, column]
            p, y = (
                softmax(logits[image, :, row, column])[value],
                labels[image, row, column] == value,
            )
            hits, size, true = hits + own * p * y, size + own * (p + y), true + own * y
        if true:
            total += class_weights[value] * (1 - 2 * hits / size)
            weight += class_weights[value]
    return total / weight


def draw(seed, classes=3):
    random = np.random.default_rng(seed)
    logits = random.normal(size=(2, classes, 4, 5)) * 3
    # Class 1 is absent from every other draw.
    values = [0, 2, 255] if seed % 2 else [0, 1, 2, 255]
    labels = random.choice(values, (2, 4, 5))
    weights = random.uniform(0.5, 2, classes), random.uniform(0, 1, labels.shape)
    return logits, labels, weights


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("weighted", [False, True])
def test_a_loss_equals_its_formula_pixel_by_pixel(name, seed, weighted):
    logits, labels, (of_classes, of_pixels) = draw(seed)
    given = {}
    if weighted:
        given = {
            "class_weights": torch.from_numpy(of_classes),
            "pixel_weights": torch.from_numpy(of_pixels),
        }
    else:
        of_classes, of_pixels = np.ones_like(of_classes), np.ones_like(of_pixels)
    found = EVERY[name](torch.from_numpy(logits), torch.from_numpy(labels), **given)
    expected = oracle(name, logits, labels, of_classes, of_pixels)
    assert found.item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("seed", range(2))
def test_gradients_are_those_of_finite_differences(name, seed):
    logits, labels, (of_classes, of_pixels) = draw(seed)
    given = {
        "class_weights": torch.from_numpy(of_classes),
        "pixel_weights": torch.from_numpy(of_pixels),
    }
    variable = torch.from_numpy(logits).requires_grad_()
    labels = torch.from_numpy(labels)
    assert torch.autograd.gradcheck(lambda x: EVERY[name](x, labels, **given), variable)


@pytest.mark.parametrize("name", EVERY)
def test_void_pixels_change_neither_the_loss_nor_a_gradient(name):
    logits, labels, _ = draw(2)
    labels[..., 3:] = 255
    whole = torch.from_numpy(logits).requires_grad_()
    part = torch.from_numpy(logits[..., :3].copy()).requires_grad_()
    loss = EVERY[name](whole, torch.from_numpy(labels))
    expected = EVERY[name](part, torch.from_numpy(labels[..., :3].copy()))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    loss.backward()
    expected.backward()
    assert torch.equal(whole.grad[..., 3:], torch.zeros_like(whole.grad[..., 3:]))
    assert torch.allclose(whole.grad[..., :3], part.grad)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("weights", [None, torch.zeros(1, 2, 2)])
def test_a_batch_without_a_pixel_that_counts_has_no_loss_and_no_gradient(name, weights):
    logits = torch.randn(1, 2, 2, 2, requires_grad=True)
    label = 255 if weights is None else 1
    labels = torch.full((1, 2, 2), label)
    loss = EVERY[name](logits, labels, pixel_weights=weights)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits.grad))


@pytest.mark.parametrize("name", EVERY)
def test_extreme_logits_give_finite_losses_and_gradients(name):
    logits = torch.tensor([500.0, -500.0]).view(1, 2, 1, 1).repeat(1, 1, 1, 2).requires_grad_()
    loss = EVERY[name](logits, torch.tensor([[[0, 1]]]))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_with_one_class_the_binary_loss_is_cross_entropy():
    logits, labels, _ = draw(0, classes=2)
    labels[labels == 2] = 1
    logits, labels = torch.from_numpy(logits), torch.from_numpy(labels)
    assert binary_cross_entropy(logits, labels).item() == pytest.approx(
        cross_entropy(logits, labels).item()
    )


def test_generalised_cross_entropy_goes_from_cross_entropy_to_the_absolute_error():
    logits, labels, _ = draw(0)
    logits, labels = torch.from_numpy(logits), torch.from_numpy(labels)
    near_zero = generalised_cross_entropy(logits, labels, exponent=1e-6)
    assert near_zero.item() == pytest.approx(cross_entropy(logits, labels).item(), rel=1e-4)
    counted = labels != 255
    p = logits.softmax(1).movedim(1, -1)[counted].gather(1, labels[counted][:, None])
    at_one = generalised_cross_entropy(logits, labels, exponent=1.0)
    assert at_one.item() == pytest.approx((1 - p).mean().item())


def test_a_label_that_the_network_doubts_pulls_less_in_the_losses_for_noisy_labels():
    logits = torch.tensor([4.0, -4.0]).view(1, 2, 1, 1)
    pulls = {}
    for name in ("cross_entropy", "generalised", "symmetric"):
        variable = logits.clone().requires_grad_()
        OF_PIXELS[name](variable, torch.tensor([[[1]]])).backward()
        pulls[name] = variable.grad.abs().max().item()
    assert pulls["generalised"] < 0.02 < 0.9 < pulls["cross_entropy"]
    assert pulls["symmetric"] < 0.2


def test_the_weight_that_counts_is_the_sum_over_pixels_that_are_not_void():
    labels = torch.tensor([[[0, 1], [1, 255]]])
    weights = torch.tensor([[[1.0, 0.5], [1.0, 9.0]]])
    assert counted_weight(labels).item() == 3
    assert counted_weight(labels, torch.tensor([1.0, 2.0]), weights).item() == 1 + 1 + 2


@pytest.mark.parametrize("name", EVERY)
def test_half_precision_logits_are_taken_in_single_precision(name):
    logits, labels, _ = draw(0)
    halves = torch.from_numpy(logits).bfloat16()
    found = EVERY[name](halves, torch.from_numpy(labels))
    assert found.dtype == torch.float32
    assert found == EVERY[name](halves.float(), torch.from_numpy(labels))
