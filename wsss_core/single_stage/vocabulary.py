"""What settings of single-stage training may say, and when a loss counts; no torch is loaded."""

from dataclasses import dataclass
from typing import Literal, get_args

from wsss_core.segmentation.settings import OF_ANY_ENCODER, OF_TOKENS

StageLoss = Literal[
    "segmentation",
    "affinity",
    "auxiliary",
    "token_contrast",
    "crop_contrast",
    "class_tokens",
    "certain_evidence",
    "uncertain_evidence",
    "discrepancy",
]
STAGE_LOSSES: tuple[str, ...] = get_args(StageLoss)

OF_TOKEN_LABELS: tuple[str, ...] = (
    "token_contrast",
    "crop_contrast",
    "certain_evidence",
    "uncertain_evidence",
)
"""Losses that take labels from the CAM of the auxiliary classifier."""

OF_CLASS_TOKENS: tuple[str, ...] = ("class_tokens", "certain_evidence", "uncertain_evidence")
OF_LABELS: tuple[str, ...] = ("segmentation", "affinity", *OF_TOKEN_LABELS)
WITH_TEXT: tuple[str, ...] = ("segmentation", "affinity")

CamSource = Literal["head", "text"]
CAM_SOURCES: tuple[str, ...] = get_args(CamSource)

BackgroundScore = Literal["scores", "inverse"]
BACKGROUND_SCORES: tuple[str, ...] = get_args(BackgroundScore)

AffinitySource = Literal["attention", "decoder"]
AFFINITY_SOURCES: tuple[str, ...] = get_args(AffinitySource)

Pooling = Literal["mean", "max"]
POOLINGS: tuple[str, ...] = get_args(Pooling)

Supervision = Literal["own", "crossed"]
SUPERVISIONS: tuple[str, ...] = get_args(Supervision)

Decoders = Literal["both", "student"]
WHOSE_DECODERS: tuple[str, ...] = get_args(Decoders)

Trained = Literal["trained", "frozen"]
WHETHER_TRAINED: tuple[str, ...] = get_args(Trained)

LabelRefiner = Literal["none", "par", "crf"]
LABEL_REFINERS: tuple[str, ...] = get_args(LabelRefiner)

DECODERS: tuple[str, ...] = tuple(str(one) for one in (*OF_ANY_ENCODER, *OF_TOKENS))

LabelSource = Literal["cam", "propagated"]
"""What labels are made of: refined CAMs, or CAMs that an affinity has propagated."""


@dataclass(frozen=True)
class ScheduledTerm:
    """The weight of a loss, and the part of the training in which it counts.

    Attributes:
        weight: its factor in the sum, 0 or more.
        after: the share of all steps after which it counts, 0..1; at that very step it does not.
            0: from the first step on.
        until: the share of all steps up to which it counts.

    """

    weight: float
    after: float = 0.0
    until: float = 1.0

    def in_force(self, done: float) -> float:
        """Return the weight where a share of all steps is done, 0..1.

        >>> ScheduledTerm(0.1, after=0.1).in_force(2000 / 20000)
        0.0
        >>> ScheduledTerm(0.1, after=0.1).in_force(2001 / 20000)
        0.1
        """
        return self.weight if is_after(done, self.after) and done <= self.until else 0.0


def is_after(done: float, share: float | None) -> bool:
    """Return whether a share of all steps is passed: 0 from the first step on, None never."""
    return share is not None and (done > share or share == 0)
