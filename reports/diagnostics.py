"""One trial's diagnostics of spurious correlation, from its rows of the ``scores`` table."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from reports.outcomes import ANY_CLASS, MEAN_OF_CLASSES
from wsss_core.evaluate.diagnostics import (
    confusion_ratio,
    false_positive_area,
    mass_shares,
    pointing_game,
    reliance,
)
from wsss_core.evaluate.regions import NOWHERE

DIAGNOSTICS = (
    "mass_object",
    "mass_context",
    "mass_ring",
    "mass_elsewhere",
    "object_pixels",
    "pointing_object",
    "pointing_context",
    "confusion_ratio",
    "false_positive_area",
    "false_positive_area_gated",
    "reliance_object",
    "reliance_context",
    "reliance_context_share",
    "context_flips",
)


def _stacked(rows: pd.DataFrame, column: str) -> np.ndarray | None:
    """Stack a column of histograms; None where a row lacks its own (an older ledger has none)."""
    if column not in rows or rows[column].isna().any() or rows.empty:
        return None
    return np.stack(rows[column].to_list()).astype(np.int64)


def _with_context(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep the images whose context is known; all of them where none is."""
    known = rows["context"].notna() if "context" in rows else pd.Series(False, index=rows.index)
    return rows[known] if known.any() else rows


def _peaks(rows: pd.DataFrame) -> list[str]:
    """Where the maps of the rows that have one peak; a flat one is a map, an empty one is none."""
    has_mass = [
        bool(foreground[1:].any() or background[1:].any())
        for foreground, background in zip(rows["foreground"], rows["background"], strict=True)
    ]
    there = rows["peak"].notna() & (np.array(has_mass, bool) | (rows["peak"] == NOWHERE))
    return [str(peak) for peak in rows.loc[there, "peak"]]


def trial_diagnostics(
    scores: pd.DataFrame, levels: Mapping[tuple[str, str], float]
) -> pd.DataFrame:
    """Diagnose one trial on the test split.

    Args:
        scores: Rows of the ledger's ``scores`` table, all of one trial.
        levels: The score level at which its maps are cut, by (network, class); NaN for none.

    Returns:
        One row per network and class with the columns ``DIAGNOSTICS``; of several classes also
        their unweighted mean, NaN where one of them lacks the figure. Shares of the map's mass are
        over the images whose context is known, if there are any; they and the peaks are over the
        images that have a map: not over those where gating or competition left none. A map without
        contrast peaks nowhere, which is a miss; where its scores are 0, it has no mass to share.

    """
    found: list[dict[str, Any]] = []
    test = scores[(scores["split"] == "test") & (scores["class_name"] != ANY_CLASS)]
    for both, rows in test.groupby(["network", "class_name"], sort=True):
        network, name = (str(part) for part in both)
        figures = _of_class(rows, levels.get((network, name), float("nan")))
        found.append({"network": network, "class_name": name, **figures})
    frame = pd.DataFrame(found, columns=["network", "class_name", *DIAGNOSTICS])
    if frame["class_name"].nunique() < 2:
        return frame
    grouped = frame.groupby("network")[list(DIAGNOSTICS)]
    # The mean of the classes that have a figure would not be one of all.
    complete = grouped.count() == frame["class_name"].nunique()
    means = grouped.mean().where(complete).reset_index()
    return pd.concat([frame, means.assign(class_name=MEAN_OF_CLASSES)], ignore_index=True)


def _of_class(rows: pd.DataFrame, level: float) -> dict[str, float]:
    foreground, background = _stacked(rows, "foreground"), _stacked(rows, "background")
    if foreground is None or background is None:
        return {}
    holds = foreground.sum(axis=1) > 0
    holding = rows[holds]
    figures: dict[str, float] = {}
    placed = _with_context(holding)
    on_object, around = _stacked(placed, "foreground"), _stacked(placed, "background")
    context = _stacked(placed, "context")
    if on_object is not None and around is not None:
        shares = mass_shares(on_object, around, context, _stacked(placed, "ring"))
        figures |= {
            key if key == "object_pixels" else f"mass_{key}": value
            for key, value in asdict(shares).items()
        }
    if "peak" in rows and holding["peak"].notna().any():
        figures["pointing_object"] = pointing_game(_peaks(holding))["object"]
        if context is not None:
            figures["pointing_context"] = pointing_game(_peaks(placed))["context"]
    if not np.isnan(level):
        cut = int(level)
        figures["confusion_ratio"] = confusion_ratio(foreground[holds], background[holds], cut)
        logits = rows["logit"].to_numpy()[~holds]
        for gated in (False, True):
            key = "false_positive_area_gated" if gated else "false_positive_area"
            figures[key] = false_positive_area(background[~holds], logits, cut, gated=gated)
    if "logit_without_object" in rows:
        logit, without_object, without_context = (
            holding[column].to_numpy(np.float64)
            for column in ("logit", "logit_without_object", "logit_without_context")
        )
        relies = reliance(logit, without_object, without_context)
        figures |= {
            "reliance_object": relies.on_object,
            "reliance_context": relies.on_context,
            "reliance_context_share": relies.context_share,
            "context_flips": relies.flips,
        }
    return figures
