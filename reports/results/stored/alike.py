"""The figures of many trials as arrays: trials whose numbers mean the same stand in one array."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa

from reports.results.diagnostics import DIAGNOSTICS
from reports.results.outcomes import TrialFigures
from reports.results.score_rows import IMAGE_COUNTS, ScoreRows
from reports.results.stored.packing import DIGEST_BYTES, LEVELS, OUTCOME_NUMBERS, OUTCOME_TEXTS

_OUTCOME_AT = {name: place for place, name in enumerate(OUTCOME_NUMBERS)}
_DIAGNOSTIC_AT = {name: place for place, name in enumerate(DIAGNOSTICS)}


@dataclass(frozen=True, eq=False)
class AlikeTrials:
    """T trials whose figures have the same rows and columns.

    Attributes:
        keys: the keys of the trials.
        outcome_rows: the texts `OUTCOME_TEXTS` of each outcome, R of them.
        curve_rows: network and class of each curve, K of them.
        diagnostic_rows: network and class of each row of diagnostics, M of them.
        outcomes: float64 [T, R, len(OUTCOME_NUMBERS)].
        curves: float64 [T, K, 256].
        diagnostics: float64 [T, M, len(DIAGNOSTICS)].
        whole: the columns of outcomes that are shown as integers.

    """

    keys: tuple[str, ...]
    outcome_rows: tuple[tuple[str, ...], ...]
    curve_rows: tuple[tuple[str, ...], ...]
    diagnostic_rows: tuple[tuple[str, ...], ...]
    outcomes: np.ndarray
    curves: np.ndarray
    diagnostics: np.ndarray
    whole: frozenset[str] = frozenset()

    @cached_property
    def outcome_at(self) -> dict[tuple[str, ...], int]:
        """The place of an outcome by network, class, split and rule; the first of several."""
        found: dict[tuple[str, ...], int] = {}
        for place, row in enumerate(self.outcome_rows):
            found.setdefault(row[:4], place)
        return found

    @cached_property
    def diagnostic_at(self) -> dict[tuple[str, ...], int]:
        """The place of a row of diagnostics by network and class."""
        found: dict[tuple[str, ...], int] = {}
        for place, row in enumerate(self.diagnostic_rows):
            found.setdefault(row, place)
        return found

    @cached_property
    def peeks_at(self) -> dict[str, str]:
        """What each rule sees of the masks."""
        return {row[3]: row[4] for row in self.outcome_rows}

    def outcome(self, row: tuple[str, ...], name: str) -> np.ndarray | None:
        """Return a column of one outcome for every trial, float64 [T]; None without such a row.

        Args:
            row: network, class, split and rule.
            name: the column.

        """
        place = self.outcome_at.get(row)
        return None if place is None else self.outcomes[:, place, _OUTCOME_AT[name]]

    def diagnostic(self, row: tuple[str, ...], name: str) -> np.ndarray | None:
        """Return a diagnostic for every trial, float64 [T]; None without such a row.

        Args:
            row: network and class.
            name: the diagnostic.

        """
        place = self.diagnostic_at.get(row)
        return None if place is None else self.diagnostics[:, place, _DIAGNOSTIC_AT[name]]

    def outcome_frame(self, places: np.ndarray) -> pd.DataFrame:
        """Return the outcomes of some trials, one trial after another."""
        numbers = self.outcomes[places].reshape(-1, len(OUTCOME_NUMBERS))
        frame = _frame(self.outcome_rows, OUTCOME_TEXTS, len(places), numbers, OUTCOME_NUMBERS)
        for name in self.whole:
            frame[name] = frame[name].astype(np.int64)
        return frame

    def diagnostic_frame(self, places: np.ndarray) -> pd.DataFrame:
        """Return the diagnostics of some trials, one trial after another."""
        numbers = self.diagnostics[places].reshape(-1, len(DIAGNOSTICS))
        return _frame(
            self.diagnostic_rows, ("network", "class_name"), len(places), numbers, DIAGNOSTICS
        )


def _frame(
    rows: Sequence[Sequence[str]],
    texts: Sequence[str],
    times: int,
    numbers: np.ndarray,
    names: Sequence[str],
) -> pd.DataFrame:
    """Return a frame of texts, repeated, and numbers."""
    columns = {}
    for place, name in enumerate(texts):
        of_one = pa.array([row[place] for row in rows], pa.string())
        columns[name] = pa.chunked_array([of_one] * times, pa.string()).combine_chunks()
    frame = pa.table(columns).to_pandas()
    more = pd.DataFrame(numbers, columns=list(names), copy=True)
    return pd.concat([frame, more], axis=1)


class KeptFigures(TrialFigures):
    """The figures of one of many trials; frames are made when they are asked for.

    Args:
        alike: the trials that it stands among.
        place: its place there.
        read_scores: reads its scores again.

    """

    def __init__(
        self, alike: AlikeTrials, place: int, read_scores: Callable[[], ScoreRows]
    ) -> None:
        for name, value in (("alike", alike), ("place", place), ("read_scores", read_scores)):
            object.__setattr__(self, name, value)

    alike: AlikeTrials
    place: int

    @cached_property
    def outcomes(self) -> pd.DataFrame:
        """The rows of `TrialFigures`."""
        return self.alike.outcome_frame(np.array([self.place]))

    @cached_property
    def curves(self) -> Mapping[tuple[str, str], np.ndarray]:
        """The curves of `TrialFigures`."""
        rows = self.alike.curve_rows
        return {(r[0], r[1]): c for r, c in zip(rows, self.alike.curves[self.place], strict=True)}

    @cached_property
    def diagnostics(self) -> pd.DataFrame:
        """The rows of `reports.results.diagnostics.trial_diagnostics`."""
        return self.alike.diagnostic_frame(np.array([self.place]))

    def value(self, name: str, network: str, class_name: str, split: str, rule: str) -> float:
        """Return a column of one row of the outcomes; NaN if there is no such row."""
        found = self.alike.outcome((network, class_name, split, rule), name)
        return math.nan if found is None else float(found[self.place])

    def agrees(self, other: "KeptFigures") -> bool:
        """Return whether every outcome of another trial is the same to the bit."""
        if self.alike.outcome_rows != other.alike.outcome_rows:
            return False
        one, another = (each.alike.outcomes[each.place] for each in (self, other))
        return np.array_equal(one, another, equal_nan=True)

    @cached_property
    def fingerprint(self) -> int:
        """A number that is the same for two trials that agree (`agrees`), and for few others."""
        values = self.alike.outcomes[self.place] + 0.0  # -0.0 equals 0.0
        values[np.isnan(values)] = np.nan
        return hash(values.tobytes())

    def peeks_at(self) -> Mapping[str, str]:
        """Return what each rule sees of the masks; it is the same for all trials alike."""
        return self.alike.peeks_at

    def diagnostic(self, name: str, network: str, class_name: str) -> float:
        """Return a diagnostic; NaN if there is no such row."""
        found = self.alike.diagnostic((network, class_name), name)
        return math.nan if found is None else float(found[self.place])


def unpacked(
    keys: Sequence[str],
    figures: pa.ChunkedArray,
    about: pa.ChunkedArray,
    chosen: np.ndarray | None = None,
) -> Iterator[AlikeTrials]:
    """Yield trials that were packed by `packed`, grouped by what their numbers are.

    Args:
        keys: their keys.
        figures: the contents, binary.
        about: the texts.
        chosen: bool, which of them are wanted; None: all.

    Returns:
        Trials without test scores are left out.

    """
    names = np.array(keys, object)
    texts, code = coded_texts(about)
    for number, text in enumerate(texts):
        among = code == number
        where = np.flatnonzero(among if chosen is None else among & chosen)
        if not len(where) or not (described := json.loads(text))["scored"]:
            continue
        rows, curves, diagnosed = (
            tuple(map(tuple, described[name])) for name in ("outcomes", "curves", "diagnostics")
        )
        sizes = np.cumsum([len(rows) * len(OUTCOME_NUMBERS), len(curves) * LEVELS])
        values = _values(figures, where, int(sizes[1]) + len(diagnosed) * len(DIAGNOSTICS))
        count = len(where)
        yield AlikeTrials(
            tuple(names[where]),
            rows,
            curves,
            diagnosed,
            values[:, : sizes[0]].reshape(count, len(rows), len(OUTCOME_NUMBERS)),
            values[:, sizes[0] : sizes[1]].reshape(count, len(curves), LEVELS),
            values[:, sizes[1] :].reshape(count, len(diagnosed), len(DIAGNOSTICS)),
        )


def coded_texts(column: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """Return the texts of a column, each once, and the number of each row's text, -1 for none."""
    coded = column.dictionary_encode().unify_dictionaries()
    texts = coded.chunk(0).dictionary.to_pylist() if coded.num_chunks else []
    codes = [chunk.indices.fill_null(-1).to_numpy() for chunk in coded.chunks]
    return texts, np.concatenate([np.zeros(0, np.int32), *codes])


