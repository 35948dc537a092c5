"""Class activation maps of an image set, beside the sum they are defined as."""

import numpy as np
import pytest
import torch

from wsss_core.cams import class_weight_cams

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)


@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_a_cam_is_the_class_weighted_sum_of_the_features_at_each_location(kind, request):
    network = request.getfixturevalue(kind)(classes=2, size=32).eval()
    with torch.no_grad():
        pixels = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2) / np.float32(255))
        features = network.encoder((pixels - network.mean) / network.std).double().numpy()
    weight = network.head.weight.detach().double().numpy()
    expected = np.zeros((5, 2, 4, 4))
    for image, k, y, x in np.ndindex(expected.shape):
        for channel in range(features.shape[1]):
            expected[image, k, y, x] += weight[k, channel] * features[image, channel, y, x]
    scores = class_weight_cams(network, IMAGES)
    assert scores.maps.dtype == np.float16
    np.testing.assert_allclose(scores.maps, expected, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_the_logits_are_the_maps_means_plus_the_bias(kind, request):
    network = request.getfixturevalue(kind)(classes=2, size=32)
    torch.nn.init.normal_(network.head.bias)
    scores = class_weight_cams(network, IMAGES)
    means = scores.maps.astype(np.float64).mean((2, 3)) + network.head.bias.detach().numpy()
    assert scores.logits.dtype == np.float32
    np.testing.assert_allclose(scores.logits, means, atol=2e-3)


@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_the_batch_size_does_not_matter(kind, request):
    network = request.getfixturevalue(kind)(size=32)
    whole = class_weight_cams(network, IMAGES, batch_size=64)
    for batch_size in (1, 2, 5):
        parts = class_weight_cams(network, IMAGES, batch_size=batch_size)
        np.testing.assert_allclose(parts.maps, whole.maps, rtol=2e-3, atol=1e-4)
        np.testing.assert_allclose(parts.logits, whole.logits, atol=1e-5)


@pytest.mark.parametrize("mode", [True, False])
def test_the_network_is_left_in_the_mode_it_came_in(cnn, mode):
    network = cnn().train(mode)
    class_weight_cams(network, IMAGES)
    assert all(module.training is mode for module in network.modules())


def test_the_mode_is_restored_after_an_error_too(vit):
    network = vit(size=16).train()
    with pytest.raises(AssertionError):
        class_weight_cams(network, IMAGES)  # images of 32 px for a network of 16 px
    assert network.training


def test_a_network_in_training_mode_is_scored_in_evaluation_mode_and_not_changed(cnn):
    network = cnn().eval()
    expected = class_weight_cams(network, IMAGES)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    scores = class_weight_cams(network.train(), IMAGES)
    np.testing.assert_array_equal(scores.maps, expected.maps)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_an_image_without_the_class_keeps_its_scale(vit):
    """Raw scores are not normalised map by map: half the head's weight gives half the scores."""
    network = vit(size=32)
    whole = class_weight_cams(network, IMAGES).maps
    with torch.no_grad():
        network.head.weight.mul_(0.5)
    half = class_weight_cams(network, IMAGES).maps
    np.testing.assert_allclose(half, whole / 2, rtol=2e-3, atol=1e-4)


def test_images_may_be_memory_mapped_read_only(tmp_path, vit):
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    network = vit(size=32)
    expected = class_weight_cams(network, IMAGES)
    np.testing.assert_array_equal(class_weight_cams(network, mapped).maps, expected.maps)
