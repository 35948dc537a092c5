"""Every timm model is the whole model named, and its map is timm's own.

One small model a cause: what timm's `features_only` cuts off, leaves out or renames, and the
layouts in which maps come. The oracle is `timm.create_model` itself with the same weights.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import timm
import torch
from torch import Tensor

from wsss_core.backbones import Network, WholeModel, build_network
from wsss_core.cams import gradient_cams
from wsss_core.cams.restoring import captured
from wsss_core.errors import InputError


class Case(NamedTuple):
    name: str
    size: int
    read: Callable[[Any], Tensor]
    """Turns what `forward_features` gives into the map [B, C, h, w]."""
    options: dict[str, Any] = {}  # noqa: RUF012
    sized: bool = True
    """Whether timm takes `img_size`."""


def tokens(prefix: int, rows: int, at: int | None = None) -> Callable[[Any], Tensor]:
    def read(output: Any) -> Tensor:
        found = output if at is None else output[at]
        return found[:, prefix:].transpose(1, 2).reshape(len(found), -1, rows, rows)

    return read


def nchw(output: Tensor) -> Tensor:
    return output


def nhwc(output: Tensor) -> Tensor:
    return output.permute(0, 3, 1, 2)


DEPTH = {"depth": 3}
SMALL_SWIN = {"depths": (1, 1), "embed_dim": 12, "num_heads": (1, 1)}
SMALL_HIERA = {"stages": (1, 1, 1, 1), "embed_dim": 24}
CASES = [
    # The first blocks stood for the last.
    Case("cait_xxs24_224", 64, tokens(1, 4), DEPTH),
    Case("dla46_c", 64, nchw, {}, sized=False),
    Case("xcit_nano_12_p8_224", 32, tokens(1, 4), DEPTH),
    Case("vit_relpos_small_patch16_224", 64, tokens(0, 4), DEPTH),
    # Final norm or head convolution were left out.
    Case("swin_tiny_patch4_window7_224", 64, nhwc, SMALL_SWIN),
    Case("mobilenetv2_035", 64, nchw, {}, sized=False),
    # Several maps in a list, some of equal names.
    Case("coat_tiny", 64, tokens(1, 2, at=2)),
    Case("crossvit_tiny_240", 240, tokens(1, 14, at=1)),
    Case("efficientvim_m1", 64, lambda output: output[-1].reshape(-1, 320, 1, 1), {}, sized=False),
    # Tokens where a CNN's maps were expected, and a name that is no module's.
    Case("levit_128s", 64, tokens(0, 1)),
    Case("mvitv2_tiny", 64, tokens(0, 2)),
    Case("volo_d1_224", 64, tokens(1, 4)),
    # timm stops after the last stage that it is asked for.
    Case("sam2_hiera_tiny", 64, nhwc, SMALL_HIERA, sized=False),
    # timm's table of stages begins without a name.
    Case("tresnet_m", 64, nchw, {}, sized=False),
]


def built(case: Case, **more: Any) -> Network:
    torch.manual_seed(0)
    network = build_network(
        case.name, classes=2, image_size=case.size, options=case.options, **more
    )
    return network.eval()


def whole(case: Case) -> Any:
    """timm's own model, its vectors (norms, biases, scales) moved away from 0 and 1."""
    torch.manual_seed(1)
    size = {"img_size": case.size} if case.sized else {}
    model = timm.create_model(case.name, **case.options, **size).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.3 * torch.rand_like(parameter)
    return model


def assert_close_to_its_peak(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def rendered(size: int, count: int = 1) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(2))


def named(value: Any) -> str:
    return getattr(value, "name", "")


@pytest.mark.parametrize("case", CASES, ids=named)
def test_the_map_is_that_of_timms_whole_model_with_its_own_names(case):
    model, encoder = whole(case), built(case).encoder
    assert isinstance(encoder, WholeModel)
    own, theirs = encoder.extractor.state_dict(), model.state_dict()
    classifier = model.default_cfg["classifier"]
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    heads = (*(f"{head.split('.')[0]}." for head in heads), "aux_head.")
    left = {name for name in theirs if not name.startswith(heads)}
    assert set(own) >= left
    encoder.extractor.load_state_dict({name: theirs[name] for name in own}, strict=True)
    images = rendered(case.size)
    with torch.no_grad():
        expected = case.read(model.forward_features(images))
        assert_close_to_its_peak(encoder(images), expected)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_at_the_last_layer_grad_cam_is_the_positive_class_weight_cam_over_its_size(case):
    network = built(case)
    images = rendered(case.size)
    (maps,), _ = gradient_cams(network, images, [-1])
    with torch.no_grad():
        plain = network(images).activation_maps
    torch.testing.assert_close(maps * plain[0, 0].numel(), plain.relu())


