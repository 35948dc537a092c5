"""The reasons of one network on images with masks: all alterations, in few passes."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsss_core.errors import InputError
from wsss_core.evaluate.reasons.alterations import (
    Region,
    grey,
    grey_box,
    noisy,
    on_background,
    tiled_box,
)
from wsss_core.evaluate.reasons.deletion import Predict
from wsss_core.evaluate.reasons.sensitivity import relative_foreground_sensitivity
from wsss_core.progress import made_progress

Ablation = Literal["object_grey", "object_box", "object_tiled", "context_grey", "other_background"]

ABLATIONS: tuple[Ablation, ...] = (
    "object_grey",
    "object_box",
    "object_tiled",
    "context_grey",
    "other_background",
)
"""The object covered by grey, its box by grey, its box by tiles of what lies beside it, all but the
object by grey, and the object on the image of another that lacks the class."""


_Name = tuple[str, float]
"""An alteration and its sigma, 0 where it has none."""


@dataclass(frozen=True)
class ReasonSettings:
    """How reasons are measured.

    Attributes:
        sigmas: the noise, as shares of the range of values.
        draws: how often noise is drawn for each image and sigma.
        seed: of the noise and of the choice of backgrounds. Each image has noise of its own, the
            same for every network.
        batch: how many images are given to the network at a time.

    """

    sigmas: tuple[float, ...] = (0.125, 0.25, 0.5, 0.75)
    draws: int = 3
    seed: int = 0
    batch: int = 64

    def __post_init__(self) -> None:
        if not self.sigmas or not all(sigma > 0 for sigma in self.sigmas):
            raise InputError(f"sigmas: expected one or more above 0, got {list(self.sigmas)}")
        for name in ("draws", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: expected 1 or more, got {getattr(self, name)}")


@dataclass(frozen=True)
class ClassReasons:
    """What a network needs to find one class, over the N images that hold it and show it.

    Accuracies are shares of these images whose logit is above 0, in [0, 1].

    Attributes:
        images: N.
        clean: the accuracy on the images as they are.
        noisy_object: float64 [sigmas], the accuracy with noise on the object, over all draws.
        noisy_context: float64 [sigmas], with the same noise on all else.
        ablated: the accuracy under each of `ABLATIONS`; NaN where it cannot be had (no image lacks
            the class, so that there is no other background).

    """

    images: int
    clean: float
    noisy_object: NDArray[np.float64]
    noisy_context: NDArray[np.float64]
    ablated: dict[Ablation, float]

    @property
    def sensitivity(self) -> NDArray[np.float64]:
        """Return the relative foreground sensitivity at each sigma, float64 [sigmas]."""
        return relative_foreground_sensitivity(self.noisy_object, self.noisy_context)


def measure_reasons(
    predict: Predict,
    images: NDArray[np.uint8],
    number: int,
    objects: NDArray[np.bool_],
    contexts: NDArray[np.bool_],
    backgrounds: NDArray[np.intp] | None = None,
    settings: ReasonSettings | None = None,
) -> ClassReasons:
    """Alter the images that show a class and see whether the network still finds it.

    Args:
        predict: gives logits.
        images: uint8 [M, S, S, 3], all images; may be memory-mapped.
        number: the class's place in the logits.
        objects: bool [M, S, S], the class's pixels, see `object_and_context`. Images without any
            are not asked.
        contexts: bool [M, S, S], all other pixels but void ones.
        backgrounds: places of the images that lack the class; None: those without object pixels.
        settings: None: the defaults.

    Raises:
        InputError: arrays of other types or shapes.

    Example:
        >>> images = np.full((2, 4, 4, 3), 90, np.uint8)
        >>> images[0, :2] = 200  # bright sky above the object, which is darker
        >>> objects = np.zeros((2, 4, 4), bool)
        >>> objects[0, 2:] = True
        >>> sky = lambda batch: batch[:, :2].mean(axis=(1, 2, 3))[:, None] - 150.0
        >>> found = measure_reasons(sky, images, 0, objects, ~objects)
        >>> found.clean, found.ablated["object_grey"], found.ablated["context_grey"]
        (1.0, 1.0, 0.0)

    """
    chosen = settings or ReasonSettings()
    for name, regions in (("objects", objects), ("contexts", contexts)):
        if regions.dtype != np.bool_ or regions.shape != images.shape[:3]:
            raise InputError(
                f"{name}: expected bool {list(images.shape[:3])} as the images, got "
                f"{regions.dtype} {list(regions.shape)}"
            )
    shown = np.flatnonzero(objects.any(axis=(1, 2)))
    if backgrounds is None:
        backgrounds = np.flatnonzero(~objects.any(axis=(1, 2)))
    if not len(shown):
        nothing = np.full(len(chosen.sigmas), np.nan)
        absent = dict.fromkeys(ABLATIONS, float("nan"))
        return ClassReasons(0, float("nan"), nothing, nothing.copy(), absent)

    answers = _answers(predict, images, number, shown, objects, contexts, backgrounds, chosen)

    def share(name: str, sigma: float = 0.0) -> float:
        given = answers.get((name, sigma))
        return float(np.mean(given)) if given else float("nan")

    return ClassReasons(
        len(shown),
        share("clean"),
        np.array([share(Region.OBJECT, sigma) for sigma in chosen.sigmas]),
        np.array([share(Region.CONTEXT, sigma) for sigma in chosen.sigmas]),
        {name: share(name) for name in ABLATIONS},
    )


def _answers(
    predict: Predict,
    images: NDArray[np.uint8],
    number: int,
    shown: NDArray[np.intp],
    objects: NDArray[np.bool_],
    contexts: NDArray[np.bool_],
    backgrounds: NDArray[np.intp],
    settings: ReasonSettings,
) -> dict[_Name, list[bool]]:
    """Return by alteration of which altered images the network says that they hold the class."""
    answers: dict[_Name, list[bool]] = defaultdict(list)
    batch: list[tuple[_Name, NDArray[np.uint8]]] = []

    def ask() -> None:
        found = predict(np.stack([altered for _, altered in batch]))[:, number] > 0
        for (name, _), answer in zip(batch, found.tolist(), strict=True):
            answers[name].append(answer)
        batch.clear()

    for place in shown.tolist():
        made_progress()
        for named in _altered(
            images, place, objects[place], contexts[place], backgrounds, settings
        ):
            batch.append(named)
            if len(batch) == settings.batch:
                ask()
    if batch:
        ask()
    return answers


def _altered(
    images: NDArray[np.uint8],
    place: int,
    held: NDArray[np.bool_],
    around: NDArray[np.bool_],
    backgrounds: NDArray[np.intp],
    settings: ReasonSettings,
) -> Iterator[tuple[_Name, NDArray[np.uint8]]]:
    """Yield the image and all its alterations, each with its name and sigma."""
    image = np.asarray(images[place])
    yield ("clean", 0.0), image
    yield ("object_grey", 0.0), grey(image, held)
    yield ("object_box", 0.0), grey_box(image, held)
    yield ("object_tiled", 0.0), tiled_box(image, held)
    yield ("context_grey", 0.0), grey(image, around)
    if len(backgrounds):
        chosen = np.random.default_rng([settings.seed, place]).choice(backgrounds)
        yield ("other_background", 0.0), on_background(image, held, np.asarray(images[chosen]))
    for strength, sigma in enumerate(settings.sigmas):
        for draw in range(settings.draws):
            for region, pixels in ((Region.OBJECT, held), (Region.CONTEXT, around)):
                drawn = np.random.default_rng([settings.seed, place, strength, draw])
                yield (region, sigma), noisy(image, pixels, sigma, drawn)
