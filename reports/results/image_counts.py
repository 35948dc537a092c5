"""Counts of images: that hold a class, whose maps are gated, whose masks are empty or full."""

import math

import numpy as np

from reports.results.score_rows import ScoredNetwork, ScoreRows
from wsss_core.evaluate import HistogramStack

IMAGE_COUNTS = (
    "images",
    "images_with_class",
    "images_labelled",
    "images_with_tiny_object",
    "images_with_class_gated",
    "images_with_class_empty",
    "images_empty",
    "images_full",
)
"""The columns of an outcome that count images of its split, of one class.

`images_with_class` have a pixel of it, `images_labelled` carry its label, and a tiny object covers
less than `TINY` of an image. `images_with_class_gated` hold it and are not predicted to, so that
gating has emptied their map. `_empty`: no pixel is predicted as the class; `_full`: every one is.
"""

TINY = 0.001
"""The share of an image's pixels below which an object is tiny. A stray pixel of a mask may decide
whether an image counts, and the per-image mean takes that image for as much as any other."""


def fixed_counts(rows: ScoreRows) -> dict[str, int]:
    """Return the counts of one class's rows that no threshold changes."""
    counts = rows.counts
    object_pixels = counts["foreground"].sum(axis=1, dtype=np.int64)
    pixels = object_pixels + counts["background"].sum(axis=1, dtype=np.int64)
    held = object_pixels > 0
    gated = held & rows.gated_out
    return {
        "images_labelled": int(rows.labelled.sum()),
        "images_with_tiny_object": int((held & (object_pixels < TINY * pixels)).sum()),
        "images_with_class_gated": int(gated.sum()),
        "gated_for_oracles": int((gated & ~rows.known["ungated_foreground"]).sum()),
    }


def image_counts(
    network: ScoredNetwork, rule: str, split: str, name: str, cut: HistogramStack, level: int
) -> dict[str, float]:
    """Return the columns `IMAGE_COUNTS` of one outcome.

    Args:
        network: the scores of the network.
        rule: the threshold rule. Oracles see ungated maps, where the ledger holds them.
        split: the split.
        name: the class.
        cut: its histograms.
        level: the level that cuts them; of the per-image oracle's, which are cut already, 255.

    """
    fixed = dict(network.counts[split][name])
    for_oracles = fixed.pop("gated_for_oracles")
    if rule.endswith("oracle"):
        fixed["images_with_class_gated"] = for_oracles
    counts = cut.foreground + cut.background
    empty = ~counts[:, level:].any(axis=1)
    full = ~counts[:, :level].any(axis=1) & counts.any(axis=1)
    # The per-image oracle chooses no level for images without the class.
    unknown = rule == "image_oracle"
    return {
        "images": len(cut),
        "images_with_class": int(cut.holds_class.sum()),
        **fixed,
        "images_with_class_empty": int((empty & cut.holds_class).sum()),
        "images_empty": math.nan if unknown else int(empty.sum()),
        "images_full": math.nan if unknown else int(full.sum()),
    }
