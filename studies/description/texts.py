"""The description as text for a terminal."""

from reports.tables.cells import Table
from studies.description.tables import cooccurrence_table, counts_table
from studies.formatting import aligned
from wsss_core.data.description import DataDescription

_MOST_ROWS, _MOST_TRAPS, _MOST_NOTES = 12, 6, 8


def description_text(described: DataDescription) -> str:
    """Return the tables, the traps and the notes; what is left out is counted."""
    parts = [f"{described.name}: {', '.join(described.classes)}", _plain(counts_table(described))]
    rows = described.cooccurrences
    if rows:
        table = cooccurrence_table(rows[:_MOST_ROWS])
        parts.append(f"{table.title}, the strongest first\n{_plain(table)}")
        if len(rows) > _MOST_ROWS:
            parts[-1] += f"\nand {len(rows) - _MOST_ROWS:,} more, see --out"
    else:
        parts.append("Nothing that the images name differs between images.")
    said = [f"trap: {trap.sentence}" for trap in described.traps[:_MOST_TRAPS]]
    if len(described.traps) > _MOST_TRAPS:
        said.append(f"trap: and {len(described.traps) - _MOST_TRAPS:,} more, see --out")
    if not described.traps:
        said.append("No strong correlation was found among what the images name.")
    parts.append("\n".join(said))
    notes = [f"note: {note}" for note in described.notes[:_MOST_NOTES]]
    if len(described.notes) > _MOST_NOTES:
        notes.append(f"note: and {len(described.notes) - _MOST_NOTES:,} more, see --out")
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])])


def _plain(table: Table) -> str:
    rows = [[column.heading for column in table.columns]]
    rows += [[cell.text for cell in row] for row in table.rows]
    return aligned(rows, [n for n, column in enumerate(table.columns) if column.numeric])
