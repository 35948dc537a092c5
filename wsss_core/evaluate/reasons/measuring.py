"""The reasons of one network on images with masks: all alterations, in few passes."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsss_core.errors import InputError
from wsss_core.evaluate.reasons.alterations import (
    Region,
    grey,
    grey_box,
    on_background,
    tiled_box,
    with_noise,
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


BATCH = 64
"""Images that a network is given at a time."""

Regions = tuple[NDArray[np.bool_], NDArray[np.bool_]]
"""The pixels of an object, and all others but void ones."""

_LACKING = "lacking "  # before a region's name, of an image without the class

_Name = tuple[str, float]
"""An alteration and its sigma, 0 where it has none."""


@dataclass(frozen=True)
class ReasonSettings:
    """How reasons are measured. A study file takes its fields, bounds included, from here.

    Attributes:
        sigmas: the noise, as shares of the range of values.
        draws: how often noise is drawn for each image and sigma.
        steps: in how many steps pixels are deleted and inserted.
        most_images: the most images of a class that are altered, drawn at random.
        seed: of the noise, of the choice of images and of backgrounds. Each image has noise of its
            own, the same for every network.

    Raises:
        InputError: a value out of its range.

    """

    sigmas: tuple[float, ...] = field(
        default=(0.125, 0.25, 0.5, 0.75), metadata={"min_length": 1, "max_length": 20}
    )
    draws: int = field(default=3, metadata={"ge": 1, "le": 100})
    steps: int = field(default=16, metadata={"ge": 1, "le": 1000})
    most_images: int = field(default=200, metadata={"ge": 1})
    seed: int = field(default=0, metadata={"ge": 0})

    def __post_init__(self) -> None:
        if not self.sigmas or not all(0 < sigma < math.inf for sigma in self.sigmas):
            raise InputError(f"sigmas: expected one or more above 0, got {list(self.sigmas)}")
        for name in ("draws", "steps", "most_images"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: expected 1 or more, got {getattr(self, name)}")

    def chosen(self, places: Sequence[int]) -> list[int]:
        """Return the places of the images that are altered: all, or so many drawn at random."""
        if len(places) <= self.most_images:
            return list(places)
        drawn = np.random.default_rng(self.seed).permutation(len(places))[: self.most_images]
        return [places[index] for index in sorted(drawn.tolist())]


@dataclass(frozen=True)
class ClassReasons:
    """What a network needs to find one class, over the N images that show it.

    The class is found where its logit is above 0. All are shares in [0, 1].

    Attributes:
        images: N.
        clean: of these images as they are, those in which it is found.
        ablated: the same under each of `ABLATIONS`; NaN without an image that lacks the class, of
            the ablation that needs one.
        noisy_object: float64 [sigmas], balanced accuracy with noise on the object: the mean of the
            share found of these images and of the share not found of as many images without the
            class, with noise in the same places. A network that takes noise for the class gains
            nothing by it. Without any such image, the share found alone.
        noisy_context: float64 [sigmas], with the same noise on all but the object.

    """

    images: int
    clean: float
    ablated: dict[Ablation, float]
    noisy_object: NDArray[np.float64]
    noisy_context: NDArray[np.float64]

    @property
    def sensitivity(self) -> NDArray[np.float64]:
        """Return the relative foreground sensitivity at each sigma, float64 [sigmas]."""
        return relative_foreground_sensitivity(self.noisy_object, self.noisy_context)


def measure_reasons(
    predict: Predict,
    images: NDArray[np.uint8],
    number: int,
    regions: Mapping[int, Regions] | Callable[[int], Regions],
    shown: Sequence[int],
    backgrounds: Sequence[int],
    settings: ReasonSettings | None = None,
) -> ClassReasons:
    """Alter the images that show a class and see whether the network still finds it.

    Args:
        predict: gives logits.
        images: uint8 [M, S, S, 3], all images; may be memory-mapped.
        number: the class's place in the logits.
        regions: gives, for a place in `images`, the class's pixels and all others but void ones,
            bool [S, S] each, see `object_and_context`.
        shown: places of the images that show the class.
        backgrounds: places of the images that lack it.
        settings: None: the defaults.

    Raises:
        InputError: regions of other types or shapes.

    Example:
        >>> images = np.full((2, 4, 4, 3), 90, np.uint8)
        >>> images[0, :2] = 200  # bright sky above the object, which is darker
        >>> held = np.arange(16).reshape(4, 4) >= 8
        >>> sky = lambda batch: batch[:, :2].mean(axis=(1, 2, 3))[:, None] - 150.0
        >>> found = measure_reasons(sky, images, 0, {0: (held, ~held)}, [0], [1])
        >>> found.clean, found.ablated["object_grey"], found.ablated["context_grey"]
        (1.0, 1.0, 0.0)

    """
    chosen = settings or ReasonSettings()
    regions_of = regions if callable(regions) else regions.__getitem__
    places = chosen.chosen(shown)
    answers: dict[_Name, list[bool]] = defaultdict(list)
    batch: list[tuple[_Name, NDArray[np.uint8]]] = []

    def ask() -> None:
        found = predict(np.stack([altered for _, altered in batch]))[:, number] > 0
        for (name, _), answer in zip(batch, found.tolist(), strict=True):
            answers[name].append(answer)
        batch.clear()

    for place in places:
        made_progress()
        for named in _altered(images, place, *regions_of(place), backgrounds, chosen):
            batch.append(named)
            if len(batch) == BATCH:
                ask()
    if batch:
        ask()

    def share(name: str, sigma: float = 0.0) -> float:
        given = answers.get((name, sigma))
        return float(np.mean(given)) if given else float("nan")

    def under_noise(region: Region) -> NDArray[np.float64]:
        found = np.array([share(region, sigma) for sigma in chosen.sigmas])
        if not len(backgrounds):
            return found
        wrongly = np.array([share(_LACKING + region, sigma) for sigma in chosen.sigmas])
        return (found + 1 - wrongly) / 2

    return ClassReasons(
        len(places),
        share("clean"),
        {name: share(name) for name in ABLATIONS},
        under_noise(Region.OBJECT),
        under_noise(Region.CONTEXT),
    )


def _altered(
    images: NDArray[np.uint8],
    place: int,
    held: NDArray[np.bool_],
    around: NDArray[np.bool_],
    backgrounds: Sequence[int],
    settings: ReasonSettings,
) -> Iterator[tuple[_Name, NDArray[np.uint8]]]:
    """Yield the image and all its alterations, each with its name and sigma."""
    image = np.asarray(images[place])
    yield ("clean", 0.0), image
    yield ("object_grey", 0.0), grey(image, held)
    yield ("object_box", 0.0), grey_box(image, held)
    yield ("object_tiled", 0.0), tiled_box(image, held)
    yield ("context_grey", 0.0), grey(image, around)
    noised = [("", image)]
    if len(backgrounds):
        chosen = np.random.default_rng([settings.seed, place]).choice(backgrounds)
        other = np.asarray(images[chosen])
        yield ("other_background", 0.0), on_background(image, held, other)
        noised.append((_LACKING, other))
    for strength, sigma in enumerate(settings.sigmas):
        for draw in range(settings.draws):
            drawn = np.random.default_rng([settings.seed, place, strength, draw])
            noise = drawn.standard_normal(image.shape, dtype=np.float32)
            for kind, picture in noised:
                changed = with_noise(picture, sigma, noise)
                for region, pixels in ((Region.OBJECT, held), (Region.CONTEXT, around)):
                    yield (kind + region, sigma), on_background(changed, pixels, picture)
