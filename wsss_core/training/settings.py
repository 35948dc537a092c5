"""Settings of training: how long, and how to step."""

import itertools
import math
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

from wsss_core.augmentation.settings import AugmentationSettings
from wsss_core.errors import InputError

LrSchedule = Literal["constant", "cosine", "step", "poly"]
LR_SCHEDULES: tuple[str, ...] = get_args(LrSchedule)
Precision = Literal["auto", "fp32", "bf16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
OptimizerName = Literal["adamw", "sgd"]
OPTIMIZERS: tuple[str, ...] = get_args(OptimizerName)


@dataclass(frozen=True)
class TrainingSettings(AugmentationSettings):
    """How long and how to step. A study file takes its fields, bounds included, from here.

    Keys of artifacts leave a setting marked `later` out where it has its default.

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step; the last, smaller batch of an epoch is used too.
        learning_rate: the optimizer's learning rate at its highest.
        weight_decay: the optimizer's weight decay.
        lr_schedule: "constant", "cosine" (down to 0 over all steps), "step" or "poly" (the rate
            times (1 - done) ** power).
        lr_warmup: share of all steps over which the rate rises linearly, 0..1.
        milestones: where "step" multiplies the rate by `decay`: rising shares of all steps.
        decay: the factor of "step".
        flip: flip images left to right with probability 1/2.
        precision: "bf16" runs the networks under bfloat16 autocast, "auto" does so on a GPU that
            computes in it (NVIDIA's from Ampere on); losses and weights are float32 throughout.
        compile: compile the networks' encoders (torch.compile).
        iterations: steps of the optimizer, in place of `epochs`; the last pass over the images may
            be cut short. None: as many as `epochs` make.
        optimizer: "adamw" or "sgd" (with `momentum`).
        momentum: of SGD.
        power: of "poly"; 0.9 in the DeepLabs.
        head_multiple: what is no encoder (heads, PCM, the alignment's projections) learns by so
            many times the rate.
        ema: the decay of an average of the weights, see `WeightAverage`, which takes their place at
            the end; None: no average.

    Raises:
        InputError: a value out of its range.

    """

    epochs: int = field(default=3, metadata={"ge": 1})
    batch_size: int = field(default=8, metadata={"ge": 1})
    learning_rate: float = field(default=1e-4, metadata={"gt": 0})
    weight_decay: float = field(default=0.01, metadata={"ge": 0})
    lr_schedule: LrSchedule = field(default="constant", metadata={"key": "schedule"})
    lr_warmup: float = field(default=0.0, metadata={"key": "warmup", "ge": 0, "lt": 1})
    milestones: tuple[float, ...] = (0.5, 0.75)
    decay: float = field(default=0.1, metadata={"gt": 0, "le": 1})
    flip: bool = False
    precision: Precision = "auto"
    compile: bool = False
    iterations: int | None = field(default=None, metadata={"ge": 1, "later": True})
    optimizer: OptimizerName = field(default="adamw", metadata={"later": True})
    momentum: float = field(default=0.9, metadata={"ge": 0, "lt": 1, "later": True})
    power: float = field(default=0.9, metadata={"gt": 0, "later": True})
    head_multiple: float = field(default=1.0, metadata={"gt": 0, "later": True})
    ema: float | None = field(default=None, metadata={"gt": 0, "lt": 1, "later": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, expected, fits in (
            ("epochs", "1 or more", self.epochs >= 1),
            ("iterations", "1 or more", self.iterations is None or self.iterations >= 1),
            ("optimizer", f"one of {', '.join(OPTIMIZERS)}", self.optimizer in OPTIMIZERS),
            ("momentum", "0 or more, below 1", 0 <= self.momentum < 1),
            ("power", "a finite number above 0", 0 < self.power < math.inf),
            ("head_multiple", "a finite number above 0", 0 < self.head_multiple < math.inf),
            ("ema", "above 0, below 1", self.ema is None or 0 < self.ema < 1),
            ("batch_size", "1 or more", self.batch_size >= 1),
            ("learning_rate", "a finite number above 0", 0 < self.learning_rate < math.inf),
            ("weight_decay", "a finite number, 0 or more", 0 <= self.weight_decay < math.inf),
            ("lr_schedule", f"one of {', '.join(LR_SCHEDULES)}", self.lr_schedule in LR_SCHEDULES),
            ("lr_warmup", "0 to 1", 0 <= self.lr_warmup <= 1),
            ("milestones", "rising shares between 0 and 1", self._milestones_rise()),
            ("decay", "above 0, 1 at most", 0 < self.decay <= 1),
            ("precision", f"one of {', '.join(PRECISIONS)}", self.precision in PRECISIONS),
        ):
            if not fits:
                raise InputError(f"{name} is {getattr(self, name)!r}; expected {expected}")

    @classmethod
    def from_config(
        cls, schedule: LrSchedule = "constant", warmup: float = 0.0, **others: Any
    ) -> Self:
        """Return the settings that a study file calls by these names, `schedule` and `warmup`.

        Lists, as JSON has them, become tuples.
        """
        others = {key: tuple(v) if isinstance(v, list) else v for key, v in others.items()}
        return cls(lr_schedule=schedule, lr_warmup=warmup, **others)

    def _milestones_rise(self) -> bool:
        bounds = (0.0, *self.milestones, 1.0)
        return all(low < high for low, high in itertools.pairwise(bounds))

    def autocasts(self, device: str) -> bool:
        """Return whether networks run under bfloat16 autocast on a device."""
        if self.precision == "auto" and device.split(":")[0] == "cuda":
            import torch  # here alone: a study file is checked without it

            # An older GPU only emulates it, slower than float32.
            return torch.cuda.is_bf16_supported(including_emulation=False)
        return self.precision == "bf16"

    def steps(self, count: int) -> int:
        """Return the steps of a training on N images.

        >>> TrainingSettings(epochs=3, batch_size=8).steps(20)
        9
        """
        return self.iterations or self.epochs * math.ceil(count / self.batch_size)

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate at a step, 0-based, of all steps.

        >>> TrainingSettings(learning_rate=1.0, lr_schedule="cosine").rate(50, 100)
        0.5
        """
        rising = math.ceil(self.lr_warmup * steps)
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        if self.lr_schedule == "constant":
            return self.learning_rate
        if self.lr_schedule == "step":
            passed = sum(step >= share * steps for share in self.milestones)
            return self.learning_rate * self.decay**passed
        done = (step - rising) / max(1, steps - rising)
        if self.lr_schedule == "poly":
            return self.learning_rate * (1 - done) ** self.power
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
