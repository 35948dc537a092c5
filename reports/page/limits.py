"""What a page shows of a study of hundreds of configurations; its files always hold all of it."""

import math
from collections.abc import Sequence
from dataclasses import replace

from reports.results.study_record import StudyRecord
from reports.statistics import summarise
from reports.tables.model import Table

CONFIGURATIONS = 24
"""As many are told apart in one figure."""

ROWS = 200
"""As many rows of a table are looked through on a page."""


def fewer(
    records: Sequence[StudyRecord], limit: int = CONFIGURATIONS
) -> tuple[list[StudyRecord], str]:
    """The same records with as many configurations as a figure can show.

    What others are compared with stays, then those with the highest mean of the main figure.

    Args:
        records: Of one study: one, or one for each value of its dial.
        limit: So many at most.

    Returns:
        The records, and a sentence for the caption; empty where nothing was left out.

    """
    names = [one.name for one in records[0].configurations]
    if len(names) <= limit:
        return list(records), ""
    compared = {
        name
        for record in records
        for one in record.configurations
        for name in (one.baseline, one.reference)
        if name is not None
    }

    def mean(name: str) -> float:
        found = summarise(
            value for record in records for value in record.by_seed(name, record.objective).values()
        ).mean
        return -math.inf if math.isnan(found) else found

    ranked = sorted(names, key=lambda name: (name not in compared, -mean(name)))
    kept = set(ranked[:limit])
    few = [
        replace(r, configurations=tuple(one for one in r.configurations if one.name in kept))
        for r in records
    ]
    return few, (
        f" Of {len(names):,} configurations the {limit} with the highest mean are shown, "
        "and what they are compared with."
    )


def shortened(table: Table, file: str, limit: int = ROWS) -> Table:
    """A table of as many rows as a page can show, in their order.

    Rows that did not end well come first, up to half of them, then the best of the first column
    that ranks its cells.

    Args:
        table: All rows.
        file: Its file's name, for a note that says where the others are.
        limit: So many rows at most.

    """
    if len(table.rows) <= limit:
        return table
    ranked = [
        place
        for place, column in enumerate(table.columns)
        if column.higher_is_better is not None
        and any(row[place].rank is not None for row in table.rows)
    ]
    ranking = ranked[0] if ranked else None
    bad = [
        place
        for place, row in enumerate(table.rows)
        if any(cell.state not in ("", "partial") for cell in row)
    ][: limit // 2]

    def by_rank(place: int) -> tuple[float, int]:
        if ranking is None:
            return 0.0, place
        rank = table.rows[place][ranking].rank
        if rank is None or math.isnan(rank):
            return math.inf, place
        return (-rank if table.columns[ranking].higher_is_better else rank), place

    others = sorted(set(range(len(table.rows))) - set(bad), key=by_rank)
    kept = sorted([*bad, *others[: limit - len(bad)]])
    chosen = "the first" if ranking is None else f"the best by {table.columns[ranking].header}"
    note = (
        f"{limit} of {len(table.rows):,} rows: {chosen}"
        + (", and some that did not end well" if bad else "")
        + f". All are in tables/{file}.csv."
    )
    rows = tuple(table.rows[place] for place in kept)
    return replace(table, rows=rows, notes=(*table.notes, note))
