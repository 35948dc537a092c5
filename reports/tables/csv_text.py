"""Frames as CSV: texts that no spreadsheet runs as a formula, numbers as they are."""

import csv
import io
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandas.api.types import is_numeric_dtype

_ZERO, _NOTHING, _COMMA = (pa.scalar(text, pa.large_string()) for text in (".0", "", ","))
_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")


def spreadsheet_text(text: str) -> str:
    """Return a text as a cell of a CSV file that no spreadsheet runs as a formula.

    A text that begins like a formula gets an apostrophe in front, unless it is a number. A carriage
    return becomes a space: the writers of Python 3.11 leave it bare, where it ends the row.

    >>> spreadsheet_text("=1+1"), spreadsheet_text("smoke"), spreadsheet_text("-0.5")
    ("'=1+1", 'smoke', '-0.5')
    """
    shown = text.replace("\r", " ")
    if not text.startswith(_FORMULAS):
        return shown
    try:
        float(text)
    except ValueError:
        return f"'{shown}"
    return shown if not text[0].isspace() else f"'{shown}"


def frame_to_csv(frame: pd.DataFrame) -> str:
    """Render a tidy frame; texts are written as `spreadsheet_text`, numbers as they are.

    Frames of numbers and repeated texts, as those of a report, are written column by column: the
    content is the same to the byte, at a tenth of the time.
    """
    return "".join(csv_blocks([frame]))


def csv_blocks(frames: Iterable[pd.DataFrame]) -> Iterator[str]:
    """Yield frames of equal columns as `frame_to_csv` renders them together, one after another."""
    for place, frame in enumerate(frames):
        shown = frame.rename(columns=lambda name: spreadsheet_text(str(name)))
        yield _block(shown, header=place == 0)


def _block(shown: pd.DataFrame, *, header: bool) -> str:
    if len(shown) and len(shown.columns) > 1:
        columns = [_column(shown.iloc[:, place]) for place in range(len(shown.columns))]
        if all(column is not None for column in columns):
            sink = io.StringIO()
            if header:
                csv.writer(sink, lineterminator="\n").writerow(shown.columns)
            lines = pc.binary_join_element_wise(*columns, _COMMA)
            return sink.getvalue() + "".join([f"{line}\n" for line in lines.to_pylist()])
    for name in shown.columns[[not is_numeric_dtype(kind) for kind in shown.dtypes]]:
        shown[name] = [
            spreadsheet_text(value) if isinstance(value, str) else value for value in shown[name]
        ]
    return str(shown.to_csv(index=False, header=header, lineterminator="\n"))


def _column(values: pd.Series) -> pa.Array | None:
    """Return the fields of a column as texts; None where pandas has to write it."""
    kind = values.dtype
    if kind == np.float64:
        return _numbers(values.to_numpy())
    if isinstance(kind, np.dtype) and kind.kind in "iu":
        return pa.array(values.to_numpy()).cast(pa.large_string())
    if not isinstance(kind, pd.StringDtype | np.dtype) or kind == np.bool_:
        return None
    try:
        texts = pa.array(values, pa.large_string(), from_pandas=True)
    except (pa.ArrowException, TypeError):
        return None  # a column of objects that are no texts
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    coded = texts.dictionary_encode()
    fields = [_field(text) for text in coded.dictionary.to_pylist()]
    found = pa.array(fields, pa.large_string()).take(coded.indices)
    return found.fill_null("")


def _field(text: str) -> str:
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerow([spreadsheet_text(text), ""])
    return sink.getvalue()[: -len(",\n")]


def _numbers(values: np.ndarray) -> pa.Array:
    """Return numbers as Python writes them: the shortest text that is read as the same number."""
    whole = np.isfinite(values) & (values == np.trunc(values))
    size = np.abs(values)
    # Arrow puts the exponent at other sizes.
    apart = ~np.isnan(values) & ((size >= 1e9) | ((size < 1e-4) & (size > 0)))
    texts = pa.array(values, from_pandas=True).cast(pa.large_string())
    bare = pc.and_(pa.array(whole), pc.invert(pc.match_substring(texts, ".")))
    texts = pc.if_else(bare, pc.binary_join_element_wise(texts, _ZERO, _NOTHING), texts)
    if apart.any():
        numbers = pa.array([repr(value) for value in values[apart].tolist()], pa.large_string())
        texts = pc.replace_with_mask(texts, pa.array(apart), numbers)
    return texts.fill_null("")
