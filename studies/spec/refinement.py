"""The section `chains` of a study file: chains of steps that are scored beside the plain CAM.

    refiners:                       # settings of steps by name; built-in names need none
      crf: {preset: thesis}
      strong_crf: {use: crf, preset: psa}
    chains:
      CRF: [multi_scale, crf]       # a name and its steps; a plain list is one chain without a name

A chain begins with steps that make the CAM (`CAM_STEPS`). Refiners follow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from reports.names import OPTIMAL, PLAIN
from studies.spec.base import LocalPath, Strict
from studies.spec.settings import CamChange
from wsss_core.errors import nearest, quoted
from wsss_core.plugins import is_plugin
from wsss_core.refine.crf.settings import CrfBackend, CrfPreset
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


class Crf(Strict):
    """Dense CRF, see `wsss_core.refine.dense_crf`.

    `background` replaces the preset's exponent, threshold or score of the background. It decides
    where the seed ends, so it has to fit the maps. The presets fit maps that are low off the
    object.
    """

    preset: CrfPreset = "thesis"
    background: float | None = Field(None, gt=0)
    backend: CrfBackend = "torch"


class Par(Strict):
    """Pixel-adaptive refinement, see `wsss_core.refine.par`."""

    iterations: int = Field(10, ge=1)
    dilations: list[int] = Field([1, 2, 4, 8, 12, 24], min_length=1)


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
    "affinity": Affinity,
    "boundary": Boundary,
    "sam": Sam,
    "clip": Clip,
    "saliency": SaliencyStep,
}


TABLES_OWN_ROWS = (PLAIN, OPTIMAL)
"""Rows of every table of chains: the plain CAM, and the per-image oracle's upper bound."""


class PublishedSeeds(Strict):
    """Another work's figures for a chain, in percent, under its worse and its best seed.

    `of` names the row that they belong to, where the study has several.
    """

    worse: float | None = Field(None, ge=0, le=100)
    best: float | None = Field(None, ge=0, le=100)
    of: str | None = None


class ChainEntry(Strict):
    """A chain as the file writes it: names of steps, or steps with their own settings.

    An entry without steps gives another work's figures for a row of `TABLES_OWN_ROWS`.
    """

    steps: list[str | dict[str, dict[str, Any] | None]] = Field(default_factory=list)
    published: PublishedSeeds | None = None

    @model_validator(mode="after")
    def _one_name_a_step(self) -> Self:
        for step in self.steps:
            if isinstance(step, dict) and len(step) != 1:
                raise ValueError(
                    f"a step with settings has one name: {{crf: {{...}}}}; got {quoted(step)}"
                )
        return self


@dataclass(frozen=True)
class ResolvedStep:
    """A refiner with all its settings.

    Attributes:
        kind: a name of `STEP_SETTINGS`, or a plug-in "module:attribute".
        settings: JSON-able values for every setting of the kind; a plug-in's as given.

    """

    kind: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class ResolvedChain:
    """A chain with the settings of its steps.

    Attributes:
        name: the chain's name in tables.
        cam: changes to the study's CAM settings.
        steps: the refiners in their order.

    """

    name: str
    cam: dict[str, Any]
    steps: tuple[ResolvedStep, ...]


def named_chains(given: Any) -> Any:
    """Return a section `chains` as name -> entry; a list is one chain, named by its steps."""
    if isinstance(given, list):
        given = {" + ".join(_step_name(step) for step in given): given}
    if not isinstance(given, dict):
        return given
    return {
        name: {"steps": entry} if isinstance(entry, list) else entry
        for name, entry in given.items()
    }


def _step_name(step: Any) -> str:
    return str(next(iter(step))) if isinstance(step, dict) and step else str(step)


def resolve_chain(
    name: str, entry: ChainEntry, refiners: Mapping[str, dict[str, Any]]
) -> ResolvedChain:
    """Return a chain with the checked settings of every step.

    Args:
        name: the chain's name in tables.
        entry: the chain as the file writes it.
        refiners: the study's section `refiners`: name -> settings.

    Raises:
        ValueError: a step is unknown, a CAM step follows a refiner, or settings do not fit.

    """
    cam: dict[str, Any] = {}
    steps: list[ResolvedStep] = []
    for written in entry.steps:
        step = _step_name(written)
        own = next(iter(written.values())) if isinstance(written, dict) else None
        settings = {**refiners.get(step, {}), **(own or {})}
        kind = str(settings.pop("use", step))
        where = f"chains.{name}: step {step!r}"
        if kind in CAM_STEPS:
            if steps:
                raise ValueError(f"{where} makes the CAM; it must precede the refiners")
            cam |= _checked(where, CamChange, {**CAM_STEPS[kind], **settings})
        elif kind in STEP_SETTINGS:
            steps.append(ResolvedStep(kind, _checked(where, STEP_SETTINGS[kind], settings)))
        elif is_plugin(kind):
            steps.append(ResolvedStep(kind, settings))
        else:
            known = [*CAM_STEPS, *STEP_SETTINGS, *refiners]
            near = nearest(kind, known, 0.5)
            hint = f"nearest: {near!r}" if near else f"expected one of {', '.join(known)}"
            raise ValueError(f"{where} is unknown; {hint}, or a plug-in module:attribute")
    return ResolvedChain(name, cam, tuple(steps))


def _checked(where: str, model: type[Strict], settings: dict[str, Any]) -> dict[str, Any]:
    try:
        checked = model.model_validate(settings)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
        raise ValueError(f"{where}: {path + ': ' if path else ''}{said}") from error
    return checked.model_dump(mode="json", exclude_none=model is CamChange)
