"""Who learns from whom: L = L_cls + lambda * L_tf (arXiv 2507.21959, knowledge transfer).

A paradigm is a module with `networks` (role -> network to score), `losses(images, labels)` and
`trainable_parameters()`; the training loop knows nothing else about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, Self, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_core.backbones import Network
from wsss_core.transfer.alignment import Alignment

ParadigmName = Literal["single", "teacher-student", "co-training"]
PARADIGMS: tuple[str, ...] = get_args(ParadigmName)


class Losses(NamedTuple):
    """The terms of one batch, each a scalar tensor; `transfer` is unweighted and None if absent."""

    total: Tensor
    classification: Tensor
    transfer: Tensor | None


class Paradigm(nn.Module):
    """What the training loop needs of a way to learn."""

    networks: dict[str, Network]

    def losses(self, images: Tensor, labels: Tensor) -> Losses:
        """Losses of images float [B, 3, H, W] in 0..1 with labels float [B, K] in {0, 1}."""
        raise NotImplementedError

    def trainable_parameters(self) -> Iterator[nn.Parameter]:
        """What the optimizer updates."""
        return (parameter for parameter in self.parameters() if parameter.requires_grad)


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """L_cls: binary cross-entropy of image-level logits [B, K], mean over images and classes."""
    return F.binary_cross_entropy_with_logits(logits.float(), labels)


class Single(Paradigm):
    """One network, L_cls alone: the baselines, and every teacher."""

    def __init__(self, student: Network) -> None:
        super().__init__()
        self.student = student
        self.networks = {"student": student}

    def losses(self, images: Tensor, labels: Tensor) -> Losses:
        """L_cls of the network."""
        classification = classification_loss(self.student(images).logits, labels)
        return Losses(classification, classification, None)


class TeacherStudent(Paradigm):
    """A student taught by a teacher that was trained before and stays as it is.

    The teacher's parameters get no gradient and its buffers (BatchNorm statistics) do not move:
    it stays in evaluation mode whatever mode the paradigm is put in.
    """

    def __init__(
        self, student: Network, teacher: Network, alignment: Alignment, weight: float
    ) -> None:
        super().__init__()
        self.student, self.teacher, self.alignment = student, teacher, alignment
        self.weight = weight
        self.networks = {"student": student}
        self.teacher.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Set the student's mode; the teacher stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def losses(self, images: Tensor, labels: Tensor) -> Losses:
        """L_cls of the student + lambda * L_tf towards the teacher."""
        student = self.student(images)
        with torch.no_grad():
            teacher = self.teacher(images)
        classification = classification_loss(student.logits, labels)
        transfer = self.alignment(student, teacher)
        return Losses(classification + self.weight * transfer, classification, transfer)


class CoTraining(Paradigm):
    """Two networks that learn together, the gradient of L_tf flowing through both."""

    def __init__(
        self, student: Network, teacher: Network, alignment: Alignment, weight: float
    ) -> None:
        super().__init__()
        self.student, self.teacher, self.alignment = student, teacher, alignment
        self.weight = weight
        self.networks = {"student": student, "teacher": teacher}

    def losses(self, images: Tensor, labels: Tensor) -> Losses:
        """L_cls of both + lambda * L_tf."""
        student, teacher = self.student(images), self.teacher(images)
        classification = classification_loss(student.logits, labels) + classification_loss(
            teacher.logits, labels
        )
        transfer = self.alignment(student, teacher)
        return Losses(classification + self.weight * transfer, classification, transfer)
