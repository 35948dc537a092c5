"""A trial's diagnostics of spurious correlation, from its rows of the table `scores`."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from reports.names import ANY_CLASS, MEAN_OF_CLASSES
from reports.results.score_rows import ScoreRows
from wsss_core.evaluate import (
    NOWHERE,
    confusion_ratio,
    false_positive_area,
    mass_shares,
    pointing_game,
    reliance,
)

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


def _with_context(rows: ScoreRows) -> ScoreRows:
    """Keep the images whose context is known; all images if none is."""
    known = rows.known["context"]
    return rows.at(known) if known.any() else rows


def _peaks(rows: ScoreRows) -> list[str]:
    """Return where maps peak; a flat map counts, an image without a map does not."""
    peaks = rows.texts["peak"]
    has_mass = rows.counts["foreground"][:, 1:].any(axis=1)
    has_mass |= rows.counts["background"][:, 1:].any(axis=1)
    there = _there(peaks) & (has_mass | (peaks == NOWHERE))
    return [str(peak) for peak in peaks[there]]


def _there(texts: np.ndarray) -> np.ndarray:
    return np.array([text is not None for text in texts], bool)


def trial_diagnostics(
    scores: pd.DataFrame | ScoreRows, levels: Mapping[tuple[str, str], float]
) -> pd.DataFrame:
    """Diagnose one trial on the test split.

    Args:
        scores: rows of the ledger's table `scores`, all of one trial.
        levels: the score level that cuts its maps, by (network, class); NaN for none.

    Returns:
        One row per network and class with the columns `DIAGNOSTICS`. Several classes have a row of
        their unweighted mean as well, NaN if one class lacks the figure. Shares of the map's mass
        are over the images whose context is known, if there are any. Shares and peaks leave out
        images whose map gating or competition has emptied. A map without contrast peaks nowhere,
        which is a miss; if its scores are 0, it has no mass.

    """
    rows = diagnostic_rows(ScoreRows.of(scores), levels)
    return pd.DataFrame(rows, columns=["network", "class_name", *DIAGNOSTICS])


def diagnostic_rows(
    scored: ScoreRows, levels: Mapping[tuple[str, str], float]
) -> list[dict[str, Any]]:
    """Return the rows of `trial_diagnostics`; unknown figures are left out or NaN."""
    found: list[dict[str, Any]] = []
    test = scored.at((scored.texts["split"] == "test") & (scored.texts["class_name"] != ANY_CLASS))
    for (network, name), rows in test.groups("network", "class_name"):
        figures = _of_class(rows, levels.get((network, name), float("nan")))
        found.append({"network": network, "class_name": name, **figures})
    names = {row["class_name"] for row in found}
    if len(names) < 2:
        return found
    means: list[dict[str, Any]] = []
    for network in sorted({row["network"] for row in found}):
        rows_of = [row for row in found if row["network"] == network]
        # A mean over some of the classes would mislead.
        values = {name: [row.get(name, math.nan) for row in rows_of] for name in DIAGNOSTICS}
        of_all = len(rows_of) == len(names)
        means.append(
            {
                "network": network,
                "class_name": MEAN_OF_CLASSES,
                **{k: float(np.mean(v)) if of_all else math.nan for k, v in values.items()},
            }
        )
    return found + means


def _of_class(rows: ScoreRows, level: float) -> dict[str, float]:
    foreground, background = rows.stacked("foreground"), rows.stacked("background")
    if foreground is None or background is None:
        return {}
    holds = foreground.sum(axis=1) > 0
    holding = rows.at(holds)
    figures: dict[str, float] = {}
    placed = _with_context(holding)
    on_object, around = placed.stacked("foreground"), placed.stacked("background")
    context = placed.stacked("context")
    if on_object is not None and around is not None:
        shares = mass_shares(on_object, around, context, placed.stacked("ring"))
        figures |= {
            key if key == "object_pixels" else f"mass_{key}": value
            for key, value in asdict(shares).items()
        }
    if _there(holding.texts["peak"]).any():
        figures["pointing_object"] = pointing_game(_peaks(holding))["object"]
        if context is not None:
            figures["pointing_context"] = pointing_game(_peaks(placed))["context"]
    if not np.isnan(level):
        cut = int(level)
        figures["confusion_ratio"] = confusion_ratio(foreground[holds], background[holds], cut)
        logits = rows.logits["logit"][~holds]
        for gated in (False, True):
            key = "false_positive_area_gated" if gated else "false_positive_area"
            figures[key] = false_positive_area(background[~holds], logits, cut, gated=gated)
    if "logit_without_object" in holding.logits:
        logit, without_object, without_context = (
            holding.logits[column].astype(np.float64)
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
