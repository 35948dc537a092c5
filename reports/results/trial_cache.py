"""Figures of many trials from the ledger: each computed once, several at a time.

The figures of a trial follow from its part of `scores` and the study's settings. They take some
twenty milliseconds to compute and a few kilobytes to keep, in memory and in
`RESULTS/derived/figures.parquet`, beside the part's size and time of change, the settings and a
hash of the code. If any of these differs, the trial is computed again. The figures of a study with
its own threshold rules are not kept, because the rules may change at any time. The file may be
deleted at any time.
"""

import contextlib
import hashlib
import io
import itertools
import logging
import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

import reports.names
import wsss_core.evaluate
from reports.ledger.parts import part_name, read_arrow, table_folder
from reports.ledger.snapshot import DERIVED, WORTH
from reports.names import RULES
from reports.results.diagnostics import DIAGNOSTICS, diagnostic_rows
from reports.results.outcomes import OUTCOME_COLUMNS, TrialFigures, figure_rows
from reports.results.score_rows import Rules, ScoreRows
from reports.storage import Entry, Location, StorageError, open_folder

FILE = "figures.parquet"
_CHUNK = 20
_CODE = b"code"
_TEXTS = ("network", "class_name", "split", "rule", "peeks_at")
_OUTCOME = pa.struct(
    [(name, pa.string() if name in _TEXTS else pa.float64()) for name in OUTCOME_COLUMNS]
)
_DIAGNOSTIC = pa.struct(
    [("network", pa.string()), ("class_name", pa.string())]
    + [(name, pa.float64()) for name in DIAGNOSTICS]
)
_CURVE = pa.struct(
    [("network", pa.string()), ("class_name", pa.string()), ("values", pa.list_(pa.float64()))]
)
_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("size", pa.int64()),
        ("changed", pa.string()),
        ("settings", pa.string()),
        ("scored", pa.bool_()),
        ("outcomes", pa.list_(_OUTCOME)),
        ("curves", pa.list_(_CURVE)),
        ("diagnostics", pa.list_(_DIAGNOSTIC)),
    ]
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FigureSettings:
    """The settings that figures depend on, see `reports.results.outcomes.trial_figures`."""

    objective: str
    fixed: float
    own_rules: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReadTrial:
    """The figures and diagnostics of a trial."""

    figures: TrialFigures
    diagnostics: pd.DataFrame


def read_scores(results: Location, key: str) -> ScoreRows:
    """Read a trial's rows of the table `scores`."""
    return ScoreRows.of(read_arrow(results, "scores", keys=[key]))


def read_figures(
    results: Location,
    keys: Sequence[str],
    settings: FigureSettings,
    *,
    processes: int = 1,
) -> dict[str, ReadTrial]:
    """Read or compute the figures of trials; leave out trials without test scores.

    Args:
        results: the results folder.
        keys: the keys of trials, plain or under chains.
        settings: the study's settings.
        processes: how many processes may compute at once if there are many trials. More than one
            imports the main script again, so the script must be guarded.

    Raises:
        LedgerError: a part cannot be read.
        InputError: the study's own rule fails.

    """
    there = table_folder(results, "scores").listing()
    entries = {key: there[part_name(key)] for key in keys if part_name(key) in there}
    kept = None if settings.own_rules else _Kept.read(results, entries, settings)
    known = kept.keys if kept else set()
    missing = [key for key in entries if key not in known]
    computed: list[dict[str, Any]] = []
    try:
        for rows in _computed(results, missing, settings, processes):
            computed += rows
    finally:
        if kept is not None and len(computed) >= WORTH:
            kept.write(results, computed, entries)
    tables = [_table(computed, entries, settings), *([kept.table] if kept else [])]
    return _as_trials(results, pa.concat_tables(tables))


