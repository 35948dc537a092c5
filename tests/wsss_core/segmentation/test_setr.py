"""SETR's and the DPT-like heads against shapes and numbers of parameters counted by hand."""

import pytest
import torch

from wsss_core.errors import InputError
from wsss_core.segmentation import SegmenterSettings, build_segmenter
from wsss_core.segmentation.heads import DptHead, FcnHead, SetrMla, SetrNaive, SetrPup
from wsss_core.segmentation.tokens import TokenSegmenter

C, K = 24, 2  # channels of the map, classes without the background


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def maps(count, height=3, width=5):
    torch.manual_seed(0)
    return [torch.randn(2, C, height, width) for _ in range(count)]


def test_naive_is_a_pointwise_convolution_batchnorm_and_a_classifier():
    head = SetrNaive(C, K, width=16)
    assert parameters(head) == C * 16 + 2 * 16 + 16 * 3 + 3
    assert head(maps(1)).shape == (2, 3, 3, 5)


def test_naive_of_two_layers_is_that_of_the_older_code():
    assert parameters(SetrNaive(C, K, width=16, layers=2)) == (
        C * 16 + 2 * 16 + 16 * 16 + 2 * 16 + 16 * 3 + 3
    )


def test_naive_of_the_papers_size():
    # ViT-L and ADE20K's 150 classes: 1024 x 256 + BatchNorm 512 + 256 x 150 + 150
    assert parameters(SetrNaive(1024, 149)) == 262_144 + 512 + 38_400 + 150


def test_pup_doubles_four_times_between_3x3_convolutions():
    head = SetrPup(C, K, width=16)
    assert parameters(head) == 9 * C * 16 + 3 * 9 * 16 * 16 + 4 * 2 * 16 + 16 * 3 + 3
    assert head(maps(1)).shape == (2, 3, 48, 80)


def test_mla_joins_four_levels_at_four_times_the_resolution():
    head = SetrMla(C, K, neck=8, width=4)
    reduce, smooth = C * 8 + 2 * 8, 9 * 8 * 8 + 2 * 8
    level = 9 * 8 * 4 + 2 * 4 + 9 * 4 * 4 + 2 * 4
    assert parameters(head) == 4 * (reduce + smooth + level) + 4 * 4 * 3 + 3
    assert head(maps(4)).shape == (2, 3, 12, 20)


def test_mla_adds_each_block_to_the_later_ones():
    """The first level sees all four blocks, the last one its own alone."""
    head = SetrMla(C, K, neck=8, width=4).eval()
    seen = {}
    for level in range(4):
        head.level_heads[level].register_forward_hook(
            lambda module, inputs, output, level=level: seen.__setitem__(level, output)
        )
    inputs = [one.requires_grad_() for one in maps(4)]
    head(inputs)
    for level in range(4):
        grads = torch.autograd.grad(seen[level].sum(), inputs, retain_graph=True, allow_unused=True)
        reached = [grad is not None and bool(grad.abs().sum() > 0) for grad in grads]
        assert reached == [block >= level for block in range(4)]


def test_the_auxiliary_head_of_mla_is_a_convolution_and_a_classifier():
    head = FcnHead(C, K, width=16)
    assert parameters(head) == 9 * C * 16 + 2 * 16 + 16 * 3 + 3
    assert head(maps(1)).shape == (2, 3, 3, 5)


def test_the_dpt_like_head_has_the_parameters_of_its_parts():
    a, b, c, d, w = 4, 6, 8, 10, 12
    head = DptHead(C, K, widths=(a, b, c, d), width=w)
    project = sum(C * one + one for one in (a, b, c, d))
    rescale = 16 * a * a + a + 4 * b * b + b + 9 * d * d + d
    join = sum(9 * one * w for one in (a, b, c, d))
    residual = 2 * (9 * w * w + 2 * w)
    fuse = 7 * residual + 4 * (w * w + w)  # the coarsest map has nothing to be added to
    classify = 9 * w * w + 2 * w + w * 3 + 3
    assert parameters(head) == project + rescale + join + fuse + classify


@pytest.mark.parametrize(("height", "width"), [(3, 5), (4, 4), (1, 1)])
def test_the_dpt_like_head_takes_odd_grids_and_ends_at_eight_times_their_size(height, width):
    head = DptHead(C, K, widths=(4, 4, 4, 4), width=4).eval()
    assert head(maps(4, height, width)).shape == (2, 3, 8 * height, 8 * width)


