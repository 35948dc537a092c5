"""OFA, partial cross attention and the group-wise linear projector against loops in float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wsss_core.backbones.attending import SelfAttention
from wsss_core.errors import InputError
from wsss_core.transfer.group_linear import GroupLinear
from wsss_core.transfer.relations import LogitBranch, PartialCrossAttention, one_for_all

Array = np.ndarray
few = settings(max_examples=10, deadline=None, derandomize=True)
seeds = st.integers(0, 2**16)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=random)


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(value) for value in values]
    return [power / sum(powers) for power in powers]


def published_ofa(student: Array, teacher: Array, target: int, gamma: float, t: float) -> float:
    """The loss of one image of exclusive classes, as the paper's code has it."""
    own, aim = (softmax([float(z) / t for z in logits]) for logits in (student, teacher))
    terms = []
    for number, (p_s, p_t) in enumerate(zip(own, aim, strict=True)):
        mask = float(number == target)
        terms.append(-((p_t + mask) ** gamma - mask) * math.log(p_s))
    return sum(terms)


@pytest.mark.parametrize("gamma", [1.0, 1.5, 3.0])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_each_class_has_the_papers_loss_of_a_softmax_of_being_there_and_not(gamma, temperature):
    student, teacher = normal(2, 5, 3)
    labels = (normal(5, 3, seed=1) > 0).double()
    expected = [
        published_ofa(
            np.array([student[b, k], 0.0]), np.array([teacher[b, k], 0.0]),
            target=0 if labels[b, k] else 1, gamma=gamma, t=temperature,
        )
        for b in range(5) for k in range(3)
    ]  # fmt: skip
    found = one_for_all(student, teacher, labels, gamma=gamma, temperature=temperature)
    assert found.item() == pytest.approx(math.fsum(expected) / 15, rel=1e-9)


def test_the_gradient_of_ofa_is_the_derivative_of_both_sides():
    student, teacher = (one.requires_grad_() for one in normal(2, 4, 3))
    labels = torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 0, 0], [0.3, 1, 0.9]])
    assert torch.autograd.gradcheck(
        lambda s, t: one_for_all(s, t, labels, gamma=1.7), (student, teacher)
    )


@few
@given(seed=seeds, gamma=st.floats(1, 4))
def test_ofa_knows_no_order_of_images_and_classes_and_no_name_of_an_outcome(seed, gamma):
    student, teacher = normal(2, 4, 3, seed=seed)
    labels = (normal(4, 3, seed=seed + 1) > 0).double()
    loss = one_for_all(student, teacher, labels, gamma=gamma).item()
    mixed = [one[[2, 0, 3, 1]][:, [1, 2, 0]] for one in (student, teacher, labels)]
    assert one_for_all(*mixed, gamma=gamma).item() == pytest.approx(loss)
    assert one_for_all(-student, -teacher, 1 - labels, gamma=gamma).item() == pytest.approx(loss)


@few
@given(seed=seeds)
def test_with_gamma_1_the_labels_do_not_count_and_the_teacher_is_the_best_student(seed):
    student, teacher = normal(2, 4, 3, seed=seed)
    none, all_there = torch.zeros(4, 3), torch.ones(4, 3)
    loss = one_for_all(student, teacher, none, gamma=1)
    assert loss.item() == pytest.approx(one_for_all(student, teacher, all_there, gamma=1).item())
    assert one_for_all(teacher, teacher, none, gamma=1) <= loss


@few
@given(seed=seeds, gamma=st.floats(1.1, 4))
def test_a_gamma_above_1_pulls_towards_the_label(seed, gamma):
    logits = normal(3, 2, seed=seed)
    for labels in (torch.zeros(3, 2), torch.ones(3, 2)):
        student = logits.clone().requires_grad_()
        one_for_all(student, logits, labels, gamma=gamma).backward()
        assert (student.grad.sign() == (-1) ** labels).all()


@pytest.mark.parametrize("scale", [0.0, 1e4, 1e20])
def test_ofa_is_finite_for_logits_of_any_size(scale):
    student = (scale * normal(4, 2).float()).requires_grad_()
    loss = one_for_all(student, scale * normal(4, 2, seed=1).float(), torch.ones(4, 2))
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"gamma": 0.5}, "gamma is 0.5; expected 1 or more"),
        ({"labels": torch.zeros(2, 4)}, "expected labels .B, K. of the same classes"),
        ({"temperature": 0.0}, "temperature is 0.0"),
    ],
)
def test_what_ofa_cannot_mean_is_refused(changed, said):
    given = {
        "student": torch.zeros(2, 3),
        "teacher": torch.zeros(2, 3),
        "labels": torch.zeros(2, 3),
    }
    with pytest.raises(InputError, match=said):
        one_for_all(**{**given, **changed})


