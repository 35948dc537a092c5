"""The pixel correlation module against its definition, and who learns from what."""

import numpy as np
import pytest
import torch

from wsss_core.backbones import build_network
from wsss_core.backbones.pcm import PixelCorrelation, View
from wsss_core.errors import InputError


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


@pytest.fixture
def module() -> PixelCorrelation:
    torch.manual_seed(0)
    return PixelCorrelation(5, 7).double()


def test_a_refined_score_is_the_mean_of_all_scores_weighted_by_likeness(module):
    images, low, high = drawn(1, 3, 3, 4), drawn(1, 5, 3, 4, seed=1), drawn(1, 7, 3, 4, seed=2)
    maps = drawn(1, 2, 3, 4, seed=3)
    weight = {name: value.detach().numpy()[:, :, 0, 0] for name, value in module.named_parameters()}
    columns = []
    for y in range(3):
        for x in range(4):
            lower = np.maximum(weight["low.weight"] @ low[0, :, y, x].numpy(), 0)
            higher = np.maximum(weight["high.weight"] @ high[0, :, y, x].numpy(), 0)
            column = weight["embed.weight"] @ np.concatenate(
                [images[0, :, y, x].numpy(), lower, higher]
            )
            columns.append(column / (np.linalg.norm(column) + 1e-5))
    alike = np.maximum([[a @ b for b in columns] for a in columns], 0)
    alike = alike / (alike.sum(axis=1, keepdims=True) + 1e-5)
    expected = np.einsum("ij,kj->ki", alike, maps[0].flatten(1).numpy()).reshape(2, 3, 4)
    with torch.no_grad():
        np.testing.assert_allclose(module(maps, images, low, high)[0].numpy(), expected, atol=1e-9)


def test_the_affinity_of_a_location_sums_to_one(module):
    rows = module.affinity(drawn(2, 3, 8, 8), drawn(2, 5, 4, 4), drawn(2, 7, 4, 4)).sum(-1)
    torch.testing.assert_close(rows, torch.ones_like(rows), atol=1e-3, rtol=0)


def test_the_consistency_moves_the_affinity_and_nothing_that_enters_it(module):
    entering = [
        [drawn(2, 3, s, s), drawn(2, 5, s, s), drawn(2, 7, s, s), drawn(2, 1, s, s), drawn(2, 1)]
        for s in (4, 2)
    ]
    for tensor in (tensor for view in entering for tensor in view):
        tensor.requires_grad_()
    module.consistency(*(View(*view) for view in entering)).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in module.parameters())
    # Images carry no gradient in training; stages, maps and logits must not get any here.
    assert all(tensor.grad is None for view in entering for tensor in view[1:])


def pcm(**more):
    torch.manual_seed(0)
    options = {"channels": (8, 8, 16, 32)}
    return build_network(
        "resnet18", classes=2, image_size=32, output_stride=8, head="pcm", options=options, **more
    )


def test_the_encoder_and_the_logits_are_those_of_the_plain_classifier(cnn):
    torch.manual_seed(0)
    plain = build_network(
        "resnet18", classes=2, image_size=32, output_stride=8,
        options={"channels": (8, 8, 16, 32)},
    ).eval()  # fmt: skip
    refined = pcm().eval()
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(plain(images).logits, refined(images).logits)
    assert not torch.equal(plain(images).activation_maps, refined(images).activation_maps)


def test_the_second_view_leaves_the_running_statistics_to_the_first():
    network, images = pcm().train(), torch.rand(4, 3, 32, 32)
    plain = pcm().train()
    plain.refinement = None
    network(images), plain(images)
    norm = network.encoder.extractor.bn1, plain.encoder.extractor.bn1
    assert torch.equal(norm[0].running_mean, norm[1].running_mean)
    assert norm[0].momentum == norm[1].momentum == 0.1


def test_there_is_a_consistency_in_training_alone():
    network, images = pcm(), torch.rand(2, 3, 32, 32)
    assert network.train()(images).consistency is not None
    assert network.eval()(images).consistency is None


def test_a_tapped_layer_is_given_besides_the_one_the_module_needs():
    network = pcm().eval()
    (tap,) = network(torch.rand(1, 3, 32, 32), ("layer1",)).taps
    assert tap.shape[1] == 8


def test_a_vit_cannot_have_it():
    with pytest.raises(InputError, match="head pcm is not for plain ViTs"):
        build_network("vit_tiny_patch16_224", classes=1, image_size=32, head="pcm")
