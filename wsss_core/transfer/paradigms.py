"""Who learns from whom: L = L_cls + lambda * L_tf (arXiv 2507.21959, knowledge transfer).

lambda may rise linearly from 0 over a first share of all steps (`lambda_warmup`).

A paradigm is a module with `networks` (role -> network to score), `losses(images, labels)` and
`trainable_parameters()`; the training loop knows nothing else about it.
"""

import copy
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple, Protocol, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_core.backbones import Network, Output
from wsss_core.backbones.attending import detached_attention, with_attention
from wsss_core.errors import InputError
from wsss_core.transfer.alignment import Alignment
from wsss_core.transfer.moving import move_average
from wsss_core.transfer.names import GRADIENTS, known_name


class Losses(NamedTuple):
    """The terms of one batch, each a scalar tensor; `transfer` is unweighted and None if absent."""

    total: Tensor
    classification: Tensor
    transfer: Tensor | None


class ViewCache(Protocol):
    """Maps that were computed before, see `wsss_core.features`."""

    def look(self, places: np.ndarray, mirrored: np.ndarray | None) -> None:
        """Turn to a batch: int [B], which images, and bool [B], which are mirrored."""
        ...


class OutputSource(ViewCache, Protocol):
    """Gives a network's answers without the network."""

    def output(self) -> Output:
        """Return the answer for the batch that is looked at."""
        ...


class Paradigm(nn.Module):
    """A way to learn, as the training loop needs it.

    Attributes:
        networks: role -> network to score.
        caches: maps that are read and not computed; they are told of each batch.
        parts: name -> module that is kept and averaged beside the networks.
        needs_images: whether some network still looks at images.

    """

    networks: dict[str, Network]
    parts: dict[str, nn.Module] = {}  # noqa: RUF012 (replaced, never changed)
    caches: Sequence[ViewCache] = ()
    needs_images = True

    def look(self, places: np.ndarray, mirrored: np.ndarray | None) -> None:
        """Turn the caches to a batch, see `ViewCache.look`."""
        for cache in self.caches:
            cache.look(places, mirrored)

    def losses(
        self,
        images: Tensor,
        labels: Tensor,
        progress: float = 1.0,
        valid: Tensor | None = None,
    ) -> Losses:
        """Return the losses of a batch.

        Args:
            images: float [B, 3, H, W] in 0..1.
            labels: float [B, K], 0 or 1; between where images are mixed.
            progress: the share of all steps that are done, 0..1.
            valid: float [B, 1, H, W], 0 on padding, which is no evidence; None: no padding. It is
                given only where training pads.

        """
        raise NotImplementedError

    def after_step(self) -> None:
        """Update what is no parameter; called after each step of the optimizer."""

    def trainable_parameters(self) -> Iterator[nn.Parameter]:
        """Return what the optimizer updates."""
        return (parameter for parameter in self.parameters() if parameter.requires_grad)


def classification_loss(output: Output, labels: Tensor) -> Tensor:
    """Return L_cls: binary cross-entropy of logits [B, K], mean over images and classes.

    A loss of the head's own (the consistency of PCM) is added.
    """
    loss = F.binary_cross_entropy_with_logits(output.logits.float(), labels)
    return loss if output.consistency is None else loss + output.consistency.float()


class Single(Paradigm):
    """One network, L_cls alone: the baselines, and every teacher."""

    def __init__(self, student: Network) -> None:
        super().__init__()
        self.student = student
        self.networks = {"student": student}

    def losses(
        self,
        images: Tensor,
        labels: Tensor,
        progress: float = 1.0,
        valid: Tensor | None = None,
    ) -> Losses:
        """Return L_cls of the network."""
        classification = classification_loss(
            network_output(self.student, images, (), valid), labels
        )
        return Losses(classification, classification, None)


class _Aligned(Paradigm):
    """Two networks and the loss between them."""

    def __init__(
        self,
        student: Network,
        teacher: Network,
        alignment: Alignment,
        transfer_weight: float,
        lambda_warmup: float,
    ) -> None:
        super().__init__()
        self.student, self.teacher, self.alignment = student, teacher, alignment
        self.transfer_weight, self.lambda_warmup = transfer_weight, lambda_warmup

    def _sum(self, classification: Tensor, transfer: Tensor, progress: float) -> Losses:
        weight = weight_at(self.transfer_weight, self.lambda_warmup, progress)
        return Losses(classification + weight * transfer, classification, transfer)


def weight_at(transfer_weight: float, lambda_warmup: float, progress: float) -> float:
    """Return lambda where a share of all steps is done.

    Args:
        transfer_weight: lambda after its warm-up.
        lambda_warmup: share of all steps over which it rises from 0.
        progress: the share of all steps that are done, 0..1.

    """
    warming = progress < lambda_warmup
    return transfer_weight * progress / lambda_warmup if warming else transfer_weight


