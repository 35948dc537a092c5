"""The page: a study in reading order, as one HTML file and as Markdown beside its figures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from reports.figures.diagnostics import diagnostics_info, draw_diagnostics
from reports.figures.panels import cam_panels_info, draw_cam_panels
from reports.figures.refinement import refinement_dots_info, refinement_panels_info
from reports.figures.search import draw_search, search_info
from reports.figures.seeds import (
    accuracy_scatter_info,
    draw_accuracy_scatter,
    draw_seed_dots,
    draw_training_curves,
    seed_dots_info,
    training_curves_info,
)
from reports.figures.style import draw_svg, inline
from reports.figures.sweep import dial_info, draw_dial
from reports.figures.threshold_curves import draw_threshold_curves, threshold_curves_info
from reports.page.headlines import headlines, left_out
from reports.page.limits import CONFIGURATIONS, fewer, shortened
from reports.page.provenance import Provenance, provenance
from reports.results.study_record import StudyRecord
from reports.statistics import summarise
from reports.tables.cells import MEASURE_NAMES, points
from reports.tables.diagnostics import diagnostics_table
from reports.tables.model import Table, escape_markdown, to_html, to_markdown
from reports.tables.published_order import published_headline, published_order_table
from reports.tables.refinement import refinement_table
from reports.tables.search import search_table
from reports.tables.strategies import RULE_NAMES, best_taught, strategies_table
from reports.tables.sweep import dial_headlines, dial_table
from reports.tables.thresholds import threshold_table
from reports.tables.trials import trials_table

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
class Section:
    """A part of the page: its anchor, its title, and the names of its tables and figures."""

    key: str
    title: str
    items: tuple[str, ...]


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
        tables: By name.
        figures: By name, none of a table; a figure without data is left out.
        sections: In reading order, before the trials and the provenance.
        provenance: Origins.
        outcomes: All figures of all trials, tidy.
        diagnostics: All diagnostics of all trials, likewise.
    """

    prefix: str
    name: str
    title: str
    measure: str
    headlines: tuple[str, ...]
    key_figures: tuple[KeyFigure, ...]
    tables: dict[str, Table]
    figures: dict[str, FigureView]
    sections: tuple[Section, ...]
    provenance: Provenance
    outcomes: pd.DataFrame
    diagnostics: pd.DataFrame

    @property
    def shown(self) -> dict[str, Table]:
        """The tables as the page shows them; the files hold all rows."""
        return {name: shortened(t, self.prefix + name) for name, t in self.tables.items()}


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
    (few,), left_out_of = fewer([record])
    dots, scatter = seed_dots_info(few), accuracy_scatter_info(few)
    curves, history = threshold_curves_info(few), training_curves_info(few)
    panels = cam_panels_info(record)
    if record.classes:
        figures["seeds"] = _figure(
            prefix, "seeds", "IoU of every seed",
            "A dot is one healthy trial, a bar the mean over seeds. Thin lines join the trials of "
            "one seed. Vertical lines: means of what is compared with." + left_out_of,
            dots, draw_seed_dots,
        )  # fmt: skip
    if scatter.points:
        figures["reasons"] = _figure(
            prefix, "reasons", "Right for the wrong reason",
            "A dot is one healthy trial. Far right and low is a network that names the images well "
            "and looks elsewhere while doing so. Marker shapes are seeds, numbers mean IoU."
            + left_out_of, scatter, draw_accuracy_scatter,
        )  # fmt: skip
    if curves.panels:
        figures["threshold_curves"] = _figure(
            prefix, "thresholds", "IoU over all thresholds",
            "A line is one trial on the test split. Filled dot: its tuned threshold; ring: the "
            "dataset oracle's. Dashed grey: the student alone, mean over seeds." + left_out_of,
            curves, draw_threshold_curves,
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
    relied = diagnostics_info(few)
    if relied.mass:
        figures["reliance"] = _figure(
            prefix, "reliance", "Where the maps lie and what the logits hang on",
            "Left: mean share of the CAM's mass in each region; dashed: the object's share of the "
            "pixels, which a map without any shape would have. Right, where scenes can be rendered "
            "without one thing: mean fall of the logit; dots are seeds." + left_out_of,
            relied, draw_diagnostics,
        )  # fmt: skip
    if history.panels:
        figures["training"] = _figure(
            prefix, "training", "Training curves",
            "A line is one trial. Solid: classification loss; dashed: transfer loss before its "
            "weight λ." + left_out_of, history, draw_training_curves,
        )  # fmt: skip
    tables = {
        "strategies": strategies_table(record),
        "diagnostics": diagnostics_table(record),
        "thresholds": threshold_table(record),
        "trials": trials_table(record),
    }
    sections = [
        Section("strategies", "Strategies", ("strategies", "seeds")),
        Section("reasons", "Right for the wrong reason", ("reasons",)),
        Section("diagnostics", "What it relies on", ("diagnostics", "reliance")),
        Section("thresholds", "Thresholds", ("thresholds", "threshold_curves")),
        Section("panels", "Class activation maps", ("panels",)),
        Section("training", "Training", ("training",)),
    ]
    said = headlines(record)
    if record.chains and record.classes:
        tables["refinement"] = refinement_table(record)
        (chained,), unchained = fewer([record], max(4, 3 * CONFIGURATIONS // len(record.chains)))
        figures["refinement_dots"] = _figure(
            prefix, "refinement", "IoU of every seed under each chain",
            "A dot is one healthy trial under a chain, a bar the mean over seeds. Thin lines join "
            "the trials of one seed. Vertical lines: no refinement." + unchained,
            refinement_dots_info(chained), draw_seed_dots,
        )  # fmt: skip
        refined = refinement_panels_info(record)
        if refined is not None:
            figures["refinement_panels"] = _figure(
                prefix, "refinement_panels", f"Maps under each chain, seed {refined.seed}",
                "Test images under the seed that is best without refinement; colours and lines as "
                "in the figure of class activation maps.", refined, draw_cam_panels,
            )  # fmt: skip
        sections.insert(1, Section(
            "refinement", "Refinement", ("refinement", "refinement_dots", "refinement_panels")
        ))  # fmt: skip
    if sum(one.published is not None for one in record.configurations) > 1 and record.classes:
        tables["published"] = published_order_table(record)
        sections.insert(1, Section("published", "Against the published order", ("published",)))
        said += [sentence] if (sentence := published_headline(record)) else []
    if len(record.search):
        tables["search"] = search_table(record.search, objective=record.objective)
        found = search_info(record.search, objective=record.objective)
        figures["search_history"] = _figure(
            prefix, "search", "The search", SEARCH_CAPTION, found, draw_search
        )
        sections.append(Section("search", "Search", ("search", "search_history")))
    return StudyView(
        prefix=prefix,
        name=record.name,
        title=record.title,
        measure=f"{MEASURE_NAMES[record.objective]} at {RULE_NAMES[record.rule]}",
        headlines=tuple(said),
        key_figures=_key_figures(record),
        tables=tables,
        figures=figures,
        sections=tuple(sections),
        provenance=provenance([record], [few]),
        outcomes=record.outcomes(),
        diagnostics=record.diagnostics(),
    )


SEARCH_CAPTION = (
    "Each point is a search trial: its objective on the tune split, mean over the seeds it was "
    "scored under. Hollow: stopped early. These numbers chose the winners and are no results; "
    "the table of strategies has the winners under fresh seeds."
)


def dial_view(records: Sequence[StudyRecord], prefix: str = "") -> StudyView:
    """Compute the view of a study with a dial: over all its values, then each value's tables.

    Args:
        records: One for each value of the dial.
        prefix: Precedes the names of its files.

    """
    first = records[0]
    few, left_out_of = fewer(records)
    falls = {
        (record.dial_value or 0.0, one.name, seed): value
        for record in few
        for one in record.configurations
        for seed, value in record.diagnostic_by_seed(one.name, "reliance_context").items()
    }
    tables = {"dial": dial_table(records)}
    figures = {
        "dial_figure": _figure(
            prefix, "dial", f"Over {first.dial}",
            "A line joins the means over seeds of one configuration, set a little side by side; "
            "dots are seeds, whiskers 95 % Student-t intervals, which may leave the panel. Dashed: "
            "the student alone; dotted: the teacher." + left_out_of,
            dial_info(
                few, falls or None, reliance_axis="fall of the logit\nwithout the context"
            ),
            draw_dial,
        ),
    }  # fmt: skip
    sections = [Section("dial", f"Over {first.dial}", ("dial", "dial_figure"))]
    for place, record in enumerate(records, 1):
        value = f"{record.dial_value:g}"
        tables[f"strategies_{value}"] = strategies_table(record)
        tables[f"diagnostics_{value}"] = diagnostics_table(record)
        names = (f"strategies_{value}", f"diagnostics_{value}")
        sections.append(Section(f"at-{place}", f"{record.dial} = {value}", names))
        tables[f"trials_{value}"] = replace(
            trials_table(record), title=f"All trials, {record.dial} = {value}"
        )
        sections.append(Section(f"trials-{place}", f"Trials at {value}", (f"trials_{value}",)))
    return StudyView(
        prefix=prefix,
        name=first.name.removesuffix(f", {first.dial} = {first.dial_value:g}"),
        title=first.title,
        measure=f"{MEASURE_NAMES[first.objective]} at {RULE_NAMES[first.rule]}",
        headlines=(*dial_headlines(records), *left_out(records)),
        key_figures=(),
        tables=tables,
        figures=figures,
        sections=tuple(sections),
        provenance=provenance(records, few),
        outcomes=_over_dial(records, StudyRecord.outcomes),
        diagnostics=_over_dial(records, StudyRecord.diagnostics),
    )


def _over_dial(
    records: Sequence[StudyRecord], frame_of: Callable[[StudyRecord], pd.DataFrame]
) -> pd.DataFrame:
    return pd.concat(
        [frame_of(record).assign(dial_value=record.dial_value) for record in records],
        ignore_index=True,
    )


def views_of(records: Sequence[StudyRecord], slug: Callable[[str], str]) -> list[StudyView]:
    """Make a view of each study; the values of one dial share a view.

    Args:
        records: As ``study_reading.read_studies`` gives them.
        slug: Makes part of a file's name of a study's.

    """
    groups: dict[str, list[StudyRecord]] = {}
    for record in records:
        suffix = "" if record.dial is None else f", {record.dial} = {record.dial_value:g}"
        groups.setdefault(record.name.removesuffix(suffix), []).append(record)
    views = []
    for place, (name, group) in enumerate(groups.items(), 1):
        prefix = f"{place}-{slug(name)}-" if len(groups) > 1 else ""
        views.append(dial_view(group, prefix) if group[0].dial else study_view(group[0], prefix))
    return views


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reports.page"),
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

    def table(tables: dict[str, Table], name: str) -> list[str]:
        return [to_markdown(tables[name]).rstrip()]

    parts: list[str] = []
    for view in views:
        tables = view.shown
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
        ]
        for section in view.sections:
            parts.append(f"## {escape_markdown(section.title)}")
            for item in section.items:
                parts += table(tables, item) if item in tables else figure(view, item)
        parts += [
            *(["## All trials", *table(tables, "trials")] if "trials" in tables else []),
            "## Provenance",
            "\n".join(facts),
        ]
    return "\n\n".join(part for part in parts if part) + "\n"
