"""A student taught by several frozen teachers at once.

`L = L_cls + lambda * sum_i w_i L_tf(student, teacher_i)`. Each teacher is a network of its own,
with its own input normalisation. Each meets the student by an alignment of its own, whose
projections learn apart from those of the others.
"""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from wsss_core.backbones import Network, Output
from wsss_core.errors import InputError
from wsss_core.transfer.alignment import Alignment
from wsss_core.transfer.paradigms import (
    Losses,
    OutputSource,
    Paradigm,
    classification_loss,
    network_output,
    weight_at,
)


class SeveralTeachers(Paradigm):
    """A student taught by teachers that were trained before and stay as they are.

    Args:
        student: the network that learns.
        teachers: one or more; each stays in evaluation mode and gets no gradient.
        alignments: of the student with each teacher.
        shares: w of each teacher, above 0.
        transfer_weight: lambda.
        lambda_warmup: share of all steps over which lambda rises from 0.

    Attributes:
        asked_before: the place of a teacher -> its answers from a cache; other teachers are asked.

    Raises:
        InputError: other numbers of teachers, alignments and shares.

    """

    def __init__(
        self,
        student: Network,
        teachers: Sequence[Network],
        alignments: Sequence[Alignment],
        shares: Sequence[float],
        transfer_weight: float,
        lambda_warmup: float = 0.0,
    ) -> None:
        super().__init__()
        counts = {len(teachers), len(alignments), len(shares)}
        if counts == {0} or len(counts) > 1 or min(shares) <= 0:
            raise InputError(
                "expected an alignment and a weight above 0 for each teacher; got "
                f"{len(teachers)} teachers, {len(alignments)} alignments, weights {list(shares)}"
            )
        self.student, self.networks = student, {"student": student}
        self.teachers = nn.ModuleList(one.requires_grad_(False).eval() for one in teachers)
        self.alignments = nn.ModuleList(alignments)
        self._pairs = tuple(zip(teachers, alignments, strict=True))
        self.shares = tuple(shares)
        self.transfer_weight, self.lambda_warmup = transfer_weight, lambda_warmup
        self.asked_before: dict[int, OutputSource] = {}

    def train(self, mode: bool = True) -> Self:
        """Set the student's mode; the teachers stay in evaluation mode."""
        super().train(mode)
        self.teachers.eval()
        return self

    def losses(
        self,
        images: Tensor,
        labels: Tensor,
        progress: float = 1.0,
        valid: Tensor | None = None,
    ) -> Losses:
        """Return L_cls of the student + lambda * the weighted sum of L_tf towards each teacher."""
        taps = tuple(dict.fromkeys(t for _, one in self._pairs for t in one.student_taps))
        hears = any(one.hears[0] for _, one in self._pairs)
        student = network_output(self.student, images, taps, valid, hears)
        tapped = dict(zip(taps, student.taps, strict=True))
        size = (int(images.shape[-2]), int(images.shape[-1]))
        transfer = torch.zeros((), device=images.device)
        for place, ((_, alignment), share) in enumerate(zip(self._pairs, self.shares, strict=True)):
            own = student._replace(taps=tuple(tapped[tap] for tap in alignment.student_taps))
            teacher = self._answer(place, images, valid)
            transfer = transfer + share * alignment(own, teacher, size, valid, labels)
        classification = classification_loss(student, labels)
        weight = weight_at(self.transfer_weight, self.lambda_warmup, progress)
        return Losses(classification + weight * transfer, classification, transfer)

    def _answer(self, place: int, images: Tensor, valid: Tensor | None) -> Output:
        """Return what a teacher says of the images."""
        if place in self.asked_before:
            return self.asked_before[place].output()
        teacher, alignment = self._pairs[place]
        with torch.no_grad():
            return network_output(
                teacher, images, alignment.teacher_taps, valid, alignment.hears[1]
            )
