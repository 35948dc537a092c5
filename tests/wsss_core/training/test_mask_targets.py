"""Masks as targets of the CAMs: the loss against scipy, and how it enters the training."""

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch import nn

from wsss_core.backbones import Output
from wsss_core.errors import InputError
from wsss_core.training import MaskTargets, TrainingSettings, mask_loss, train
from wsss_core.transfer import Single


def by_hand(maps, masks):
    """The mean of KL(mask || softmax) over images and classes, cells of 2 x 2 pixels."""
    batch, classes, height, width = maps.shape
    found = []
    for scores, mask in zip(maps, masks, strict=True):
        for number in range(classes):
            share, values = [], []
            for row in range(height):
                for column in range(width):
                    pixels = mask[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].ravel()
                    pixels = pixels[pixels != 255]
                    if len(pixels):
                        share.append((pixels == number + 1).mean())
                        values.append(scores[number, row, column])
            q = np.exp(np.array(values)) / np.exp(values).sum()
            found.append(entropy(share, q) if sum(share) else 0.0)
    return np.sum(found) / (batch * classes)


def example():
    random = np.random.default_rng(0)
    masks = random.choice([0, 1, 2, 255], size=(3, 8, 6), p=[0.5, 0.2, 0.2, 0.1])
    masks[0, :2, :2] = 255  # a cell of which nothing is known
    masks[1][masks[1] == 2] = 0  # an image without the second class
    return random.normal(size=(3, 2, 4, 3)), masks


def test_the_loss_is_the_divergence_from_the_mask_over_the_cells_that_are_known():
    maps, masks = example()
    loss = mask_loss(torch.from_numpy(maps), torch.from_numpy(masks))
    assert loss.item() == pytest.approx(by_hand(maps, masks), abs=1e-9)


def test_the_loss_sees_no_constant_and_vanishes_at_the_mask():
    maps, masks = (torch.from_numpy(array) for array in example())
    assert mask_loss(maps + 7, masks).item() == pytest.approx(mask_loss(maps, masks).item())
    mask = torch.zeros(1, 4, 4, dtype=torch.int64)
    mask[0, :2], mask[0, 2, :2] = 1, 1
    share = torch.tensor([[[[1.0, 1.0], [0.5, 1e-12]]]])
    assert mask_loss(share.log(), mask).item() == pytest.approx(0, abs=1e-6)


def test_gradients_are_right_and_finite_where_cells_are_left_out():
    maps, masks = (torch.from_numpy(array) for array in example())
    maps.requires_grad_()
    assert torch.autograd.gradcheck(lambda scores: mask_loss(scores, masks), (maps,))


class Brightness(nn.Module):
    """Maps are the brightness of a pixel times a weight; so a mask has to move with its image."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images, taps=()):
        maps = self.weight * images.mean(1, keepdim=True)
        return Output(maps, maps, maps.mean((2, 3)))


def scene():
    images = np.zeros((4, 4, 4, 3), np.uint8)
    images[:, :, :2] = 200
    masks = np.zeros((4, 4, 4), np.uint8)
    masks[:, :, :2] = 1
    return images, np.ones((4, 1), bool), masks


def test_a_mask_is_mirrored_with_its_image_and_its_loss_is_added_by_its_weight():
    images, labels, masks = scene()
    found = []
    for flip, guide in ((False, None), (False, MaskTargets(masks, 0.5)), (True, None)):
        settings = TrainingSettings(epochs=1, learning_rate=1e-9, batch_size=4, flip=flip)
        (record,) = train(Single(Brightness()), images, labels, settings, seed=0, guide=guide)
        found.append(record)
    settings = TrainingSettings(epochs=1, learning_rate=1e-9, batch_size=4, flip=True)
    guide = MaskTargets(masks, 0.5)
    (flipped,) = train(Single(Brightness()), images, labels, settings, seed=0, guide=guide)
    scores = images[0].mean(-1) / 255
    q = np.exp(scores) / np.exp(scores).sum()
    added = 0.5 * entropy(masks[0].ravel(), q.ravel())
    assert found[1].loss - found[0].loss == pytest.approx(added, abs=1e-5)
    assert flipped.loss - found[2].loss == pytest.approx(added, abs=1e-5)


def test_masks_that_do_not_fit_are_refused_before_training():
    images, labels, masks = scene()
    settings = TrainingSettings(epochs=1)
    for guide, said in (
        (MaskTargets(masks[:2], 1.0), r"masks: expected uint8 \[4, 4, 4\]"),
        (MaskTargets(masks.astype(np.int64), 1.0), "masks: expected uint8"),
        (MaskTargets(masks, 0.0), "weight of the masks: expected above 0"),
    ):
        with pytest.raises(InputError, match=said):
            train(Single(Brightness()), images, labels, settings, seed=0, guide=guide)