def naive_branch(branch: LogitBranch, features: Array, cells: Array) -> Array:
    """Logits of a branch by loops: weights of cells [B, h, w], those of 0 being padding."""
    state = {name: value.detach().numpy() for name, value in branch.state_dict().items()}
    batch, channels, height, width = features.shape
    found = []
    for b in range(batch):
        total, weight = np.zeros(state["head.weight"].shape[1]), 0.0
        for y in range(height):
            for x in range(width):
                mixed = state["depthwise.bias"].copy()
                for c in range(channels):
                    for dy in (-1, 0, 1):
                        for dx in (-1, 0, 1):
                            i, j = y + dy, x + dx
                            if 0 <= i < height and 0 <= j < width and cells[b, i, j] > 0:
                                kernel = state["depthwise.weight"][c, 0, dy + 1, dx + 1]
                                mixed[c] += kernel * features[b, c, i, j]
                wide = state["pointwise.weight"][:, :, 0, 0] @ mixed + state["pointwise.bias"]
                normed = (wide - wide.mean()) / np.sqrt(wide.var() + branch.norm.eps)
                normed = normed * state["norm.weight"] + state["norm.bias"]
                gelu = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in normed]
                total += cells[b, y, x] * np.array(gelu)
                weight += cells[b, y, x]
        found.append(state["head.weight"] @ (total / weight) + state["head.bias"])
    return np.array(found)


@pytest.mark.parametrize("padded", [False, True])
def test_a_branch_gives_the_logits_of_its_definition_over_the_cells_of_the_image(padded):
    torch.manual_seed(0)
    branch = LogitBranch(3, 5, 2).double()
    features, cells = normal(2, 3, 3, 4), torch.ones(2, 1, 3, 4, dtype=torch.float64)
    if padded:
        cells[0, :, 2], cells[1, :, :, 3], cells[1, :, :, 2] = 0, 0, 0.25
    found = branch(features, cells if padded else None)
    expected = naive_branch(branch, features.numpy(), cells[:, 0].numpy())
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-12)


def naive_conv(layer: nn.Conv2d, maps: Array) -> Array:
    """A 3x3 convolution of one image [C, h, w], as tokens [h * w, C']."""
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1)))
    return np.array(
        [
            (weight * padded[None, :, y : y + 3, x : x + 3]).sum((1, 2, 3)) + bias
            for y in range(maps.shape[1]) for x in range(maps.shape[2])
        ]
    )  # fmt: skip


def attended(query: Array, key: Array, value: Array, bias: Array, kept: list[int]) -> Array:
    """Attention of one head and image between the patches that are kept, row by row."""
    rows = []
    for i in kept:
        weights = softmax([query[i] @ key[j] / math.sqrt(len(query[i])) + bias[i, j] for j in kept])
        rows.append(sum(w * value[j] for w, j in zip(weights, kept, strict=True)))
    return np.array(rows)


def naive_cross_attention(
    module: PartialCrossAttention,
    maps: Array,
    teacher: list[Array],
    bias: Array,
    kept: list[list[int]],
) -> float:
    """The loss without replacement, from its definition; teacher tokens [B, heads, L, d]."""
    losses = []
    _, heads, _, width = teacher[0].shape
    layers = (module.query, module.key, module.value)
    for b, cells in enumerate(kept):
        first, second = [], []
        for h in range(heads):
            own = [naive_conv(layer, maps[b])[:, h * width : (h + 1) * width] for layer in layers]
            theirs = [tokens[b, h] for tokens in teacher]
            gap = attended(*theirs, bias[h], cells) - attended(*own, bias[h], cells)
            first.append((gap**2).mean())
            products = [
                np.array([[v[i] @ v[j] for j in cells] for i in cells]) for v in (theirs[2], own[2])
            ]
            second.append((((products[0] - products[1]) / math.sqrt(width)) ** 2).mean())
        losses.append(np.mean(first) + np.mean(second))
    return float(np.mean(losses))


def teacher_attention(prefix: int, bias: bool) -> SelfAttention:
    """Two heads of width 3 over 2 x 3 patches of two images, behind a prefix; keys are shared."""
    tokens = prefix + 6
    query, key, value = (normal(2, n, tokens, 3, seed=s) for n, s in ((2, 1), (1, 2), (1, 3)))
    added = normal(1, 2, tokens, tokens, seed=4) if bias else None
    return SelfAttention(query, key, added, None, value=value)


