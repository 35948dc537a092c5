"""Attention as a representation: a ViT's, a CNN's pseudo one, and networks that have neither."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wsss_core.backbones import Output, build_network
from wsss_core.backbones.attending import (
    BlockAttention,
    HeadMean,
    SelfAttention,
    attends,
    detached_attention,
    with_attention,
)
from wsss_core.errors import InputError
from wsss_core.transfer import Alignment, CoTraining, TeacherStudent, transfer_loss
from wsss_core.transfer.attention_maps import attention_map, pseudo_attention

few = settings(max_examples=10, deadline=None, derandomize=True)


def pseudo_oracle(features: np.ndarray, power: float) -> np.ndarray:
    found = np.zeros((len(features), 1, *features.shape[2:]))
    for b, y, x in np.ndindex(found.shape[0], *found.shape[2:]):
        found[b, 0, y, x] = sum(abs(float(value)) ** power for value in features[b, :, y, x])
    return np.array([one / one.mean() for one in found])


@pytest.mark.parametrize("power", [1.0, 2.0, 4.0])
def test_pseudo_attention_is_the_energy_of_a_location_over_its_mean(power):
    features = torch.randn(3, 4, 2, 5, dtype=torch.float64)
    found = pseudo_attention(features, power=power)
    np.testing.assert_allclose(found.numpy(), pseudo_oracle(features.numpy(), power), rtol=1e-9)


def test_the_gradient_of_pseudo_attention_is_the_derivative():
    features = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(pseudo_attention, (features,))


@few
@given(seed=st.integers(0, 2**16), scale=st.floats(1e-3, 1e3))
def test_pseudo_attention_is_blind_to_scale_and_to_a_rotation_of_channels(seed, scale):
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 4, 3, 2, dtype=torch.float64, generator=random)
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=random))[0]
    turned = torch.einsum("dc,bchw->bdhw", turn, features)
    found = pseudo_attention(features)
    torch.testing.assert_close(pseudo_attention(scale * features), found)
    torch.testing.assert_close(pseudo_attention(turned), found)
    torch.testing.assert_close(found.mean((1, 2, 3)), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("scale", [0.0, 1e-40, 1e20])
def test_pseudo_attention_of_features_of_any_size_is_finite(scale):
    features = torch.full((1, 2, 2, 2), scale, requires_grad=True)
    pseudo_attention(features).square().sum().backward()
    assert features.grad.isfinite().all()


def unfused_weights(vit, images: torch.Tensor) -> list[np.ndarray]:
    """Each block's weights [B, heads, T, T], from timm's blocks without the fused kernel."""
    plain = copy.deepcopy(vit).eval()
    found = []
    for block in plain.encoder.vit.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda _, __, out: found.append(out.numpy()))
    with torch.no_grad():
        plain(images)
    return found


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("block", [0, -1])
def test_a_vits_attention_is_what_its_patches_get_from_all_patches(vit, fused, block):
    network, images = vit(size=24).eval(), torch.rand(2, 3, 24, 24)
    for one in network.encoder.vit.blocks:
        one.attn.fused_attn = fused
        one.attn.qkv.weight.data *= 20  # or every patch would get as much as any other
    output = with_attention(network, lambda: network(images))
    found = attention_map(output, block).detach().numpy()
    weights = unfused_weights(network, images)[block]
    for b in range(2):
        got = np.zeros(9)
        for patch in range(9):
            got[patch] = np.mean(
                [weights[b, h, 1 + i, 1 + patch] for h in range(3) for i in range(9)]
            )
        np.testing.assert_allclose(found[b, 0].ravel(), got / got.mean(), rtol=1e-4)
    assert all(one.attn.fused_attn is fused for one in network.encoder.vit.blocks)
    torch.testing.assert_close(output.logits, network(images).logits)


def test_hidden_tokens_shared_keys_and_weights_themselves_count_as_they_do_in_the_network():
    random = torch.Generator().manual_seed(0)
    query, key = (torch.randn(1, n, 5, 3, generator=random) for n in (2, 1))
    mask = torch.ones(1, 1, 5, 5, dtype=torch.bool)
    mask[..., 2] = False
    part = SelfAttention(query, key, mask, 0.7)
    weights = (
        (0.7 * query @ key.expand(-1, 2, -1, -1).mT).masked_fill(~mask, -torch.inf).softmax(-1)
    )
    both = BlockAttention((part, HeadMean(weights.mean(1))), 1)
    expected = 2 * weights[:, :, 1:, 1:].mean((1, 2)).view(1, 1, 2, 2)
    torch.testing.assert_close(both.received((2, 2)), expected)
    assert both.received((2, 2))[0, 0, 0, 1] == 0


def test_an_alignment_of_attention_compares_the_two_maps(vit, cnn):
    student, teacher, images = vit().eval(), cnn().eval(), torch.rand(3, 3, 16, 16)
    alignment = Alignment(student, teacher, metric="l2", level="global", representation="attention")
    assert (alignment.hears, alignment.student_taps, alignment.teacher_taps) == (
        (True, False),
        (),
        (),
    )
    assert list(alignment.parameters()) == []
    ours, theirs = with_attention(student, lambda: student(images)), teacher(images)
    expected = transfer_loss(
        attention_map(ours, -1), pseudo_attention(theirs.features), metric="l2", level="global"
    )
    torch.testing.assert_close(alignment(ours, theirs), expected)


def test_layers_name_the_vits_block_and_the_cnns_stage(vit, cnn):
    student, teacher, images = vit().eval(), cnn().eval(), torch.rand(3, 3, 16, 16)
    alignment = Alignment(
        student, teacher, metric="cosine", level="global", representation="attention",
        layers=[{"student": 0, "teacher": "layer2"}],
    )  # fmt: skip
    assert (alignment.student_taps, alignment.teacher_taps) == ((), ("layer2",))
    ours, theirs = with_attention(student, lambda: student(images)), teacher(images, ("layer2",))
    expected = transfer_loss(
        attention_map(ours, 0), pseudo_attention(theirs.taps[0]), metric="cosine", level="global"
    )
    torch.testing.assert_close(alignment(ours, theirs), expected)


def test_teaching_attention_moves_queries_and_keys_of_the_block_and_no_value(vit, cnn):
    student, teacher = vit(), cnn()
    alignment = Alignment(student, teacher, metric="l2", level="global", representation="attention")
    paradigm = TeacherStudent(student, teacher, alignment, transfer_weight=1.0).train()
    losses = paradigm.losses(torch.rand(4, 3, 16, 16), torch.ones(4, 1))
    losses.transfer.backward()
    query, key, value = student.encoder.vit.blocks[-1].attn.qkv.weight.grad.chunk(3)
    assert query.abs().max() > 0
    assert key.abs().max() > 0
    assert value.abs().max() == 0


@pytest.mark.parametrize("gradient", ["student", "teacher"])
def test_co_training_detaches_the_attention_of_the_side_that_it_does_not_move(vit, gradient):
    student, teacher = vit(), vit(seed=1)
    alignment = Alignment(student, teacher, metric="l2", level="global", representation="attention")
    paradigm = CoTraining(student, teacher, alignment, 1.0, gradient=gradient).train()
    paradigm.losses(torch.rand(4, 3, 16, 16), torch.ones(4, 1)).transfer.backward()
    for role, network in (("student", student), ("teacher", teacher)):
        moved = network.encoder.vit.blocks[-1].attn.qkv.weight.grad is not None
        assert moved == (role == gradient)


def test_detached_attention_keeps_values_and_loses_gradients(vit):
    network = vit()
    output = with_attention(network, lambda: network(torch.rand(1, 3, 16, 16)))
    (part,) = output.attention[0].parts
    (kept,) = detached_attention(output.attention)[0].parts
    assert part.query.requires_grad
    assert not kept.query.requires_grad
    assert torch.equal(part.query, kept.query)


def test_cross_attention_teaches_a_cnn_by_a_vits_block(vit, cnn):
    student, teacher = cnn(), vit()
    alignment = Alignment(student, teacher, metric="cross_attention", layers=[{"teacher": 0}])
    assert alignment.hears == (False, True)
    paradigm = TeacherStudent(student, teacher, alignment, transfer_weight=1.0).train()
    transfer = paradigm.losses(torch.rand(4, 3, 16, 16), torch.ones(4, 1)).transfer
    transfer.backward()
    assert all(p.grad is not None for p in alignment.parameters())
    assert student.encoder.model.conv1.weight.grad.abs().max() > 0
    assert all(p.grad is None for p in teacher.parameters())
    images = torch.rand(2, 3, 16, 16)
    alignment.eval()
    with torch.no_grad():
        ours, theirs = student(images), with_attention(teacher, lambda: teacher(images))
        part, prefix = theirs.attention[0].alone((2, 2))
        expected = alignment.projectors[0](ours.features, part, prefix)
        torch.testing.assert_close(alignment(ours, theirs, (16, 16)), expected)


def test_ofa_gives_each_layer_a_branch_and_adds_the_students_own_logits(vit, cnn):
    from wsss_core.transfer.relations import one_for_all

    student, teacher, images = (
        vit(classes=3).eval(),
        cnn(classes=3).eval(),
        torch.rand(2, 3, 16, 16),
    )
    alignment = Alignment(
        student, teacher, metric="ofa", representation="logits", gamma=2.0,
        layers=[{"student": 0, "weight": 0.5}, {}],
    ).eval()  # fmt: skip
    labels = torch.tensor([[1.0, 0, 1], [0, 0, 0]])
    ours, theirs = student(images, alignment.student_taps), teacher(images)
    inner, final = (
        branch(features)
        for branch, features in zip(
            alignment.projectors, (ours.taps[0], ours.features), strict=True
        )
    )
    terms = [
        weight * one_for_all(logits, theirs.logits, labels, gamma=2.0)
        for weight, logits in ((1, ours.logits), (0.5, inner), (1, final))
    ]
    torch.testing.assert_close(alignment(ours, theirs, labels=labels), sum(terms))
    with pytest.raises(InputError, match="metric 'ofa' needs the labels"):
        alignment(ours, theirs)


REFUSED = [
    ("cnn", "vit", {"metric": "cross_attention", "representation": "gram"}, "projects features by"),
    ("vit", "cnn", {"metric": "cross_attention"}, "the teacher has none"),
    ("vit", "cnn", {"metric": "cosine", "representation": "attention", "projection": "mlp"},
     "the student's attention is no map that it could project"),
    ("vit", "cnn", {"metric": "ofa"}, "metric 'ofa' compares logits; feature needs one of cosine"),
    ("vit", "cnn", {"metric": "ofa", "representation": "logits", "layers": [{"teacher": "layer1"}]},
     "name no teacher's layer"),
    ("vit", "cnn", {"metric": "kl", "representation": "attention"}, "'kl' compares logits"),
]  # fmt: skip


@pytest.mark.parametrize(("student", "teacher", "how", "said"), REFUSED)
def test_what_cannot_be_aligned_is_refused_in_a_line(request, student, teacher, how, said):
    networks = [request.getfixturevalue(name)() for name in (student, teacher)]
    with pytest.raises(InputError, match=said):
        Alignment(*networks, **how)


def test_a_transformer_of_windows_has_no_attention_that_could_be_compared():
    options = {"embed_dim": 24, "depths": (1, 1), "num_heads": (1, 1), "window_size": 7}
    swin = build_network("swin_tiny_patch4_window7_224", classes=1, image_size=56, options=options)
    with pytest.raises(
        InputError, match="expected a ViT or a CNN, got a SwinTransformer: it attends"
    ):
        attends(swin)


def test_windows_of_sam_are_refused_when_they_are_heard():
    options = {"embed_dim": 24, "depth": 2, "num_heads": 3, "neck_chans": 16, "window_size": 2,
               "global_attn_indexes": ()}  # fmt: skip
    sam = build_network("samvit_base_patch16", classes=1, image_size=64, options=options)
    with pytest.raises(
        InputError, match="expected each of the 2 blocks to attend between all 4 x 4"
    ):
        with_attention(sam, lambda: sam(torch.rand(1, 3, 64, 64)))


def test_talking_heads_have_attention_but_no_single_queries():
    options = {"embed_dim": 24, "depth": 2, "num_heads": 3, "depth_token_only": 1}
    cait = build_network("cait_xxs24_224", classes=1, image_size=32, options=options).eval()
    output = with_attention(cait, lambda: cait(torch.rand(1, 3, 32, 32)))
    assert attention_map(output, -1).shape == (1, 1, 2, 2)
    with pytest.raises(InputError, match="talking heads"):
        output.attention[0].alone((2, 2))


def test_attention_on_padding_is_no_part_of_the_map(cnn):
    student, teacher = cnn(size=32), cnn(size=32, seed=1)
    alignment = Alignment(student, teacher, metric="l1", level="global", representation="attention")
    valid = torch.zeros(2, 1, 32, 32)
    valid[..., :16, :24] = 1  # 2 x 3 of 4 x 4 cells
    features = [torch.randn(2, 32, 4, 4) for _ in range(2)]
    outputs = [Output(one, one[:, :1], one.mean((2, 3))[:, :1]) for one in features]
    maps = [pseudo_attention(one[..., :2, :3]) for one in features]
    expected = transfer_loss(*maps, metric="l1", level="global")
    torch.testing.assert_close(alignment(*outputs, (32, 32), valid), expected)