class TeacherStudent(_Aligned):
    """A student taught by a teacher that was trained before and stays as it is.

    The teacher's parameters get no gradient and its buffers (BatchNorm statistics) do not move:
    it stays in evaluation mode whatever mode the paradigm is put in.
    """

    def __init__(
        self,
        student: Network,
        teacher: Network,
        alignment: Alignment,
        transfer_weight: float,
        lambda_warmup: float = 0.0,
    ) -> None:
        super().__init__(student, teacher, alignment, transfer_weight, lambda_warmup)
        self.networks = {"student": student}
        self.teacher.requires_grad_(False).eval()
        self.asked_before: OutputSource | None = None
        """The teacher's answers from a cache; None: the teacher gives them."""

    def train(self, mode: bool = True) -> Self:
        """Set the student's mode; the teacher stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def losses(
        self,
        images: Tensor,
        labels: Tensor,
        progress: float = 1.0,
        valid: Tensor | None = None,
    ) -> Losses:
        """Return L_cls of the student + lambda * L_tf towards the teacher."""
        taps, hears = self.alignment.student_taps, self.alignment.hears
        student = network_output(self.student, images, taps, valid, hears[0])
        if self.asked_before is not None:
            teacher = self.asked_before.output()
        else:
            taps = self.alignment.teacher_taps
            with torch.no_grad():
                teacher = network_output(self.teacher, images, taps, valid, hears[1])
        classification = classification_loss(student, labels)
        transfer = self.alignment(student, teacher, _size(images), valid, labels)
        return self._sum(classification, transfer, progress)


class CoTraining(_Aligned):
    """Two networks that learn together.

    Args:
        student: the network scored as the student.
        teacher: its partner, scored as the teacher.
        alignment: the transfer loss between the two.
        transfer_weight: lambda.
        lambda_warmup: share of all steps over which lambda rises from 0.
        gradient: which networks L_tf moves: "both", or one of them, the other's side detached. The
            alignment's projection learns in any case.
        ema: with gradient "student": the student is aligned with a running average of its partner,
            average = ema * average + (1 - ema) * partner after each step (Tarvainen and Valpola,
            "Mean teachers are better role models", NeurIPS 2017); None: with the partner itself.

    Raises:
        InputError: an unknown gradient, or an average that nobody learns from.

    """

    def __init__(
        self,
        student: Network,
        teacher: Network,
        alignment: Alignment,
        transfer_weight: float,
        lambda_warmup: float = 0.0,
        gradient: str = "both",
        ema: float | None = None,
    ) -> None:
        super().__init__(student, teacher, alignment, transfer_weight, lambda_warmup)
        self.gradient = known_name("gradient", gradient, GRADIENTS)
        self.networks = {"student": student, "teacher": teacher}
        self.ema = ema
        self.average: Network | None = None
        if ema is not None:
            if self.gradient != "student" or not 0 < ema < 1:
                raise InputError(
                    f"ema {ema!r} with gradient {gradient!r}: expected a decay between 0 and 1, "
                    "and gradient 'student', who learns from the average"
                )
            self.average = copy.deepcopy(teacher).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Set the mode of both networks; the average stays in evaluation mode."""
        super().train(mode)
        if self.average is not None:
            self.average.eval()
        return self

    def losses(
        self,
        images: Tensor,
        labels: Tensor,
        progress: float = 1.0,
        valid: Tensor | None = None,
    ) -> Losses:
        """Return L_cls of both + lambda * L_tf."""
        hears, taps = self.alignment.hears, self.alignment.teacher_taps
        student = network_output(self.student, images, self.alignment.student_taps, valid, hears[0])
        teacher = network_output(self.teacher, images, taps, valid, hears[1])
        classification = classification_loss(student, labels)
        classification = classification + classification_loss(teacher, labels)
        target, source = teacher, student
        if self.average is not None:
            with torch.no_grad():
                target = network_output(self.average, images, taps, valid, hears[1])
        elif self.gradient == "student":
            target = _detached(teacher)
        elif self.gradient == "teacher":
            source = _detached(student)
        transfer = self.alignment(source, target, _size(images), valid, labels)
        return self._sum(classification, transfer, progress)

    def after_step(self) -> None:
        """Update what is no parameter; called after each step of the optimizer."""
        if self.average is not None and self.ema is not None:
            now = self.teacher.state_dict()
            move_average(self.average.state_dict(), now, 1 - self.ema)


def network_output(
    network: Network,
    images: Tensor,
    taps: tuple[str | int, ...],
    valid: Tensor | None,
    hears: bool = False,
) -> Output:
    """Return a network's output; a network is told of padding only where there is some.

    Args:
        network: the network.
        images: float [B, 3, H, W] in 0..1.
        taps: inner layers whose maps are returned too.
        valid: float [B, 1, H, W], 0 on padding; None: there is no padding.
        hears: whether the attention of its blocks is returned too.

    """
    padding = {} if valid is None else {"valid": valid}
    call = partial(network, images, taps, **padding)
    output: Output = with_attention(network, call) if hears else call()
    return output


def _size(images: Tensor) -> tuple[int, int]:
    return int(images.shape[-2]), int(images.shape[-1])


def _detached(output: Output) -> Output:
    return Output(
        output.features.detach(),
        output.activation_maps.detach(),
        output.logits.detach(),
        tuple(tap.detach() for tap in output.taps),
        attention=detached_attention(output.attention),
    )
