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

import pyarrow as pa
import pyarrow.compute as pc

from reports.ledger.content_digests import part_digests
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

    if rules.own:
        tables = list(derive(names, None))
    else:
        kept = _sealed(results, names, there, rules, sealed)
        have = set(kept["key"].to_pylist())
        left = [name for name in names if _key(name) not in have]
        table = f"figures-{hashlib.blake2b(repr(rules).encode(), digest_size=5).hexdigest()}"
        derived = open_folder(results).joined(DERIVED)
        found = read_with_snapshot(derived, table, figures_code(), there, left, None, derive)
        tables = [kept, *found]
    return _by_trial(results, pa.concat_tables([pa.Table.from_batches([], _SCHEMA), *tables]))


def _key(name: str) -> str:
    return name.removesuffix(part_name(""))


def _sealed(
    results: Location,
    names: Sequence[str],
    there: Mapping[str, Entry],
    rules: Rules,
    sealed: Iterable[pa.Table],
) -> pa.Table:
    """Return the figures in sealing rows that this code derived of the scores that are there."""
    nothing = pa.Table.from_batches([], _SCHEMA)
    every = [
        pa.table(
            [table[name].cast(_SCHEMA.field(name).type) for name in _SCHEMA.names], _SCHEMA.names
        )
        for table in sealed
        if set(DERIVED_COLUMNS) <= set(table.column_names)
    ]
    found = pa.concat_tables([nothing, *every])
    found = found.filter(
        pc.and_(
            pc.and_(pc.is_valid(found["figures"]), pc.is_valid(found["figures_about"])),
            pc.is_in(found["key"], pa.array([_key(name) for name in names], pa.string())),
        )
    )
    usable = [text for text in pc.unique(found["figures_about"]).to_pylist() if is_of(text, rules)]
    found = found.filter(pc.is_in(found["figures_about"], pa.array(usable, pa.string())))
    if not len(found):
        return nothing
    held = sorted(part_name(key) for key in found["key"].to_pylist())
    digests = part_digests(results, "scores", held, there)
    now = [bytes.fromhex(digests.get(part_name(key), "")) for key in found["key"].to_pylist()]
    derived_of = pc.binary_slice(found["figures"], 0, DIGEST_BYTES)
    return found.filter(pc.equal(derived_of, pa.array(now, pa.large_binary())))


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


def _by_trial(results: Location, table: pa.Table) -> dict[str, KeptFigures]:
    table = table.combine_chunks()
    columns = [table[name].combine_chunks() for name in DERIVED_COLUMNS]
    groups = list(unpacked(table["key"].to_pylist(), *columns))
    whole = whole_columns(groups)
    return {
        key: KeptFigures(alike, place, partial(read_scores, results, key))
        for alike in (replace(one, whole=whole) for one in groups)
        for place, key in enumerate(alike.keys)
    }
