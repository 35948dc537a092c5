"""Settings of CAMs, as a single value that a study can hash."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from wsss_core.backbones import Layer
from wsss_core.errors import InputError

CamMethod = Literal["class_weight", "grad_cam", "layer_cam", "attention"]
CamMerge = Literal["normalised_mean", "sum_max"]
WITH_LAYERS = ("grad_cam", "layer_cam")
"""The methods that look into layers of choice."""


@dataclass(frozen=True)
class CamSettings:
    """How CAMs are made. A study file takes its fields, bounds included, from here.

    The thesis (arXiv 2507.21959): Grad-CAM at the last block's norm1, `scales` .5, 1, 1.5 and 2,
    `merge` normalised_mean; its fusion has the `layers` -5, -4, -2 and -1. PSA and IRN: class
    weights, the same scales, `flip`, `merge` sum_max.

    >>> CamSettings("grad_cam", scales=[0.5, 1]).as_config()["layers"]
    [-1]
    >>> CamSettings().normalised, CamSettings(scales=(1, 2)).normalised
    (False, True)

    Attributes:
        method: "class_weight", "grad_cam", "layer_cam" or "attention" (transformers whose blocks
            attend between the patches of the map).
        layers: where Grad-CAM and LayerCAM look: a ViT's blocks by number, -1 the last, or a CNN's
            stages by name or number; the last by default. Several are fused (see `cams.fuse`).
        scales: factors of the image's side; a ViT's sizes are rounded to whole patches.
        flip: whether the mirrored image is taken in as well, at every scale.
        merge: how scales and flips become one map, see `wsss_core.cams.merge`.

    Raises:
        InputError: a value that is not one of these.

    """

    method: CamMethod = "class_weight"
    layers: tuple[Layer, ...] = ()
    scales: tuple[float, ...] = field(default=(1.0,), metadata={"min_length": 1})
    flip: bool = False
    merge: CamMerge = "normalised_mean"

    def __post_init__(self) -> None:
        for key, known in (("method", CamMethod), ("merge", CamMerge)):
            if getattr(self, key) not in get_args(known):
                raise InputError(
                    f"{key} {getattr(self, key)!r}: expected one of {', '.join(get_args(known))}"
                )
        for key in ("layers", "scales"):
            if isinstance(getattr(self, key), str) or not isinstance(getattr(self, key), Sequence):
                raise InputError(f"{key} {getattr(self, key)!r}: expected a list")
        if not self.scales:
            raise InputError("scales []: expected at least one, such as 1.0")
        for scale in self.scales:
            number = isinstance(scale, int | float) and not isinstance(scale, bool)
            if not number or not 0 < scale < math.inf:
                raise InputError(f"scales: expected positive numbers, got {scale!r}")
        if not isinstance(self.flip, bool):
            raise InputError(f"flip {self.flip!r}: expected true or false")
        for layer in self.layers:
            if not isinstance(layer, int | str) or isinstance(layer, bool):
                raise InputError(f"layers: expected names or numbers, got {layer!r}")
        if self.method not in WITH_LAYERS and self.layers:
            raise InputError(
                f"layers {list(self.layers)}: method {self.method} has no choice of layers; "
                f"expected none (those with layers are {', '.join(WITH_LAYERS)})"
            )
        layers = tuple(self.layers)
        if self.method in WITH_LAYERS and not layers:
            layers = (-1,)
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "scales", tuple(float(scale) for scale in self.scales))

    @property
    def merged(self) -> bool:
        """Return whether maps of several scales or flips are merged."""
        return self.flip or len(self.scales) > 1

    @property
    def normalised(self) -> bool:
        """Return whether the maps come out in 0..1, and not as raw scores."""
        return self.merged or len(self.layers) > 1

    def as_config(self) -> dict[str, Any]:
        """Return the settings as JSON-able values; `CamSettings(**config)` gives them back."""
        config = asdict(self)
        return {**config, "layers": list(self.layers), "scales": list(self.scales)}


def scaled_size(size: int, scale: float, multiple: int = 1) -> int:
    """Return an image's side at a scale, a multiple of a ViT's patch (halves upwards).

    >>> scaled_size(224, 1.5, 16), scaled_size(224, 0.52, 16), scaled_size(16, 0.1, 8)
    (336, 112, 8)
    """
    return max(1, int(size * scale / multiple + 0.5)) * multiple
