"""Attention CAMs of every kind of transformer, beside weights from its own queries and keys.

The weights come from the definition of each kind, applied to the input of its attention modules, or
from timm's unfused attention; the sums over patches are loops over matrices.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from wsss_core.backbones import Output, build_network
from wsss_core.backbones.attending import SelfAttention
from wsss_core.cams import CamSettings, attention_cams, cams, check_cam, listening
from wsss_core.errors import InputError

TINY = {"embed_dim": 24, "depth": 2, "num_heads": 3}
LLM = {**TINY, "head_dim": 8, "num_kv_heads": 1, "intermediate_size": 48}
LARGER = ("qk", "q_proj", "k_proj", "in_proj", "rel_pos", "proj_l", "proj_w")
KINDS: dict[str, tuple[str, dict[str, Any], int]] = {
    "relative positions": ("vit_relpos_small_patch16_224", {**TINY, "img_size": 64}, 64),
    "relative positions by a network": (
        "vit_relpos_small_patch16_rpn_224",
        {**TINY, "img_size": 64},
        64,
    ),
    "tokens of a CNN": ("vit_tiny_r_s16_p8_224", {**TINY, "img_size": 128}, 128),
    "behind convolutions": ("vitamin_small_224", {"img_size": 64, "depth": 2}, 64),
    "any size": ("naflexvit_base_patch16_gap", {**TINY, "img_size": 64}, 64),
    "DeepSeek": ("deepseek_vit_412m", TINY, 112),
    "Qwen": ("qwen3_vit_88m", TINY, 96),
    "Gemma, shared keys": ("gemma4_vit_167m", {**LLM, "position_embedding_size": 64}, 96),
    "parallel attentions": ("vit_small_patch16_18x2_224", {**TINY, "img_size": 64}, 64),
    "parallel to the MLP": ("vit_pwee_patch16_reg1_gap_256", {**TINY, "img_size": 64}, 64),
}


class Whole(nn.Module):
    """A timm model and two classes of its tokens."""

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder: Any = nn.Module()
        model: Any = timm.create_model(name, num_classes=0, **options)
        self.encoder.extractor = model
        self.encoder.layers = range(len(model.feature_info))
        with torch.no_grad():
            # Larger weights than at the start of training, or every patch attends to all alike.
            for label, parameter in model.named_parameters():
                if any(part in label for part in LARGER):
                    parameter.normal_(std=0.5)
        self.eval().double()

    def forward(self, images: Tensor) -> Output:
        model = self.encoder.extractor
        tokens = model.forward_features(images)
        if tokens.dim() == 4:
            channels_first = getattr(model, "output_fmt", "NCHW") == "NCHW"
            maps = tokens[:, :2] if channels_first else tokens[..., :2].permute(0, 3, 1, 2)
        else:
            patches = tokens[:, int(getattr(model, "num_prefix_tokens", 0)) :, :2].mT
            maps = patches.unflatten(2, (round(patches.shape[-1] ** 0.5), -1))
        return Output(tokens, maps, maps.mean((-2, -1)))


def images(side: int) -> Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0)).double()


def inputs_of(network: nn.Module, kind: type, batch: Tensor) -> list[tuple[Any, Tensor]]:
    """The modules of a type in the order they ran, each with its input."""
    found: list[tuple[Any, Tensor]] = []
    handles = [
        module.register_forward_pre_hook(lambda module, given: found.append((module, given[0])))
        for module in network.modules()
        if isinstance(module, kind)
    ]
    with torch.no_grad():
        network(batch)
    for handle in handles:
        handle.remove()
    return found


def unfused(network: nn.Module, batch: Tensor) -> list[Tensor]:
    """What timm's own unfused attention gives its dropout, [B, heads, T, T] of each."""
    seen: list[Tensor] = []
    fused: list[Any] = [m for m in network.modules() if getattr(m, "fused_attn", False)]
    handles = [m.attn_drop.register_forward_hook(lambda *call: seen.append(call[2])) for m in fused]
    for module in fused:
        module.fused_attn = False
    with torch.no_grad():
        network(batch)
    for module in fused:
        module.fused_attn = True
    for handle in handles:
        handle.remove()
    return seen


