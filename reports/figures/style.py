"""The style of all figures; SVG and PNG that are equal to the byte for equal numbers."""

import io
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from textwrap import shorten, wrap
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from reports.names import MEASURE_NAMES, OPTIMAL, PLAIN, TUNED_CHAIN
from reports.pairing import FoldedSeed, Pair
from reports.results.study_record import StudyRecord

INK = "#1f2933"
FAINT = "#9aa5b1"
GRID = "#e4e7eb"
GREY = "#7b8794"
BLUE, VERMILION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
ORANGE, SKY, INDIGO, WINE = "#e69f00", "#56b4e9", "#332288", "#882255"
# Okabe and Ito's palette, then Tol's muted one: both suit colour-vision deficiencies.
_TAUGHT = (
    BLUE,
    VERMILION,
    GREEN,
    PURPLE,
    ORANGE,
    SKY,
    INDIGO,
    WINE,
    "#44aa99",
    "#999933",
)
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
    """Return the context for drawing and writing figures; it overrides the user's settings."""
    settings: dict[Any, Any] = dict(mpl.rcParamsDefault)
    settings.update(_STYLE)
    return mpl.rc_context({k: v for k, v in settings.items() if not k.startswith("backend")})


def chain_colours(names: Sequence[str]) -> dict[str, str]:
    """Give each chain its colour: grey for the plain CAM, dark for the tuned one and the bound."""
    found = {PLAIN: GREY, OPTIMAL: INK, TUNED_CHAIN: INK}
    for name in names:
        if name not in found:
            found[name] = _TAUGHT[(len(found) - 3) % len(_TAUGHT)]
    return found


def colours(record: StudyRecord) -> dict[str, str]:
    """Give each configuration its colour: grey for baselines, dark for references, else a hue."""
    baselines = {one.baseline for one in record.configurations}
    references = {one.reference for one in record.configurations}
    found: dict[str, str] = {}
    hue = 0
    for one in record.configurations:
        if one.name in baselines:
            found[one.name] = GREY
        elif one.name in references:
            found[one.name] = INK
        else:
            found[one.name] = _TAUGHT[hue % len(_TAUGHT)]
            hue += 1
    return found


def seed_markers(record: StudyRecord) -> dict[Pair, str]:
    """Give each seed its marker; in a study with folds, each fold."""
    shown = {seed: MARKERS[i % len(MARKERS)] for i, seed in enumerate(record.seeds)}
    return {
        pair: MARKERS[(pair.fold - 1) % len(MARKERS)]
        if isinstance(pair, FoldedSeed)
        else shown[pair]
        for pair in record.pairs
    }


def draw_trial(
    axes: Axes,
    at: tuple[float, float],
    marker: str,
    colour: str,
    *,
    size: float,
    edge: float,
    zorder: float = 2,
) -> None:
    """Draw one trial as a marker with a white edge.

    Args:
        axes: where.
        at: x and y, in the units of the data.
        marker: of its seed, see `seed_markers`.
        colour: of its configuration, see `colours`.
        size: of the marker, in points.
        edge: the width of the edge, in points.
        zorder: what is higher lies in front.

    """
    axes.plot(
        *at,
        marker,
        color=colour,
        markersize=size,
        alpha=0.85,
        markeredgecolor="white",
        markeredgewidth=edge,
        zorder=zorder,
    )


class StudyFigure(Figure):
    """A matplotlib figure that shows itself in a notebook and is saved in the project's style."""

    def savefig(self, fname: Any, **options: Any) -> None:
        """Write the figure as matplotlib's method does; letters in SVG are shapes."""
        options.setdefault("facecolor", self.get_facecolor())
        with style(), mpl.rc_context({"svg.fonttype": "path"}):
            super().savefig(fname, **options)

    def _repr_svg_(self) -> str:
        sink = io.StringIO()
        self.savefig(sink, format="svg")
        return sink.getvalue()


def wrapped(name: str, width: int, lines: int = 2) -> str:
    """Break a long name over lines, and shorten it if it does not fit."""
    return "\n".join(wrap(shorten(name, width * lines, placeholder="…") or name, width)[:lines])


def small_multiples(count: int, height: float, *, columns: int = 4) -> tuple[Figure, list[Axes]]:
    """Make a grid of axes that share both scales; only the outer ones are labelled."""
    columns = min(columns, max(count, 1))
    rows = -(-count // columns)
    figure = StudyFigure(figsize=(2.15 * columns + 0.4, height * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for spare in grid[count:]:
        spare.set_visible(False)
    for axes in grid[max(count - columns, 0) : count]:
        axes.xaxis.set_tick_params(labelbottom=True)
    return figure, list(grid[:count])


def threshold_axis(record: StudyRecord, between: str = " ") -> str:
    """Label an axis of the study's main figure."""
    return f"{MEASURE_NAMES[record.objective]}{between}at the {record.rule} threshold [%]"


def draw_svg(draw: Callable[[], Figure], name: str, title: str) -> str:
    """Draw a figure and write it as SVG: text stays text, without clock or version.

    Args:
        draw: makes the figure; called in the project's style.
        name: the prefix of every id, so that several figures can share one page.
        title: the title for screen readers.

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


def draw_png(draw: Callable[[], Figure], dots_per_inch: int = 150) -> tuple[bytes, tuple[int, int]]:
    """Draw a figure as PNG on white, for tools that show no SVG.

    Args:
        draw: makes the figure; called in the project's style.
        dots_per_inch: its resolution.

    Returns:
        The file, and its width and height in pixels.

    """
    with style():
        canvas = FigureCanvasAgg(draw())
        canvas.figure.set_facecolor("white")
        canvas.figure.set_dpi(dots_per_inch)
        sink = io.BytesIO()
        # Without metadata: equal figures give equal bytes.
        canvas.print_png(sink, metadata={"Software": None})
    return sink.getvalue(), canvas.get_width_height()


def inline(svg: str) -> str:
    """Strip the head that only a separate file needs."""
    return svg[svg.index("<svg") :]
