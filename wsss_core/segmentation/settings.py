"""Settings of segmenters, of their losses and of their training; no torch is loaded."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, get_args

from wsss_core.augmentation.settings import AugmentationSettings
from wsss_core.errors import InputError, nearest, quoted
from wsss_core.plugins import is_plugin
from wsss_core.refine.crf.settings import CRF_BACKENDS, CRF_PRESETS, CrfBackend, CrfPreset


class Architecture(StrEnum):
    """A segmenter's decoder.

    The first eight are of segmentation-models-pytorch: U-Net (Ronneberger et al., MICCAI 2015),
    U-Net++ (Zhou et al., DLMIA 2018), DeepLabV3 and V3+ (Chen et al., 2017 and ECCV 2018),
    SegFormer (Xie et al., NeurIPS 2021), UPerNet (Xiao et al., ECCV 2018), FPN (Kirillov et al.,
    CVPR 2019), PSPNet (Zhao et al., CVPR 2017). They take CNNs and transformers with stages. `DPT`
    (Ranftl et al., ICCV 2021), from there too, takes plain ViTs of patch 8, 16 or 32. The next four
    are our own and take plain ViTs of any patch. Three more are our own and take any timm model:
    SegFormer's decoder as AFA has it, LargeFOV of ToCo, and the fused layers of WeCLIP. `SAM`
    fine-tunes SAM or SAM 2.
    """

    UNET = "unet"
    UNET_PLUS_PLUS = "unetplusplus"
    DEEPLAB_V3 = "deeplabv3"
    DEEPLAB_V3_PLUS = "deeplabv3plus"
    SEGFORMER = "segformer"
    UPERNET = "upernet"
    FPN = "fpn"
    PSPNET = "pspnet"
    DPT = "dpt"
    SETR_NAIVE = "setr_naive"
    SETR_PUP = "setr_pup"
    SETR_MLA = "setr_mla"
    VIT_DPT = "vit_dpt"
    ALL_MLP = "all_mlp"
    LARGE_FOV = "large_fov"
    FUSED_LAYERS = "fused_layers"
    SAM = "sam"


OF_TOKENS = (
    Architecture.SETR_NAIVE,
    Architecture.SETR_PUP,
    Architecture.SETR_MLA,
    Architecture.VIT_DPT,
)
"""The decoders of this package, over the patch tokens of plain ViTs."""

OF_ANY_ENCODER = (Architecture.ALL_MLP, Architecture.LARGE_FOV, Architecture.FUSED_LAYERS)
"""The decoders of this package that take any encoder."""

ENCODER_ARGUMENTS = ("feature_stage", "output_stride", "final_norm", "mean", "std")
"""What `SegmenterSettings.network` may hold: arguments of `wsss_core.backbones.build_network`."""


@dataclass(frozen=True)
class SegmenterSettings:
    """Which segmenter is built.

    Attributes:
        model: an `Architecture`, or a plug-in "module:attribute", see `build_segmenter`.
        encoder: a timm model; "" for SAM and plug-ins, which bring their own.
        weights: of the encoder: "none" (random), "pretrained" (timm's hub) or a file. For SAM a
            folder or a hub's name, see `wsss_core.refine.load_foundation`.
        partial_weights: accept a file that lacks some of the encoder's parameters.
        options: arguments of the decoder, of SAM's fine-tuning, or of the plug-in.
        encoder_options: further arguments of the timm model.
        network: further arguments by which decoders of this package build their encoder, see
            `ENCODER_ARGUMENTS`.

    Raises:
        InputError: an unknown model, or an encoder where none belongs or none where one does.

    """

    model: str
    encoder: str = ""
    weights: str = "none"
    partial_weights: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    encoder_options: Mapping[str, Any] = field(default_factory=dict)
    network: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not is_plugin(self.model) and self.model not in list(Architecture):
            near = nearest(self.model, Architecture)
            hint = f"did you mean {near}?" if near else f"expected one of {', '.join(Architecture)}"
            raise InputError(f"segmenter {quoted(self.model)} is unknown; {hint}")
        brings_its_own = is_plugin(self.model) or self.model == Architecture.SAM
        if brings_its_own and (self.encoder or self.encoder_options):
            raise InputError(f"segmenter {self.model} has its own encoder; expected none")
        if not brings_its_own and not self.encoder:
            raise InputError(f"segmenter {self.model} needs an encoder, the name of a timm model")
        if self.network and self.model not in (*OF_TOKENS, *OF_ANY_ENCODER):
            raise InputError(
                f"segmenter {self.model} takes no 'network'; expected one of "
                f"{', '.join((*OF_TOKENS, *OF_ANY_ENCODER))}"
            )
        for name in self.network:
            if name not in ENCODER_ARGUMENTS:
                raise InputError(
                    f"network: {quoted(name)} is unknown; expected {', '.join(ENCODER_ARGUMENTS)}"
                )


LossTerm = Literal[
    "cross_entropy", "binary", "dice", "generalised_cross_entropy", "symmetric_cross_entropy"
]
LOSS_TERMS: tuple[str, ...] = get_args(LossTerm)

ClassWeighting = Literal["none", "inverse", "median"]
CLASS_WEIGHTINGS: tuple[str, ...] = get_args(ClassWeighting)


@dataclass(frozen=True)
class LossSettings:
    """A loss as a weighted sum of terms, see `wsss_core.segmentation.losses`.

    Attributes:
        terms: name -> weight in the sum.
        class_weighting: how classes are weighted, see `class_weights`.
        exponent: q of generalised cross-entropy, above 0, at most 1.
        alpha: the weight of cross-entropy in symmetric cross-entropy.
        beta: the weight of reverse cross-entropy in it.

    Raises:
        InputError: no term, an unknown one, or a number out of range.

    """

    terms: Mapping[str, float] = field(default_factory=lambda: {"cross_entropy": 1.0})
    class_weighting: ClassWeighting = "none"
    exponent: float = 0.7
    alpha: float = 0.1
    beta: float = 1.0

    def __post_init__(self) -> None:
        for name, weight in self.terms.items():
            if name not in LOSS_TERMS:
                raise InputError(f"loss {quoted(name)}: expected one of {', '.join(LOSS_TERMS)}")
            if not 0 < weight < math.inf:
                raise InputError(f"loss {name}: weight {weight!r}, expected a number above 0")
        _check(
            self,
            ("terms", "at least one", bool(self.terms)),
            _known("class_weighting", self.class_weighting, CLASS_WEIGHTINGS),
            ("exponent", "above 0, 1 at most", 0 < self.exponent <= 1),
            ("alpha", "a finite number, 0 or more", 0 <= self.alpha < math.inf),
            ("beta", "a finite number, 0 or more", 0 <= self.beta < math.inf),
        )


FitOptimizer = Literal["sgd", "adamw"]
FIT_OPTIMIZERS: tuple[str, ...] = get_args(FitOptimizer)
FitSchedule = Literal["poly", "cosine", "constant"]
FIT_SCHEDULES: tuple[str, ...] = get_args(FitSchedule)
NetworkPrecision = Literal["fp32", "bf16"]
NETWORK_PRECISIONS: tuple[str, ...] = get_args(NetworkPrecision)


@dataclass(frozen=True)
class FitSettings(AugmentationSettings):
    """How a segmenter is trained. The defaults are those of DeepLab (SGD, poly, head x 10).

    How samples are drawn and changed is that of `AugmentationSettings`. Balanced sampling goes by
    the classes that a mask holds.

    Attributes:
        steps: steps of the optimizer.
        batch_size: images a step. Passes over the images follow each other without a gap, so every
            batch is full; a set of fewer images than a batch fills it several times.
        optimizer: "sgd" (with `momentum`) or "adamw".
        learning_rate: of the encoder, at its highest.
        head_multiple: what is not the encoder learns by so many times that rate.
        weight_decay: of the optimizer.
        momentum: of SGD.
        schedule: "poly" (the rate times (1 - done) ** power), "cosine" (down to 0) or "constant".
        power: of "poly"; 0.9 in the DeepLabs.
        warmup: share of all steps over which the rate rises linearly, 0..1.
        flip: mirror images left to right with probability 1/2.
        auxiliary_weight: the weight of each auxiliary head's loss; 0.4 in SETR.
        loss: see `LossSettings`.
        record_every: steps a record, and a checkpoint, is about.
        precision: "bf16" runs the network under bfloat16 autocast; the loss is float32.
        ema: the decay of an average of the weights, see `wsss_core.training.WeightAverage`, which
            takes their place at the end; None: no average.

    Raises:
        InputError: a value out of its range.

    """

    steps: int = field(default=1000, metadata={"ge": 1})
    batch_size: int = field(default=8, metadata={"ge": 1})
    optimizer: FitOptimizer = "sgd"
    learning_rate: float = field(default=0.007, metadata={"gt": 0})
    head_multiple: float = field(default=10.0, metadata={"gt": 0})
    weight_decay: float = field(default=1e-4, metadata={"ge": 0})
    momentum: float = field(default=0.9, metadata={"ge": 0, "lt": 1})
    schedule: FitSchedule = "poly"
    power: float = field(default=0.9, metadata={"gt": 0})
    warmup: float = field(default=0.0, metadata={"ge": 0, "lt": 1})
    flip: bool = True
    auxiliary_weight: float = field(default=0.4, metadata={"ge": 0})
    loss: LossSettings = field(default_factory=LossSettings)
    record_every: int = field(default=100, metadata={"ge": 1})
    precision: NetworkPrecision = "fp32"
    ema: float | None = field(default=None, metadata={"gt": 0, "lt": 1, "later": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        finite = "a finite number above 0"
        from_zero = "a finite number, 0 or more"
        _check(
            self,
            ("steps", "1 or more", self.steps >= 1),
            ("batch_size", "1 or more", self.batch_size >= 1),
            ("learning_rate", finite, 0 < self.learning_rate < math.inf),
            ("head_multiple", finite, 0 < self.head_multiple < math.inf),
            ("weight_decay", from_zero, 0 <= self.weight_decay < math.inf),
            ("momentum", "0 or more, below 1", 0 <= self.momentum < 1),
            ("power", finite, 0 < self.power < math.inf),
            ("warmup", "0 or more, below 1", 0 <= self.warmup < 1),
            ("auxiliary_weight", from_zero, 0 <= self.auxiliary_weight < math.inf),
            ("record_every", "1 or more", self.record_every >= 1),
            ("ema", "above 0, below 1", self.ema is None or 0 < self.ema < 1),
            _known("optimizer", self.optimizer, FIT_OPTIMIZERS),
            _known("schedule", self.schedule, FIT_SCHEDULES),
            _known("precision", self.precision, NETWORK_PRECISIONS),
        )

    def rate(self, step: int) -> float:
        """Return the encoder's learning rate at a step, 0-based.

        >>> settings = FitSettings(steps=100, learning_rate=1.0, power=1.0)
        >>> settings.rate(0), settings.rate(50)
        (1.0, 0.5)
        """
        rising = math.ceil(self.warmup * self.steps)
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        done = (step - rising) / max(1, self.steps - rising)
        if self.schedule == "poly":
            return self.learning_rate * (1 - done) ** self.power
        if self.schedule == "cosine":
            return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
        return self.learning_rate


@dataclass(frozen=True)
class PredictionSettings:
    """How a trained segmenter predicts masks, see `wsss_core.segmentation.predict_masks`.

    Attributes:
        scales: factors of the image's side; the probabilities of all of them are averaged. Sizes
            are rounded to what the segmenter can take.
        flip: take the mirrored image in as well, at every scale.
        crf: the preset of a dense CRF that follows the prediction; None: none does.
        crf_backend: "torch", or "pydensecrf" (extra `crf`).
        precision: "bf16" runs the network under bfloat16 autocast, which is several times faster
            where the processor has units for it; a few pixels at edges change their class.

    Raises:
        InputError: no scale, one that is not above 0, an unknown preset or precision.

    """

    scales: tuple[float, ...] = field(default=(1.0,), metadata={"min_length": 1, "max_length": 16})
    flip: bool = False
    crf: CrfPreset | None = None
    crf_backend: CrfBackend = "torch"
    precision: NetworkPrecision = "fp32"

    @property
    def one_view(self) -> bool:
        """Whether the network sees an image once, as it is, and nothing follows."""
        return self.scales == (1.0,) and not self.flip and self.crf is None

    def __post_init__(self) -> None:
        presets = tuple(CRF_PRESETS)
        positive = bool(self.scales) and all(0 < scale < math.inf for scale in self.scales)
        _check(
            self,
            ("scales", "numbers above 0, at least one", positive),
            _known("crf", self.crf or presets[0], presets),
            _known("crf_backend", self.crf_backend, CRF_BACKENDS),
            _known("precision", self.precision, NETWORK_PRECISIONS),
        )


def _known(name: str, value: object, known: tuple[str, ...]) -> tuple[str, str, bool]:
    return name, f"one of {', '.join(known)}", value in known


def _check(settings: object, *rules: tuple[str, str, bool]) -> None:
    for name, expected, fits in rules:
        if not fits:
            value = getattr(settings, name)
            raise InputError(f"{name} is {quoted(value)}; expected {expected}")
