"""How images look, whatever they show: dark or bright, grey or colourful, even or full of contrast.

Such properties tell apart times of day, weather and cameras, of which no table may say anything. An
image is called dark if it belongs to the darkest quarter of its splits, and so on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from wsss_core.data.description.facts import ImageFacts, Look

_NAMES = {
    "brightness": ("dark", "bright"),
    "contrast": ("even", "full of contrast"),
    "colour": ("grey", "colourful"),
}
"""Property -> what its lowest and its highest quarter are called."""


def look_of(thumbnail: np.ndarray) -> Look:
    """Return how an image looks.

    Args:
        thumbnail: see `wsss_core.data.thumbnails`.

    >>> look_of(np.full(2304, 200, np.uint8))
    Look(brightness=200.0, contrast=0.0, colour=0.0)
    """
    values = thumbnail.reshape(-1, 3).astype(np.float32)
    grey = values.mean(axis=1)
    colour = values.max(axis=1) - values.min(axis=1)
    return Look(float(grey.mean()), float(grey.std()), float(colour.mean()))


def with_looks(
    images: Sequence[ImageFacts], scopes: Mapping[str, Sequence[str]]
) -> tuple[ImageFacts, ...]:
    """Return the images with the names of how they look.

    Args:
        images: of all splits.
        scopes: name -> the splits whose images are compared.

    """
    found = list(images)
    for splits in scopes.values():
        places = [n for n, one in enumerate(images) if one.split in splits and one.look]
        for quarters in _quarters([images[place].look for place in places]):
            for place, named in zip(places, quarters, strict=True):
                if named:
                    found[place] = replace(found[place], looks=(*found[place].looks, named))
    return tuple(found)


def _quarters(looks: Sequence[Look | None]) -> list[list[str]]:
    """Return for each property what each image is called by it, or nothing."""
    named = []
    for name, (least, most) in _NAMES.items():
        values = np.array([getattr(look, name) for look in looks])
        if not len(values):
            continue
        low, high = np.quantile(values, (0.25, 0.75))
        # Where most images are alike in it, as drawings are, it tells nothing.
        calls = [(values <= low, least), (values >= high, most)]
        named += [
            [word if is_so else "" for is_so in which]
            for which, word in calls
            if which.mean() <= 0.5
        ]
    return named
