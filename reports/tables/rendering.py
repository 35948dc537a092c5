"""Rendering a table as Markdown, CSV, HTML and LaTeX.

Markdown and HTML show the cells' texts. CSV holds the numbers behind them, unrounded, one
column per figure; a text that a spreadsheet would run as a formula begins with an apostrophe. LaTeX
is a float with booktabs' rules that may be input anywhere.
"""

import csv
import io
import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from reports.tables.cells import Cell, CellValue, Column, Table
from reports.tables.csv_text import spreadsheet_text
from reports.tables.latex_text import UNICODE_MACRO, escape_latex
from reports.tables.long import CellColumn, columns_of

_MARKDOWN = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", **{mark: f"\\{mark}" for mark in "\\`*_|[]#~$"}}
)


def escape_markdown(text: str) -> str:
    r"""Escape text for Markdown and the HTML inside it; line ends become spaces.

    Example:
        >>> escape_markdown("a_b|<i>")
        'a\\_b\\|&lt;i&gt;'

    """
    return " ".join(text.split()).translate(_MARKDOWN)


def to_markdown(table: Table) -> str:
    """Render as a GitHub-flavoured Markdown table, with its notes below."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    def shown(column: CellColumn) -> list[str]:
        texts = [escape_markdown(text) for text in column.texts]
        if not any(column.best):
            return texts
        return [f"**{t}**" if best else t for t, best in zip(texts, column.best, strict=True)]

    lines = [
        line([escape_markdown(column.heading) for column in table.columns]),
        line(["---:" if column.numeric else ":---" for column in table.columns]),
        *map(line, zip(*map(shown, columns_of(table)), strict=True)),
    ]
    below = [escape_markdown(text) for text in (table.caption, *table.notes) if text]
    return "\n".join(lines) + "\n" + "".join(f"\n{text}\n" for text in below)


def _number(value: CellValue) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(float(value)) if isinstance(value, float) else spreadsheet_text(str(value))


def to_csv(table: Table) -> str:
    """Render the figures behind the cells; an absent figure is an empty field."""
    figures = [
        (f"{column.key}_{suffix}" if suffix else column.key, values)
        for column, cells in zip(table.columns, columns_of(table), strict=True)
        for suffix, values in (cells.data or {"": cells.texts}).items()
    ]
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(spreadsheet_text(name) for name, _ in figures)
    writer.writerows(zip(*(map(_number, values) for _, values in figures), strict=True))
    return sink.getvalue()


def _html_text(column: Column, cell: Cell) -> Markup:
    """Put the bracketed rest of a figure, such as its interval, on a line of its own."""
    figure, bracket, rest = cell.text, "", ""
    if column.numeric:
        at = min((i for i in (figure.find(" ["), figure.find(" (")) if i > 0), default=-1)
        if at > 0:
            figure, bracket, rest = figure[:at], figure[at : at + 2], figure[at + 2 :]
    text = Markup("<b>{}</b>").format(figure) if cell.best else escape(figure)
    if rest:
        text += Markup('<span class="aside">{}{}</span>').format(bracket, rest)
    return text


def to_html(table: Table) -> Markup:
    """Render as an HTML table in a box that scrolls sideways; everything is escaped."""
    parts = [Markup('<div class="scroll" tabindex="0" role="region" aria-label="{}"><table>')]
    parts[0] = parts[0].format(table.title)
    parts.append(Markup("<thead><tr>"))
    for column in table.columns:
        unit = Markup(' <span class="unit">{}</span>').format(column.unit) if column.unit else ""
        about = Markup(' title="{}"').format(column.about) if column.about else ""
        kind = Markup(' class="number"') if column.numeric else ""
        parts.append(
            Markup('<th scope="col"{}{}>{}{}</th>').format(kind, about, column.header, unit)
        )
    parts.append(Markup("</tr></thead>\n<tbody>\n"))
    for row in table.rows:
        parts.append(Markup("<tr>"))
        for position, (column, cell) in enumerate(zip(table.columns, row, strict=True)):
            names = [
                *(["number"] if column.numeric else []),
                *(["long"] if len(cell.text) > 40 else []),
                *(["best"] if cell.best else []),
                *([f"state-{cell.state}"] if cell.state else []),
            ]
            kind = Markup(' class="{}"').format(" ".join(names)) if names else ""
            tag = Markup('th scope="row"') if position == 0 else Markup("td")
            end = Markup("th") if position == 0 else Markup("td")
            parts.append(Markup("<{}{}>{}</{}>").format(tag, kind, _html_text(column, cell), end))
        parts.append(Markup("</tr>\n"))
    parts.append(Markup("</tbody></table></div>"))
    return Markup("").join(parts)


_NEEDS = (
    r"% Needs \usepackage{booktabs} and LaTeX of 2020 or newer; for pdflatex, lualatex, xelatex."
)

_BY_NUMBER = (
    "% \\wsssunicode prints a character that LaTeX has no command for: lualatex and xelatex take\n"
    "% it from the document's font, if that has it; else its number or T1's glyph is printed.\n"
    f"{UNICODE_MACRO}"
)


def to_latex(table: Table) -> str:
    r"""Return a table as a `table` float; the document needs `\usepackage{booktabs}` only."""

    def shown(column: CellColumn) -> list[str]:
        texts = [escape_latex(text) for text in column.texts]
        for place, state in enumerate(column.states):
            if state and state != "partial":
                texts[place] = rf"\emph{{{texts[place]}}}"
        for place, best in enumerate(column.best):
            if best:
                texts[place] = rf"\textbf{{{escape_latex(column.texts[place])}}}"
        return texts

    alignment = "".join("r" if column.numeric else "l" for column in table.columns)
    caption = " ".join(text for text in (table.title + ".", table.caption, *table.notes) if text)
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape_latex(caption)}}}",
        rf"  \label{{tab:{table.name}}}",
        rf"  \begin{{tabular}}{{{alignment}}}",
        r"    \toprule",
        "    " + " & ".join(escape_latex(column.heading) for column in table.columns) + r" \\",
        r"    \midrule",
        *(
            f"    {' & '.join(row)} \\\\"
            for row in zip(*map(shown, columns_of(table)), strict=True)
        ),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    body = "\n".join(lines)
    head = [_NEEDS, *([_BY_NUMBER] if r"\wsssunicode" in body else [])]
    return "\n".join([*head, body]) + "\n"
