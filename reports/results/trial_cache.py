"""Figures of many trials from the ledger: each computed once, several at a time.

The figures of a trial follow from its part of `scores` and from how the study chooses thresholds.
They take some twenty milliseconds to compute and a few kilobytes to keep. A snapshot of many
(`reports.ledger.snapshot`), `RESULTS/derived/figures-<hash of the choice>.parquet`, holds them: if
the part's size or time of change differs, or the code, the trial is computed again. The figures of
a study with its own threshold rules are not kept, because the rules may change at any time.
"""

import hashlib
import itertools
import logging
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

import reports.names
import wsss_core.evaluate
from reports.ledger.parts import part_name, read_arrow, table_folder
from reports.ledger.snapshot import DERIVED, WORTH, read_with_snapshot
from reports.progress import Pace
from reports.results.diagnostics import DIAGNOSTICS, diagnostic_rows
from reports.results.outcomes import OUTCOME_COLUMNS, TrialFigures, figure_rows
from reports.results.score_rows import IMAGE_COUNTS, Rules, ScoreRows
from reports.storage import Location, open_folder

_CHUNK = 20
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
        ("scored", pa.bool_()),
        ("outcomes", pa.list_(_OUTCOME)),
        ("curves", pa.list_(_CURVE)),
        ("diagnostics", pa.list_(_DIAGNOSTIC)),
    ]
)

logger = logging.getLogger(__name__)


ReadTrial = tuple[TrialFigures, pd.DataFrame]
"""The figures and diagnostics of a trial."""


def read_scores(results: Location, key: str) -> ScoreRows:
    """Read a trial's rows of the table `scores`."""
    return ScoreRows.of(read_arrow(results, "scores", keys=[key]))


def read_figures(
    results: Location,
    keys: Sequence[str],
    rules: Rules,
    *,
    processes: int = 1,
) -> dict[str, ReadTrial]:
    """Read or compute the figures of trials; leave out trials without test scores.

    Args:
        results: the results folder.
        keys: the keys of trials, plain or under chains.
        rules: how the study chooses thresholds.
        processes: how many processes may compute at once if there are many trials. More than one
            imports the main script again, so the script must be guarded.

    Raises:
        LedgerError: a part cannot be read.
        InputError: the study's own rule fails.

    """
    there = table_folder(results, "scores").listing()
    names = sorted({part_name(key) for key in keys} & there.keys())

    def compute(names: Sequence[str], _columns: object) -> Iterator[pa.Table]:
        missing = [name.removesuffix(part_name("")) for name in names]
        pace = Pace(len(missing), 20, "trials")
        for rows in _computed(results, missing, rules, processes):
            yield from (pa.Table.from_pylist([row], schema=_SCHEMA) for row in rows)
            if (left := pace.add(len(rows))) is not None:
                logger.info(
                    "figures of %d of %d trials, about %.0f s left", pace.done, pace.total, left
                )

    if rules.own:
        tables = list(compute(names, None))
    else:
        table = f"figures-{hashlib.blake2b(repr(rules).encode(), digest_size=5).hexdigest()}"
        derived = open_folder(results).joined(DERIVED)
        tables = read_with_snapshot(derived, table, _code(), there, names, None, compute)
    return _as_trials(results, pa.concat_tables([_SCHEMA.empty_table(), *tables]))


def _computed(
    results: Location, keys: Sequence[str], rules: Rules, processes: int
) -> Iterator[list[dict[str, Any]]]:
    chunks = [keys[start : start + _CHUNK] for start in range(0, len(keys), _CHUNK)]
    compute = partial(_compute, results, rules)
    if processes < 2 or len(keys) < 4 * WORTH:
        yield from map(compute, chunks)
        return
    # Spawned, not forked: threads of this process may hold locks.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            yield from pool.map(compute, chunks)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _compute(results: Location, rules: Rules, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Compute the figures of some trials as plain values."""
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


@cache
def _code() -> str:
    """Return a hash of the code that computes figures: no version number has to be raised."""
    here = Path(__file__).parent
    names = ("outcomes", "score_rows", "several_classes", "other_gatings", "diagnostics")
    files = [here / f"{name}.py" for name in (*names, Path(__file__).stem)]
    files.append(Path(reports.names.__file__))
    files += sorted(Path(wsss_core.evaluate.__file__).parent.glob("*.py"))
    digest = hashlib.blake2b(pa.__version__.encode(), digest_size=10)
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _as_trials(results: Location, table: pa.Table) -> dict[str, ReadTrial]:
    table = table.filter(table["scored"]).combine_chunks()
    keys = table["key"].to_pylist()
    outcomes = _frames(table["outcomes"], IMAGE_COUNTS)
    diagnostics = _frames(table["diagnostics"], ())
    found = {}
    for key, of_trial, diagnosed, curves in zip(
        keys, outcomes, diagnostics, _curves(table["curves"]), strict=True
    ):
        found[key] = (TrialFigures(of_trial, curves, partial(read_scores, results, key)), diagnosed)
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
