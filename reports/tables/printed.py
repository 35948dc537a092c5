"""A table as a reader at a prompt or in a notebook takes it."""

import io
from dataclasses import fields

import pandas as pd
from markupsafe import Markup

from reports.tables.cells import Table
from reports.tables.rendering import to_csv, to_html, to_latex, to_markdown


class PrintedTable(Table):
    """A table that prints itself: as Markdown at a prompt, as HTML in a notebook."""

    @classmethod
    def of(cls, table: Table) -> "PrintedTable":
        """Take over a table."""
        return cls(**{one.name: getattr(table, one.name) for one in fields(Table)})

    @property
    def frame(self) -> pd.DataFrame:
        """The texts of the cells, a column for each of the table's headers."""
        names = [column.heading for column in self.columns]
        return pd.DataFrame([[cell.text for cell in row] for row in self.rows], columns=names)

    @property
    def numbers(self) -> pd.DataFrame:
        """The numbers behind the cells, unrounded: the columns of `to_csv`."""
        return pd.read_csv(io.StringIO(self.to_csv()))

    def to_markdown(self) -> str:
        """Return a GitHub-flavoured Markdown table, with its notes below."""
        return to_markdown(self)

    def to_latex(self) -> str:
        """Return a LaTeX float that needs `booktabs`."""
        return to_latex(self)

    def to_csv(self) -> str:
        """Return the numbers behind the cells as CSV."""
        return to_csv(self)

    def to_html(self) -> str:
        """Return an HTML table; everything is escaped."""
        return str(to_html(self))

    def __repr__(self) -> str:
        return f"{self.title}\n\n{to_markdown(self)}"

    def _repr_html_(self) -> str:
        below = [text for text in (self.caption, *self.notes) if text]
        parts = [Markup("<p><b>{}</b></p>").format(self.title), to_html(self)]
        parts += [Markup("<p>{}</p>").format(text) for text in below]
        return str(Markup("\n").join(parts))