@pytest.mark.parametrize("case", CASES, ids=named)
def test_at_every_layer_a_cam_and_a_tap_read_timms_own_map(case):
    network = built(case)
    encoder, images = network.encoder, rendered(case.size, 2)
    inner = [*range(len(encoder.layers) - 1)]
    points = encoder.points(inner, images)
    model = encoder.extractor
    with torch.no_grad():
        raw = model.forward_intermediates(
            images, indices=inner, output_fmt="NCHW", intermediates_only=True, stop_early=True
        )
        raw = [one.clone() for one in raw]
    with captured(points) as found:
        final, taps = encoder.with_taps(images, [*inner, -1])
    assert torch.equal(final, taps[-1])
    for number, (point, expected) in enumerate(zip(points, raw, strict=True)):
        read = point.layout.as_map(found[number], case.size, case.size)
        torch.testing.assert_close(read.detach(), expected)
        assert taps[number].shape[1] == encoder.channels_at(number)
        if not encoder.normalises:
            torch.testing.assert_close(taps[number].detach(), expected)
    torch.testing.assert_close(final.detach(), encoder(images).detach())


def test_taps_of_a_plain_transformer_come_after_the_final_norm():
    network = built(CASES[0])
    images = rendered(64)
    norm = network.encoder.extractor.norm
    with torch.no_grad():
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        taps = network(images, (0, 1)).taps
        raw = network.encoder.extractor.forward_intermediates(
            (images - network.mean) / network.std, indices=[0, 1], intermediates_only=True
        )
    for tap, one in zip(taps, raw, strict=True):
        torch.testing.assert_close(tap, norm(one.movedim(1, -1)).movedim(-1, 1))


def test_a_token_lies_where_its_patch_lies():
    """Without attention a token knows its patch alone."""
    network = built(CASES[3])
    for block in network.encoder.extractor.blocks:
        block.attn.forward = lambda x, **_: torch.zeros_like(x)
    images = rendered(64)
    changed = images.clone()
    changed[:, :, 16:32, 48:] += 1  # the patch in row 1, column 3
    with torch.no_grad():
        difference = (network(changed).features - network(images).features).abs().amax((0, 1))
    assert difference.nonzero().tolist() == [[1, 3]]


@pytest.mark.parametrize("stage", ["blocks.1", 1])
def test_a_stage_is_timms_own_by_name_and_by_index_in_the_whole_model(stage):
    case = CASES[0]
    network = built(case, feature_stage=stage)
    model, extractor = whole(case), network.encoder.extractor
    own = extractor.state_dict()
    assert not any(name.startswith("blocks.2") for name in own)
    extractor.load_state_dict({name: model.state_dict()[name] for name in own}, strict=True)
    images = rendered(64)
    with torch.no_grad():
        expected = model.forward_intermediates(images, indices=[1], intermediates_only=True)[0]
        torch.testing.assert_close(network.encoder(images), expected)
    assert list(network.encoder.layers) == ["blocks.0", "blocks.1"]


@pytest.mark.parametrize("case", [CASES[4], CASES[5]], ids=named)
def test_without_its_final_norm_a_map_is_timms_last_stage(case):
    network = built(case, final_norm=False)
    model, extractor = whole(case), network.encoder.extractor
    own = extractor.state_dict()
    extractor.load_state_dict({name: model.state_dict()[name] for name in own}, strict=True)
    images = rendered(case.size)
    with torch.no_grad():
        expected = model.forward_intermediates(images, intermediates_only=True)[-1]
        assert_close_to_its_peak(network.encoder(images), expected)
        given = case.read(model.forward_features(images))
        assert given.shape != expected.shape or not torch.allclose(given, expected, rtol=0.1)


def test_an_inner_stage_has_no_final_norm_to_leave_out():
    with pytest.raises(InputError, match=r"cait.*final_norm is of the last stage"):
        built(CASES[0], feature_stage=0, final_norm=False)


def test_a_name_that_several_stages_bear_needs_a_number():
    network = built(CASES[6])
    with pytest.raises(InputError, match="layers 1, 2, 3 are all called 'parallel_blocks'"):
        network.channels_at("parallel_blocks")


def test_a_map_that_cannot_be_told_is_refused_in_one_line(monkeypatch):
    entry = timm.model_entrypoint("resnet18")
    model = type(entry())
    monkeypatch.setattr(model, "forward_features", lambda self, x: x.new_zeros(len(x), 7, 5))
    with pytest.raises(InputError, match=r"resnet18: no map can be told from .*\[1, 7, 5\]"):
        build_network("resnet18", classes=1, image_size=64)
