"""The numbers of a dense CRF, and those of the field's reference code, under their names."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, get_args

from wsss_core.errors import InputError

CrfPreset = Literal["thesis", "psa", "irn", "afa"]
CrfBackend = Literal["torch", "pydensecrf"]
CRF_BACKENDS: tuple[str, ...] = get_args(CrfBackend)
Unary = Literal["power", "labels", "softmax"]
UNARIES: tuple[str, ...] = get_args(Unary)


@dataclass(frozen=True)
class CrfSettings:
    """Every number of a dense CRF.

    Attributes:
        gaussian_sxy: standard deviation of the smoothness kernel, in pixels, above 0.
        gaussian_compat: its Potts compatibility, 0 or more.
        bilateral_sxy: standard deviation of the appearance kernel's positions, in pixels, above 0.
        bilateral_srgb: standard deviation of its colours, in levels of 0-255, above 0.
        bilateral_compat: its Potts compatibility, 0 or more.
        iterations: mean field updates, 0 or more.
        unary: where the unary comes from. "power": background (1 - max score) ** background, then
            divided by the sum over the classes. "labels": the hard label alone, background where no
            score exceeds `background`, believed with `gt_prob`. "softmax": background the constant
            score `background`, then a softmax over the classes.
        background: exponent, threshold or score of the background, see `unary`.
        gt_prob: probability of the label's class, between 0 and 1; the others share the rest.
        clip: the smallest probability, above 0; the unary is its negative log.

    Raises:
        InputError: a value is out of its range.

    """

    gaussian_sxy: float
    gaussian_compat: float
    bilateral_sxy: float
    bilateral_srgb: float
    bilateral_compat: float
    iterations: int
    unary: Unary
    background: float
    gt_prob: float = 0.7
    clip: float = 1e-5

    def __post_init__(self) -> None:
        if self.unary not in UNARIES:
            raise InputError(f"dense CRF: unary is {self.unary!r}, expected one of {UNARIES}")
        if isinstance(self.iterations, bool) or not isinstance(self.iterations, int):
            raise InputError(
                f"dense CRF: iterations is {self.iterations!r}, expected a whole number"
            )
        above_zero = dict.fromkeys(("gaussian_sxy", "bilateral_sxy", "bilateral_srgb"), math.inf)
        above_zero |= {"gt_prob": 1.0, "clip": 1.0}
        if self.unary == "power":
            above_zero["background"] = math.inf
        for name, value in vars(self).items():
            if name != "unary":
                limit = above_zero.get(name)
                expected = "0 or more" if limit is None else f"0 < {name} < {limit:g}"
                number = isinstance(value, int | float) and not isinstance(value, bool)
                if not number or not 0 <= value < (limit or math.inf) or (limit and not value):
                    raise InputError(f"dense CRF: {name} is {value!r}, expected {expected}")

    def meeting_at(self, score: float) -> "CrfSettings":
        """Return these settings with another background: as likely as a class of a given score.

        A pixel is then background below the score and foreground above it, before any pixel sees
        its neighbours. Under "power" the exponent p fulfils (1 - score)^p = score; other unaries
        take the score as it is.

        Args:
            score: between 0 and 1.

        Raises:
            InputError: another score.

        """
        if not 0 < score < 1:
            raise InputError(f"dense CRF: expected a score between 0 and 1, got {score!r}")
        power = self.unary == "power"
        background = math.log(score) / math.log1p(-score) if power else score
        return replace(self, background=background)


CRF_PRESETS: Mapping[str, CrfSettings] = MappingProxyType(
    {
        "thesis": CrfSettings(3, 5, 60, 5, 15, 5, "power", 48),
        "psa": CrfSettings(3, 3, 80, 13, 10, 10, "power", 16),
        "irn": CrfSettings(3, 3, 50, 5, 10, 10, "labels", 0.30),
        "afa": CrfSettings(3, 3, 64, 5, 4, 10, "softmax", 0.45),
    }
)
"""The settings of the field's reference code.

- `thesis`: background (1 - cam)^48.
- `psa` (also SEAM, MCTformer): exponents from 4 to 32 are in use. PSA's labels take two runs, at 4
  and 32, and its random walk 16: `replace(CRF_PRESETS["psa"], background=4)`.
- `irn` (also ReCAM): its labels take two runs, at thresholds .30 (sure foreground) and .05 (sure
  background): `replace(CRF_PRESETS["irn"], background=0.05)`.
- `afa` (also WeCLIP): a softmax over the background score .45 and the scores. At test time these
  methods pass the softmax of segmentation logits, which needs no such rule.
"""
