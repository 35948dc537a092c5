"""What each relation is blind to, what it sees, and that it is 0 at agreement."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wsss_core.transfer import RELATIONS
from wsss_core.transfer.relations import relation_loss

LOGITS = ("dist", "kl_standardised")
FIXED = tuple(name for name in RELATIONS if name not in ("vid", "ofa", "cross_attention"))
OF_IMAGES = ("spkd", "rkd_distance", "rkd_angle", "pkt", "cc", "cka")
seeds = st.integers(0, 2**16)
batches = st.integers(3, 6)
few = settings(max_examples=25, deadline=None, derandomize=True)


def normal_pair(relation: str, batch: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    shape = (batch, 4, 1, 1) if relation in LOGITS else (batch, 4, 3, 2)
    student, teacher = torch.randn(2, *shape, dtype=torch.float64, generator=random)
    return student, teacher


def rotation(size: int, seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=random))[0]


def loss(relation: str, student: torch.Tensor, teacher: torch.Tensor) -> float:
    return relation_loss(student, teacher, relation=relation).item()


@few
@given(batch=batches, seed=seeds)
@pytest.mark.parametrize("relation", FIXED)
def test_a_relation_is_0_at_agreement_and_above_it_elsewhere(relation, batch, seed):
    student, teacher = normal_pair(relation, batch, seed)
    assert loss(relation, student, student.clone()) == pytest.approx(0, abs=1e-12)
    assert loss(relation, student, teacher) > 1e-6


@few
@given(batch=batches, seed=seeds, scale=st.floats(1e-3, 1e3))
@pytest.mark.parametrize("relation", [name for name in FIXED if name != "dist"])
def test_a_relation_is_blind_to_one_scale_for_all_of_a_network(relation, batch, seed, scale):
    student, teacher = normal_pair(relation, batch, seed)
    plain = loss(relation, student, teacher)
    assert loss(relation, scale * student, teacher) == pytest.approx(plain, rel=1e-6)
    assert loss(relation, student, scale * teacher) == pytest.approx(plain, rel=1e-6)


@few
@given(batch=batches, seed=seeds)
@pytest.mark.parametrize("relation", ["at", "pkt", "cc", "kl_standardised"])
def test_some_are_blind_to_a_scale_for_each_image(relation, batch, seed):
    student, teacher = normal_pair(relation, batch, seed)
    scales = torch.logspace(-2, 2, batch, dtype=torch.float64).view(-1, 1, 1, 1)
    plain = loss(relation, student, teacher)
    assert loss(relation, scales * student, teacher) == pytest.approx(plain, rel=1e-6)


@few
@given(batch=batches, seed=seeds)
@pytest.mark.parametrize("relation", ["spkd", "rkd_distance", "rkd_angle", "cka"])
def test_others_see_a_scale_for_each_image(relation, batch, seed):
    _, teacher = normal_pair(relation, batch, seed)
    scales = torch.logspace(-1, 1, batch, dtype=torch.float64).view(-1, 1, 1, 1)
    assert loss(relation, scales * teacher, teacher) > 1e-4


@few
@given(batch=batches, seed=seeds)
@pytest.mark.parametrize("relation", OF_IMAGES)
def test_relations_of_images_are_blind_to_a_rotation_of_all_numbers(relation, batch, seed):
    student, teacher = normal_pair(relation, batch, seed)
    turned = (student.flatten(1) @ rotation(24, seed)).view_as(student)
    assert loss(relation, turned, teacher) == pytest.approx(
        loss(relation, student, teacher), abs=1e-9
    )


@few
@given(batch=batches, seed=seeds)
@pytest.mark.parametrize("relation", ["rkd_distance", "rkd_angle", "cka"])
def test_relations_of_differences_are_blind_to_a_common_shift(relation, batch, seed):
    student, teacher = normal_pair(relation, batch, seed)
    shift = torch.linspace(-3, 3, 24, dtype=torch.float64).view(1, 4, 3, 2)
    plain = loss(relation, student, teacher)
    assert loss(relation, student + shift, teacher) == pytest.approx(plain, abs=1e-9)


@few
@given(batch=batches, seed=seeds)
def test_attention_is_blind_to_a_rotation_of_channels_and_sees_places(batch, seed):
    student, teacher = normal_pair("at", batch, seed)
    turned = torch.einsum("dc,bchw->bdhw", rotation(4, seed), student)
    assert loss("at", turned, teacher) == pytest.approx(loss("at", student, teacher), abs=1e-9)
    assert loss("at", student.flip(-1), student) > 1e-6


@few
@given(batch=batches, seed=seeds, shift=st.floats(-50, 50))
def test_standardised_logits_are_blind_to_a_number_added_to_all_classes(batch, seed, shift):
    student, teacher = normal_pair("kl_standardised", batch, seed)
    plain = loss("kl_standardised", student, teacher)
    assert loss("kl_standardised", student + shift, teacher) == pytest.approx(plain, rel=1e-6)


@few
@given(batch=batches, seed=seeds)
@pytest.mark.parametrize("relation", FIXED)
def test_a_relation_is_blind_to_the_order_of_images(relation, batch, seed):
    student, teacher = normal_pair(relation, batch, seed)
    order = torch.randperm(batch, generator=torch.Generator().manual_seed(seed))
    plain = loss(relation, student, teacher)
    assert loss(relation, student[order], teacher[order]) == pytest.approx(plain, rel=1e-9)


@pytest.mark.parametrize("relation", OF_IMAGES)
def test_a_batch_of_one_image_costs_nothing_and_moves_nothing(relation):
    student = torch.randn(1, 3, 2, 2, requires_grad=True)
    found = relation_loss(student, torch.randn(1, 5, 4, 4), relation=relation)
    found.backward()
    assert found == 0
    assert student.grad is not None
    assert (student.grad == 0).all()


@pytest.mark.parametrize("relation", OF_IMAGES)
def test_images_that_are_all_alike_leave_finite_gradients(relation):
    student = torch.full((3, 4, 2, 2), 0.1, requires_grad=True)
    relation_loss(student, torch.randn(3, 4, 2, 2), relation=relation).backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("relation", ["spkd", "rkd_distance", "rkd_angle", "cka"])
@pytest.mark.parametrize("relative", [1e-3, 0.3])
def test_descending_a_relation_brings_the_student_nearer(relation, relative):
    student, teacher = normal_pair(relation, 5, 1)
    student.requires_grad_()
    before = relation_loss(student, teacher, relation=relation)
    (gradient,) = torch.autograd.grad(before, student)
    step = relative * before.detach() / gradient.square().sum()
    assert loss(relation, student.detach() - step * gradient, teacher) < before.item()
