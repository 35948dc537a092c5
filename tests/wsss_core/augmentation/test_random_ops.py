"""The operations of RandAugment against Pillow, and what moves with an image."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torchvision.transforms.v2 import RandAugment

from wsss_core.augmentation import RANDOM_OPS, ImageViews, Stored, apply_op
from wsss_core.augmentation.random_ops import random_colours, random_moves

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(30, 220, (2, 24, 24, 3)).astype(np.uint8)
MASKS = RANDOM.integers(0, 3, (2, 24, 24)).astype(np.uint8)
STRENGTH = 18
SHARE = STRENGTH / 30
MOVES = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")

BY_PILLOW = {
    "brightness": lambda image: ImageEnhance.Brightness(image).enhance(1 + 0.9 * SHARE),
    "colour": lambda image: ImageEnhance.Color(image).enhance(1 + 0.9 * SHARE),
    "contrast": lambda image: ImageEnhance.Contrast(image).enhance(1 + 0.9 * SHARE),
    "sharpness": lambda image: ImageEnhance.Sharpness(image).enhance(1 + 0.9 * SHARE),
    "posterize": lambda image: ImageOps.posterize(image, round(8 - 4 * SHARE)),
    "solarize": lambda image: ImageOps.solarize(image, 255 * (1 - SHARE)),
    "auto_contrast": ImageOps.autocontrast,
    "equalize": ImageOps.equalize,
    "identity": lambda image: image,
}


def numbers_of(*names: str, negative: bool = False) -> np.ndarray:
    """The numbers of a sample whose operations are these."""
    chosen = [(RANDOM_OPS.index(name) + 0.5) / len(RANDOM_OPS) for name in names]
    return np.array([chosen + [0.2 if negative else 0.8] * len(names)] * 2)


def test_the_operations_are_those_of_torchvision():
    theirs = {name.lower() for name in RandAugment()._AUGMENTATION_SPACE}
    ours = {name.replace("_", "").replace("colour", "color") for name in RANDOM_OPS}
    assert ours == theirs


@pytest.mark.parametrize("name", BY_PILLOW)
def test_a_change_of_colours_is_that_of_pillow(name):
    images = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)
    found = random_colours(images, numbers_of(name), STRENGTH).permute(0, 2, 3, 1).numpy()
    for place in range(2):
        expected = np.asarray(BY_PILLOW[name](Image.fromarray(PIXELS[place])))
        difference = np.abs(found[place].astype(int) - expected)
        # Pillow rounds the image that it blends with.
        assert difference.max() <= (0 if name in ("posterize", "solarize", "equalize") else 2)


def matrix_of(name: str, magnitude: float) -> tuple[float, ...]:
    """Pillow's matrix, from the pixels of the result to those of the image."""
    if name == "shear_x":
        return (1, magnitude, 0, 0, 1, 0)
    if name == "shear_y":
        return (1, 0, 0, magnitude, 1, 0)
    if name == "translate_x":
        return (1, 0, -int(magnitude * 24), 0, 1, 0)
    return (1, 0, 0, 0, 1, -int(magnitude * 24))


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("name", MOVES[:4])
def test_masks_and_valid_pixels_move_with_their_image_as_in_pillow(name, negative):
    strongest = 0.3 if name.startswith("shear") else 150 / 331
    magnitude = (-1 if negative else 1) * SHARE * strongest
    stored = Stored(PIXELS, None, MASKS, MASKS.astype(np.float32))
    moved = random_moves(
        ImageViews.of_stored(stored, "cpu"), numbers_of(name, negative=negative), STRENGTH
    )
    matrix = matrix_of(name, magnitude)
    for place in range(2):
        mask = np.asarray(
            Image.fromarray(MASKS[place]).transform(
                (24, 24), Image.Transform.AFFINE, matrix, fillcolor=255
            )
        )
        assert np.array_equal(moved.masks[place].numpy(), mask)
        assert torch.equal(moved.valid[place, 0] == 0, moved.masks[place] == 255)
        padding = moved.weights[place][moved.valid[place, 0] == 0]
        assert not padding.any()


def test_a_rotation_turns_image_and_mask_alike_about_the_centre():
    disc = np.zeros((1, 25, 25), np.uint8)
    disc[0, 12, 20] = 1
    sample = ImageViews.of_stored(
        Stored(np.repeat(disc[..., None], 3, -1) * 255, None, disc), "cpu"
    )
    turned = random_moves(sample, numbers_of("rotate")[:1], 30)
    row, column = (turned.masks[0] == 1).nonzero()[0].tolist()
    angle = np.degrees(np.arctan2(12 - row, column - 12))
    assert abs(abs(angle) - 30) < 4
    assert np.hypot(row - 12, column - 12) == pytest.approx(8, abs=0.6)
    assert int(turned.images[0, 0].argmax()) == row * 25 + column


def test_changes_of_colour_see_the_whole_image_and_moves_come_after_them():
    images = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)
    both = random_colours(images, numbers_of("translate_x", "equalize"), STRENGTH)
    assert torch.equal(both[0], apply_op(images[0], "equalize", 0))


def test_a_sample_that_does_not_move_has_no_padding():
    sample = ImageViews.of_stored(Stored(PIXELS, None, MASKS), "cpu")
    assert random_moves(sample, numbers_of("identity", "posterize"), 9).valid is None
