"""The steps of a refinement chain: what a step is, and which there are by their names in a study.

A step takes score maps and gives better ones. What planning has to know of a built-in step (its
version, what it needs beforehand, whether it can run here) is known without loading what computes
it. A step of a researcher's own is a plug-in, called as f(images, scores, **settings).
"""

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsss_core.data.file_hashes import file_hashes
from wsss_core.errors import InputError
from wsss_core.evaluate import resize
from wsss_core.plugins import is_plugin, load_plugin
from wsss_core.refine.foundation.models import FoundationKind, check_foundation
from wsss_core.refine.saliency.map_folder import maps_digest
from wsss_core.refine.saliency.models import saliency_files

if TYPE_CHECKING:
    from wsss_core.backbones import Network

Images = NDArray[np.uint8]
Scores = NDArray[np.float32]


class Known(NamedTuple):
    """All that a step was given beforehand, see `Refiner.__call__`."""

    image_features: Path | None
    fitted_state: Path | None
    network: "Network | None"


class Refiner:
    """One step of a chain.

    Some steps have to see the images alone first (a large model, once for all trials), others have
    to learn from the training images' CAMs (once a trained network); what that gives lies in a
    folder. `STEP_KINDS` says which step needs what.

    Attributes:
        weights_digests: what the files of a folder of weights must have as digests, sorted by name;
            compared when the weights are loaded. None: any.
        by_name: whether `compute_image_features` takes the images' names too, as `names`.

    """

    weights_digests: Sequence[str] | None = None
    by_name: bool = False

    def compute_image_features(
        self, images: Images, classes: Sequence[str], folder: Path, *, device: str = "cpu"
    ) -> None:
        """Write to a folder what follows from images uint8 [n, H, W, 3] alone."""
        raise NotImplementedError

    def fit(
        self,
        network: "Network",
        images: Images,
        scores: Scores,
        labels: NDArray[np.bool_],
        folder: Path,
        *,
        seed: int,
        device: str = "cpu",
    ) -> None:
        """Learn from the training images' CAMs and write what was learnt to a folder.

        Args:
            network: the trained network, on the device.
            images: uint8 [N, S, S, 3].
            scores: float32 [N, K, h, w], 0..1.
            labels: bool [N, K], image-level.
            folder: an empty folder for the fitted state.
            seed: decides all that is random.
            device: where the step computes.

        """
        raise NotImplementedError

    def __call__(
        self,
        images: Images,
        scores: Scores,
        *,
        image_features: Path | None = None,
        fitted_state: Path | None = None,
        network: "Network | None" = None,
    ) -> Scores:
        """Refine maps.

        Args:
            images: uint8 [n, S, S, 3].
            scores: float32 [n, K, h, w], 0..1, at a grid of their own.
            image_features: what `compute_image_features` wrote for these very images.
            fitted_state: what `fit` wrote.
            network: the trained network; for a step with a fitted state.

        Returns:
            float32 [n, K, h', w'], 0..1.

        """
        return self.refine(images, scores, Known(image_features, fitted_state, network))

    def refine(self, images: Images, scores: Scores, known: Known) -> Scores:
        """Refine maps; see `__call__`."""
        raise NotImplementedError


def at_image_size(scores: Scores, images: Images) -> Scores:
    """Resize maps float32 [n, K, h, w] bilinearly to images uint8 [n, H, W, 3]."""
    return resize(scores, (images.shape[1], images.shape[2]))


@dataclass(frozen=True)
class StepKind:
    """What is known of a built-in step without loading it.

    Attributes:
        module: where its class is defined.
        refiner: the name of its class, a `Refiner`.
        version: part of its keys; raised by hand when its code changes its result.
        image_features: it has to see the images alone first (a large model), once for all trials.
        fitted_state: it has to learn from the CAMs of the training images first, once a network.
        check: called with its settings; raises InputError where the step cannot run.
        content: called with its settings; returns those that name files, by the files' digests.
        later: settings that its features of images do not depend on.
        package: the package of an extra that it needs; None: none.

    """

    module: str
    refiner: str
    version: int = 1
    image_features: bool = False
    fitted_state: bool = False
    check: Callable[[Mapping[str, Any]], None] = lambda settings: None
    content: Callable[[Mapping[str, Any]], dict[str, list[str]]] = lambda settings: {}
    later: tuple[str, ...] = ()
    package: str | None = None

    def load(self) -> type[Refiner]:
        """Import its class."""
        return getattr(importlib.import_module(self.module), self.refiner)