@pytest.mark.parametrize("build", [SetrNaive, SetrPup, SetrMla, FcnHead, DptHead])
def test_every_parameter_of_a_head_gets_a_gradient(build):
    torch.manual_seed(0)
    head = build(C, K, width=8)
    head(maps(4)).square().sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        # A bias before BatchNorm would have none; there is none.
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("model", ["setr_naive", "setr_pup", "setr_mla", "vit_dpt"])
@pytest.mark.parametrize(
    ("encoder", "options", "size"),
    [
        ("vit_tiny_patch16_224", {}, 48),
        ("vit_small_patch14_reg4_dinov2", {}, 42),
        ("deit_tiny_distilled_patch16_224", {}, 32),
        ("vit_base_patch16_clip_224", {"patch_size": 8, "pre_norm": True}, 24),
    ],
)
def test_heads_sit_on_vits_of_any_patch_and_prefix(model, encoder, options, size):
    small = {"embed_dim": 24, "depth": 4, "num_heads": 3, **options}
    settings = SegmenterSettings(model, encoder, options={"width": 8}, encoder_options=small)
    segmenter = build_segmenter(settings, classes=K, image_size=size).eval()
    output = segmenter.with_auxiliary(torch.rand(2, 3, size, size))
    expected = {"setr_naive": 2, "setr_pup": 2, "setr_mla": 4, "vit_dpt": 0}[model]  # of 4 blocks
    assert [tuple(one.shape) for one in (output.logits, *output.auxiliary)] == [
        (2, K + 1, size, size)
    ] * (1 + expected)


def test_the_logits_do_not_depend_on_the_auxiliary_heads(setr):
    segmenter = setr("setr_mla", neck=8).eval()
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(segmenter(images), segmenter.with_auxiliary(images).logits)


def test_the_blocks_are_those_of_the_papers_in_a_vit_of_24():
    small = {"embed_dim": 24, "depth": 24, "num_heads": 3}

    def blocks(model):
        settings = SegmenterSettings(
            model, "vit_tiny_patch16_224", options={"width": 8}, encoder_options=small
        )
        built = build_segmenter(settings, classes=1, image_size=16)
        assert isinstance(built, TokenSegmenter)
        return [block + 1 for block in built.blocks], [b + 1 for b in built.auxiliary_blocks]

    assert blocks("setr_naive") == ([24], [10, 15, 20])
    assert blocks("setr_pup") == ([24], [10, 15, 20])
    assert blocks("setr_mla") == ([6, 12, 18, 24], [6, 12, 18, 24])
    assert blocks("vit_dpt") == ([6, 12, 18, 24], [])


def test_auxiliary_heads_can_be_left_out(setr):
    segmenter = setr("setr_pup", auxiliary=False)
    assert segmenter.with_auxiliary(torch.rand(1, 3, 16, 16)).auxiliary == ()


@pytest.mark.parametrize(
    ("settings", "size", "said"),
    [
        (SegmenterSettings("setr_pup", "resnet18"), 32, "expected a plain ViT"),
        (SegmenterSettings("vit_dpt", "vit_tiny_patch16_224"), 40, "patch of 16 does not divide"),
        (
            SegmenterSettings("setr_pup", "vit_tiny_patch16_224", options={"wdith": 8}),
            32,
            "unexpected keyword argument 'wdith'",
        ),
        (
            SegmenterSettings("setr_pup", "vit_tiny_patch16_224", options={"width": 0}),
            32,
            "width: expected a whole number, 1 or more, got 0",
        ),
        (
            SegmenterSettings("vit_dpt", "vit_tiny_patch16_224", options={"widths": [8, 8]}),
            32,
            "expected four numbers",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(settings, size, said):
    with pytest.raises(InputError, match=said) as caught:
        build_segmenter(settings, classes=1, image_size=size)
    assert "\n" not in str(caught.value)


def test_other_sizes_than_multiples_of_the_patch_are_refused_at_the_pass(setr):
    with pytest.raises(InputError, match="multiples of 8 px, got 20; the nearest is 16 or 24"):
        setr()(torch.rand(1, 3, 16, 20))


@pytest.mark.parametrize("model", ["all_mlp", "large_fov", "fused_layers"])
def test_decoders_of_any_encoder_take_vits_and_cnns_and_other_sizes(model: str) -> None:
    options = {"width": 8}
    small = {"patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3}
    built = []
    for encoder, given, network in (
        ("vit_tiny_patch16_224", small, {}),
        ("resnet18", {"channels": (4, 4, 8, 8)}, {"output_stride": 8}),
    ):
        settings = SegmenterSettings(
            model, encoder, options=options, encoder_options=given, network=network
        )
        torch.manual_seed(0)
        segmenter = build_segmenter(settings, classes=2, image_size=32).eval()
        assert segmenter(torch.rand(1, 3, 32, 32)).shape == (1, 3, 32, 32)
        assert segmenter(torch.rand(1, 3, 64, 64)).shape == (1, 3, 64, 64)
        built.append(segmenter)
    assert built[1].encoder(torch.rand(1, 3, 32, 32)).shape[-1] == 4  # output stride 8
