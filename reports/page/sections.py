"""The sections of a study's page, in reading order: which tables and figures each one holds."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from reports.figures.curves import (
    draw_threshold_curves,
    draw_training_curves,
    threshold_curves_info,
    training_curves_info,
)
from reports.figures.diagnostics import diagnostics_info, draw_diagnostics
from reports.figures.masks_worth import draw_masks_worth, masks_worth_info
from reports.figures.panels import cam_panels_info, draw_cam_panels
from reports.figures.reasons import (
    draw_noise_curves,
    draw_reason_dots,
    noise_curves_info,
    reason_dots_info,
)
from reports.figures.refinement import chain_dots_info, chain_panels_info
from reports.figures.search import draw_search, search_info
from reports.figures.seeds import (
    accuracy_scatter_info,
    draw_accuracy_scatter,
    draw_seed_dots,
    seed_dots_info,
)
from reports.figures.style import draw_png, draw_svg, style
from reports.page.kept_drawings import KeptDrawings
from reports.page.limits import CONFIGURATIONS, fewer
from reports.results.study_record import StudyRecord
from reports.tables.cells import Table
from reports.tables.diagnostics import diagnostics_table
from reports.tables.findings import findings_table
from reports.tables.folds import folds_table, over_groups
from reports.tables.over_images import (
    chance_table,
    groups_table,
    has_both_chances,
    has_groups,
    reasons_table,
)
from reports.tables.published_order import has_published_order, published_order_table
from reports.tables.refinement import refinement_table
from reports.tables.search import search_table
from reports.tables.segments import segmentation_table
from reports.tables.strategies import controls_table, has_controls, strategies_table
from reports.tables.thresholds import threshold_table


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
        draw: draws it.
        drawn_from: all that the drawing follows from: what draws, and the numbers.

    """

    title: str
    caption: str
    draw: Callable[[], Figure]
    drawn_from: Any = field(default=None, compare=False, repr=False)

    def view(self, name: str, kept: KeptDrawings | None = None) -> FigureView:
        """Draw the figure for a page.

        Args:
            name: its file's name.
            kept: the drawings that may be taken instead.

        """

        def draw() -> str:
            return draw_svg(self.draw, name, self.title)

        if kept is None or self.drawn_from is None:
            svg = draw()
        else:
            svg = kept.drawn((name, self.title, self.drawn_from), draw)
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
        return Drawing(
            title, caption + groups + left_out, lambda: self.draw(info), (self.draw, info)
        )


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


