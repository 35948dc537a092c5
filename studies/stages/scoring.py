"""The `scores` stage: from maps to histograms and example pictures, as ledger rows.

Maps of 0 to 1 at their own grid are resized to each mask, and quantised to 256 levels only then.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from reports.names import ANY_CLASS
from studies.planning import SCORED_SPLITS, CamScoring, TrainingJob
from studies.stages.cams import network_maps, normalised_maps
from studies.store import ArtifactStore
from wsss_core.data.image_set import IGNORED, ImageSet
from wsss_core.evaluate import (
    LogitFusion,
    MapFusion,
    Normalisation,
    ScoreHistogram,
    WinnerHistogram,
    collapse_reason,
    compete,
    fuse_logits,
    fuse_maps,
    peak_region,
    quantise,
    ring_around,
    winners,
)
from wsss_core.progress import made_progress
from wsss_core.tiling import PictureWindows, maps_at

LedgerRow = dict[str, Any]
"""A row of a table of the ledger: column -> value."""

LedgerRows = dict[str, list[LedgerRow]]
"""Rows by the names of their tables."""

OtherGating = Literal["ungated", "label_gated"]
"""Another gating than by prediction: none, or by the labels of the image."""


@dataclass(frozen=True)
class NetworkScores:
    """Scores of N images by a network, or by several networks fused.

    Attributes:
        maps: one entry a network, float32 [N, K, h, w], normalised scores of 0 to 1 at its grid.
        logits: float32 [N, K].
        without_object: float32 [N, K], each class's logit on the image without that class's
            object; None where no such images are known.
        without_context: float32 [N, K], the same without that class's context.
        normalisation, how: how each map was normalised, and how those of several are fused.
        windows: where the maps lie, if they are of windows.

    """

    maps: tuple[np.ndarray, ...]
    logits: np.ndarray
    without_object: np.ndarray | None
    without_context: np.ndarray | None
    normalisation: Normalisation
    how: MapFusion = "mean"
    windows: PictureWindows | None = None

    def at(self, index: int, shape: tuple[int, int]) -> np.ndarray:
        """Return the scores of one image, whose mask has this shape; several networks are fused."""
        resized = [maps_at(maps, self.windows, index, shape) for maps in self.maps]
        return resized[0] if len(resized) == 1 else fuse_maps(resized, self.how, self.normalisation)


def network_scores(
    job: TrainingJob,
    role: str,
    split: str,
    images: ImageSet,
    store: ArtifactStore,
    device: str,
    scoring: CamScoring,
) -> NetworkScores:
    """Return a trained network's scores of a split under the study's own CAM settings.

    Raises:
        CollapseError: scores that are not finite (the last step ruined the network).

    """
    raw = network_maps(job, role, split, images, store, device, scoring.cam)
    return NetworkScores(
        (normalised_maps(raw, scoring.cam, scoring.normalisation),),
        raw.image_logits,
        raw.without_object,
        raw.without_context,
        scoring.normalisation,
        windows=images.windows,
    )


def fused(
    members: list[NetworkScores], how: MapFusion = "mean", by: LogitFusion = "logits"
) -> NetworkScores:
    """Fuse networks: their maps at the mask's resolution, and their logits.

    Args:
        members: of the same images.
        how: how maps are fused.
        by: how logits are.

    """

    def mean(arrays: list[np.ndarray | None]) -> np.ndarray | None:
        known = [array for array in arrays if array is not None]
        return fuse_logits(known, by) if len(known) == len(arrays) else None

    logits = mean([one.logits for one in members])
    assert logits is not None
    return NetworkScores(
        tuple(maps for one in members for maps in one.maps),
        logits,
        mean([one.without_object for one in members]),
        mean([one.without_context for one in members]),
        members[0].normalisation,
        how,
        members[0].windows,
    )


def split_rows(
    job: TrainingJob,
    store: ArtifactStore,
    scoring: CamScoring,
    scores_of: Callable[[str, ImageSet], Mapping[str, NetworkScores]],
    *,
    plain: bool = True,
) -> tuple[LedgerRows, str | None]:
    """Score every scored split of a training run's images.

    Args:
        job: the training run.
        store: where its images lie.
        scoring: how plain CAMs are made and scored.
        scores_of: takes a split's name and images; returns the scores by the network's name.
        plain: whether the scores are of plain CAMs, which exist without gating too. A chain refines
            maps that are gated already.

    Returns:
        Rows of the tables `scores` and `panels`, without keys, and why a network has collapsed;
        None if all are healthy.

    """
    rows: LedgerRows = {"scores": [], "panels": []}
    collapse = None
    for split in SCORED_SPLITS:
        images = job.images.load(store, split)
        for name, scores in scores_of(split, images).items():
            scored = score_rows(
                scores,
                images,
                split=split,
                network=name,
                gating=scoring.gating,
                other=OTHER_GATINGS[split] if plain else None,
            )
            rows["scores"] += scored
            reason = collapse_of(scored, images.classes, scoring.gating)
            collapse = collapse or (f"{name}: {reason}" if reason else None)
            if split == "test":
                rows["panels"] += panel_rows(scores, images, network=name, count=scoring.panels)
    return rows, collapse


OTHER_GATINGS: dict[str, OtherGating] = {"tune": "label_gated", "test": "ungated"}
"""Of each split the gating whose histograms are kept besides: thresholds for masks that are gated
by labels are tuned on the first, oracles see the second."""


def gated(levels: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Return what is left of maps without some classes; several classes compete.

    Args:
        levels: uint8 [K, H, W].
        out: bool [K], the classes that take no part.

    Returns:
        uint8 [K, H, W], 0 throughout where a class takes no part.

    """
    left = np.where(out[:, np.newaxis, np.newaxis], np.uint8(0), levels)
    if len(left) > 1:
        left = compete(left)
        left[out] = 0
    return left


