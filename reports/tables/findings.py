"""The table of what was found about a study's images before it ran."""

import pandas as pd

from reports.ledger.schema import FINDING_SEVERITIES
from reports.tables.cells import ABSENT, Cell, Column, Table


def findings_table(rows: pd.DataFrame) -> Table:
    """Build the table: a row per finding, warnings first, in the order of the check.

    Args:
        rows: the ledger's `findings` table of one study.

    """
    columns = (
        Column("severity", "severity"),
        Column("split", "split"),
        Column("kind", "about"),
        Column("count", "count", numeric=True, about="Files, classes or groups that it concerns."),
        Column("text", "finding"),
        Column("files", "examples"),
    )
    listed = rows.drop_duplicates([one.key for one in columns])
    order = listed["severity"].map({name: at for at, name in enumerate(FINDING_SEVERITIES)})
    listed = listed.iloc[order.argsort(kind="stable")]
    cells = tuple(
        (
            Cell(str(row["severity"])),
            Cell(str(row["split"] or "all")),
            Cell(str(row["kind"])),
            Cell(f"{row['count']:,}".replace(",", "\u202f"), data={"": int(row["count"])}),
            Cell(str(row["text"])),
            Cell(str(row["files"] or ABSENT)),
        )
        for row in listed.astype(object).where(listed.notna(), None).to_dict("records")
    )
    counts = [(name, sum(row[0].text == name for row in cells)) for name in FINDING_SEVERITIES]
    said = ", ".join(f"{count} {name}{'s' if count > 1 else ''}" for name, count in counts if count)
    caption = f"{said}: what `wsss data check` lists of the images that the study was run with."
    return Table("findings", "What the check of the images found", columns, cells, caption)
