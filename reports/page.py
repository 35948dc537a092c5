"""The page: a study in reading order, as one HTML file and as Markdown beside its figures."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from reports.cells import MEASURE_NAMES, points
from reports.drawing import draw_svg, inline
from reports.figures import (
    accuracy_scatter_info,
    draw_accuracy_scatter,
    draw_seed_dots,
    draw_training_curves,
    seed_dots_info,
    training_curves_info,
)
from reports.headlines import headlines
from reports.panels import cam_panels_info, draw_cam_panels
from reports.provenance import Provenance, provenance
from reports.statistics import summarise
from reports.strategies import RULE_NAMES, best_taught, strategies_table
from reports.study_record import StudyRecord
from reports.tables import Table, escape_markdown, to_html, to_markdown
from reports.threshold_curves import draw_threshold_curves, threshold_curves_info
from reports.threshold_table import threshold_table
from reports.trials_table import trials_table

Info = TypeVar("Info")


@dataclass(frozen=True)
class FigureView:
    """A figure as SVG, with its file's name, a title and how to read it."""

    name: str
    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class KeyFigure:
    """A number in large type: whose, what it is of, and the image-level accuracy beside it."""

    role: str
    name: str
    iou: str
    accuracy: str


@dataclass(frozen=True)
class StudyView:
    """All that the page shows of one study.

    Attributes:
        prefix: Precedes file names and ids; empty if the page holds one study.
        name: The study's name.
        title: Its question.
        measure: Its main figure, in words, with the rule.
        headlines: Its opening sentences.
        key_figures: Student alone, best taught, teacher alone, as far as there are.
        tables: ``strategies``, ``thresholds`` and ``trials``.
        figures: By the section's name; a figure without data is left out.
        provenance: Origins.
    """

    prefix: str
    name: str
    title: str
    measure: str
    headlines: tuple[str, ...]
    key_figures: tuple[KeyFigure, ...]
    tables: dict[str, Table]
    figures: dict[str, FigureView]
    provenance: Provenance


def _key_figures(record: StudyRecord) -> tuple[KeyFigure, ...]:
    ranked = best_taught(record)
    if not ranked:
        return ()
    best = ranked[0].configuration
    roles = {
        "student alone": best.baseline,
        "best taught": best.name,
        "teacher alone": best.reference,
    }
    found = []
    for role, name in roles.items():
        if name is None or record.configuration(name) is None:
            continue
        reached = summarise(record.by_seed(name, record.objective).values())
        accuracy = summarise(record.by_seed(name, "balanced_accuracy").values())
        if reached.n:
            found.append(KeyFigure(role, name, points(reached.mean), points(accuracy.mean)))
    return tuple(found)


def _figure(
    prefix: str, name: str, title: str, caption: str, info: Info, draw: Callable[[Info], Figure]
) -> FigureView:
    file_name = prefix + name
    return FigureView(file_name, title, caption, draw_svg(lambda: draw(info), file_name, title))


def study_view(record: StudyRecord, prefix: str = "") -> StudyView:
    """Compute everything the page shows of a study.

    Args:
        record: The study.
        prefix: Precedes the names of its files.

    """
    figures: dict[str, FigureView] = {}
    dots, scatter = seed_dots_info(record), accuracy_scatter_info(record)
    curves, history = threshold_curves_info(record), training_curves_info(record)
    panels = cam_panels_info(record)
    if record.classes:
        figures["seeds"] = _figure(
            prefix, "seeds", "IoU of every seed",
            "A dot is one healthy trial, a bar the mean over seeds. Thin lines join the trials of "
            "one seed. Vertical lines: means of what is compared with.", dots, draw_seed_dots,
        )  # fmt: skip
    if scatter.points:
        figures["reasons"] = _figure(
            prefix, "reasons", "Right for the wrong reason",
            "A dot is one healthy trial. Far right and low is a network that names the images well "
            "and looks elsewhere while doing so. Marker shapes are seeds, numbers mean IoU.",
            scatter, draw_accuracy_scatter,
        )  # fmt: skip
    if curves.panels:
        figures["thresholds"] = _figure(
            prefix, "thresholds", "IoU over all thresholds",
            "A line is one trial on the test split. Filled dot: its tuned threshold; ring: the "
            "dataset oracle's. Dashed grey: the student alone, mean over seeds.", curves,
            draw_threshold_curves,
        )  # fmt: skip
    if panels is not None:
        figures["panels"] = _figure(
            prefix, "panels", f"Class activation maps, seed {panels.seed}",
            "Test images, the same seed throughout. Scores from dark blue (0) over green to yellow "
            f"(1), laid over the greyed image; white: cut at the {record.rule} threshold; red: the "
            "mask's outline. Below each: that image's IoU in percent, or on an image without the "
            "class the share of pixels marked. Taught networks are the best by mean IoU.", panels,
            draw_cam_panels,
        )  # fmt: skip
    if history.panels:
        figures["training"] = _figure(
            prefix, "training", "Training curves",
            "A line is one trial. Solid: classification loss; dashed: transfer loss before its "
            "weight λ.", history, draw_training_curves,
        )  # fmt: skip
    return StudyView(
        prefix=prefix,
        name=record.name,
        title=record.title,
        measure=f"{MEASURE_NAMES[record.objective]} at {RULE_NAMES[record.rule]}",
        headlines=tuple(headlines(record)),
        key_figures=_key_figures(record),
        tables={
            "strategies": strategies_table(record),
            "thresholds": threshold_table(record),
            "trials": trials_table(record),
        },
        figures=figures,
        provenance=provenance(record),
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["table"] = to_html
    # matplotlib escapes the text that it draws.
    environment.globals["svg"] = lambda figure: Markup(inline(figure.svg))
    return environment


def render_html(views: list[StudyView]) -> str:
    """Render the page: one file, no script, nothing fetched."""
    return _environment().get_template("report.html").render(views=views)


def render_markdown(views: list[StudyView]) -> str:
    """Render the page as Markdown that links ``figures/*.svg``."""

    def figure(view: StudyView, name: str) -> list[str]:
        if name not in view.figures:
            return []
        shown = view.figures[name]
        title = escape_markdown(shown.title)
        return [f"![{title}](figures/{shown.name}.svg)", escape_markdown(shown.caption)]

    parts: list[str] = []
    for view in views:
        facts = [
            f"- {escape_markdown(name)}: {escape_markdown(value)}"
            for name, value in view.provenance.facts
        ]
        warnings = [f"**{escape_markdown(text)}**" for text in view.provenance.warnings]
        parts += [
            f"# {escape_markdown(view.title)}",
            f"Study {escape_markdown(view.name)}.",
            "\n".join(f"- {escape_markdown(text)}" for text in view.headlines),
            *warnings,
            "## Strategies",
            to_markdown(view.tables["strategies"]).rstrip(),
            *figure(view, "seeds"),
            "## Right for the wrong reason",
            *figure(view, "reasons"),
            "## Thresholds",
            to_markdown(view.tables["thresholds"]).rstrip(),
            *figure(view, "thresholds"),
            "## Class activation maps",
            *figure(view, "panels"),
            "## Training",
            *figure(view, "training"),
            "## All trials",
            to_markdown(view.tables["trials"]).rstrip(),
            "## Provenance",
            "\n".join(facts),
        ]
    return "\n\n".join(part for part in parts if part) + "\n"