def score_rows(
    scores: NetworkScores,
    images: ImageSet,
    *,
    split: str,
    network: str,
    gating: str,
    other: OtherGating | None = None,
) -> list[LedgerRow]:
    """Return a ledger row for each image and class: logit, histograms, place of the map's peak.

    One class is scored against the rest. Several compete for each pixel (`compete`), and a row of
    `ANY_CLASS` holds the winner's score against the mask of any class; with `gating="predicted"`
    a class whose logit is not above 0 takes no part. The histograms of the other gating are added
    where it leaves other classes.
    """
    rows = []
    several = len(images.classes) > 1
    for index, identifier in enumerate(images.identifiers):
        made_progress()
        mask = images.mask(index)
        ignored = mask == IGNORED
        maps = scores.at(index, mask.shape)
        whole = quantise(maps)
        out = scores.logits[index] <= 0 if gating == "predicted" else np.zeros(len(maps), bool)
        found, map_of = gated_histograms(whole, out, mask)
        otherwise = None
        if other is not None and gating == "predicted":
            others_out = ~images.labels[index] if other == "label_gated" else np.zeros_like(out)
            if (others_out != out).any():
                otherwise, _ = gated_histograms(whole, others_out, mask)
        shared = {
            "network": network,
            "split": split,
            "image": identifier,
            "group": images.groups[index],
            "source": images.sources[index] or None,
        }
        for number, class_name in enumerate(images.classes):
            holds = mask == number + 1
            around = _around(maps[number], map_of, holds, ignored, images, index, number)
            if out[number]:
                around.pop("peak", None)  # what gating took out peaks nowhere
            rows.append(
                {
                    **shared,
                    "class_name": class_name,
                    "labelled": bool(images.labels[index, number]),
                    "logit": float(scores.logits[index, number]),
                    **_columns(found[number]),
                    **(_columns(otherwise[number], f"{other}_") if otherwise else {}),
                    **around,
                    **_counterfactual(scores, images, index, number),
                    "flags": flags_in(images, index, number),
                }
            )
        if several:
            rows.append(
                {
                    **shared,
                    "class_name": ANY_CLASS,
                    "labelled": bool(images.labels[index].any()),
                    "logit": float(scores.logits[index].max()),
                    **_columns(found[-1]),
                    **(_columns(otherwise[-1], f"{other}_") if otherwise else {}),
                }
            )
    return rows


def flags_in(images: ImageSet, index: int, number: int) -> str | None:
    """Return the flags of an image, separated by ";"; None without any.

    Where the class's context is known, "context" or "no context" is one of them.
    """
    flags = [images.flags[index]] if images.flags[index] else []
    if (context := images.context(index, number)) is not None:
        flags.append("context" if context.any() else "no context")
    return ";".join(flags) or None


