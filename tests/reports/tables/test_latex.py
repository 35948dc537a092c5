"""Tables in LaTeX: whatever a label holds, the file is ASCII that LaTeX and booktabs compile."""

import re
import shutil
import subprocess
import unicodedata

import pytest
from matplotlib.mathtext import MathTextParser

from reports.tables.cells import Cell, Column, Table
from reports.tables.latex_text import escape_latex
from reports.tables.rendering import to_latex

# Commands of LaTeX itself, as its reference manual lists them. Any other would need a package.
OF_TEXT = """
    textbackslash textasciitilde textasciicircum textless textgreater textbar textasciigrave
    textbullet textregistered texteuro textyen textcent textperthousand textquestiondown
    textexclamdown textsuperscript textsubscript textcommabelow textbf emph mbox ldots copyright
    pounds S P ss ae AE oe OE o O l L i j u r H v d c b { } & % $ # _ , - ` ' ^ ~ = . "
"""
OF_T1 = """
    dj DJ dh DH th TH ng NG guillemotleft guillemotright guilsinglleft guilsinglright quotedblbase
    quotesinglbase k UseTextSymbol UseTextAccent
"""
ALLOWED = {*OF_TEXT.split(), *OF_T1.split(), "wsssunicode"}
NAMES = """
    alpha beta gamma delta varepsilon zeta eta theta iota kappa lambda mu nu xi pi rho varsigma
    sigma tau upsilon varphi chi psi omega
"""
GREEK = dict(zip("αβγδεζηθικλμνξπρςστυφχψω", NAMES.split(), strict=True))
LABELS = [
    "λ", "α_1", "λ_max", "x^2", "10^-3", "50 %", "a & b", "#1", "a_b", "~", "\\", "{}", "$5",
    "a < b", "b > a", "a|b", "m²", "H₂O", "±1", "−1", "†", "‡", "Δ IoU", "∇ ≤ ∞", "Ω Å µ",
    "naïve Gödel, Łódź", "ąę đ þ", "«a» „b“", "中文", "Ж", "😀", "한", "* star", "[0]", "a--b",
    "½ ™ ① ﬁ ℝ 𝛼", "x̄ p⃗ ȩ ά ᾳ", "`a` 'b' \"c\"", "two\nlines", "zero\u200bwidth\ufeff",
    "1\u202f000\u00a0%", "\u00ad",
]  # fmt: skip


def words(latex):
    """The words after backslashes, and the single signs; a formula's are left out."""
    outside = re.sub(r"(?<!\\)\$.*?(?<!\\)\$", "", latex)
    return set(re.findall(r"\\([A-Za-z]+|.)", outside))


def formulas(latex):
    return re.findall(r"(?<!\\)\$(.*?)(?<!\\)\$", latex)


def is_balanced(latex):
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", latex.replace(r"\\", "")):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0


def a_table(labels):
    columns = (Column("a", labels[0]), Column("b", "Δ IoU", "%", numeric=True), Column("c", "c"))
    rows = [(Cell(text), Cell(text, 1.0, best=True), Cell(text, state="failed")) for text in labels]
    return Table("labels", f"Labels {labels[-1]}", columns, tuple(rows), " ".join(labels), ("α",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("α_1", r"$\alpha$\textsubscript{1}"),
        ("λ_max", r"$\lambda$\_max"),
        ("x^2", r"x\textsuperscript{2}"),
        ("10^-3", r"10\textsuperscript{$-$3}"),
        ("x^2.5", r"x\textsuperscript{2.5}"),
        ("2^3beta", r"2\textasciicircum{}3beta"),
        ("^2", r"\textasciicircum{}2"),
        ("m² H₂O", r"m\textsuperscript{2} H\textsubscript{2}O"),
        ("−±∞", r"$- \pm \infty$"),
        ("naïve Gödel", r"na\"{\i}ve G\"{o}del"),
        ("ά x̄ p⃗", r"$\acute{\alpha}$ \={x} $\vec{p}$"),
        ("½ ™ ①", r"1/2 \textsuperscript{TM} (1)"),
        ("中", r"\wsssunicode{20013}{U+4E2D}"),
        ("ą", r"\wsssunicode{261}{\UseTextAccent{T1}{\k}{a}}"),
        ("a--b,,", r"a-{}-b,{},"),
        ("* [0]", r"{*} {[}0{]}"),
        ("a\u200bb", "ab"),
    ],
)
def test_a_label_becomes_latex(text, expected):
    assert escape_latex(text) == expected