def _values(contents: pa.ChunkedArray, where: np.ndarray, width: int) -> np.ndarray:
    """Return the numbers of some contents, float64 [len(where), width]; each has a digest first.

    Raises:
        ValueError: one is of another length.

    """
    found = np.empty((len(where), width))
    begin, filled = 0, 0
    for chunk in contents.chunks:
        first, last = np.searchsorted(where, [begin, begin + len(chunk)])
        here = where[first:last] - begin
        begin += len(chunk)
        if not len(here):
            continue
        part = chunk if len(here) == len(chunk) else chunk.take(pa.array(here))
        kind = np.int64 if pa.types.is_large_binary(part.type) else np.int32
        offsets = np.frombuffer(part.buffers()[1], kind)[part.offset :][: len(part) + 1]
        if not (np.diff(offsets) == 8 * width + DIGEST_BYTES).all():
            raise ValueError("figures of another length than they say")
        whole = memoryview(part.buffers()[2])[offsets[0] : offsets[-1]]
        numbers = np.frombuffer(whole, "<f8").reshape(len(part), -1)
        found[filled : filled + len(part)] = numbers[:, DIGEST_BYTES // 8 :]
        filled += len(part)
    return found


def whole_columns(groups: Sequence[AlikeTrials]) -> frozenset[str]:
    """Return the columns of image counts that no outcome of any trial lacks."""
    return frozenset(
        name
        for name in IMAGE_COUNTS
        if not any(np.isnan(one.outcomes[:, :, _OUTCOME_AT[name]]).any() for one in groups)
    )


def tidy(
    figures: Sequence[KeptFigures], frame_of: Callable[[AlikeTrials, np.ndarray], pd.DataFrame]
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the rows of many trials as one frame, in the order of the trials.

    Args:
        figures: of the trials.
        frame_of: `AlikeTrials.outcome_frame` or `AlikeTrials.diagnostic_frame`.

    Returns:
        The frame, and how many rows each trial has, int64 [len(figures)].

    """
    groups = {id(one.alike): one.alike for one in figures}
    of_group = np.array([id(one.alike) for one in figures])
    places = np.array([one.place for one in figures])
    counts = np.zeros(len(figures), np.int64)
    frames, firsts, before = [], np.zeros(len(figures), np.int64), 0
    for name, alike in groups.items():
        where = np.flatnonzero(of_group == name)
        frame = frame_of(alike, places[where])
        each = len(frame) // len(where)
        counts[where] = each
        firsts[where] = before + each * np.arange(len(where))
        before += len(frame)
        frames.append(frame)
    whole = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
    if len(frames) > 1:
        ends = np.cumsum(counts)
        within = np.arange(ends[-1]) - np.repeat(ends - counts, counts)
        whole = whole.take(np.repeat(firsts, counts) + within).reset_index(drop=True)
    return whole, counts
