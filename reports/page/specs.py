"""Figures, tables and sections of a page, described, and figures before and after drawing."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from reports.figures.style import draw_png, draw_svg, style
from reports.page.kept_drawings import KeptDrawings
from reports.page.limits import CONFIGURATIONS, fewer
from reports.results.study_record import StudyRecord
from reports.tables.cells import Table
from reports.tables.folds import over_groups


@dataclass(frozen=True)
class FigureView:
    """A drawn figure: its file's name, its title, how to read it, the SVG, and what draws it."""

    name: str
    title: str
    caption: str
    svg: str
    draw: Callable[[], Figure] = field(compare=False, repr=False)

    def png(self) -> tuple[bytes, tuple[int, int]]:
        """Draw the figure as PNG; return it with its width and height in pixels."""
        return draw_png(self.draw)


@dataclass(frozen=True)
class Drawing:
    """A figure before it is drawn.

    Attributes:
        title: its title.
        caption: how to read it.
        draw_numbers: draws its numbers.
        info: its numbers.

    """

    title: str
    caption: str
    draw_numbers: Callable[[Any], Figure]
    info: Any = field(compare=False, repr=False)

    def draw(self) -> Figure:
        """Draw the figure."""
        return self.draw_numbers(self.info)

    def view(self, name: str, kept: KeptDrawings | None = None) -> FigureView:
        """Draw the figure for a page.

        Args:
            name: its file's name.
            kept: the drawings that may be taken instead.

        """

        def draw() -> str:
            return draw_svg(self.draw, name, self.title)

        drawn_from = (name, self.title, self.draw_numbers, self.info)
        svg = draw() if kept is None else kept.drawn(drawn_from, draw)
        return FigureView(name, self.title, self.caption, svg, self.draw)

    def figure(self) -> Figure:
        """Draw the figure with a white ground; matplotlib's own settings do not change it."""
        with style():
            figure = self.draw()
        figure.set_facecolor("white")
        return figure


@dataclass(frozen=True)
class FigureSpec:
    """A figure of a section.

    Attributes:
        key: its name on the page; no table has the same.
        file: its file's name.
        title: a template of `info` and `record`.
        caption: how to read it; a template of `info` and `record`.
        info: collects the numbers of the figure; None if there are none.
        draw: draws them.
        has_data: whether the numbers are worth a figure.
        limit: the most configurations that the figure can show; None: all.
        tested: whether its figures are over the test images.

    """

    key: str
    file: str
    title: str
    caption: str
    info: Callable[[StudyRecord], Any]
    draw: Callable[[Any], Figure]
    has_data: Callable[[Any], object] = lambda info: info is not None
    limit: Callable[[StudyRecord], int] | None = lambda record: CONFIGURATIONS
    tested: bool = True

    def drawing(self, record: StudyRecord) -> Drawing | None:
        """Collect the numbers of a study's figure; None without data."""
        shown, left_out = [record], ""
        if self.limit is not None:
            shown, left_out = fewer([record], self.limit(record))
        info = self.info(shown[0])
        if not self.has_data(info):
            return None
        title, caption = (
            text.format(info=info, record=record) for text in (self.title, self.caption)
        )
        groups = over_groups(record) if self.tested else ""
        return Drawing(title, caption + groups + left_out, self.draw, info)


@dataclass(frozen=True)
class TableSpec:
    """A table of a section: its name, also its file's, and what builds it."""

    key: str
    build: Callable[[StudyRecord], Table]


@dataclass(frozen=True)
class SectionSpec:
    """A section: its anchor, its title, its tables and figures, and whether a study has it."""

    key: str
    title: str
    items: tuple[TableSpec | FigureSpec, ...]
    belongs: Callable[[StudyRecord], object] = lambda record: True
