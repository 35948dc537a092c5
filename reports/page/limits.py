"""Limits of a page for studies of hundreds of configurations; its files always hold everything."""

import math
from collections.abc import Sequence
from dataclasses import replace

from reports.results.study_record import StudyRecord
from reports.statistics import summarise
from reports.tables.cells import Table
from reports.tables.long import ColumnRows

CONFIGURATIONS = 24
"""The most configurations that one figure tells apart."""

TABLE_ROWS = 200
"""The most rows of a table that a page shows."""


def fewer(
    records: Sequence[StudyRecord], limit: int = CONFIGURATIONS
) -> tuple[list[StudyRecord], str]:
    """Keep as many configurations of the records as a figure can show.

    Baselines and references come first, then the configurations with the highest mean of the main
    figure.

    Args:
        records: of one study: one, or one for each value of its sweep.
        limit: the most configurations.

    Returns:
        The records, and a sentence for the caption; empty if nothing was left out.

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
        f" Shown are {limit} of {len(names):,} configurations: those with the highest mean, and "
        "those they are compared with."
    )


def shortened(table: Table, file: str, limit: int = TABLE_ROWS) -> Table:
    """Keep as many rows of a table as a page can show, in their order.

    Rows that did not end well come first, up to half of them, then the best of the first column
    that ranks its cells.

    Args:
        table: all rows.
        file: the name of the table's file, for the note.
        limit: the most rows.

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
    if isinstance(table.rows, ColumnRows):
        bad = table.rows.standing_out(("", "partial"))[: limit // 2]
    else:
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
