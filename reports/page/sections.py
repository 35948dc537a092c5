"""The sections of a study's page, in reading order: which tables and figures each one holds."""

from reports.decisions import (
    decision_paths_info,
    decisions_table,
    draw_decision_paths,
    looks_table,
)
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
from reports.page.limits import CONFIGURATIONS
from reports.page.specs import FigureSpec, SectionSpec, TableSpec
from reports.tables.class_thresholds import class_threshold_table, has_class_thresholds
from reports.tables.diagnostics import diagnostics_table
from reports.tables.findings import findings_table
from reports.tables.folds import folds_table
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
from reports.tables.segments import has_segmentation, segmentation_table
from reports.tables.strategies import controls_table, has_controls, strategies_table
from reports.tables.thresholds import threshold_table

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
        "decisions",
        "Decisions",
        (
            TableSpec("decisions", decisions_table),
            FigureSpec(
                "decision_paths",
                "decisions",
                "Each comparison against the seeds",
                "Mean difference after each seed, with the interval that holds at all looks "
                "together (for 'no difference', the one that must lie within the grey band). Grey: "
                "differences that do not matter, {info.smallest:g} points. A comparison is decided "
                "where the interval leaves 0 or lies in the band; ring: decided.{info.left_out}",
                decision_paths_info,
                draw_decision_paths,
                limit=None,
            ),
            TableSpec("decision_looks", looks_table),
        ),
        lambda record: record.decide is not None,
    ),
    SectionSpec("folds", "Folds", (TableSpec("folds", folds_table),), lambda record: record.folds),
    SectionSpec(
        "published",
        "Against the published order",
        (TableSpec("published", published_order_table),),
        has_published_order,
    ),
    SectionSpec(
        "chance", "Both sources of chance", (TableSpec("chance", chance_table),), has_both_chances
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
        has_segmentation,
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
        "class_thresholds",
        "A threshold for each class",
        (TableSpec("class_thresholds", class_threshold_table),),
        has_class_thresholds,
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
