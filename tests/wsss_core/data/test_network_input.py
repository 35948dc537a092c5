"""Stored images as a network takes them."""

import numpy as np
import torch

from wsss_core.data.network_input import to_input

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 3), np.uint8)


def test_each_value_is_its_byte_over_255_with_the_channel_before_the_place():
    batch = to_input(IMAGES)
    assert batch.dtype == torch.float32
    assert batch.shape == (2, 3, 3, 5)
    for image, y, x, channel in np.ndindex(IMAGES.shape):
        expected = np.float32(IMAGES[image, y, x, channel]) / np.float32(255)
        assert batch[image, channel, y, x].item() == expected


def test_the_channels_stay_last_in_memory():
    assert to_input(IMAGES).is_contiguous(memory_format=torch.channels_last)


def test_read_only_and_mirrored_images_are_read_and_left_as_they_are():
    stored = IMAGES.copy()
    stored.flags.writeable = False
    assert torch.equal(to_input(stored[:, :, ::-1]), to_input(IMAGES).flip(-1))
    to_input(stored).zero_()
    np.testing.assert_array_equal(stored, IMAGES)
