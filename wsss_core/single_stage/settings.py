"""Settings of single-stage training, and what is in force at which step; no torch is loaded."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from wsss_core.errors import InputError, quoted
from wsss_core.segmentation.settings import OF_ANY_ENCODER, OF_TOKENS

StageLoss = Literal["segmentation", "affinity", "auxiliary", "token_contrast", "discrepancy"]
STAGE_LOSSES: tuple[str, ...] = get_args(StageLoss)

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


def is_after(done: float, share: float) -> bool:
    """Return whether a share of all steps is passed; 0 is passed from the first step on."""
    return done > share or share == 0


@dataclass(frozen=True)
class SingleStageSettings:
    """A single-stage recipe.

    Shares of steps stand in place of numbers of steps, so that a recipe keeps its shape in a
    training of another length.

    Attributes:
        decoder: a decoder of this package, see `wsss_core.segmentation.settings.Architecture`.
        decoder_options: its arguments.
        pooling: how the classifier pools its features, before the linear layer.
        head_bias: whether that layer has a bias.
        norms: whether the encoder's norms are trained.
        encoder: whether the encoder is.
        cam_scales: the scales of the CAMs that labels are made of, 1 among them.
        cam_flip: whether mirrored images take part in them.
        high: the background's score, above which a class is labelled.
        low: the background's score, below which the background is; between the two is 255.
        refiner: what refines the scores before the label: "par", "crf" or "none".
        refiner_options: arguments of `wsss_core.refine.par` or `dense_crf`.
        shrink: by how much images are shrunk for the refiner, 1 or more.
        losses: name -> its term; classification has the weight 1 throughout.
        propagated_after: the share of all steps after which the decoder learns from CAMs that the
            affinity has propagated; None: never.
        affinity_blocks: the last blocks whose attention gives the affinity.
        affinity_radius: the pairs of cells that affinity looks at: so many rows and columns apart.
        auxiliary_layer: the layer of the second classifier, which the losses `auxiliary` and
            `token_contrast` ask for; -3 in ToCo.
        supervision: of two networks: each decoder learns from its own network's labels, or from the
            other's ("crossed").
        decoders: of two networks: both have a decoder, or the student alone.
        filter_after: the share of all steps after which a decoder leaves out labels that it doubts,
            see `wsss_core.single_stage.noise_filter`; None: never.
        filter_pixels: an image has to have more doubtful pixels than that to be filtered.
        predict_scales: the scales at which the trained decoder predicts.
        predict_flip: whether mirrored images take part in it.
        predict_crf: the preset of the dense CRF after it; None: none.

    Raises:
        InputError: a value out of its range, or pieces that do not fit together.

    """

    decoder: str = "large_fov"
    decoder_options: Mapping[str, Any] = field(default_factory=dict)
    pooling: Pooling = "max"
    head_bias: bool = False
    norms: Trained = "trained"
    encoder: Trained = "trained"
    cam_scales: tuple[float, ...] = (1.0, 0.5, 1.5)
    cam_flip: bool = True
    high: float = 0.7
    low: float = 0.25
    refiner: LabelRefiner = "par"
    refiner_options: Mapping[str, Any] = field(default_factory=dict)
    shrink: int = 2
    losses: Mapping[str, ScheduledTerm] = field(default_factory=dict)
    propagated_after: float | None = None
    affinity_blocks: int = 2
    affinity_radius: int = 8
    auxiliary_layer: int = -3
    supervision: Supervision = "own"
    decoders: Decoders = "both"
    filter_after: float | None = None
    filter_pixels: int = 1000
    predict_scales: tuple[float, ...] = (1.0,)
    predict_flip: bool = False
    predict_crf: str | None = None

    def __post_init__(self) -> None:
        scales = "numbers above 0, 4 at most"
        for name, expected, fits in (
            ("decoder", f"one of {', '.join(DECODERS)}", self.decoder in DECODERS),
            ("pooling", f"one of {', '.join(POOLINGS)}", self.pooling in POOLINGS),
            ("norms", "trained or frozen", self.norms in WHETHER_TRAINED),
            ("encoder", "trained or frozen", self.encoder in WHETHER_TRAINED),
            ("cam_scales", f"{scales}, 1 among them", _scales(self.cam_scales, with_one=True)),
            ("high", "a number of 0 to 1", _within(self.high)),
            ("low", "a number of 0 to 1, no higher than `high`",
             _within(self.low) and self.low <= self.high),
            ("refiner", f"one of {', '.join(LABEL_REFINERS)}", self.refiner in LABEL_REFINERS),
            ("shrink", "a whole number, 1 or more", _whole(self.shrink)),
            ("propagated_after", "a share of 0 to 1, or none",
             self.propagated_after is None or _within(self.propagated_after)),
            ("affinity_blocks", "a whole number, 1 or more", _whole(self.affinity_blocks)),
            ("affinity_radius", "a whole number, 1 or more", _whole(self.affinity_radius)),
            ("auxiliary_layer", "a whole number", type(self.auxiliary_layer) is int),
            ("supervision", "own or crossed", self.supervision in SUPERVISIONS),
            ("decoders", "both or student", self.decoders in WHOSE_DECODERS),
            ("filter_after", "a share of 0 to 1, or none",
             self.filter_after is None or _within(self.filter_after)),
            ("filter_pixels", "a whole number, 1 or more", _whole(self.filter_pixels)),
            ("predict_scales", scales, _scales(self.predict_scales)),
        ):  # fmt: skip
            if not fits:
                raise InputError(f"{name} is {quoted(getattr(self, name))}; expected {expected}")
        for name, term in self.losses.items():
            if name not in STAGE_LOSSES:
                raise InputError(
                    f"losses: {quoted(name)} is unknown; expected {', '.join(STAGE_LOSSES)}"
                )
            numbers = (term.weight, term.after, term.until)
            sound = all(type(one) in (int, float) and math.isfinite(one) for one in numbers)
            if not (sound and term.weight >= 0 and 0 <= term.after <= term.until <= 1):
                raise InputError(
                    f"losses: {name} has weight {term.weight!r}, after {term.after!r}, until "
                    f"{term.until!r}; expected a weight of 0 or more and rising shares of 0 to 1"
                )
        if self.propagated_after is not None and "affinity" not in self.losses:
            raise InputError(
                "propagated_after needs the loss 'affinity', which trains the affinity"
            )
        if "token_contrast" in self.losses and "auxiliary" not in self.losses:
            raise InputError(
                "losses: token_contrast needs the loss 'auxiliary', whose classifier labels tokens"
            )

    @property
    def learns_affinity(self) -> bool:
        """Whether there is an affinity head."""
        return "affinity" in self.losses

    @property
    def has_auxiliary(self) -> bool:
        """Whether there is a second classifier on an inner layer."""
        return "auxiliary" in self.losses or "token_contrast" in self.losses

    @staticmethod
    def makes_labels(weights: Mapping[str, float]) -> bool:
        """Return whether one of the losses in force asks for labels of pixels."""
        return bool({"segmentation", "affinity", "token_contrast"} & set(weights))

    def filters(self, done: float) -> bool:
        """Return whether doubted labels are left out where a share of all steps is done."""
        return self.filter_after is not None and is_after(done, self.filter_after)

    def weights(self, done: float) -> dict[str, float]:
        """Return the losses in force where a share of all steps is done: name -> weight, above 0.

        Classification always counts 1 and is not among them.
        """
        found = {name: term.in_force(done) for name, term in self.losses.items()}
        return {name: weight for name, weight in found.items() if weight > 0}

    def labels_from(self, done: float) -> LabelSource:
        """Return what the decoder's labels are made of where a share of all steps is done."""
        if self.propagated_after is not None and is_after(done, self.propagated_after):
            return "propagated"
        return "cam"


def _within(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def _whole(value: Any) -> bool:
    return type(value) is int and value >= 1


def _scales(values: Any, *, with_one: bool = False) -> bool:
    numbers = bool(values) and all(type(v) in (int, float) and 0 < v <= 4 for v in values)
    return numbers and (1 in values or not with_one)
