"""How every figure looks, and SVG that is the same to the byte for the same numbers."""

import io
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from reports.results.study_record import OPTIMAL, PLAIN, StudyRecord

INK = "#1f2933"
FAINT = "#9aa5b1"
GRID = "#e4e7eb"
_ALONE = "#7b8794"
_REFERENCE = "#1f2933"
# Okabe and Ito's palette, then Tol's muted one: both told apart under colour-vision deficiencies.
_TAUGHT = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
    "#332288", "#882255", "#44aa99", "#999933",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
_STROKES = 'style="stroke-linejoin: round; stroke-linecap: butt"'
_FONTS = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif"
_STYLE: dict[str, Any] = {
    "svg.hashsalt": "wsss-studies",
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same layout on every machine
    "font.size": 9.0,
    "text.parse_math": False,  # a dollar sign in a configuration's name is a dollar sign
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.unicode_minus": True,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.0,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def style() -> AbstractContextManager[None]:
    """Give the context in which a figure is drawn and written, whatever the user's own settings."""
    settings: dict[Any, Any] = dict(mpl.rcParamsDefault)
    settings.update(_STYLE)
    return mpl.rc_context({k: v for k, v in settings.items() if not k.startswith("backend")})


def chain_colours(names: Sequence[str]) -> dict[str, str]:
    """Give each refinement chain its colour: grey for none, dark for the upper bound."""
    found = {PLAIN: _ALONE, OPTIMAL: _REFERENCE}
    for name in names:
        if name not in found:
            found[name] = _TAUGHT[(len(found) - 2) % len(_TAUGHT)]
    return found


def colours(record: StudyRecord) -> dict[str, str]:
    """Give each configuration its colour: grey for what is compared with, a hue for the taught."""
    baselines = {one.baseline for one in record.configurations}
    references = {one.reference for one in record.configurations}
    found: dict[str, str] = {}
    hue = 0
    for one in record.configurations:
        if one.name in baselines:
            found[one.name] = _ALONE
        elif one.name in references:
            found[one.name] = _REFERENCE
        else:
            found[one.name] = _TAUGHT[hue % len(_TAUGHT)]
            hue += 1
    return found


def seed_markers(record: StudyRecord) -> dict[int, str]:
    """Give each seed its marker."""
    return {seed: MARKERS[i % len(MARKERS)] for i, seed in enumerate(record.seeds)}


def draw_svg(draw: Callable[[], Figure], name: str, title: str) -> str:
    """Draw a figure and write it as SVG: text stays text, without clock or version.

    Args:
        draw: Makes the figure; called in the project's style.
        name: Prefix of every id, so that several figures can share one page.
        title: What a screen reader says.

    """
    with style():
        figure = draw()
        sink = io.StringIO()
        FigureCanvasSVG(figure).print_svg(sink, metadata={"Date": None, "Creator": None})
    svg = sink.getvalue()
    svg = re.sub(r"<!DOCTYPE[^>]*>\s*", "", svg)
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'(\sid=")', rf"\g<1>{name}-", svg)
    svg = re.sub(r"((?:xlink:)?href=\"#|url\(#)", rf"\g<1>{name}-", svg)
    svg = re.sub(r"(?:'DejaVu Sans'|DejaVu Sans)(?:, ?[\w' -]+)*", _FONTS, svg)
    svg = svg.replace("image-rendering:crisp-edges;image-rendering:pixelated", "")
    escaped = title.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(
        r"(<svg\b[^>]*)>",
        lambda found: f'{found[1]} role="img" {_STROKES}>\n <title>{escaped}</title>',
        svg,
        count=1,
    )


def inline(svg: str) -> str:
    """Strip what only a file of its own needs."""
    return svg[svg.index("<svg") :]