def gated_histograms(
    whole: np.ndarray, out: np.ndarray, mask: np.ndarray
) -> tuple[list[ScoreHistogram], Callable[[int], np.ndarray]]:
    """Return the histogram of each class, and what is left of a class's map; see `gated`.

    Of several classes the histogram of any class comes last. All are counted in one pass. `whole`
    and `out` are those of `gated`; `mask` is uint8 [H, W], 0 the background and 255 ignored.
    """
    if len(whole) == 1:
        levels, ignored = gated(whole, out), mask == IGNORED
        ignore = ignored if ignored.any() else None
        return [ScoreHistogram.from_scores(levels[0], mask == 1, ignore=ignore)], levels.__getitem__
    winner, level = winners(np.where(out[:, np.newaxis, np.newaxis], np.uint8(0), whole))
    level[out[winner]] = 0
    found = WinnerHistogram.from_winners(winner, level, mask, len(whole))
    each = [*map(found.of_class, range(len(whole))), found.of_any_class()]
    return each, lambda number: np.where(winner == number, level, np.uint8(0))


def _columns(histogram: ScoreHistogram, prefix: str = "") -> dict[str, np.ndarray]:
    return {f"{prefix}{name}": getattr(histogram, name) for name in ("foreground", "background")}


def _around(
    scores: np.ndarray,
    map_of: Callable[[int], np.ndarray],
    holds: np.ndarray,
    ignored: np.ndarray,
    images: ImageSet,
    index: int,
    number: int,
) -> LedgerRow:
    """Return the map's levels on the object's context and on a ring around it, and its peak."""
    if not holds.any():
        return {}
    levels, context = map_of(number), images.context(index, number)
    ring = ring_around(holds) & ~ignored
    found: LedgerRow = {}
    if context is not None:
        context = context & ~holds & ~ignored
        ring &= ~context
        found["context"] = np.bincount(levels[context], minlength=256)
    found["ring"] = np.bincount(levels[ring], minlength=256)
    found["peak"] = peak_region(scores, holds, context, ring)
    return found


def _counterfactual(
    scores: NetworkScores, images: ImageSet, index: int, number: int
) -> dict[str, float]:
    found = {}
    if scores.without_object is not None and images.labels[index, number]:
        found["logit_without_object"] = float(scores.without_object[index, number])
    context = images.context(index, number)
    if scores.without_context is not None and context is not None and context.any():
        found["logit_without_context"] = float(scores.without_context[index, number])
    return found


def collapse_of(rows: list[LedgerRow], classes: tuple[str, ...], gating: str) -> str | None:
    """Return why a network has collapsed, by its rows of one split; None if it is healthy.

    Maps that gating has emptied are no evidence: with gating, only maps of predicted classes count.
    """
    of_maps = ANY_CLASS if len(classes) > 1 else classes[0]
    counts = [
        row["foreground"] + row["background"]
        for row in rows
        if row["class_name"] == of_maps and (gating == "none" or row["logit"] > 0)
    ]
    logits = [[row["logit"] for row in rows if row["class_name"] == name] for name in classes]
    return collapse_reason(np.array(counts).reshape(-1, 256), np.array(logits).T)


def collapse_of_maps(scores: NetworkScores, gating: str) -> str | None:
    """Return why a network has collapsed, by its maps at their own grid; None if it is healthy.

    The rule is that of `collapse_of`, before any mask is looked at.
    """
    (maps,) = scores.maps
    counts = []
    for levels, logits in zip(map(quantise, maps), scores.logits, strict=True):
        out = logits <= 0 if gating == "predicted" else np.zeros(len(logits), bool)
        if gating == "none" or not out.all():
            counts.append(np.bincount(gated(levels, out).max(axis=0).ravel(), minlength=256))
    return collapse_reason(np.array(counts).reshape(-1, 256), scores.logits)


def panel_rows(
    scores: NetworkScores, images: ImageSet, *, network: str, count: int
) -> list[LedgerRow]:
    """Return pictures of `count` test images a class, evenly spaced over those that hold it.

    The choice depends on the images alone, so every trial shows the same ones.
    """
    rows = []
    for number, class_name in enumerate(images.classes):
        holding = np.flatnonzero(images.labels[:, number])
        if not count or not len(holding):
            continue
        chosen = holding[np.unique(np.linspace(0, len(holding) - 1, count).astype(int))]
        for index in chosen:
            mask = images.mask(int(index))
            rows.append(
                {
                    "network": network,
                    "split": "test",
                    "image": images.identifiers[index],
                    "class_name": class_name,
                    "image_png": _png(np.asarray(images.images[index])),
                    "mask_png": _png(np.where(mask == number + 1, 255, 0).astype(np.uint8)),
                    "cam_png": _png(quantise(scores.at(int(index), mask.shape)[number])),
                }
            )
    return rows


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
