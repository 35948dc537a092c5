r"""Text of any alphabet as LaTeX in ASCII, for pdflatex, lualatex and xelatex alike.

A letter with an accent becomes its command (`\'{e}`), Greek and mathematical signs become formulas
(`$\lambda$`), powers and indices are raised and lowered. What LaTeX has no command for goes
through the macro `\wsssunicode` (see `UNICODE_MACRO`). No package is needed; LaTeX of 2020 is.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import groupby

UNICODE_MACRO = (
    r"\providecommand{\wsssunicode}[2]"
    r"{\ifdefined\Umathcode\iffontchar\font#1 \char#1 \else#2\fi\else#2\fi}"
)
r"""Defines `\wsssunicode{20013}{U+4E2D}`: the character, or the text in its place.

The character is printed by engines that know Unicode, if the font has it. The macro is expandable:
what a caption writes to the list of tables does not need it.
"""

Piece = tuple[bool, str]
"""A piece of LaTeX, and whether it belongs into a formula."""

_TEXT = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": r"\textasciigrave{}",
    "[": "{[}",  # LaTeX reads a bracket or a star after the end of a row as an option
    "]": "{]}",
    "*": "{*}",
    "\u00a0": "~",
    "\u202f": r"\,",
    "\u00ad": r"\-",
    "‐": "-",
    "‑": r"\mbox{-}",
    "‒": "--",
    "–": "--",
    "—": "---",
    "―": "---",
    "…": r"\ldots{}",
    "‘": "{`}",
    "’": "'",
    "“": "{``}",
    "”": "''",
    "•": r"\textbullet{}",
    "§": r"\S{}",
    "¶": r"\P{}",
    "©": r"\copyright{}",
    "®": r"\textregistered{}",
    "€": r"\texteuro{}",
    "£": r"\pounds{}",
    "¥": r"\textyen{}",
    "¢": r"\textcent{}",
    "‰": r"\textperthousand{}",
    "¿": r"\textquestiondown{}",
    "¡": r"\textexclamdown{}",
    "ß": r"\ss{}",
    "ẞ": "SS",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
    "ȷ": r"\j{}",
    **dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΧ", "ABEZHIKMNOPTX", strict=True)),  # LaTeX has one sign for both
}

_MATH = {
    "±": r"\pm",
    "∓": r"\mp",
    "−": "-",
    "×": r"\times",
    "✗": r"\times",
    "÷": r"\div",
    "·": r"\cdot",
    "⋅": r"\cdot",
    "∗": r"\ast",
    "⋆": r"\star",
    "★": r"\star",
    "∘": r"\circ",
    "⊙": r"\odot",
    "⊕": r"\oplus",
    "⊗": r"\otimes",
    "→": r"\rightarrow",
    "←": r"\leftarrow",
    "↔": r"\leftrightarrow",
    "↑": r"\uparrow",
    "↓": r"\downarrow",
    "↕": r"\updownarrow",
    "↦": r"\mapsto",
    "⇒": r"\Rightarrow",
    "⇐": r"\Leftarrow",
    "⇔": r"\Leftrightarrow",
    "≥": r"\geq",
    "≤": r"\leq",
    "≠": r"\neq",
    "≈": r"\approx",
    "≡": r"\equiv",
    "≃": r"\simeq",
    "≅": r"\cong",
    "∼": r"\sim",
    "∝": r"\propto",
    "≪": r"\ll",
    "≫": r"\gg",
    "∞": r"\infty",
    "∂": r"\partial",
    "∇": r"\nabla",
    "√": r"\surd",
    "✓": r"\surd",
    "✔": r"\surd",
    "∑": r"\sum",
    "∏": r"\prod",
    "∫": r"\int",
    "∈": r"\in",
    "∋": r"\ni",
    "∉": r"\notin",
    "⊂": r"\subset",
    "⊃": r"\supset",
    "⊆": r"\subseteq",
    "⊇": r"\supseteq",
    "∪": r"\cup",
    "∩": r"\cap",
    "∖": r"\setminus",
    "∅": r"\emptyset",
    "∀": r"\forall",
    "∃": r"\exists",
    "¬": r"\neg",
    "∧": r"\wedge",
    "∨": r"\vee",
    "⊤": r"\top",
    "⊥": r"\perp",
    "∥": r"\parallel",
    "‖": r"\Vert",
    "∠": r"\angle",
    "⟨": r"\langle",
    "⟩": r"\rangle",
    "⌊": r"\lfloor",
    "⌋": r"\rfloor",
    "⌈": r"\lceil",
    "⌉": r"\rceil",
    "⋯": r"\cdots",
    "†": r"\dagger",
    "‡": r"\ddagger",
    "°": r"{}^{\circ}",
    "′": r"{}^{\prime}",
    "″": r"{}^{\prime\prime}",
    "△": r"\triangle",
    "▽": r"\bigtriangledown",
    "◇": r"\diamond",
    "ħ": r"\hbar",
    "ℏ": r"\hbar",
    "ℓ": r"\ell",
    "℘": r"\wp",
    "ℜ": r"\Re",
    "ℑ": r"\Im",
    "ℵ": r"\aleph",
    "ε": r"\varepsilon",
    "ϵ": r"\epsilon",
    "φ": r"\varphi",
    "ϕ": r"\phi",
    "ϑ": r"\vartheta",
    "ϖ": r"\varpi",
    "ϱ": r"\varrho",
    "ς": r"\varsigma",
    "ϰ": r"\kappa",
    "ο": "o",
    **{
        letter: f"\\{unicodedata.name(letter).rpartition(' ')[2].lower()}"
        for letter in "αβγδζηθικμνξπρστυχψω"
    },
    **{
        letter: f"\\{unicodedata.name(letter).rpartition(' ')[2].capitalize()}"
        for letter in "ΓΔΘΞΠΣΥΦΨΩ"
    },
    "λ": r"\lambda",  # which Unicode spells lamda
    "Λ": r"\Lambda",
}

_T1 = {
    "đ": r"\dj",
    "Đ": r"\DJ",
    "ð": r"\dh",
    "Ð": r"\DH",
    "þ": r"\th",
    "Þ": r"\TH",
    "ŋ": r"\ng",
    "Ŋ": r"\NG",
    "«": r"\guillemotleft",
    "»": r"\guillemotright",
    "‹": r"\guilsinglleft",
    "›": r"\guilsinglright",
    "„": r"\quotedblbase",
    "‚": r"\quotesinglbase",
}
"""Characters that pdflatex finds in fonts of the encoding T1 alone."""

_OGONEK, _CEDILLA = "\u0328", "\u0327"

_WITH_CEDILLA = "CGKLNRSTcgklnrst"
"""Letters that lualatex's font has with a cedilla; it has no cedilla for others."""

