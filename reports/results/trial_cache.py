"""Figures of many trials from the ledger: each derived once, read many at a time.

The figures of a trial follow from its part of `scores` and from how the study chooses thresholds.
They take some twenty milliseconds to derive and a few kilobytes to keep, and are kept twice. The
row that seals a trial holds them (`reports.results.stored`). Where they are lacking there, or were
derived by other code, under other rules or from another part of scores than the ledger holds, a
snapshot of many (`reports.ledger.snapshot`) has them, `RESULTS/derived/figures-<hash of the
rules>.parquet`: if the part's size or time of change differs, or the code, the trial is derived
again. The figures of a study with its own threshold rules are not kept, because the rules may
change at any time.
"""

import hashlib
import logging
import multiprocessing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reports.ledger.content_digests import part_digests
from reports.ledger.gathered import gathered
from reports.ledger.parts import part_name, read_arrow, table_folder
from reports.ledger.schema import DERIVED_COLUMNS
from reports.ledger.snapshot import DERIVED, WORTH, read_with_snapshot
from reports.progress import Pace
from reports.results.score_rows import Rules, ScoreRows
from reports.results.stored import (
    DIGEST_BYTES,
    KeptFigures,
    figures_code,
    is_of,
    packed,
    unpacked,
    whole_columns,
)
from reports.results.stored.alike import coded_texts
from reports.storage import Entry, Location, open_folder

_CHUNK = 20
_SCHEMA = pa.schema(
    [("key", pa.string()), ("figures", pa.large_binary()), ("figures_about", pa.string())]
)

logger = logging.getLogger(__name__)


def read_scores(results: Location, key: str) -> ScoreRows:
    """Read a trial's rows of the table `scores`."""
    return ScoreRows.of(read_arrow(results, "scores", keys=[key]))


def read_figures(
    results: Location,
    keys: Sequence[str],
    rules: Rules,
    *,
    processes: int = 1,
    sealed: Iterable[pa.Table] = (),
) -> dict[str, KeptFigures]:
    """Read or derive the figures of trials; leave out trials without test scores.

    Args:
        results: the results folder.
        keys: the keys of trials, plain or under chains.
        rules: how the study chooses thresholds.
        processes: how many processes may derive at once if there are many trials. More than one
            imports the main script again, so the script must be guarded.
        sealed: figures as rows of `trials` and `refined` hold them: tables with a column `key` and
            those of `DERIVED_COLUMNS`.

    Raises:
        LedgerError: a part cannot be read.
        InputError: the study's own rule fails.

    """
    there = table_folder(results, "scores").listing()
    names = sorted({part_name(key) for key in keys} & there.keys())

    def derive(names: Sequence[str], _columns: object) -> Iterator[pa.Table]:
        missing = [_key(name) for name in names]
        pace = Pace(len(missing), 20, "trials")
        for rows in _derived(results, missing, rules, processes):
            yield from (pa.table([[value] for value in row], schema=_SCHEMA) for row in rows)
            if (left := pace.add(len(rows))) is not None:
                logger.info(
                    "figures of %d of %d trials, about %.0f s left", pace.done, pace.total, left
                )

    tables: list[tuple[pa.Table, np.ndarray | None]]
    if rules.own:
        whole = gathered(derive(names, None))
        tables = [] if whole is None else [(whole, None)]
    else:
        usable = [
            (one, _usable(results, names, there, rules, one))
            for one in sealed
            if set(DERIVED_COLUMNS) <= set(one.column_names)
        ]
        have = {
            key
            for one, where in usable
            for key in one["key"].cast(pa.string()).filter(pa.array(where)).to_pylist()
        }
        left = [name for name in names if _key(name) not in have]
        table = f"figures-{hashlib.blake2b(repr(rules).encode(), digest_size=5).hexdigest()}"
        derived = open_folder(results).joined(DERIVED)
        found = read_with_snapshot(
            derived, table, figures_code(), there, left, None, derive, coded=True
        )
        tables = [*usable, *((one, None) for one in found)]
    return _by_trial(results, tables)


def _key(name: str) -> str:
    return name.removesuffix(part_name(""))


def _usable(
    results: Location,
    names: Sequence[str],
    there: Mapping[str, Entry],
    rules: Rules,
    sealed: pa.Table,
) -> np.ndarray:
    """Return which rows hold figures that this code derived of the scores that are there."""
    texts, code = coded_texts(sealed["figures_about"])
    ours = [number for number, text in enumerate(texts) if is_of(text, rules)]
    keys = sealed["key"].cast(pa.string())
    known = pc.and_(
        pc.is_valid(sealed["figures"]), pc.is_in(keys, pa.array(map(_key, names), pa.string()))
    )
    usable: np.ndarray = known.to_numpy().astype(bool) & np.isin(code, ours)
    if usable.any():
        held = [part_name(key) for key in keys.filter(pa.array(usable)).to_pylist()]
        digests = part_digests(results, "scores", sorted(held), there)
        now = [bytes.fromhex(digests.get(name, "")) for name in held]
        derived_of = pc.binary_slice(sealed["figures"], 0, DIGEST_BYTES).filter(pa.array(usable))
        agree = pc.equal(derived_of, pa.array(now, derived_of.type))
        usable[usable] = agree.to_numpy().astype(bool)
    return usable


def _derived(
    results: Location, keys: Sequence[str], rules: Rules, processes: int
) -> Iterator[list[tuple[str, bytes, str]]]:
    chunks = [keys[start : start + _CHUNK] for start in range(0, len(keys), _CHUNK)]
    derive = partial(_compute, results, rules)
    if processes < 2 or len(keys) < 4 * WORTH:
        yield from map(derive, chunks)
        return
    # Spawned, not forked: threads of this process may hold locks.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            yield from pool.map(derive, chunks)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _compute(results: Location, rules: Rules, keys: Sequence[str]) -> list[tuple[str, bytes, str]]:
    """Derive the figures of some trials: key, numbers and what they are."""
    found = []
    for key in keys:
        one = packed(read_scores(results, key), rules, None)
        found.append((key, one.content, one.about))
    return found


def _by_trial(
    results: Location, tables: Sequence[tuple[pa.Table, np.ndarray | None]]
) -> dict[str, KeptFigures]:
    """Return the figures of the chosen rows of tables; None: of all rows."""
    groups = [
        alike
        for table, chosen in tables
        for alike in unpacked(
            table["key"].to_pylist(), table["figures"], table["figures_about"], chosen
        )
    ]
    whole = whole_columns(groups)
    pa.default_memory_pool().release_unused()
    return {
        key: KeptFigures(alike, place, partial(read_scores, results, key))
        for alike in (replace(one, whole=whole) for one in groups)
        for place, key in enumerate(alike.keys)
    }