SECTIONS = (
    SectionSpec(
        "strategies",
        "Strategies",
        (
            TableSpec("strategies", strategies_table),
            FigureSpec(
                "seeds",
                "seeds",
                "IoU of every seed",
                "A dot is one healthy trial, a bar the mean. Thin lines join the trials of one "
                "seed, with folds of one seed on one fold. Vertical lines: means of the student "
                "alone and of the teacher alone.",
                lambda record: seed_dots_info(record) if record.classes else None,
                draw_seed_dots,
            ),
        ),
    ),
    SectionSpec(
        "controls",
        "Teaching, or two opinions?",
        (TableSpec("controls", controls_table),),
        has_controls,
    ),
    SectionSpec(
        "chance", "Both sources of chance", (TableSpec("chance", chance_table),), has_both_chances
    ),
    SectionSpec("folds", "Folds", (TableSpec("folds", folds_table),), lambda record: record.folds),
    SectionSpec(
        "published",
        "Against the published order",
        (TableSpec("published", published_order_table),),
        has_published_order,
    ),
    SectionSpec(
        "refinement",
        "Refinement",
        (
            TableSpec("refinement", refinement_table),
            FigureSpec(
                "refinement_dots",
                "refinement",
                "IoU of every seed under each chain",
                "A dot is one healthy trial under a chain, a bar the mean over seeds. Thin lines "
                "join the trials of one seed. Vertical lines: no refinement.",
                chain_dots_info,
                draw_seed_dots,
                limit=lambda record: max(4, 3 * CONFIGURATIONS // len(record.chains)),
            ),
            FigureSpec(
                "refinement_panels",
                "refinement_panels",
                "Maps under each chain, seed {info.seed}",
                "Test images under the seed that is best without refinement; colours and lines as "
                "in the figure of class activation maps.",
                chain_panels_info,
                draw_cam_panels,
                limit=None,
            ),
        ),
        lambda record: record.chains and record.classes,
    ),
    SectionSpec(
        "segmentation",
        "Segmentation",
        (
            TableSpec("segmentation", segmentation_table),
            FigureSpec(
                "masks_worth",
                "masks_worth",
                "IoU against true masks spent",
                "Masks that training or a threshold has looked at are spent. Small dots are seeds, "
                "large ones means, bars 95 % Student-t intervals, which may leave the figure. The "
                "axis of masks is logarithmic, with 0.",
                masks_worth_info,
                draw_masks_worth,
                limit=None,
            ),
        ),
        lambda record: record.segments and record.classes,
    ),
    SectionSpec(
        "reasons",
        "Right for the wrong reason",
        (
            FigureSpec(
                "reasons",
                "reasons",
                "Right for the wrong reason",
                "A dot is one healthy trial; its shape is the seed, numbers are mean IoU. A "
                "network far right and low classifies images well, but its maps miss the object.",
                accuracy_scatter_info,
                draw_accuracy_scatter,
                lambda info: info.points,
            ),
        ),
    ),
    SectionSpec(
        "altered",
        "Altered images",
        (
            FigureSpec(
                "reason_dots",
                "altered_images",
                "Accuracy and reasons side by side",
                "A dot is one healthy trial, a bar the mean. RFS, relative foreground sensitivity: "
                "above 0 noise on the object hurts more than noise around it. Low is good where "
                "the object is grey, high elsewhere.",
                reason_dots_info,
                draw_reason_dots,
            ),
            TableSpec("altered_images", reasons_table),
            FigureSpec(
                "noise_curves",
                "noise",
                "Accuracy under noise",
                "A line is one trial. Solid: noise on the object; dashed: the same noise on all "
                "else. The solid line of a network that looks at the object falls first.",
                noise_curves_info,
                draw_noise_curves,
            ),
        ),
        lambda record: record.reasons is not None,
    ),
    SectionSpec("groups", "Groups", (TableSpec("groups", groups_table),), has_groups),
    SectionSpec(
        "diagnostics",
        "What it relies on",
        (
            TableSpec("diagnostics", diagnostics_table),
            FigureSpec(
                "reliance",
                "reliance",
                "Where the maps lie and what the logits depend on",
                "Left: mean share of the CAM's mass in each region; dashed: the object's share of "
                "the pixels, which a uniform map would have. Right, if scenes can be rendered "
                "without the object or its context: mean fall of the logit; dots are seeds.",
                diagnostics_info,
                draw_diagnostics,
                lambda info: info.mass,
            ),
        ),
    ),
    SectionSpec(
        "thresholds",
        "Thresholds",
        (
            TableSpec("thresholds", threshold_table),
            FigureSpec(
                "threshold_curves",
                "thresholds",
                "IoU over all thresholds",
                "A line is one trial on the test split: {info.axis}. Filled dot: its tuned "
                "threshold; ring: the dataset oracle's, off the line where its maps are ungated. "
                "Dashed grey: the student alone, mean over seeds.",
                threshold_curves_info,
                draw_threshold_curves,
                lambda info: info.panels,
            ),
        ),
    ),
    SectionSpec(
        "panels",
        "Class activation maps",
        (
            FigureSpec(
                "panels",
                "panels",
                "Class activation maps, seed {info.seed}",
                "Test images under one seed. Scores run from dark blue (0) over green to yellow "
                "(1), laid over the greyed image. White: the cut at the {record.rule} threshold; "
                "red: the mask's outline. Below each map: the image's IoU in percent, or the share "
                "of pixels predicted foreground if the image lacks the class; not predicted: "
                "gating leaves nothing of the map. The taught networks are the best by mean IoU.",
                cam_panels_info,
                draw_cam_panels,
                limit=None,
            ),
        ),
    ),
    SectionSpec(
        "training",
        "Training",
        (
            FigureSpec(
                "training",
                "training",
                "Training curves",
                "A line is one trial. Solid: classification loss; dashed: transfer loss before its "
                "weight λ.",
                training_curves_info,
                draw_training_curves,
                lambda info: info.panels,
                tested=False,
            ),
        ),
    ),
    SectionSpec(
        "search",
        "Search",
        (
            TableSpec("search", lambda one: search_table(one.search, objective=one.objective)),
            FigureSpec(
                "search_history",
                "search",
                "The search",
                "A point is a search trial: its objective on the tune split, mean over the seeds "
                "it was scored under. Hollow: stopped early. These values chose the winners and "
                "are no results; the table of strategies has the winners under fresh seeds.",
                lambda one: search_info(one.search, objective=one.objective),
                draw_search,
                limit=None,
                tested=False,
            ),
        ),
        lambda record: len(record.search),
    ),
    SectionSpec(
        "images",
        "The images",
        (TableSpec("findings", lambda one: findings_table(one.findings)),),
        lambda record: len(record.findings),
    ),
)
"""The sections of a study without a sweep; each one shows whatever of it has data."""
