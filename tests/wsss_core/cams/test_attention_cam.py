"""CAMs weighted by attention, beside the attention matrices of timm's unfused blocks."""

import copy

import numpy as np
import pytest
import torch

from wsss_core.backbones import Network, build_network
from wsss_core.backbones.attending import SelfAttention
from wsss_core.cams import attention_cams, attention_weighted, listening

TINY = {"patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3}
VITS = {
    "plain": ("vit_tiny_patch16_224", {}),
    "registers and normalised queries": (
        "vit_tiny_patch16_224",
        {"reg_tokens": 2, "qk_norm": True},
    ),
    "no class token": ("vit_tiny_patch16_224", {"class_token": False, "global_pool": "avg"}),
    "two prefix tokens": ("deit_tiny_distilled_patch16_224", {}),
    "rotary embedding": ("eva02_tiny_patch14_224", {}),
    "relative positions": ("beit_base_patch16_224", {}),
}


def built(kind: str) -> Network:
    torch.manual_seed(0)
    name, options = VITS[kind]
    network = build_network(name, classes=2, image_size=32, options={**TINY, **options})
    with torch.no_grad():
        # Larger weights than at the start of training, or every patch attends to all alike.
        for label, parameter in network.named_parameters():
            if "qkv" in label or "q_proj" in label or "k_proj" in label or "bias_table" in label:
                parameter.normal_(std=0.5)
    return network.eval().double()


def images(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double()


def unfused_attention(network: Network, batch: torch.Tensor) -> list[np.ndarray]:
    """What timm's own unfused attention gives its dropout: [B, heads, T, T] of each block."""
    network = copy.deepcopy(network)
    seen: list[np.ndarray] = []
    for block in network.encoder.vit.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda *call: seen.append(call[2].numpy()))
    with torch.no_grad():
        network(batch)
    assert len(seen) == 3
    return seen


@pytest.mark.parametrize("kind", VITS)
def test_it_is_the_cam_times_the_sum_of_head_mean_attention_between_patches(kind):
    network, batch = built(kind), images(2)
    with torch.no_grad():
        cam = network(batch).activation_maps.flatten(2).numpy()
    prefix = network.encoder.vit.num_prefix_tokens
    matrix = sum(a[:, :, prefix:, prefix:].mean(1) for a in unfused_attention(network, batch))
    expected = np.zeros_like(cam)
    for b, k, i in np.ndindex(cam.shape):
        expected[b, k, i] = sum(matrix[b, i, j] * cam[b, k, j] for j in range(16))
    maps, _ = attention_cams(network, batch)
    np.testing.assert_allclose(maps.flatten(2).numpy(), expected, atol=1e-10)
    # Attention that is the same everywhere would say little about which patch is which.
    assert matrix.std() > 1e-2


def between_patches(block: SelfAttention, prefix: int) -> torch.Tensor:
    """The mean over heads between patches, float [B, L, L], from its definition."""
    scale = block.query.shape[-1] ** -0.5 if block.scale is None else block.scale
    scores = block.query[:, :, prefix:] @ block.key.transpose(-2, -1) * scale
    if block.bias is not None:
        scores = scores + block.bias[..., prefix:, :]
    return scores.softmax(-1)[..., prefix:].mean(1)


@pytest.mark.parametrize("kind", VITS)
def test_the_attention_heard_is_that_of_the_blocks(kind):
    network, batch = built(kind), images(2)
    prefix = network.encoder.vit.num_prefix_tokens
    with torch.no_grad(), listening(network.encoder) as heard:
        network(batch)
    for block, expected in zip(heard, unfused_attention(network, batch), strict=True):
        between = expected[:, :, prefix:, prefix:].mean(1)
        np.testing.assert_allclose(between_patches(block, prefix).numpy(), between, atol=1e-12)


@pytest.mark.parametrize("kind", VITS)
def test_listening_does_not_change_what_the_network_says(kind):
    network, batch = built(kind), images(2)
    with torch.no_grad():
        expected = network(batch)
    _, logits = attention_cams(network, batch)
    assert torch.equal(logits, expected.logits)


def test_more_classes_than_a_head_is_wide_are_spread_alike():
    network, batch = built("plain"), images(2)
    with torch.no_grad(), listening(network.encoder) as heard:
        network(batch)
    maps = torch.randn(2, 11, 4, 4, dtype=torch.float64)
    whole = attention_weighted(maps, heard, 1)
    for k in range(11):
        torch.testing.assert_close(whole[:, k : k + 1], attention_weighted(maps[:, [k]], heard, 1))


@pytest.mark.parametrize("fails", [False, True])
def test_blocks_that_attend_unfused_do_so_again_afterwards(fails):
    network, batch = built("plain"), images(2)
    expected, _ = attention_cams(network, batch)
    for block in network.encoder.vit.blocks:
        block.attn.fused_attn = False
    found, _ = attention_cams(network, batch)
    torch.testing.assert_close(found, expected)
    if fails:
        with pytest.raises(AssertionError):
            attention_cams(network, batch[..., :24])
    assert not any(block.attn.fused_attn for block in network.encoder.vit.blocks)


def test_a_vit_with_differential_attention_has_a_cam_too(vit):
    network = vit(size=32, attn_layer="diff").eval()
    with torch.no_grad(), listening(network.encoder) as heard:
        network(images(1).float())
    assert attention_cams(network, images(1).float())[0].shape == (1, 1, 4, 4)
    assert len(heard) == 4
    assert [float(block.share) < 0 for block in heard] == [False, True, False, True]