def agrees(network: Whole, batch: Tensor, weights: list[Tensor]) -> None:
    """Compare the CAM with weights between patches, [B, L, L] of each block."""
    with torch.no_grad():
        plain = network(batch)
    cam = plain.activation_maps.flatten(2).numpy()
    matrix = np.sum([one.numpy() for one in weights], axis=0)
    expected = np.zeros_like(cam)
    for b, k in np.ndindex(cam.shape[:2]):
        expected[b, k] = matrix[b] @ cam[b, k]
    maps, logits = attention_cams(network, batch)
    assert maps.shape == plain.activation_maps.shape
    np.testing.assert_allclose(maps.flatten(2).numpy(), expected, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(logits, plain.logits, rtol=1e-9, atol=1e-9)
    # Attention that is the same everywhere would say little about which patch is which.
    assert matrix.std() > 1e-3
    assert all(module.fused_attn for module in network.modules() if hasattr(module, "fused_attn"))


def patches(weights: Tensor, count: int) -> Tensor:
    """The mean over heads between the last `count` tokens."""
    return weights.mean(1)[:, -count:, -count:]


@pytest.mark.parametrize("kind", KINDS)
def test_kernels_are_heard_in_every_family(kind: str) -> None:
    name, options, side = KINDS[kind]
    network, batch = Whole(name, options), images(side)
    with torch.no_grad():
        count = network(batch).activation_maps[0, 0].numel()
    weights = unfused(network, batch)
    assert len(weights) == (4 if kind == "parallel attentions" else 2)
    agrees(network, batch, [patches(one, count) for one in weights])


def heads_of(module: Any, projected: Tensor) -> Tensor:
    """[B, T, heads * d] as [B, heads, T, d]."""
    return projected.unflatten(2, (module.num_heads, -1)).transpose(1, 2)


def scores(module: Any, tokens: Tensor, projection: Callable[[Tensor], Tensor]) -> Tensor:
    query, key = (heads_of(module, one) for one in projection(tokens).chunk(2, -1))
    return query @ key.mT * query.shape[-1] ** -0.5


def test_relative_positions_are_added_before_the_softmax() -> None:
    name, options, side = KINDS["relative positions"]
    network, batch = Whole(name, options), images(side)
    kind: Any = type(network.encoder.extractor.blocks[0].attn)
    weights = []
    for module, tokens in inputs_of(network, kind, batch):
        query, key, _ = (heads_of(module, one) for one in module.qkv(tokens).chunk(3, -1))
        query, key = module.q_norm(query), module.k_norm(key)
        biased = query @ key.mT * query.shape[-1] ** -0.5 + module.rel_pos.get_bias()
        weights.append(patches(biased.softmax(-1), 16).detach())
    agrees(network, batch, weights)


def test_talking_heads_are_mixed_before_and_after_the_softmax() -> None:
    network = Whole("cait_xxs24_224", {**TINY, "img_size": 64, "depth_token_only": 2})
    batch, weights = images(64), []
    kind: Any = type(network.encoder.extractor.blocks[0].attn)
    for module, tokens in inputs_of(network, kind, batch):
        query_key = torch.cat(module.qkv(tokens).chunk(3, -1)[:2], -1)
        asked = scores(module, query_key, lambda one: one)
        mixed = torch.einsum("bhij,gh->bgij", asked, module.proj_l.weight)
        soft = (mixed + module.proj_l.bias.view(1, -1, 1, 1)).softmax(-1)
        mixed = torch.einsum("bhij,gh->bgij", soft, module.proj_w.weight)
        weights.append(patches(mixed + module.proj_w.bias.view(1, -1, 1, 1), 16).detach())
    assert len(weights) == 2  # the two blocks of class attention are none between patches
    agrees(network, batch, weights)


def test_gated_positions_are_mixed_with_the_content() -> None:
    options = {"embed_dim": 8, "depth": 2, "num_heads": 4, "local_up_to_layer": 1}
    network = Whole("convit_tiny", {**options, "img_size": 64})
    batch, weights = images(64), []
    gated, plain = (type(block.attn) for block in network.encoder.extractor.blocks)
    ((module, tokens),) = inputs_of(network, gated, batch)
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    x, y = ((flat[None] - flat[:, None]).double() for flat in (columns.flatten(), rows.flatten()))
    position = module.pos_proj(torch.stack([x, y, x**2 + y**2], -1)).permute(2, 0, 1).softmax(-1)
    gate = module.gating_param.sigmoid().view(-1, 1, 1)
    content = scores(module, tokens, module.qk).softmax(-1)
    weights.append(patches((1 - gate) * content + gate * position, 16).detach())
    ((module, tokens),) = inputs_of(network, plain, batch)
    assert tokens.shape[1] == 17  # the class token comes in behind the gated blocks
    query_key = torch.cat(module.qkv(tokens).chunk(3, -1)[:2], -1)
    weights.append(patches(scores(module, query_key, lambda one: one).softmax(-1), 16).detach())
    agrees(network, batch, weights)


def test_of_tokens_within_tokens_the_outer_ones_attend() -> None:
    options = {"embed_dim": 24, "depth": 2, "num_heads_outer": 3, "img_size": 64}
    network, batch = Whole("tnt_s_legacy_patch16_224", options), images(64)
    outer = [block.attn_out for block in network.encoder.extractor.blocks]
    found = inputs_of(network, type(outer[0]), batch)
    weights = [
        patches(scores(module, tokens, module.qk).softmax(-1), 16).detach()
        for module, tokens in found
        if any(module is one for one in outer)
    ]
    assert len(weights) == 2
    agrees(network, batch, weights)


def test_windows_are_put_back_on_the_grid() -> None:
    options = {**TINY, "img_size": 96, "window_size": 4, "global_attn_indexes": (1,)}
    network, batch = Whole("samvit_base_patch16_224", options), images(96)
    blocks = network.encoder.extractor.blocks
    assert [block.window_size for block in blocks] == [4, 0]
    weights = []
    for module, tokens in inputs_of(network, type(blocks[0].attn), batch):
        side = tokens.shape[1]
        query, key, _ = (
            heads_of(module, one) for one in module.qkv(tokens.flatten(1, 2)).chunk(3, -1)
        )
        asked = query @ key.mT * query.shape[-1] ** -0.5
        for i, j in np.ndindex(side**2, side**2):
            down = module.rel_pos_h[i // side - j // side + side - 1]
            across = module.rel_pos_w[i % side - j % side + side - 1]
            asked[:, :, i, j] += query[:, :, i] @ (down + across)
        within = asked.softmax(-1).mean(1).detach()
        grid = torch.zeros(2, 36, 36, dtype=torch.float64)
        tiles = -(-6 // side)
        for b, i, j in np.ndindex(2, 36, 36):
            (y, x), (v, u) = divmod(i, 6), divmod(j, 6)
            if (y // side, x // side) == (v // side, u // side):
                window = (b * tiles + y // side) * tiles + x // side
                place = (y % side * side + x % side, v % side * side + u % side)
                grid[b, i, j] = within[(window, *place)]
        weights.append(grid)
    agrees(network, batch, weights)


@pytest.mark.parametrize(
    "name", ["vit_dwee_patch16_reg1_gap_256", "vit_dpwee_patch16_reg1_gap_256"]
)
def test_the_second_half_of_differential_attention_is_taken_away(name: str) -> None:
    network, batch = Whole(name, {**TINY, "img_size": 64}), images(64)
    modules: list[Any] = [m for m in network.modules() if hasattr(m, "_compute_lambda")]
    weights = []
    for module, both in zip(modules, unfused(network, batch), strict=True):
        first, second = both[:, 0::2], both[:, 1::2]
        share = float(module._compute_lambda())
        assert share > 0.1
        weights.append(patches(first - share * second, 16))
    agrees(network, batch, weights)


def test_a_token_never_takes_scores_of_what_a_mask_hides_from_it() -> None:
    query, key, value = torch.randn(3, 1, 2, 9, 4, dtype=torch.float64).unbind(0)
    ask = torch.nn.functional.scaled_dot_product_attention
    hidden = torch.zeros(1, 1, 1, 9, dtype=torch.bool)
    hidden[..., 4] = True
    maps = torch.rand(1, 2, 8, dtype=torch.float64)
    with listening(nn.Module()) as heard:
        ask(query, key, value, is_causal=True)
        ask(query, key, value, attn_mask=~hidden)
        ask(query, key[:, :1], value[:, :1], enable_gqa=True)
    later = torch.ones(9, 9, dtype=torch.bool).triu(1)
    asked = query @ key.mT / 2
    shared = query @ key[:, :1].mT / 2
    for block, scored in zip(
        heard,
        (asked.masked_fill(later, -torch.inf), asked.masked_fill(hidden, -torch.inf), shared),
        strict=True,
    ):
        assert isinstance(block, SelfAttention)
        expected = maps @ patches(scored.softmax(-1), 8).mT
        torch.testing.assert_close(block.spread(maps, 1), expected)


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("xcit_nano_12_p8_224", TINY, "between channels, not between patches"),
        ("resnet18", {}, "no attention between the patches"),
    ],
)
def test_others_are_refused_with_the_reason_and_what_works(
    name: str, options: dict[str, Any], why: str
) -> None:
    network = Whole(name, options)
    with pytest.raises(InputError, match=f"{why}.*; it can have class_weight, grad_cam or layer_c"):
        attention_cams(network, images(64))


def test_patches_that_are_merged_behind_the_blocks_are_refused() -> None:
    network = Whole("qwen3_vit_88m", {**TINY, "encoder_pool": "merge"})
    with pytest.raises(InputError, match="found 0; class_weight"):
        attention_cams(network, images(128))


@pytest.mark.parametrize(
    ("name", "options", "scales"),
    [
        ("vit_relpos_small_patch16_224", TINY, (0.5, 1.0)),
        ("samvit_base_patch16_224", {**TINY, "window_size": 3}, (1.0,)),
        ("cait_xxs24_224", TINY, (1.0,)),
    ],
)
def test_a_study_s_network_has_them_at_every_size_that_it_takes(
    name: str, options: dict[str, Any], scales: tuple[float, ...]
) -> None:
    torch.manual_seed(0)
    network = build_network(name, classes=2, image_size=64, options=options)
    settings = CamSettings("attention", scales=scales, flip=True)
    check_cam(network, settings, 64)
    state = {key: (one, one.clone()) for key, one in network.named_parameters()}
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    found = cams(network, pixels, settings)
    assert found.maps.shape == (3, 2, 4, 4)
    assert (found.maps.max((2, 3)) > 0.5).all()
    now = dict(network.named_parameters())
    assert list(now) == list(state)
    assert all(now[key] is one and torch.equal(one, value) for key, (one, value) in state.items())


def test_a_network_that_takes_one_size_says_so_before_it_is_trained() -> None:
    network = build_network("cait_xxs24_224", classes=2, image_size=64, options=TINY)
    with pytest.raises(InputError, match=r"scales \[0.5, 1.0\] of 64 px images: .* cannot take 32"):
        check_cam(network, CamSettings("attention", scales=(0.5, 1.0)), 64)
