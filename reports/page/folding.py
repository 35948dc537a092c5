"""Tables of many classes on a page: the mean over classes in sight, the rows of classes folded."""

from dataclasses import replace

from reports.names import CLASSES_IN_SIGHT, MEAN_OF_CLASSES
from reports.tables.cells import Table
from reports.tables.long import columns_of, rows_at


def split_by_class(table: Table) -> tuple[Table, Table | None]:
    """Cut a table of many classes into what a page shows and what it folds.

    Args:
        table: a table; it is cut if its column `class` has more than `CLASSES_IN_SIGHT` classes.

    Returns:
        The table with the rows that are of no single class, maybe none, and a table of the rows of
        classes without caption and notes. A table of few classes whole, and None.

    """
    keys = [column.key for column in table.columns]
    at = keys.index("class") if "class" in keys else None
    texts = [] if at is None else columns_of(table)[at].texts
    names = set(texts) - {MEAN_OF_CLASSES}
    if at is None or len(names) <= CLASSES_IN_SIGHT:
        return table, None
    of_all, of_each = (
        rows_at(
            table, [place for place, text in enumerate(texts) if (text == MEAN_OF_CLASSES) is mean]
        )
        for mean in (True, False)
    )
    title = f"{table.title}: {len(names)} classes"
    return replace(table, rows=of_all), replace(
        table, title=title, rows=of_each, caption="", notes=()
    )
