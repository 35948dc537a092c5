"""Steps of a chain: their names in a study file, and the settings of each."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from studies.spec.base import LocalPath, Strict
from wsss_core.errors import quoted
from wsss_core.refine.crf.settings import CrfBackend, CrfPreset
from wsss_core.refine.label_free import LabelFreeScore
from wsss_core.refine.saliency.combining import SaliencyUse

CAM_STEPS: dict[str, dict[str, Any]] = {
    "class_weight": {"method": "class_weight"},
    "grad_cam": {"method": "grad_cam", "layers": [-1]},
    "layer_cam": {"method": "layer_cam", "layers": [-1]},
    "attention": {"method": "attention"},
    "multi_scale": {"scales": [0.5, 1.0, 1.5, 2.0], "merge": "normalised_mean"},
    "fusion": {"method": "grad_cam", "layers": [-5, -4, -2, -1]},
}
"""Steps that make the CAM, with the thesis's settings: scales without flip, fusion of Grad-CAM at
norm1 of four blocks."""


class Quantile(Strict):
    """The score of a map below which a share of its pixels lies."""

    quantile: float = Field(gt=0, lt=1)


class Crf(Strict):
    """Dense CRF, see `wsss_core.refine.dense_crf`.

    `background` replaces the preset's exponent, threshold or score of the background. It decides
    where the seed ends, so it has to fit the maps. The presets fit maps that are low off the
    object. "otsu" or `{quantile: q}` in its place follow each map's own scale: foreground and
    background are equal at the map's own threshold, see `wsss_core.refine.own_threshold`.
    """

    preset: CrfPreset = "thesis"
    background: Annotated[float, Field(gt=0)] | Literal["otsu"] | Quantile | None = None
    backend: CrfBackend = "torch"

    @field_validator("background", mode="before")
    @classmethod
    def _is_a_background(cls, given: Any) -> Any:
        """Refuse in one line what would be an error of each kind of background."""
        share = given.get("quantile") if isinstance(given, dict) and len(given) == 1 else None
        number = isinstance(given, int | float) and not isinstance(given, bool) and given > 0
        within = isinstance(share, int | float) and 0 < share < 1
        if not (given is None or given == "otsu" or number or within):
            raise ValueError(
                "expected a number above 0, 'otsu', or {quantile: q} with q between 0 and 1; "
                f"got {quoted(given)}"
            )
        return given


class Par(Strict):
    """Pixel-adaptive refinement, see `wsss_core.refine.par`."""

    iterations: int = Field(10, ge=1)
    dilations: list[int] = Field([1, 2, 4, 8, 12, 24], min_length=1)


class Matting(Strict):
    """Alpha matting between two thresholds, see `wsss_core.refine.alpha_matting`."""

    foreground: float = Field(0.8, gt=0, le=1)
    background: float = Field(0.2, ge=0, lt=1)
    epsilon: float = Field(1e-7, gt=0)

    @model_validator(mode="after")
    def _leaves_room(self) -> Self:
        if self.background >= self.foreground:
            raise ValueError("'background' has to lie below 'foreground'")
        return self


class Affinity(Strict):
    """AffinityNet and its random walk, see `wsss_core.refine.affinity.heads`; learns from CAMs."""

    preset: Literal["psa", "irn", "transcam", "thesis"] = "psa"
    epochs: int | None = Field(None, ge=1)
    layers: list[int | str] | None = Field(None, min_length=1)


class Boundary(Affinity):
    """IRN's boundary map and its random walk, see `wsss_core.refine.affinity.heads`."""

    preset: Literal["psa", "irn", "transcam", "thesis"] = "irn"


class Sam(Strict):
    """Masks of a Segment Anything model, merged with the CAM; see `wsss_core.refine.foundation`.

    Without `weights`, chains with this step are listed as not run.
    """

    weights: LocalPath | None = None
    rule: Literal["thesis", "sam_wsss"] = "thesis"
    points_per_side: int = Field(8, ge=1, le=64)
    pred_iou: float = Field(0.7, ge=0, le=1)
    stability: float = Field(0.85, ge=0, le=1)
    minimum_area: int = Field(20, ge=0)
    seed_threshold: float = Field(0.3, ge=0, le=1)


class Clip(Strict):
    """CAMs weighted by CLIP's similarity to prompts; see `wsss_core.refine.foundation`.

    Without `weights`, chains with this step are listed as not run. A class without prompts is
    prompted by its name.
    """

    weights: LocalPath | None = None
    prompts: dict[str, list[str]] = Field(default_factory=dict)
    background: list[str] = Field(
        ["a photo of the sky", "a photo of clouds", "a photo of a building", "a photo of trees"],
        min_length=1,
    )


class SaliencyStep(Strict):
    """Saliency maps beside the scores; see `wsss_core.refine.steps.saliency`.

    `maps` is a folder of maps by the images' names, `model` an ONNX file or a folder that
    transformers saved. Without either the colours of the image say what is salient.
    """

    maps: LocalPath | None = None
    model: LocalPath | None = None
    how: SaliencyUse = "guide"
    low: float = Field(0.25, ge=0, le=1)
    high: float = Field(0.7, ge=0, le=1)
    cut: float = Field(0.5, ge=0, le=1)
    preset: CrfPreset = "thesis"

    @model_validator(mode="after")
    def _make_sense(self) -> Self:
        if self.maps is not None and self.model is not None:
            raise ValueError("maps and model are both given; expected one of them")
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        return self


STEP_SETTINGS: dict[str, type[Strict]] = {
    "crf": Crf,
    "par": Par,
    "matting": Matting,
    "affinity": Affinity,
    "boundary": Boundary,
    "sam": Sam,
    "clip": Clip,
    "saliency": SaliencyStep,
}


PREPARED_STEPS = ("affinity", "boundary", "sam", "clip", "saliency")
"""Steps that learn from maps or see all images first; they give no second opinion."""


class Condition(Strict):
    """The images that a step is applied to: `{if: {score: ..., above: ...}, then: STEP}`.

    `score` needs no label, see `wsss_core.refine.label_free`. `agreement` compares the maps with
    those that the steps `with` make of them; without `with`, those of the step itself.
    """

    score: LabelFreeScore
    second: list[str | dict[str, Any]] | None = Field(None, alias="with", min_length=1)
    above: float | None = Field(None, ge=0, lt=1)
    below: float | None = Field(None, gt=0, le=1)

    @model_validator(mode="before")
    @classmethod
    def _one_step_is_a_list(cls, given: Any) -> Any:
        one = given.get("with") if isinstance(given, dict) else None
        return {**given, "with": [one]} if isinstance(one, str | dict) else given

    @model_validator(mode="after")
    def _chooses(self) -> Self:
        if self.above is None and self.below is None:
            raise ValueError("expected 'above', 'below' or both")
        if self.above is not None and self.below is not None and self.above >= self.below:
            raise ValueError("no score lies above 'above' and below 'below'")
        if self.second is not None and self.score != "agreement":
            raise ValueError(f"'with' is for the score agreement; {self.score} compares nothing")
        return self


CONDITIONAL = "conditional"
"""The kind of a step that is applied to some images alone."""
