r"""Rendering a table as LaTeX: a float with booktabs' rules that may be `\input` anywhere."""

from reports.tables.cells import Cell, Table
from reports.tables.latex_text import UNICODE_MACRO, escape_latex

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