def _check_crf(settings: Mapping[str, Any]) -> None:
    if settings.get("backend") == "pydensecrf" and importlib.util.find_spec("pydensecrf") is None:
        raise InputError(
            "refiner crf: backend pydensecrf is not installed; "
            "pip install 'wsss-studies[crf]', or take backend torch"
        )


def _check_matting(settings: Mapping[str, Any]) -> None:
    if (lacks := lacking("matting", settings)) is not None:
        raise InputError(f"refiner matting: {lacks}")


def _check_conditional(settings: Mapping[str, Any]) -> None:
    for step in (settings["then"], *settings.get("second", ())):
        check_step(step["kind"], step["arguments"])


def _check_weights(kind: FoundationKind) -> Callable[[Mapping[str, Any]], None]:
    return lambda settings: check_foundation(kind, settings.get("weights"))


def _check_saliency(settings: Mapping[str, Any]) -> None:
    if settings.get("maps") is not None and settings.get("model") is not None:
        raise InputError("refiner saliency: maps and model are both given; expected one of them")
    _content_of_saliency(settings)


def _content_of_saliency(settings: Mapping[str, Any]) -> dict[str, list[str]]:
    if (maps := settings.get("maps")) is not None:
        return {"maps": [maps_digest(maps)]}
    if (model := settings.get("model")) is not None:
        return {"model": file_hashes(saliency_files(model))}
    return {}


STEP_KINDS: dict[str, StepKind] = {
    "crf": StepKind("wsss_core.refine.steps.pixel", "DenseCrf", check=_check_crf),
    "par": StepKind("wsss_core.refine.steps.pixel", "PixelAdaptive"),
    "matting": StepKind(
        "wsss_core.refine.steps.pixel", "AlphaMatting", check=_check_matting, package="pymatting"
    ),
    "affinity": StepKind("wsss_core.refine.steps.walk", "AffinityWalk", fitted_state=True),
    "boundary": StepKind("wsss_core.refine.steps.walk", "BoundaryWalk", fitted_state=True),
    "sam": StepKind(
        "wsss_core.refine.steps.foundation",
        "SegmentAnything",
        image_features=True,
        check=_check_weights("sam"),
    ),
    "clip": StepKind(
        "wsss_core.refine.steps.foundation",
        "ClipAided",
        image_features=True,
        check=_check_weights("clip"),
    ),
    "saliency": StepKind(
        "wsss_core.refine.steps.saliency",
        "Saliency",
        image_features=True,
        check=_check_saliency,
        content=_content_of_saliency,
        later=("how", "low", "high", "cut", "preset"),
    ),
    "conditional": StepKind(
        "wsss_core.refine.steps.conditional", "Conditional", check=_check_conditional
    ),
}


class PlugIn(Refiner):
    """A researcher's own step: f(images, scores, **settings) -> scores."""

    def __init__(self, name: str, settings: Mapping[str, Any]) -> None:
        self._call: Callable[..., Any] = load_plugin("refine", name)
        self._settings = dict(settings)

    def refine(self, images: Images, scores: Scores, known: Known) -> Scores:
        """See `Refiner`."""
        return np.asarray(self._call(images, scores, **self._settings), np.float32)


def make_refiner(
    kind: str, settings: Mapping[str, Any], weights_digests: Sequence[str] | None = None
) -> Refiner:
    """Return a step by its name in `STEP_KINDS`, or a plug-in "module:attribute".

    Args:
        kind: the name.
        settings: the keyword arguments of its class.
        weights_digests: see `Refiner`.

    """
    made = PlugIn(kind, settings) if is_plugin(kind) else STEP_KINDS[kind].load()(**settings)
    made.weights_digests = weights_digests
    return made


def lacking(kind: str, settings: Mapping[str, Any]) -> str | None:
    """Return what a study has to be given before a step can run here; None: nothing.

    The chains of a study that hold such a step are listed as not run, and the others run.
    """
    if is_plugin(kind):
        return None
    if settings.get("weights", "none") is None:
        return f"no weights were given: refiners.{kind}.weights"
    package = STEP_KINDS[kind].package
    if package is not None and importlib.util.find_spec(package) is None:
        return f"{package} is not installed; pip install 'wsss-studies[{kind}]'"
    return None


def check_step(kind: str, settings: Mapping[str, Any]) -> None:
    """Raise InputError where a step cannot run: weights, a package or a plug-in is missing."""
    if is_plugin(kind):
        load_plugin("refine", kind)
    else:
        STEP_KINDS[kind].check(settings)
