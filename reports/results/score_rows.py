"""The input of figures and diagnostics: scores as arrays, and a network's histogram stacks.

A part of 400 images holds 1,600 histograms. Arrays come straight from Parquet; a frame of one small
array per cell takes longer than all computations on it.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from reports.names import RULES
from wsss_core.evaluate import HistogramStack

UNGATED, LABEL_GATED = "ungated", "label_gated"
"""Other gatings than the study's, whose histograms some rows hold besides."""

HISTOGRAMS = (
    "foreground",
    "background",
    "context",
    "ring",
    *(
        f"{other}_{what}"
        for other in (UNGATED, LABEL_GATED)
        for what in ("foreground", "background")
    ),
)
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

_TEXTS = ("network", "split", "class_name", "image", "peak", "flags", "source", "group")
_LOGITS = ("logit", "logit_without_object", "logit_without_context")


@dataclass(frozen=True, eq=False)
class ScoreRows:
    """N rows of scores, in their order.

    Attributes:
        texts: the columns network, split, class_name, image, peak, flags, source and group; object
            [N], None if empty.
        labelled: whether the image carries the label; bool [N].
        logits: by column; floating [N], NaN if empty.
        counts: by name of the histogram; integer [N, 256], 0 if a row has none.
        known: whether a row has the histogram, by name; bool [N].

    """

    texts: Mapping[str, np.ndarray]
    labelled: np.ndarray
    logits: Mapping[str, np.ndarray]
    counts: Mapping[str, np.ndarray]
    known: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, rows: "pd.DataFrame | pa.Table | ScoreRows") -> "ScoreRows":
        """Take rows as `reports.ledger.parts` reads them; a missing column is empty."""
        if isinstance(rows, ScoreRows):
            return rows
        if isinstance(rows, pd.DataFrame):
            rows = pa.Table.from_pandas(rows, preserve_index=False)
        return _from_arrow(rows)

    def __len__(self) -> int:
        return len(self.labelled)

    def at(self, where: np.ndarray) -> "ScoreRows":
        """Return some of the rows, by a mask."""
        if where.all():
            return self
        return ScoreRows(
            {name: texts[where] for name, texts in self.texts.items()},
            self.labelled[where],
            {name: values[where] for name, values in self.logits.items()},
            {name: counts[where] for name, counts in self.counts.items()},
            {name: known[where] for name, known in self.known.items()},
        )

    def groups(self, *names: str) -> "Iterator[tuple[tuple[str, ...], ScoreRows]]":
        """Yield the rows that agree in some texts, in the order of these texts."""
        columns = [self.texts[name] for name in names]
        for values in sorted(set(zip(*columns, strict=True))):
            alike = np.ones(len(self), bool)
            for column, value in zip(columns, values, strict=True):
                alike &= column == value
            yield tuple(map(str, values)), self.at(alike)

    def stacked(self, name: str) -> np.ndarray | None:
        """Return a histogram of every row, int64 [N, 256]; None if a row lacks it."""
        if not len(self) or not self.known[name].all():
            return None
        return self.counts[name].astype(np.int64)

    def stack(self) -> HistogramStack:
        """Return the histograms of object and background, in the order of the rows."""
        return HistogramStack(self.counts["foreground"], self.counts["background"])

    def stack_of(self, gating: str) -> HistogramStack | None:
        """Return the histograms under another gating; None if it is the same for all rows.

        Args:
            gating: `UNGATED` or `LABEL_GATED`. A row without such histograms keeps its own.

        """
        other = self.known[f"{gating}_foreground"]
        if not other.any():
            return None
        return self.stack().with_images_of(
            HistogramStack(
                self.counts[f"{gating}_foreground"], self.counts[f"{gating}_background"]
            ),
            other,
        )

    @property
    def gated_out(self) -> np.ndarray:
        """Whether gating has emptied a row's map: it is not predicted, and 0 throughout; bool [N].

        A map that is empty though it is predicted lost every pixel to other classes.
        """
        marked = self.counts["foreground"][:, 1:].any(axis=1)
        marked |= self.counts["background"][:, 1:].any(axis=1)
        return np.asarray((self.logits["logit"] <= 0) & ~marked)


def _from_arrow(rows: pa.Table) -> ScoreRows:
    there = set(rows.column_names)
    count = rows.num_rows
    counts, known = {}, {}
    for name in HISTOGRAMS:
        column = rows[name].combine_chunks() if name in there else None
        if column is None or pa.types.is_null(column.type) or column.null_count == count:
            counts[name], known[name] = _nothing(count)
            continue
        known[name] = column.is_valid().to_numpy(zero_copy_only=False)
        values = column.flatten().to_numpy().reshape(-1, 256)  # of the rows that have it
        counts[name] = values
        if len(values) < count:
            counts[name] = np.zeros((count, 256), values.dtype)
            counts[name][known[name]] = values
    return ScoreRows(
        {name: _texts(rows[name]) if name in there else np.full(count, None) for name in _TEXTS},
        rows["labelled"].to_numpy().astype(bool) if "labelled" in there else np.zeros(count, bool),
        {name: _floats(rows[name].to_numpy()) for name in _LOGITS if name in there},
        counts,
        known,
    )


def _texts(column: pa.ChunkedArray) -> np.ndarray:
    """Return texts, also of a column that holds only None."""
    return np.full(len(column), None) if pa.types.is_null(column.type) else column.to_numpy()


def _floats(values: np.ndarray) -> np.ndarray:
    """Return numbers, also of a column that holds only None."""
    return values.astype(np.float64) if values.dtype == object else values


def _nothing(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((count, 256), np.uint32), np.zeros(count, bool)


@dataclass(frozen=True)
class Rules:
    """How a study chooses thresholds; figures depend on it and on the scores alone.

    Attributes:
        objective: the measure that the tuned and the oracle rules maximise, one of `MEASURES`.
        fixed: the threshold of the fixed rule, in [0, 1].
        own: the study's own rules, each "module:attribute" (`wsss_core.evaluate.thresholds`).

    """

    objective: str
    fixed: float
    own: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all rules, in order."""
        return (*RULES, *self.own)


def _by_split() -> dict[str, Any]:
    return {"tune": {}, "test": {}}


@dataclass(frozen=True)
class ScoredNetwork:
    """The scores of one network.

    Attributes:
        stacks: by split and class.
        ungated: of the test split by class, where gating has removed a map.
        labels: figures of the image-level prediction, by split and class.
        counts: see `fixed_counts`, by split and class.
        pooled: pixels per level of the test images that carry the label, by class.

    """

    stacks: dict[str, dict[str, HistogramStack]] = field(default_factory=_by_split)
    ungated: dict[str, HistogramStack] = field(default_factory=dict)
    labels: dict[str, dict[str, dict[str, float]]] = field(default_factory=_by_split)
    counts: dict[str, dict[str, dict[str, int]]] = field(default_factory=_by_split)
    pooled: dict[str, np.ndarray] = field(default_factory=dict)


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
