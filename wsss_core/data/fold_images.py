"""The images of a fold's role, joined from the splits that they come from."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wsss_core.data.folds import Fold, Place, group_of
from wsss_core.data.image_set import COUNTERFACTUALS, JOINING, SPLITS, ImageSet, PixelMaps


def fold_images(splits: Mapping[str, ImageSet], fold: Fold, role: str) -> ImageSet:
    """Return the images of a role; those of "train" have labels alone.

    Args:
        splits: "train", "tune" and "test" as the data set has them.
        fold: the fold.
        role: "train", "tune" or "test".

    Returns:
        An image's name begins with the split it comes from: "tune/images/a.jpg".

    """
    return chosen_images(splits, fold.roles[role], labels_alone=role == "train")


def chosen_images(
    splits: Mapping[str, ImageSet], places: Sequence[Place], *, labels_alone: bool
) -> ImageSet:
    """Return images of several splits as one split.

    Args:
        splits: the splits of `places` as the data set has them.
        places: of the images; those of one split come together.
        labels_alone: whether masks and contexts are left out.

    Returns:
        An image's name begins with the split it comes from: "tune/images/a.jpg".

    """
    chosen = {
        split: [index for of, index in places if of == split]
        for split in (*SPLITS, JOINING)
        if any(of == split for of, _ in places)
    }
    first = splits[next(iter(chosen))]

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(splits[s], name)[at] for s, at in chosen.items()])

    def names(name: str) -> tuple[str, ...]:
        return tuple(getattr(splits[s], name)[i] for s, at in chosen.items() for i in at)

    identifiers = tuple(f"{s}/{splits[s].identifiers[i]}" for s, at in chosen.items() for i in at)
    groups = tuple(
        group_of(s, splits[s].identifiers[i], splits[s].groups[i])
        for s, at in chosen.items()
        for i in at
    )
    altered: dict[str, Any] = {
        name: np.concatenate([getattr(splits[s], name)[:, at] for s, at in chosen.items()], axis=1)
        for name in COUNTERFACTUALS
        if not labels_alone and all(getattr(splits[s], name) is not None for s in chosen)
    }
    return ImageSet(
        classes=first.classes,
        images=joined("images"),
        labels=joined("labels"),
        identifiers=identifiers,
        groups=groups,
        masks=None if labels_alone else _joined_maps(splits, chosen, "masks"),
        contexts=None if labels_alone else _joined_maps(splits, chosen, "contexts"),
        sources=names("sources"),
        cameras=names("cameras"),
        flags=names("flags"),
        **altered,
    )


def _joined_maps(
    splits: Mapping[str, ImageSet], chosen: Mapping[str, Sequence[int]], name: str
) -> PixelMaps | None:
    """Join the chosen maps of some splits; where a split has none, its maps are absent."""
    found: list[np.ndarray | None] = []
    shapes: list[tuple[int, int]] = []
    for split, indices in chosen.items():
        maps: PixelMaps | None = getattr(splits[split], name)
        sized = splits[split].masks if maps is None else maps
        assert sized is not None  # images of a role with masks are of splits with masks
        for index in indices:
            found.append(None if maps is None else maps[index])
            shapes.append(sized.shape(index))
    if name == "contexts" and all(one is None for one in found):
        return None
    return PixelMaps.from_arrays(found, shapes)