@pytest.mark.parametrize("label", LABELS)
def test_a_label_is_ascii_in_commands_that_latex_has_by_itself(label):
    latex = escape_latex(label)
    assert latex.isascii()
    assert latex.isprintable()
    assert words(latex) <= ALLOWED
    assert is_balanced(latex)


def test_every_character_of_unicode_s_first_plane_is_such_too():
    wrong = []
    for number in range(0x20, 0x10000):
        latex = escape_latex(chr(number))
        plain = words(latex) <= ALLOWED and is_balanced(latex)
        if not (plain and latex.isascii() and latex.isprintable()):
            wrong.append((hex(number), latex))
    assert wrong == []


def test_every_formula_is_one():
    found = {
        formula
        for number in range(0x20, 0x2E00)
        for formula in formulas(escape_latex(chr(number)))
        if formula != r"\surd"  # which matplotlib does not know
    }
    assert len(found) > 150
    parser = MathTextParser("path")
    for formula in found:
        parser.parse(f"${formula}$")


def test_a_greek_letter_is_the_formula_of_its_name():
    for letter, name in GREEK.items():
        assert escape_latex(letter) == f"$\\{name}$"
        bare = name.removeprefix("var")
        if letter.upper() in "ΓΔΘΛΞΠΣΥΦΨΩ" and letter != "ς":
            assert escape_latex(letter.upper()) == f"$\\{bare.capitalize()}$"
        elif letter != "ς":
            assert escape_latex(letter.upper()).isascii()


def test_letters_and_signs_look_the_same_only_if_unicode_calls_them_compatible():
    seen = {}
    for number in [*range(0x21, 0x7F), *range(0xA1, 0x180), *range(0x3B1, 0x3CA)]:
        character = chr(number)
        if unicodedata.category(character) not in ("Cf", "Zs"):
            same = unicodedata.normalize("NFKC", character)
            assert seen.setdefault(escape_latex(character), same) == same


def test_a_table_says_what_it_needs_and_defines_the_macro_only_where_it_is_used():
    plain, odd = to_latex(a_table(["λ", "x^2"])), to_latex(a_table(["λ", "中"]))
    for latex in (plain, odd):
        assert latex.splitlines()[0].startswith(r"% Needs \usepackage{booktabs} and LaTeX of 2020")
        assert latex.isascii()
    assert "wsssunicode" not in plain
    assert odd.count(r"\providecommand{\wsssunicode}") == 1
    assert odd.index(r"\providecommand") < odd.index(r"\begin{table}")


@pytest.mark.ci
@pytest.mark.parametrize("engine", ["pdflatex", "lualatex"])
def test_a_table_of_every_odd_label_compiles(engine, tmp_path):
    if shutil.which(engine) is None:
        pytest.skip(f"{engine} is not installed")
    greek = [*GREEK, *(letter.upper() for letter in GREEK)]
    everything = [*LABELS, *greek, *map(chr, range(0xA1, 0x17F)), *map(chr, range(0x2190, 0x2300))]
    for number, at in enumerate(range(0, len(everything), 40)):
        table = to_latex(a_table(everything[at : at + 40]))
        (tmp_path / f"table{number}.tex").write_text(table, encoding="ascii")
    parts = "".join(rf"\input{{table{n}}}\clearpage" + "\n" for n in range(number + 1))
    (tmp_path / "all.tex").write_text(
        "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n\\listoftables\n"
        f"{parts}\\end{{document}}\n",
        encoding="ascii",
    )
    for _ in range(2):  # the second reads the list of tables that the first has written
        ended = subprocess.run(
            [engine, "-interaction=nonstopmode", "-halt-on-error", "all.tex"],
            cwd=tmp_path, capture_output=True, check=False, timeout=300,
        )  # fmt: skip
        log = (tmp_path / "all.log").read_text(encoding="utf-8", errors="replace")
        assert ended.returncode == 0, [line for line in log.splitlines() if line.startswith("!")]
    assert "Missing character" not in log
