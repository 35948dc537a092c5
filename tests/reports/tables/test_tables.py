import csv
import io
import re
from html.parser import HTMLParser

import pytest

from reports.tables.cells import Cell, Column, Table, mark_best
from reports.tables.latex_text import escape_latex
from reports.tables.rendering import to_csv, to_html, to_latex, to_markdown

EVIL = "<script>alert(1)</script> a_b & 5% $x$ {#} ~^\\ | \"q\" 'r'"


def small_table(name="plain"):
    return Table(
        "small",
        "A small table",
        (
            Column("configuration", "configuration"),
            Column("iou", "IoU", "%", higher_is_better=True, numeric=True),
            Column("misses", "misses", higher_is_better=False, numeric=True),
        ),
        (
            (Cell(name), Cell("12.3 ± 1.0", 0.123, {"mean": 0.123, "sd": 0.01}), Cell("4", 4.0)),
            (Cell("other"), Cell("failed", None, {"mean": None}, "failed"), Cell("7", 7.0)),
            (Cell("third"), Cell("9.0", 0.09, {"mean": 0.09, "sd": None}), Cell("9", 9.0)),
        ),
        "How to read it.",
        ("A note.",),
    )


class CellReader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.cells = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data):
        if self.cells:
            self.cells[-1] += data


def unescaped_latex(text):
    """Drop every escaped character, so that only markup is left."""
    return re.sub(r"\\([\\{}&%$#_]|[a-zA-Z]+(?:\{\})?)", "", text)


def test_the_best_cell_is_the_highest_or_the_lowest_as_the_column_says():
    marked = mark_best(small_table())

    assert [row[1].best for row in marked.rows] == [True, False, False]
    assert [row[2].best for row in marked.rows] == [True, False, False]
    assert not any(row[0].best for row in marked.rows)


def test_a_column_with_one_figure_has_no_best():
    table = small_table()
    alone = Table("t", "t", table.columns, table.rows[:2])

    assert not any(row[1].best for row in mark_best(alone).rows)


def test_rows_are_compared_only_within_their_group():
    columns = (Column("class", "class"), Column("iou", "IoU", higher_is_better=True))
    figures = [("smoke", 0.2), ("steam", 0.9), ("smoke", 0.4), ("steam", 0.8), ("dust", 0.99)]
    rows = tuple((Cell(name), Cell(str(value), value)) for name, value in figures)

    marked = mark_best(Table("t", "t", columns, rows), within="class")

    assert [row[1].text for row in marked.rows if row[1].best] == ["0.9", "0.4"]


def test_a_row_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="a row of 1 cells, 2 columns"):
        Table("t", "t", (Column("a", "a"), Column("b", "b")), ((Cell("x"),),))


def test_markdown_has_a_line_per_row_and_bold_for_the_best():
    lines = to_markdown(mark_best(small_table())).splitlines()

    assert lines[0] == r"| configuration | IoU \[%\] | misses |"
    assert lines[1] == "| :--- | ---: | ---: |"
    assert lines[2] == "| plain | **12.3 ± 1.0** | **4** |"
    assert lines[3] == "| other | failed | 7 |"
    assert lines[5:] == ["", "How to read it.", "", "A note."]


def test_markdown_keeps_an_evil_name_inside_its_cell():
    line = to_markdown(small_table(EVIL)).splitlines()[2]

    assert "<script>" not in line
    assert len(re.findall(r"(?<!\\)\|", line)) == 4
    assert r"a\_b" in line


def test_latex_is_a_booktabs_table():
    latex = to_latex(mark_best(small_table()))

    assert re.findall(r"\\(begin|end)\{(\w+)\}", latex) == [
        ("begin", "table"),
        ("begin", "tabular"),
        ("end", "tabular"),
        ("end", "table"),
    ]
    assert re.findall(r"\\(toprule|midrule|bottomrule)", latex) == [
        "toprule",
        "midrule",
        "bottomrule",
    ]
    assert r"\begin{tabular}{lrr}" in latex
    assert r"plain & \textbf{12.3 $\pm$ 1.0} & \textbf{4} \\" in latex
    assert r"other & \emph{failed} & 7 \\" in latex


def test_latex_with_an_evil_name_has_balanced_braces_and_the_same_columns():
    latex = to_latex(small_table(EVIL))
    bare = unescaped_latex(latex[latex.index(r"\begin{table}") :])

    depth = 0
    for letter in bare:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0
    rows = [line for line in bare.splitlines() if line.count("&")]
    assert [row.count("&") for row in rows] == [2, 2, 2, 2]
    assert not re.search(r"[%#_^~]", bare)
    assert bare.count("$") % 2 == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b & 5%", r"a\_b \& 5\%"),
        ("\\", r"\textbackslash{}"),
        ("{}", r"\{\}"),
        ("−1 ± 2 × λ", r"$-$1 $\pm$ 2 $\times$ $\lambda$"),
        ("vit ← cnn", r"vit $\leftarrow$ cnn"),
        ("[0]", "{[}0{]}"),
        ("two\nlines\x1b", "two lines "),
        ("1\u202f000\u00a0%", r"1\,000~\%"),
    ],
)
def test_latex_text_is_escaped(text, expected):
    assert escape_latex(text) == expected


def test_csv_holds_the_figures_and_not_their_rounded_text():
    rows = list(csv.DictReader(io.StringIO(to_csv(small_table(EVIL)))))

    assert rows[0] == {
        "configuration": EVIL,
        "iou_mean": "0.123",
        "iou_sd": "0.01",
        "misses": "4",
    }
    assert rows[1]["iou_mean"] == ""
    assert rows[2]["iou_sd"] == ""


def test_html_shows_an_evil_name_as_text():
    reader = CellReader()
    reader.feed(to_html(small_table(EVIL)))

    assert "script" not in reader.tags
    assert EVIL in reader.cells
    assert reader.tags.count("tr") == 4


def test_html_marks_the_best_and_the_states():
    html = to_html(mark_best(small_table()))

    assert '<td class="number best"><b>12.3 ± 1.0</b></td>' in html
    assert '<td class="number state-failed">failed</td>' in html
