"""The `cams` and `scores` stages: from trained networks to histograms as ledger rows.

Raw scores are kept as float16 at the network's own grid (stage `cams`). They are normalised there
by the study's named choice, resized to each mask, and quantised to 256 levels only then.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from studies.artifacts import ArtifactStore
from studies.keys import stage_key
from studies.training_stage import load_network
from wsss_core.cams import RawScores, class_weight_cams
from wsss_core.data.image_set import IGNORED, ImageSet
from wsss_core.evaluate import Normalisation, ScoreHistogram, normalise, quantise, resize
from wsss_core.training import CollapseError


def network_cams(
    unit: dict[str, Any],
    role: str,
    images: ImageSet,
    fingerprint: str,
    store: ArtifactStore,
    device: str,
) -> RawScores:
    """A trained network's raw CAMs and logits of a split, from the store if they are there.

    Raises:
        CollapseError: scores that are not finite (the last step ruined the network).

    """
    settings = {"cam": "class_weight", "role": role, "size": unit["settings"]["image_size"]}
    key = stage_key("cams", settings, parents=[unit["key"]], data=[fingerprint])
    if not store.has("cams", key):
        network = load_network(store, unit["key"], unit["settings"], role)
        scores = class_weight_cams(network, images.images, device=device)
        if not (np.isfinite(scores.maps).all() and np.isfinite(scores.logits).all()):
            raise CollapseError(f"the scores of the trained {role} are not finite", [])
        with store.build("cams", key, {"settings": settings, "parent": unit["key"]}) as folder:
            np.save(folder / "maps.npy", scores.maps)
            np.save(folder / "logits.npy", scores.logits)
    folder = store.path("cams", key)
    return RawScores(
        np.load(folder / "maps.npy", allow_pickle=False),
        np.load(folder / "logits.npy", allow_pickle=False),
    )


def score_rows(
    scores: RawScores, images: ImageSet, *, split: str, network: str, normalisation: Normalisation
) -> list[dict[str, Any]]:
    """One ledger row an image and class: its logit and its score histogram.

    Classes are scored one against the rest, each map against its own class's pixels.
    """
    rows = []
    normalised = normalise(scores.maps.astype(np.float32), normalisation)
    for index, identifier in enumerate(images.identifiers):
        mask = images.mask(index)
        ignored = mask == IGNORED
        levels = quantise(resize(normalised[index], mask.shape))
        for number, class_name in enumerate(images.classes):
            histogram = ScoreHistogram.from_scores(
                levels[number], mask == number + 1, ignore=ignored if ignored.any() else None
            )
            rows.append({
                "network": network,
                "split": split,
                "image": identifier,
                "group": images.groups[index],
                "class_name": class_name,
                "labelled": bool(images.labels[index, number]),
                "logit": float(scores.logits[index, number]),
                "foreground": histogram.foreground,
                "background": histogram.background,
            })  # fmt: skip
    return rows


def panel_rows(
    scores: RawScores, images: ImageSet, *, network: str, normalisation: Normalisation, count: int
) -> list[dict[str, Any]]:
    """Pictures of `count` test images a class, evenly spaced over those that hold it.

    The choice depends on the images alone, so every trial shows the same ones.
    """
    rows = []
    for number, class_name in enumerate(images.classes):
        holding = np.flatnonzero(images.labels[:, number])
        chosen = holding[np.unique(np.linspace(0, len(holding) - 1, count).astype(int))]
        for index in chosen if count and len(holding) else ():
            mask = images.mask(int(index))
            cam = normalise(scores.maps[index, number].astype(np.float32), normalisation)
            rows.append({
                "network": network,
                "split": "test",
                "image": images.identifiers[index],
                "class_name": class_name,
                "image_png": _png(np.asarray(images.images[index])),
                "mask_png": _png(np.where(mask == number + 1, 255, 0).astype(np.uint8)),
                "cam_png": _png(quantise(resize(cam, mask.shape))),
            })  # fmt: skip
    return rows


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
