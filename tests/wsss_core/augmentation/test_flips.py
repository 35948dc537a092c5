"""Flips of the training images."""

import numpy as np
import torch

from wsss_core.augmentation import draw_flips, mirror


def test_about_half_of_the_images_are_mirrored_and_the_generator_decides_which():
    flips = [draw_flips(np.random.default_rng([7, 0]), 1000) for _ in range(2)]
    assert 400 < flips[0].sum() < 600
    np.testing.assert_array_equal(*flips)


def test_the_chosen_images_are_mirrored_left_to_right_and_the_others_left_alone():
    images = torch.arange(2 * 3 * 2 * 4, dtype=torch.float32).view(2, 3, 2, 4)
    mirrored = mirror(images, np.array([False, True])).numpy()
    np.testing.assert_array_equal(mirrored[0], images[0].numpy())
    np.testing.assert_array_equal(mirrored[1], images[1].numpy()[..., ::-1])
