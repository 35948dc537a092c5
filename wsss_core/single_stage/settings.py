"""Settings of single-stage training, and what is in force at which step; no torch is loaded."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wsss_core.errors import InputError, quoted
from wsss_core.single_stage.vocabulary import (
    AFFINITY_SOURCES,
    BACKGROUND_SCORES,
    CAM_SOURCES,
    DECODERS,
    LABEL_REFINERS,
    OF_CLASS_TOKENS,
    OF_LABELS,
    OF_TOKEN_LABELS,
    POOLINGS,
    STAGE_LOSSES,
    SUPERVISIONS,
    WHETHER_TRAINED,
    WHOSE_DECODERS,
    WITH_TEXT,
    AffinitySource,
    BackgroundScore,
    CamSource,
    Decoders,
    LabelRefiner,
    LabelSource,
    Pooling,
    ScheduledTerm,
    Supervision,
    Trained,
    is_after,
)

_Range = tuple[str, str, bool]
"""A field's name, what is expected of it, and whether it fits."""


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
        cams: what CAMs are made of: the classifier that is trained, or CLIP's text encoder, see
            `wsss_core.single_stage.text_maps`.
        classification: the weight of L_cls.
        prompt: the template that class names and background words stand in for CAMs of text.
        prompts: sentences for each class, for CAMs of text; empty: its name in the template.
        background_words: what the classes are not, for CAMs of text.
        background: of pixels: two constant scores `high` and `low`, or 1 - the largest map
            ("inverse"), which leaves no pixel unknown.
        affinity_of: what affinity is learned on: attention, or the fused maps F of the decoder as
            sigmoid(F^T F).
        attention_blocks: the last blocks along whose attention CAMs of text move.
        sinkhorn_rounds: by which their attention becomes nearly doubly stochastic.
        box_threshold: the share of its maximum above which a CAM of text draws boxes; scores
            outside them do not move.
        attention_chosen_after: the share of all steps after which the decoder's affinity chooses
            among the attention of blocks; None: never.
        high_end: what `high` falls to by a cosine over the training, for all classes or each
            (DuPL); None: it stays.
        crops: of the loss `crop_contrast`: how many local crops of an image.
        crop_side: their side in pixels.
        crop_below: they are centred on pixels that no class's auxiliary CAM scores as much.
        crop_negative: a crop is of the background if the mean of its pixels (0 background, 1
            unknown, 2 a class) is no larger.
        crop_widths: hidden layers, bottleneck and outputs of the crops' projector.
        early_evidence: high and low cut of the auxiliary CAM that says which patches are certain.
        late_evidence: the same of the last CAM, which says so later.
        late_evidence_after: the share of all steps after which it does; None: never.

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
    cams: CamSource = "head"
    classification: float = 1.0
    prompt: str = "a clean origami {}."
    prompts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    background_words: tuple[str, ...] = ()
    background: BackgroundScore = "scores"
    affinity_of: AffinitySource = "attention"
    attention_blocks: int = 8
    sinkhorn_rounds: int = 3
    box_threshold: float = 0.4
    attention_chosen_after: float | None = None
    high_end: float | tuple[float, ...] | Mapping[str, float] | None = None
    crops: int = 8
    crop_side: int = 96
    crop_below: float = 0.7
    crop_negative: float = 0.2
    crop_widths: tuple[int, int, int] = (2048, 256, 1024)
    early_evidence: tuple[float, float] = (0.5, 0.25)
    late_evidence: tuple[float, float] = (0.6, 0.35)
    late_evidence_after: float | None = 0.5

    def __post_init__(self) -> None:
        for name, expected, fits in (*self._ranges(), *self._later_ranges()):
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
        self._check_pieces()
        if self.cams == "text":
            self._check_text()

    def _ranges(self) -> tuple[_Range, ...]:
        scales = "numbers above 0, 4 at most"
        return (
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
            ("propagated_after", "a share of 0 to 1, or none", _share(self.propagated_after)),
            ("affinity_blocks", "a whole number, 1 or more", _whole(self.affinity_blocks)),
            ("affinity_radius", "a whole number, 1 or more", _whole(self.affinity_radius)),
            ("auxiliary_layer", "a whole number", type(self.auxiliary_layer) is int),
            ("supervision", "own or crossed", self.supervision in SUPERVISIONS),
            ("decoders", "both or student", self.decoders in WHOSE_DECODERS),
            ("filter_after", "a share of 0 to 1, or none", _share(self.filter_after)),
            ("filter_pixels", "a whole number, 1 or more", _whole(self.filter_pixels)),
            ("predict_scales", scales, _scales(self.predict_scales)),
        )  # fmt: skip

    def _later_ranges(self) -> tuple[_Range, ...]:
        whole, share, cut = (
            "a whole number, 1 or more",
            "a number of 0 to 1",
            "a high and a low cut",
        )
        return (
            ("cams", "head or text", self.cams in CAM_SOURCES),
            ("classification", "a number, 0 or more",
             type(self.classification) in (int, float) and 0 <= self.classification < math.inf),
            ("prompt", "a sentence with {} for the name", _template(self.prompt)),
            ("prompts", "a list of sentences for each class", _sentences(self.prompts)),
            ("background_words", "words", all(type(w) is str and w for w in self.background_words)),
            ("background", "scores or inverse", self.background in BACKGROUND_SCORES),
            ("affinity_of", "attention or decoder", self.affinity_of in AFFINITY_SOURCES),
            ("attention_blocks", whole, _whole(self.attention_blocks)),
            ("sinkhorn_rounds", whole, _whole(self.sinkhorn_rounds)),
            ("box_threshold", share, _within(self.box_threshold)),
            ("attention_chosen_after", f"{share}, or none", _share(self.attention_chosen_after)),
            ("high_end", "numbers of `low` to 1, one or one for each class, or none",
             all(_within(one) and one >= self.low for one in self._ends)),
            ("crops", whole, _whole(self.crops)),
            ("crop_side", whole, _whole(self.crop_side)),
            ("crop_below", share, _within(self.crop_below)),
            ("crop_negative", "a number of 0 to 2",
             type(self.crop_negative) in (int, float) and 0 <= self.crop_negative <= 2),
            ("crop_widths", "three whole numbers, 1 or more",
             len(self.crop_widths) == 3 and all(map(_whole, self.crop_widths))),
            ("early_evidence", cut, _cut(self.early_evidence)),
            ("late_evidence", cut, _cut(self.late_evidence)),
            ("late_evidence_after", f"{share}, or none", _share(self.late_evidence_after)),
        )  # fmt: skip

    @property
    def _ends(self) -> list[Any]:
        """The values that `high` falls to."""
        end = self.high_end
        if end is None:
            return []
        if isinstance(end, Mapping):
            return [*end.values()]
        return [*end] if isinstance(end, tuple) else [end]

    def _check_pieces(self) -> None:
        """Raise InputError unless the pieces of a recipe fit together."""
        if self.propagated_after is not None and not self.affinity_from("attention"):
            raise InputError(
                "propagated_after needs the loss 'affinity', which trains the affinity of attention"
            )
        for name in OF_TOKEN_LABELS:
            if name in self.losses and "auxiliary" not in self.losses:
                raise InputError(
                    f"losses: {name} needs the loss 'auxiliary', whose classifier labels tokens"
                )
        fused = (
            ("affinity_of: decoder", self.affinity_of == "decoder"),
            ("attention_chosen_after", self.attention_chosen_after is not None),
        )
        for said, asked in fused:
            if asked and self.decoder != "fused_layers":
                raise InputError(f"{said} needs decoder: fused_layers, got {quoted(self.decoder)}")
        first = [t for t in self.losses.values() if t.weight and not t.after and t.until == 1]
        if not self.classification and not first:
            raise InputError(
                "classification is 0; expected a loss that counts from the first step to the last"
            )

    def _check_text(self) -> None:
        """Raise InputError unless all pieces can go with CAMs of text."""
        others = [name for name in self.losses if name not in WITH_TEXT]
        for said, wrong in (
            ("encoder: frozen", self.encoder != "frozen"),
            ("cam_scales: [1], at which its CAMs are made", self.cam_scales != (1.0,)),
            ("cam_flip: false", self.cam_flip),
            ("background_words, which the softmax needs", not self.background_words),
            (f"no loss {others[:1]}", bool(others)),
        ):
            if wrong:
                raise InputError(f"cams: text needs {said}")

    def affinity_from(self, source: AffinitySource) -> bool:
        """Return whether affinity is learned, and on this."""
        return "affinity" in self.losses and self.affinity_of == source

    @property
    def learns_affinity(self) -> bool:
        """Whether there is an affinity head over attention."""
        return self.affinity_from("attention")

    @property
    def has_auxiliary(self) -> bool:
        """Whether there is a second classifier on an inner layer."""
        return "auxiliary" in self.losses

    @property
    def has_class_tokens(self) -> bool:
        """Whether a token for each class goes through the encoder."""
        return bool({*OF_CLASS_TOKENS} & set(self.losses))

    @staticmethod
    def makes_labels(weights: Mapping[str, float]) -> bool:
        """Return whether one of the losses in force asks for labels of pixels."""
        return bool({*OF_LABELS} & set(weights))

    def decodes(self, weights: Mapping[str, float]) -> bool:
        """Return whether one of the losses in force asks for the maps that the decoder gets."""
        return "segmentation" in weights or (
            "affinity" in weights and self.affinity_of == "decoder"
        )

    @staticmethod
    def labels_tokens(weights: Mapping[str, float]) -> bool:
        """Return whether one of the losses in force asks for labels by the auxiliary CAM."""
        return bool({*OF_TOKEN_LABELS} & set(weights))

    def high_at(self, done: float) -> float | tuple[float, ...]:
        """Return the high background score where a share of all steps is done, or each class's.

        >>> settings = SingleStageSettings(high=0.7, high_end=0.5)
        >>> settings.high_at(0.0), round(settings.high_at(0.5), 6), settings.high_at(1.0)
        (0.7, 0.6, 0.5)
        """
        if self.high_end is None:
            return self.high
        if isinstance(self.high_end, Mapping):
            raise InputError("high_end: expected a number for each class in their order")
        left = (1 + math.cos(math.pi * min(max(done, 0.0), 1.0))) / 2
        ends = tuple(end + (self.high - end) * left for end in self._ends)
        return ends if isinstance(self.high_end, tuple) else ends[0]

    def chooses_attention(self, done: float) -> bool:
        """Return whether the decoder's affinity chooses among the attention of blocks."""
        return is_after(done, self.attention_chosen_after)

    def late(self, done: float) -> bool:
        """Return whether the last CAM says which patches are certain, not the auxiliary one."""
        return is_after(done, self.late_evidence_after)

    def filters(self, done: float) -> bool:
        """Return whether doubted labels are left out where a share of all steps is done."""
        return is_after(done, self.filter_after)

    def weights(self, done: float) -> dict[str, float]:
        """Return the losses in force where a share of all steps is done: name -> weight, above 0.

        Classification always counts 1 and is not among them.
        """
        found = {name: term.in_force(done) for name, term in self.losses.items()}
        return {name: weight for name, weight in found.items() if weight > 0}

    def labels_from(self, done: float) -> LabelSource:
        """Return what the decoder's labels are made of where a share of all steps is done."""
        if is_after(done, self.propagated_after):
            return "propagated"
        return "cam"


def _within(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def _share(value: Any) -> bool:
    return value is None or _within(value)


def _cut(values: Any) -> bool:
    return len(values) == 2 and all(map(_within, values)) and values[0] >= values[1]


def _template(value: Any) -> bool:
    return isinstance(value, str) and value.count("{}") == 1 == value.count("{") == value.count("}")


def _sentences(values: Any) -> bool:
    return isinstance(values, Mapping) and all(
        isinstance(given, list | tuple) and given and all(type(one) is str for one in given)
        for given in values.values()
    )


def _whole(value: Any) -> bool:
    return type(value) is int and value >= 1


def _scales(values: Any, *, with_one: bool = False) -> bool:
    numbers = bool(values) and all(type(v) in (int, float) and 0 < v <= 4 for v in values)
    return numbers and (1 in values or not with_one)