def _computed(
    results: Location, keys: Sequence[str], settings: FigureSettings, processes: int
) -> Iterator[list[dict[str, Any]]]:
    chunks = [keys[start : start + _CHUNK] for start in range(0, len(keys), _CHUNK)]
    compute = partial(_compute, results, settings)
    progress = _Progress(len(keys))
    if processes < 2 or len(keys) < 4 * WORTH:
        for chunk in chunks:
            yield compute(chunk)
            progress.add(len(chunk))
        return
    # Spawned, not forked: threads of this process may hold locks.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            for chunk, rows in zip(chunks, pool.map(compute, chunks), strict=True):
                yield rows
                progress.add(len(chunk))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class _Progress:
    """Logs the progress every 20 seconds."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._started = self._logged = time.monotonic()

    def add(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._logged < 20 or self._done >= self._total:
            return
        rest = (now - self._started) / self._done * (self._total - self._done)
        logger.info("figures of %d of %d trials, about %.0f s left", self._done, self._total, rest)
        self._logged = now


def _compute(
    results: Location, settings: FigureSettings, keys: Sequence[str]
) -> list[dict[str, Any]]:
    """Compute the figures of some trials as plain values."""
    rules = Rules((*RULES, *settings.own_rules), settings.objective, settings.fixed)
    found = []
    for key in keys:
        scores = read_scores(results, key)
        row: dict[str, Any] = {"key": key, "scored": bool((scores.texts["split"] == "test").any())}
        if row["scored"]:
            outcomes, curves = figure_rows(scores, rules)
            row["outcomes"] = outcomes
            row["curves"] = [
                {"network": network, "class_name": name, "values": curve}
                for (network, name), curve in curves.items()
            ]
            row["diagnostics"] = diagnostic_rows(scores, _levels(outcomes))
        found.append(row)
    return found


def _levels(outcomes: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """Return the levels that cut maps for diagnostics: tuned ones, or fixed ones without any."""
    rule = "tuned" if any(row["rule"] == "tuned" for row in outcomes) else "fixed"
    return {
        (row["network"], row["class_name"]): row["level"]
        for row in outcomes
        if row["split"] == "test" and row["rule"] == rule
    }


def _table(
    computed: Sequence[Mapping[str, Any]], entries: Mapping[str, Entry], settings: FigureSettings
) -> pa.Table:
    about = repr(settings)
    return pa.Table.from_pylist(
        [
            {
                "size": entries[row["key"]].size,
                "changed": entries[row["key"]].changed,
                "settings": about,
                **row,
            }
            for row in computed
        ],
        schema=_SCHEMA,
    )


@dataclass(frozen=True)
class _Kept:
    """The content of `FILE`: all of it, and the requested rows that still hold."""

    everything: pa.Table
    table: pa.Table
    settings: FigureSettings

    @classmethod
    def read(
        cls, results: Location, entries: Mapping[str, Entry], settings: FigureSettings
    ) -> "_Kept":
        whole = _SCHEMA.empty_table()
        # If the file cannot be used, the figures are computed.
        with contextlib.suppress(OSError, StorageError, pa.ArrowException, ValueError):
            content = open_folder(results).joined(DERIVED).read(FILE)
            with pq.ParquetFile(pa.BufferReader(content)) as file:
                if (file.metadata.metadata or {}).get(
                    _CODE
                ) == _code() and file.schema_arrow.equals(_SCHEMA):
                    whole = file.read(use_threads=False)
        about = repr(settings)
        identities = zip(
            *(whole[name].to_pylist() for name in ("key", "size", "changed", "settings")),
            strict=True,
        )
        valid = [
            settings_then == about
            and (now := entries.get(key)) is not None
            and (now.size, now.changed) == (size, changed)
            for key, size, changed, settings_then in identities
        ]
        return cls(whole, whole.filter(pa.array(valid, pa.bool_())), settings)

    @property
    def keys(self) -> set[str]:
        return set(self.table["key"].to_pylist())

    def write(
        self, results: Location, computed: Sequence[Mapping[str, Any]], entries: Mapping[str, Entry]
    ) -> None:
        """Keep computed figures, in place of older ones of the same trials and settings."""
        new = {row["key"] for row in computed}
        about = repr(self.settings)
        old = [
            key not in new or settings != about
            for key, settings in zip(
                self.everything["key"].to_pylist(),
                self.everything["settings"].to_pylist(),
                strict=True,
            )
        ]
        whole = pa.concat_tables(
            [
                self.everything.filter(pa.array(old, pa.bool_())),
                _table(computed, entries, self.settings),
            ]
        )
        sink = io.BytesIO()
        with contextlib.suppress(OSError, StorageError):
            with pq.ParquetWriter(sink, _SCHEMA, compression="zstd") as writer:
                writer.write_table(whole)
                writer.add_key_value_metadata({_CODE: _code()})
            open_folder(results).joined(DERIVED).write(FILE, sink.getvalue())


@cache
def _code() -> bytes:
    """Return a hash of the code that computes figures: no version number has to be raised."""
    here = Path(__file__).parent
    names = ("outcomes", "score_rows", "several_classes", "diagnostics")
    files = [here / f"{name}.py" for name in (*names, Path(__file__).stem)]
    files.append(Path(reports.names.__file__))
    files += sorted(Path(wsss_core.evaluate.__file__).parent.glob("*.py"))
    digest = hashlib.blake2b(digest_size=10)
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest().encode()


def _as_trials(results: Location, table: pa.Table) -> dict[str, ReadTrial]:
    table = table.filter(table["scored"]).combine_chunks()
    keys = table["key"].to_pylist()
    outcomes = _frames(table["outcomes"], ("images", "images_with_class"))
    diagnostics = _frames(table["diagnostics"], ())
    found = {}
    for key, of_trial, diagnosed, curves in zip(
        keys, outcomes, diagnostics, _curves(table["curves"]), strict=True
    ):
        figures = TrialFigures(of_trial, curves, partial(read_scores, results, key))
        found[key] = ReadTrial(figures, diagnosed)
    return found


def _frames(column: pa.ChunkedArray, whole: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Yield a frame of each list of rows; columns in `whole` are integers if none is NaN."""
    lists = column.combine_chunks()
    rows = lists.flatten()
    frame = pa.Table.from_arrays(rows.flatten(), names=[f.name for f in rows.type]).to_pandas()
    for name in whole:
        if not frame[name].isna().any():
            frame[name] = frame[name].astype(np.int64)
    start = 0
    for count in lists.value_lengths().fill_null(0).to_pylist():
        yield frame.iloc[start : start + count].reset_index(drop=True)
        start += count


def _curves(column: pa.ChunkedArray) -> Iterator[dict[tuple[str, str], np.ndarray]]:
    lists = column.combine_chunks()
    rows = lists.flatten()
    names = zip(
        rows.field("network").to_pylist(), rows.field("class_name").to_pylist(), strict=True
    )
    values = rows.field("values").flatten().to_numpy().reshape(-1, 256)
    each = iter(zip(names, values, strict=True))
    for count in lists.value_lengths().fill_null(0).to_pylist():
        yield dict(itertools.islice(each, count))
