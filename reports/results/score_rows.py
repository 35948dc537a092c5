"""Rows of the ledger's ``scores`` table as arrays: what figures and diagnostics are computed from.

A part of 400 images holds 1,600 histograms. As arrays straight from Parquet they are there at once;
as a frame of one small array per cell they take longer than all that is computed from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from wsss_core.evaluate import HistogramStack

HISTOGRAMS = ("foreground", "background", "context", "ring")
_TEXTS = ("network", "split", "class_name", "image", "peak")
_LOGITS = ("logit", "logit_without_object", "logit_without_context")


@dataclass(frozen=True, eq=False)
class ScoreRows:
    """N rows, in their order.

    Attributes:
        texts: The columns network, split, class_name, image and peak; object [N], None for none.
        labelled: Whether the image carries the label; bool [N].
        logits: By column; floating [N], NaN for none. Columns that an older ledger lacks are not
            there.
        counts: By name of the histogram; integer [N, 256], 0 where a row has none.
        known: Whether a row has the histogram; bool [N], likewise.

    """

    texts: Mapping[str, np.ndarray]
    labelled: np.ndarray
    logits: Mapping[str, np.ndarray]
    counts: Mapping[str, np.ndarray]
    known: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, rows: pd.DataFrame | pa.Table | ScoreRows) -> ScoreRows:
        """Take rows as `reports.ledger.parts` gives them; a column that is not there is empty."""
        if isinstance(rows, ScoreRows):
            return rows
        return _from_arrow(rows) if isinstance(rows, pa.Table) else _from_frame(rows)

    def __len__(self) -> int:
        return len(self.labelled)

    def at(self, where: np.ndarray) -> ScoreRows:
        """Some of the rows, by a mask."""
        if where.all():
            return self
        return ScoreRows(
            {name: texts[where] for name, texts in self.texts.items()},
            self.labelled[where],
            {name: values[where] for name, values in self.logits.items()},
            {name: counts[where] for name, counts in self.counts.items()},
            {name: known[where] for name, known in self.known.items()},
        )

    def groups(self, *names: str) -> Iterator[tuple[tuple[str, ...], ScoreRows]]:
        """The rows that agree in some texts, in the order of these."""
        columns = [self.texts[name] for name in names]
        for values in sorted(set(zip(*columns, strict=True))):
            alike = np.ones(len(self), bool)
            for column, value in zip(columns, values, strict=True):
                alike &= column == value
            yield tuple(map(str, values)), self.at(alike)

    def stacked(self, name: str) -> np.ndarray | None:
        """A histogram of every row, int64 [N, 256]; None where a row lacks it or there is no row.

        Args:
            name: One of ``HISTOGRAMS``.

        """
        if not len(self) or not self.known[name].all():
            return None
        return self.counts[name].astype(np.int64)

    def stack(self) -> HistogramStack:
        """The histograms of object and background, in the order of the rows."""
        return HistogramStack(self.counts["foreground"], self.counts["background"])


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
        {name: rows[name].to_numpy() if name in there else np.full(count, None) for name in _TEXTS},
        rows["labelled"].to_numpy().astype(bool) if "labelled" in there else np.zeros(count, bool),
        {name: _floats(rows[name].to_numpy()) for name in _LOGITS if name in there},
        counts,
        known,
    )


def _from_frame(rows: pd.DataFrame) -> ScoreRows:
    count = len(rows)
    counts, known = {}, {}
    for name in HISTOGRAMS:
        has = rows[name].notna().to_numpy() if name in rows else np.zeros(count, bool)
        counts[name], known[name] = _nothing(count)
        if has.any():
            values = np.stack(rows[name].to_numpy()[has].tolist())
            counts[name] = np.zeros((count, 256), values.dtype)
            counts[name][has] = values
            known[name] = has
    return ScoreRows(
        {name: _texts(rows[name]) if name in rows else np.full(count, None) for name in _TEXTS},
        rows["labelled"].to_numpy(bool) if "labelled" in rows else np.zeros(count, bool),
        {name: _floats(rows[name].to_numpy()) for name in _LOGITS if name in rows},
        counts,
        known,
    )


def _texts(column: pd.Series) -> np.ndarray:
    texts: np.ndarray = column.to_numpy(object, copy=True)
    texts[column.isna().to_numpy()] = None
    return texts


def _floats(values: np.ndarray) -> np.ndarray:
    """Numbers, of a column that may hold nothing but None."""
    return values.astype(np.float64) if values.dtype == object else values


def _nothing(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((count, 256), np.uint32), np.zeros(count, bool)