_ACCENTS = {
    "\u0300": (r"\`", r"\grave"),
    "\u0301": (r"\'", r"\acute"),
    "\u0302": (r"\^", r"\hat"),
    "\u0303": (r"\~", r"\tilde"),
    "\u0304": (r"\=", r"\bar"),
    "\u0305": (r"\=", r"\bar"),
    "\u0306": (r"\u", r"\breve"),
    "\u0307": (r"\.", r"\dot"),
    "\u0308": (r"\"", r"\ddot"),
    "\u030a": (r"\r", r"\mathring"),
    "\u030b": (r"\H", None),
    "\u030c": (r"\v", r"\check"),
    "\u0323": (r"\d", None),
    "\u0326": (r"\textcommabelow", None),
    _CEDILLA: (r"\c", None),
    "\u0331": (r"\b", None),
    "\u20d7": (None, r"\vec"),
}
"""Combining mark -> its command over a letter of text, and over one of a formula."""

_CLUSTERS = re.compile(
    r"(?<=[^\W_])\^(?P<power>[-−+]?\d+(?:\.\d+)?)(?![^\W_])"
    r"|(?<=[\u0391-\u03c9\u03d1-\u03f5])_(?P<index>\d+|[A-Za-z])(?![^\W_])"
    "|(?P<base>.)(?P<marks>[\u0300-\u036f\u20d0-\u20f0]*)",
    re.DOTALL,
)
"""A power of a letter or number, the index of a Greek letter, or a character with its accents."""


_EACH_ALONE = re.compile("(?:[ -\\]_-~\u00a0\u202f–]|[±−](?![±−]))*")
"""A text whose characters do not change each other's LaTeX: nearly every cell of a table."""

_LATEX = str.maketrans(
    {
        **{c: latex for c, latex in _TEXT.items() if c.isascii() or c in "\u00a0\u202f–"},
        **{character: f"${_MATH[character]}$" for character in "±−"},
    }
)


