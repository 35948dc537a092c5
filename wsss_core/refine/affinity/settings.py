"""How an affinity head is trained and walked: the conventions of PSA, IRN, TransCAM, the thesis."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from wsss_core.backbones import Layer
from wsss_core.errors import InputError

MOST_SQUARINGS = 16
"""65,536 steps of a random walk; those of the literature take 2 to 256."""


@dataclass(frozen=True)
class AffinitySettings:
    """An affinity head and its random walk. The defaults are PSA's.

    The encoder stays frozen here and the head is stepped by Adam; PSA and IRN train with SGD (PSA
    the encoder too), so the learning rates of their presets are ours.

    Attributes:
        stride: input pixels per location of the grid that affinity lives on.
        radius: pairs less than this apart are walked, in locations.
        train_radius: pairs less than this apart are learned; None: the same.
        beta: exponent of the affinity.
        squarings: the walk takes 2^squarings steps.
        widths: channels of each tapped layer's 1x1 convolution, lowest layer first; of fewer
            layers the last ones count.
        layers: tapped layers, lowest first; none: as many as there are widths, see
            `wsss_core.refine.affinity.training.default_layers`.
        epochs: passes over the training images.
        batch_size: images a step.
        learning_rate: Adam's learning rate.

    Raises:
        InputError: a value out of its range.

    """

    stride: int = 8
    radius: int = 5
    train_radius: int | None = None
    beta: float = 8.0
    squarings: int = 8
    widths: tuple[int, ...] = (64, 128, 256)
    layers: tuple[Layer, ...] = ()
    epochs: int = 8
    batch_size: int = 8
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        for name, expected, fits in (
            ("stride", "1 or more", self.stride >= 1),
            ("radius", "2 or more", self.radius >= 2),
            ("train_radius", "2 or more", self.training_radius >= 2),
            ("beta", "a finite number above 0", 0 < self.beta < math.inf),
            ("squarings", f"0 to {MOST_SQUARINGS}", self.squarings in range(MOST_SQUARINGS + 1)),
            ("widths", "channels, each 1 or more", bool(self.widths) and min(self.widths) >= 1),
            ("layers", "no more layers than widths", len(self.layers) <= len(self.widths)),
            ("epochs", "1 or more", self.epochs >= 1),
            ("batch_size", "1 or more", self.batch_size >= 1),
            ("learning_rate", "a finite number above 0", 0 < self.learning_rate < math.inf),
        ):
            if not fits:
                raise InputError(f"{name} is {getattr(self, name)!r}; expected {expected}")

    @property
    def training_radius(self) -> int:
        """Return the radius within which pairs are learned."""
        return self.radius if self.train_radius is None else self.train_radius

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the grid of an image, the last stride counted where it is begun.

        >>> AffinitySettings(stride=16).grid(512, 500)
        (32, 32)
        """
        return -(-height // self.stride), -(-width // self.stride)


AFFINITY_PRESETS: Mapping[str, AffinitySettings] = MappingProxyType(
    {
        "psa": AffinitySettings(),
        "irn": AffinitySettings(
            stride=4,
            radius=5,
            train_radius=10,
            beta=10.0,
            widths=(32,) * 5,
            epochs=3,
            batch_size=32,
        ),
        "transcam": AffinitySettings(beta=14.0, squarings=7),
        "thesis": AffinitySettings(
            stride=16, beta=16.0, squarings=1, widths=(64, 128, 320), epochs=10, learning_rate=1e-4
        ),
    }
)
"""By the names of their sources: Ahn & Kwak, CVPR 2018; Ahn et al., CVPR 2019; Li et al.,
"TransCAM", 2022; the thesis. "irn" is meant for the boundary head, the others for `AffinityNet`."""