@pytest.mark.parametrize("prefix", [0, 2])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_cross_attention_is_the_papers_loss_between_patches(prefix, bias, padded):
    torch.manual_seed(0)
    module, maps = PartialCrossAttention(4, 6).double().eval(), normal(2, 4, 2, 3)
    teacher = teacher_attention(prefix, bias)
    cells, kept = None, [[*range(6)], [*range(6)]]
    if padded:
        cells, kept = torch.ones(2, 2, 3, dtype=torch.bool), [[0, 1, 2], [0, 1, 3, 4]]
        cells[0, 1], cells[1, :, 2] = False, False
        maps = torch.where(cells[:, None], maps, 0)
    found = module(maps, teacher, prefix, cells)
    shared = [teacher.query, *(t.expand(-1, 2, -1, -1) for t in (teacher.key, teacher.value))]
    tokens = [t[:, :, prefix:].numpy() for t in shared]
    added = teacher.bias[0, :, prefix:, prefix:].numpy() if bias else np.zeros((2, 6, 6))
    expected = naive_cross_attention(module, maps.numpy(), tokens, added, kept)
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_a_student_whose_numbers_are_all_replaced_attends_as_its_teacher():
    torch.manual_seed(0)
    module, teacher = PartialCrossAttention(4, 6, share=1.0).double(), teacher_attention(1, True)
    maps = normal(2, 4, 2, 3)
    values = module.value(maps).flatten(2).mT.unflatten(2, (2, 3)).transpose(1, 2)
    theirs = teacher.value[:, :, 1:].expand(-1, 2, -1, -1)
    gaps = (theirs @ theirs.mT - values @ values.mT) / math.sqrt(3)
    torch.testing.assert_close(module(maps, teacher, 1), gaps.square().mean())


def test_in_training_half_of_the_numbers_are_the_teachers_and_in_evaluation_none():
    torch.manual_seed(0)
    module = PartialCrossAttention(1, 1)
    student, teacher = torch.zeros(100, 100), torch.ones(100, 100)
    assert module._mixed(student, teacher).mean() == pytest.approx(0.5, abs=0.02)
    assert torch.equal(module.eval()._mixed(student, teacher), student)


def test_the_gradient_of_cross_attention_is_the_derivative():
    torch.manual_seed(0)
    module = PartialCrossAttention(4, 6).double().eval()
    teacher, maps = teacher_attention(1, True), normal(2, 4, 2, 3).requires_grad_()
    parameters = tuple(module.parameters())
    assert torch.autograd.gradcheck(
        lambda m, *_: module(m, teacher, 1), (maps, *parameters), fast_mode=True
    )


@few
@given(rows=st.integers(1, 9), columns=st.integers(1, 9), seed=seeds)
def test_a_location_is_mapped_by_the_layer_of_its_neighbourhood_alone(rows, columns, seed):
    torch.manual_seed(seed)
    module, maps = GroupLinear(3, 2).double(), normal(2, 3, rows, columns, seed=seed)
    found = module(maps).detach().numpy()
    for y in range(rows):
        for x in range(columns):
            layer = module.layers[4 * (4 * y // rows) + 4 * x // columns]
            weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
            expected = maps[:, :, y, x].numpy() @ weight.T + bias
            np.testing.assert_allclose(found[:, :, y, x], expected, atol=1e-12)


def test_group_linear_with_equal_layers_is_a_convolution_and_it_has_16_layers():
    torch.manual_seed(0)
    module, conv = GroupLinear(3, 5), nn.Conv2d(3, 5, 1)
    assert sum(p.numel() for p in module.parameters()) == 16 * (3 * 5 + 5)
    for layer in module.layers:
        layer.weight.data, layer.bias.data = conv.weight.data[:, :, 0, 0], conv.bias.data
    maps = normal(2, 3, 7, 5).float()
    torch.testing.assert_close(module(maps), conv(maps))


def test_the_gradient_of_group_linear_is_the_derivative():
    module, maps = GroupLinear(2, 2).double(), normal(1, 2, 5, 3).requires_grad_()
    parameters = tuple(module.parameters())
    assert torch.autograd.gradcheck(lambda m, *_: module(m), (maps, *parameters), fast_mode=True)


@pytest.mark.parametrize("scale", [0.0, 1e-40, 300.0, 1e20])
def test_cross_attention_of_maps_of_any_size_leaves_gradients_that_adam_can_keep(scale):
    torch.manual_seed(0)
    module, maps = PartialCrossAttention(4, 6), (scale * normal(2, 4, 2, 3)).float()
    tokens = [scale * normal(2, 2, 7, 3, seed=seed).float() for seed in (1, 2, 3)]
    teacher = SelfAttention(tokens[0], tokens[1], None, None, value=tokens[2])
    loss = module(maps.requires_grad_(), teacher, 1)
    loss.backward()
    assert loss.isfinite()
    for tensor in (maps, *module.parameters()):
        assert tensor.grad.square().isfinite().all()