def escape_latex(text: str) -> str:
    r"""Return text as LaTeX; line ends and control characters become spaces.

    Args:
        text: in any alphabet. In `x^2` the 2 is raised, in `α_1` the 1 is lowered.

    Returns:
        ASCII. Characters that LaTeX has no command for are written with the macro `\wsssunicode`,
        see `UNICODE_MACRO`.

    Example:
        >>> escape_latex("a_b & 5% ± 1")
        'a\\_b \\& 5\\% $\\pm$ 1'
        >>> escape_latex("α_1, x^2, 3 m², Gödel")
        '$\\alpha$\\textsubscript{1}, x\\textsuperscript{2}, 3 m\\textsuperscript{2}, G\\"{o}del'

    """
    if _EACH_ALONE.fullmatch(text) and "--" not in text and ",," not in text:
        return text.translate(_LATEX)
    said = ""
    for formula, pieces in groupby(_pieces(text), key=lambda piece: piece[0]):
        parts = [part for _, part in pieces]
        said += f"${' '.join(parts)}$" if formula else "".join(parts)
    return said


def _pieces(text: str) -> Iterator[Piece]:
    above = ""
    for found in _CLUSTERS.finditer(unicodedata.normalize("NFC", text)):
        if found["power"]:
            power = found["power"].replace("-", "−")
            yield False, rf"\textsuperscript{{{escape_latex(power)}}}"
        elif found["index"]:
            yield False, rf"\textsubscript{{{found['index']}}}"
        else:
            if above == found[0] and above in ("-", ","):
                yield False, "{}"  # two hyphens are no dash, two commas no quotation mark
            yield from _cluster(found["base"], found["marks"])
        above = found[0]


@cache
def _cluster(base: str, marks: str) -> tuple[Piece, ...]:
    """Return the LaTeX of a character with the combining marks that follow it."""
    if not marks and (known := _character(base)) is not None:
        return (known,)
    base, *inner = list(unicodedata.normalize("NFD", base))
    marks = "".join(inner) + marks
    if marks and all(mark in _ACCENTS or mark == _OGONEK for mark in marks):
        plain = _character(base)
        if plain is not None and (accented := _accented(base, plain, marks)) is not None:
            return (accented,)
    if not marks and (parts := _compatible(base)) is not None:
        return parts
    whole = unicodedata.normalize("NFC", base + marks)
    return tuple(_character(character) or _by_number(character) for character in whole)


def _character(character: str) -> Piece | None:
    """Return the LaTeX of a character that has its own; None of any other."""
    if character in _TEXT:
        return False, _TEXT[character]
    if character in _MATH:
        return True, _MATH[character]
    if character in _T1:
        return _by_number(character, rf"\UseTextSymbol{{T1}}{{{_T1[character]}}}")
    category = unicodedata.category(character)
    if category == "Cf" or "\ufe00" <= character <= "\ufe0f":
        return False, ""  # joins, marks of direction, variants: nothing to see
    if category in ("Cc", "Cs", "Zl", "Zp", "Zs"):
        return False, " "
    return (False, character) if character.isascii() else None


def _accented(base: str, plain: Piece, marks: str) -> Piece | None:
    """Return a letter with its accents, the innermost first; None where LaTeX lacks one."""
    formula, letter = plain
    if base in ("i", "j") and _ACCENTS.get(marks[0], ("",))[0] in _ABOVE:
        letter = f"\\{base}"
    for mark in marks:
        if mark == _OGONEK:
            whole = unicodedata.normalize("NFC", base + marks)
            if len(whole) > 1 or len(marks) > 1:
                return None
            return _by_number(whole, rf"\UseTextAccent{{T1}}{{\k}}{{{letter}}}")
        if mark == _CEDILLA and base not in _WITH_CEDILLA:
            return None
        in_text, in_formula = _ACCENTS[mark]
        formula = formula or in_text is None
        command = in_formula if formula else in_text
        if command is None:
            return None
        letter = f"{command}{{{letter}}}"
    return formula, letter


_ABOVE = tuple(above for mark, (above, _) in _ACCENTS.items() if mark < "\u0323")
"""The accents that take the place of the dot of an i."""


def _compatible(character: str) -> tuple[Piece, ...] | None:
    """Return the LaTeX of what Unicode calls compatible: raised, lowered, a fraction, a font."""
    kind, *codes = unicodedata.decomposition(character).split() or [""]
    if not kind.startswith("<") or kind in ("<initial>", "<medial>", "<final>", "<isolated>"):
        return None
    inner = "".join(chr(int(code, 16)) for code in codes).replace("\u2044", "/")
    shown = escape_latex(inner)
    if kind == "<super>":
        return ((False, rf"\textsuperscript{{{shown}}}"),)
    if kind == "<sub>":
        return ((False, rf"\textsubscript{{{shown}}}"),)
    return tuple(_pieces(f"({inner})" if kind == "<circle>" else inner))


def _by_number(character: str, instead: str | None = None) -> Piece:
    code = ord(character)
    return False, rf"\wsssunicode{{{code}}}{{{instead or f'U+{code:04X}'}}}"
