"""Conformer against published sizes and a naive computation in float64; TransCAM's formula."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from wsss_core.backbones import build_network
from wsss_core.backbones.conformer import Conformer
from wsss_core.cams import CamSettings, cams
from wsss_core.errors import InputError

NAME = "conformer_tiny_patch16"
SMALL = {"channel_ratio": 0.5, "embed_dim": 24, "depth": 3, "num_heads": 3}


def network(head="linear", size=64, **options):
    torch.manual_seed(0)
    made = build_network(NAME, classes=2, image_size=size, head=head, options={**SMALL, **options})
    for module in made.modules():  # statistics that are not those of the start
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
    return made.eval()


@pytest.mark.parametrize(
    ("size", "options", "millions"),
    [
        ("Ti", {"channel_ratio": 1}, 23.5),
        ("S", {"channel_ratio": 4}, 37.7),
        ("B", {"channel_ratio": 6, "embed_dim": 576, "num_heads": 9}, 83.3),
    ],
)
def test_the_number_of_parameters_is_the_published_one(size, options, millions):
    with torch.device("meta"):
        model = Conformer(**options)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == millions


@pytest.mark.ci
def test_maps_have_the_published_sizes():
    with torch.device("meta"):
        model = Conformer()
        classifying = Conformer(output_stride=32)
        images = torch.zeros(1, 3, 224, 224)
        shapes = [(list(m.shape[1:]), list(t.shape[1:])) for m, t in model.after_blocks(images)]
        last = classifying.after_blocks(images)[-1][0]
    tokens = [197, 384]
    assert shapes[:4] == [([256, 56, 56], tokens)] * 4
    assert shapes[4:8] == [([512, 28, 28], tokens)] * 4
    assert shapes[8:] == [([1024, 14, 14], tokens)] * 4
    assert list(last.shape[1:]) == [1024, 7, 7]


class Naive:
    """A Conformer in evaluation, computed from its tensors by loops and sums in float64."""

    def __init__(self, model):
        self.state = {k: v.double().numpy() for k, v in model.state_dict().items()}

    def conv(self, x, name, stride=1, padding=0):
        weight = torch.tensor(self.state[f"{name}.weight"])
        side = weight.shape[-1]
        padded = F.pad(torch.tensor(x), [padding] * 4)
        windows = padded.unfold(2, side, stride).unfold(3, side, stride)
        out = torch.einsum("bchwij,ocij->bohw", windows, weight).numpy()
        bias = self.state.get(f"{name}.bias")
        return out if bias is None else out + bias[:, None, None]

    def bn(self, x, name, epsilon=1e-6):
        mean, var, weight, bias = (
            self.state[f"{name}.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / np.sqrt(var + epsilon) * weight + bias

    def ln(self, x, name, epsilon=1e-6):
        mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        scaled = (x - mean) / np.sqrt(var + epsilon)
        return scaled * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    def linear(self, x, name):
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def bottleneck(self, x, name, stride=1, added=0.0):
        middle = np.maximum(self.bn(self.conv(x, f"{name}.conv1"), f"{name}.bn1"), 0) + added
        middle = self.conv(middle, f"{name}.conv2", stride, 1)
        middle = np.maximum(self.bn(middle, f"{name}.bn2"), 0)
        residual = x
        if f"{name}.residual_conv.weight" in self.state:
            residual = self.conv(x, f"{name}.residual_conv", stride)
            residual = self.bn(residual, f"{name}.residual_bn")
        out = self.bn(self.conv(middle, f"{name}.conv3"), f"{name}.bn3") + residual
        return np.maximum(out, 0), middle

    def transformer(self, tokens, name, heads, attention):
        normed = self.ln(tokens, f"{name}.norm1")
        joined = self.linear(normed, f"{name}.attn.qkv")
        dim = tokens.shape[-1]
        width = dim // heads
        mixed, means = np.zeros_like(tokens), np.zeros((len(tokens), *[tokens.shape[1]] * 2))
        for head in range(heads):
            q, k, v = (
                joined[..., part * dim + head * width : part * dim + (head + 1) * width]
                for part in range(3)
            )
            products = np.exp(q @ k.transpose(0, 2, 1) / math.sqrt(width))
            weights = products / products.sum(-1, keepdims=True)
            mixed[..., head * width : (head + 1) * width] = weights @ v
            means += weights / heads
        attention.append(means)
        tokens = tokens + self.linear(mixed, f"{name}.attn.proj")
        hidden = self.linear(self.ln(tokens, f"{name}.norm2"), f"{name}.mlp.fc1")
        return tokens + self.linear(gelu(hidden), f"{name}.mlp.fc2")

    def run(self, images, heads):
        attention = []
        stem = np.maximum(self.bn(self.conv(images, "conv1", 2, 3), "bn1", 1e-5), 0)
        padded = np.pad(stem, [(0, 0), (0, 0), (1, 1), (1, 1)], constant_values=-np.inf)
        half = stem.shape[-1] // 2
        shifted = [padded[:, :, i : i + 2 * half : 2, j : j + 2 * half : 2]
                   for i in range(3) for j in range(3)]  # fmt: skip
        stem = np.max(shifted, axis=0)
        maps = self.bottleneck(stem, "conv_1")[0]
        patches = self.conv(stem, "trans_patch_conv", 4)
        rows = patches.shape[-1]
        patches = patches.reshape(*patches.shape[:2], -1).transpose(0, 2, 1)
        first = np.repeat(self.state["cls_token"], len(images), axis=0)
        tokens = np.concatenate([first, patches], axis=1)
        tokens = self.transformer(tokens, "trans_1", heads, attention)
        for number, patch in ((2, 2), (3, 1)):
            name = f"conv_trans_{number}"
            maps, middle = self.bottleneck(maps, f"{name}.cnn_block", 2)
            down = self.conv(middle, f"{name}.squeeze_block.conv_project")
            b, c = down.shape[:2]
            down = down.reshape(b, c, rows, patch, rows, patch).mean((3, 5)).reshape(b, c, -1)
            down = gelu(self.ln(down.transpose(0, 2, 1), f"{name}.squeeze_block.ln"))
            down = np.concatenate([tokens[:, :1], down], axis=1)
            tokens = self.transformer(tokens + down, f"{name}.trans_block", heads, attention)
            up = tokens[:, 1:].transpose(0, 2, 1).reshape(b, c, rows, rows)
            up = self.bn(self.conv(up, f"{name}.expand_block.conv_project"),
                         f"{name}.expand_block.bn")  # fmt: skip
            up = np.maximum(up, 0).repeat(patch, axis=2).repeat(patch, axis=3)
            maps = self.bottleneck(maps, f"{name}.fusion_block", 1, up)[0]
        return maps, self.ln(tokens, "trans_norm", 1e-5), attention


def gelu(x):
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def test_two_coupled_blocks_are_their_naive_computation():
    model = network().encoder.model
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    maps, tokens, _ = Naive(model).run(images.double().numpy(), SMALL["num_heads"])
    with torch.no_grad():
        found = model.double().forward_features(images.double())
    np.testing.assert_allclose(found[0].numpy(), maps, atol=1e-9)
    np.testing.assert_allclose(found[1].numpy(), tokens, atol=1e-9)


@pytest.mark.parametrize("attention", ["forward", "transposed", "class_token", "none"])
def test_the_cam_of_trans_cam_is_its_formula(attention):
    made = network("transcam", attention=attention)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    normalised = ((images - made.mean) / made.std).double().numpy()
    naive = Naive(made.encoder.model)
    maps, tokens, heard = naive.run(normalised, SMALL["num_heads"])
    naive.state = {k: v.double().numpy() for k, v in made.state_dict().items()}
    scores = naive.conv(maps, "class_maps.conv", 1, 1)
    logits = scores.mean((2, 3)) + naive.linear(tokens[:, 0], "head")
    total = np.sum(heard, axis=0)
    count = scores.shape[2] * scores.shape[3]
    expected = np.zeros((2, 2, count))
    flat = scores.reshape(2, 2, count)
    for image, i, j in itertools.product(range(2), range(count), range(count)):
        factor = {
            "forward": total[image, 1 + i, 1 + j],
            "transposed": total[image, 1 + j, 1 + i],
            "class_token": total[image, 0, 1 + i] * (i == j),
            "none": float(i == j),
        }[attention]
        expected[image, :, i] += factor * flat[image, :, j]
    with torch.no_grad():
        output = made(images)
    np.testing.assert_allclose(output.activation_maps.flatten(2), expected, rtol=2e-4, atol=1e-4)
    np.testing.assert_allclose(output.logits, logits, rtol=1e-4, atol=1e-5)


def test_the_method_attention_weighs_a_linear_heads_cam_in_the_same_way():
    made = network()
    images = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), np.uint8)
    plain = cams(made, images, CamSettings())
    found = cams(made, images, CamSettings("attention"))
    pixels = torch.tensor(images).permute(0, 3, 1, 2) / 255
    normalised = ((pixels - made.mean) / made.std).double().numpy()
    heard = Naive(made.encoder.model).run(normalised, SMALL["num_heads"])[2]
    between = np.sum(heard, axis=0)[:, 1:, 1:]
    flat = plain.maps.astype(float).reshape(2, 2, -1)
    expected = flat @ between.transpose(0, 2, 1)
    np.testing.assert_allclose(found.maps.reshape(2, 2, -1), expected, rtol=2e-2, atol=2e-2)


def test_both_branches_give_features_taps_and_maps():
    for branch, channels, inner in (("conv", 128, [32, 16, 16]), ("transformer", 24, [24, 4, 4])):
        output = network(branch=branch)(torch.rand(1, 3, 64, 64), taps=[0])
        assert list(output.features.shape) == [1, channels, 4, 4]
        assert list(output.activation_maps.shape) == [1, 2, 4, 4]
        assert list(output.taps[0].shape[1:]) == inner


@pytest.mark.ci
def test_the_authors_names_are_read_from_a_file_with_their_heads(tmp_path: Path):
    made = network().encoder.model
    state = dict(made.state_dict())
    state |= {
        "conv_cls_head.weight": torch.zeros(1000, 128),
        "conv_cls_head.bias": torch.zeros(1000),
    }
    state |= {
        "trans_cls_head.weight": torch.zeros(1000, 24),
        "trans_cls_head.bias": torch.zeros(1000),
    }
    torch.save({"model": state}, tmp_path / "conformer.pth")
    torch.manual_seed(9)
    read = build_network(
        NAME, classes=3, image_size=64, weights=tmp_path / "conformer.pth", options=SMALL
    )
    for name, value in made.state_dict().items():
        assert torch.equal(read.encoder.model.state_dict()[name], value), name


@pytest.mark.ci
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"image_size": 60}, "multiple of 16 px"),
        ({"weights": "pretrained"}, "No pretrained weights exist"),
        ({"options": {**SMALL, "depth": 4}}, "depth 4: expected a multiple of 3"),
        ({"options": {**SMALL, "branch": "both"}}, "expected conv or transformer"),
        ({"options": {**SMALL, "attention": "sum"}}, "attention 'sum': expected one of forward"),
        ({"head": "transcam", "options": {**SMALL, "branch": "transformer"}}, "branch conv"),
        ({"head": "transcam", "output_stride": 32}, "at output_stride 16"),
        ({"output_stride": 8}, "output_stride 8: expected 16 or 32"),
    ],
)
def test_what_it_cannot_be_is_said_in_a_line(arguments, said):
    given = {"image_size": 64, "options": SMALL, **arguments}
    with pytest.raises(InputError) as error:
        build_network(NAME, classes=2, **given)
    assert said in str(error.value)


@pytest.mark.ci
def test_the_head_is_for_conformers_and_a_near_name_is_offered():
    with pytest.raises(InputError, match="head transcam is for a Conformer"):
        build_network("resnet18", classes=2, image_size=64, head="transcam")
    with pytest.raises(InputError, match="nearest: conformer_small_patch16"):
        build_network("conformer_smal_patch16", classes=2, image_size=64)
