"""Who learns from whom: what each paradigm adds up, and where its gradient ends."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wsss_core.backbones import Network
from wsss_core.errors import InputError
from wsss_core.training.loop import TrainingSettings, train
from wsss_core.transfer import Alignment, CoTraining, Single, TeacherStudent

LABELS = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
WEIGHT = 0.3


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def paired(vit, cnn) -> Callable[..., TeacherStudent | CoTraining]:
    """A ViT student and a CNN teacher of two classes, aligned by features."""

    def build(kind: type, **more: Any) -> TeacherStudent | CoTraining:
        student, teacher = vit(classes=2), cnn(classes=2)
        alignment = Alignment(student, teacher, metric="cosine", level="global")
        return kind(student, teacher, alignment, WEIGHT, **more)

    return build


def cross_entropy(logits: Tensor) -> float:
    """Binary cross-entropy from the probabilities, in float64."""
    probability = 1 / (1 + np.exp(-logits.detach().double().numpy()))
    truth = LABELS.double().numpy()
    return float(-(truth * np.log(probability) + (1 - truth) * np.log(1 - probability)).mean())


def reached(module: nn.Module) -> set[str]:
    """The parameters with a gradient that is not all zero."""
    return {
        name
        for name, parameter in module.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().max() > 0
    }


def named(module: nn.Module, *prefixes: str) -> set[str]:
    return {name for name, _ in module.named_parameters() if name.startswith(prefixes)}


def test_a_single_network_has_the_classification_loss_alone(vit, images):
    network: Network = vit(classes=2)
    losses = Single(network).losses(images, LABELS)
    assert losses.classification.item() == pytest.approx(cross_entropy(network(images).logits))
    assert losses.total == losses.classification
    assert losses.transfer is None


def test_a_student_adds_the_weighted_transfer_loss_to_its_own(paired, images):
    paradigm = paired(TeacherStudent).eval()
    losses = paradigm.losses(images, LABELS)
    student, teacher = paradigm.student(images), paradigm.teacher(images)
    transfer = paradigm.alignment(student, teacher)
    assert losses.classification.item() == pytest.approx(cross_entropy(student.logits))
    assert losses.transfer == transfer
    assert losses.total.item() == pytest.approx(
        cross_entropy(student.logits) + WEIGHT * transfer.item()
    )


def test_co_training_adds_both_classification_losses_and_the_weighted_transfer_loss(paired, images):
    paradigm = paired(CoTraining).eval()
    losses = paradigm.losses(images, LABELS)
    student, teacher = paradigm.student(images), paradigm.teacher(images)
    both = cross_entropy(student.logits) + cross_entropy(teacher.logits)
    transfer = paradigm.alignment(student, teacher)
    assert losses.classification.item() == pytest.approx(both)
    assert losses.transfer == transfer
    assert losses.total.item() == pytest.approx(both + WEIGHT * transfer.item())


def test_the_gradient_of_a_taught_student_reaches_the_student_and_the_projection_alone(
    paired, images
):
    paradigm = paired(TeacherStudent).train()
    paradigm.losses(images, LABELS).total.backward()
    assert reached(paradigm) == named(paradigm, "student.", "alignment.")
    assert all(parameter.grad is None for parameter in paradigm.teacher.parameters())


def test_the_optimizer_of_a_taught_student_gets_the_student_and_the_projection_alone(paired):
    paradigm = paired(TeacherStudent)
    given = {id(parameter) for parameter in paradigm.trainable_parameters()}
    of_names = named(paradigm, "student.", "alignment.")
    assert given == {id(p) for name, p in paradigm.named_parameters() if name in of_names}


def test_the_transfer_loss_of_co_training_reaches_both_encoders_and_the_projection(paired, images):
    paradigm = paired(CoTraining).train()
    transfer = paradigm.losses(images, LABELS).transfer
    assert transfer is not None
    transfer.backward()
    assert reached(paradigm) == named(
        paradigm, "student.encoder.", "teacher.encoder.", "alignment.projections."
    )


def test_the_total_loss_of_co_training_reaches_every_parameter(paired, images):
    paradigm = paired(CoTraining).train()
    paradigm.losses(images, LABELS).total.backward()
    assert reached(paradigm) == named(paradigm, "")
    assert len(list(paradigm.trainable_parameters())) == len(named(paradigm, ""))


def test_training_leaves_a_teachers_parameters_and_statistics_as_they_are_to_the_bit(paired):
    paradigm = paired(TeacherStudent)
    before = {name: value.clone() for name, value in paradigm.state_dict().items()}
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (6, 16, 16, 3), np.uint8)
    settings = TrainingSettings(epochs=2, batch_size=3, learning_rate=1e-2)
    train(paradigm, pixels, random.random((6, 2)) < 0.5, settings, seed=0)
    after = paradigm.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any(name.startswith("teacher.") for name in moved)
    assert any("running_mean" in name for name in before)
    assert moved >= named(paradigm, "student.", "alignment.")


def test_the_teacher_stays_in_evaluation_mode_whatever_mode_the_paradigm_is_put_in(paired):
    paradigm = paired(TeacherStudent)
    for mode in (True, False):
        paradigm.train(mode)
        assert not any(module.training for module in paradigm.teacher.modules())
        assert all(module.training is mode for module in paradigm.student.modules())


@pytest.mark.parametrize(
    ("kind", "roles"),
    [(TeacherStudent, {"student"}), (CoTraining, {"student", "teacher"})],
)
def test_the_networks_to_score_are_the_ones_that_learned(paired, kind, roles):
    paradigm = paired(kind)
    assert set(paradigm.networks) == roles
    assert all(paradigm.networks[role] is getattr(paradigm, role) for role in roles)


@pytest.mark.parametrize(
    ("gradient", "moved"),
    [
        ("both", ("student.encoder.", "teacher.encoder.", "alignment.projections.")),
        ("student", ("student.encoder.", "alignment.projections.")),
        ("teacher", ("teacher.encoder.", "alignment.projections.")),
    ],
)
def test_the_transfer_loss_of_co_training_moves_whom_it_is_said_to(paired, images, gradient, moved):
    paradigm = paired(CoTraining, gradient=gradient).train()
    transfer = paradigm.losses(images, LABELS).transfer
    assert transfer is not None
    transfer.backward()
    assert reached(paradigm) == named(paradigm, *moved)


def test_an_average_is_learned_from_and_gets_no_gradient(paired, images):
    paradigm = paired(CoTraining, gradient="student", ema=0.9).train()
    transfer = paradigm.losses(images, LABELS).transfer
    assert transfer is not None
    transfer.backward()
    assert reached(paradigm) == named(paradigm, "student.encoder.", "alignment.projections.")
    assert not any(p.requires_grad for p in paradigm.average.parameters())
    assert not any(module.training for module in paradigm.average.modules())


def test_the_student_is_aligned_with_the_average_not_with_the_partner(paired, images):
    paradigm = paired(CoTraining, gradient="student", ema=0.9).eval()
    with torch.no_grad():
        for parameter in paradigm.average.parameters():
            parameter.add_(0.1)
        expected = paradigm.alignment(paradigm.student(images), paradigm.average(images))
        assert paradigm.losses(images, LABELS).transfer == expected


def test_the_average_follows_its_partner_at_its_decay_statistics_included(paired):
    paradigm = paired(CoTraining, gradient="student", ema=0.9)
    expected = {n: v.clone().double() for n, v in paradigm.average.state_dict().items()}
    for step in range(3):
        with torch.no_grad():
            for value in paradigm.teacher.state_dict().values():
                value.add_(step + 1)
        paradigm.after_step()
        for name, value in paradigm.teacher.state_dict().items():
            if value.is_floating_point():
                expected[name] = 0.9 * expected[name] + 0.1 * value.double()
            else:
                expected[name] = value.double()
    for name, value in paradigm.average.state_dict().items():
        torch.testing.assert_close(value.double(), expected[name], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"gradient": "none"},
            "gradient 'none' is unknown; expected one of both, student, teacher",
        ),
        ({"ema": 0.9}, "gradient 'student', who learns from the average"),
        ({"gradient": "student", "ema": 1.0}, "a decay between 0 and 1"),
    ],
)
def test_an_unknown_gradient_or_a_pointless_average_is_an_error(paired, more, said):
    with pytest.raises(InputError, match=said):
        paired(CoTraining, **more)


@pytest.mark.parametrize("kind", [TeacherStudent, CoTraining])
def test_lambda_rises_over_the_first_share_of_the_steps(paired, images, kind):
    paradigm = paired(kind, lambda_warmup=0.5).eval()
    with torch.no_grad():
        for progress, share in ((0.0, 0.0), (0.125, 0.25), (0.5, 1.0), (0.9, 1.0)):
            losses = paradigm.losses(images, LABELS, progress)
            expected = losses.classification + share * paradigm.transfer_weight * losses.transfer
            torch.testing.assert_close(losses.total, expected)
