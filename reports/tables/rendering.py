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


def escape_markdown(text: str) -> str:
    r"""Escape text for Markdown and the HTML inside it; line ends become spaces.

    Example:
        >>> escape_markdown("a_b|<i>")
        'a\\_b\\|&lt;i&gt;'

    """
    flat = " ".join(text.split())
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join("\\" + letter if letter in "\\`*_|[]#~$" else letter for letter in flat)


def to_markdown(table: Table) -> str:
    """Render as a GitHub-flavoured Markdown table, with its notes below."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    def shown(cell: Cell) -> str:
        text = escape_markdown(cell.text)
        return f"**{text}**" if cell.best else text

    lines = [
        line([escape_markdown(column.heading) for column in table.columns]),
        line(["---:" if column.numeric else ":---" for column in table.columns]),
        *(line([shown(cell) for cell in row]) for row in table.rows),
    ]
    below = [escape_markdown(text) for text in (table.caption, *table.notes) if text]
    return "\n".join(lines) + "\n" + "".join(f"\n{text}\n" for text in below)


def _number(value: CellValue) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(float(value)) if isinstance(value, float) else spreadsheet_text(str(value))


def to_csv(table: Table) -> str:
    """Render the figures behind the cells; an absent figure is an empty field."""
    suffixes: list[list[str]] = []
    for position in range(len(table.columns)):
        seen: dict[str, None] = {}
        for row in table.rows:
            seen.update(dict.fromkeys(row[position].data or {"": None}))
        suffixes.append(list(seen) or [""])
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(
        spreadsheet_text(f"{column.key}_{suffix}" if suffix else column.key)
        for column, of_column in zip(table.columns, suffixes, strict=True)
        for suffix in of_column
    )
    for row in table.rows:
        writer.writerow(
            _number((cell.data or {"": cell.text}).get(suffix))
            for cell, of_column in zip(row, suffixes, strict=True)
            for suffix in of_column
        )
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

    def shown(cell: Cell) -> str:
        text = escape_latex(cell.text)
        if cell.best:
            return rf"\textbf{{{text}}}"
        return rf"\emph{{{text}}}" if cell.state and cell.state != "partial" else text

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
        *("    " + " & ".join(shown(cell) for cell in row) + r" \\" for row in table.rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    body = "\n".join(lines)
    head = [_NEEDS, *([_BY_NUMBER] if r"\wsssunicode" in body else [])]
    return "\n".join([*head, body]) + "\n"
