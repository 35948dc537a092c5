"""The diagnostics table: where maps lie, false positives, and what the logits depend on."""

from dataclasses import dataclass, replace

from reports.names import MEASURE_NAMES, THRESHOLD_NAMES
from reports.pairing import Pair
from reports.results.study_record import ConfigurationRecord, StudyRecord
from reports.statistics import Summary, summarise_pairs
from reports.tables.cells import (
    Cell,
    Column,
    Table,
    mark_best,
    never_predicted_notes,
    points,
    summary_cell,
    with_class_state,
)
from reports.tables.folds import spread_over

UNDEFINED_WITHOUT_HITS = "confusion_ratio"


@dataclass(frozen=True)
class _Figure:
    """A column of the table and the source of its numbers.

    Attributes:
        key: a diagnostic, or a figure of the outcomes.
        header: the name for people.
        unit: `%` for shares; other numbers are written as they are.
        higher_is_better: see `reports.tables.cells.Column`.
        about: its meaning.
        outcome: whether it is a figure of the outcomes.
        share_of: the figure that it is divided by; empty if it is a share already.

    """

    key: str
    header: str
    unit: str
    higher_is_better: bool | None
    about: str
    outcome: bool = False
    share_of: str = ""


_FIGURES = (
    _Figure(
        "balanced_accuracy",
        "balanced accuracy",
        "%",
        True,
        "Of the image-level prediction.",
        outcome=True,
    ),
    _Figure(
        "sensitivity",
        "images found",
        "%",
        True,
        "Share of the images that carry the label in which the network predicts the class.",
        outcome=True,
    ),
    _Figure(
        "images_with_class_empty",
        "empty masks",
        "%",
        False,
        "Share of the images that hold the class in which no pixel is predicted as it.",
        outcome=True,
        share_of="images_with_class",
    ),
    _Figure(
        "images_full",
        "full masks",
        "%",
        False,
        "Share of all images in which every pixel is predicted as the class.",
        outcome=True,
        share_of="images",
    ),
    _Figure(
        "mass_object",
        "CAM on object",
        "%",
        True,
        "Share of the map's mass on the class's own pixels.",
    ),
    _Figure(
        "mass_context",
        "on context",
        "%",
        False,
        "Share on the context of the class, such as the chimney.",
    ),
    _Figure(
        "mass_ring",
        "on ring",
        "%",
        None,
        "Share on a ring around the object, a sixteenth of the image's side wide.",
    ),
    _Figure("mass_elsewhere", "elsewhere", "%", False, "Share on all other pixels."),
    _Figure(
        "pointing_object",
        "pointing game",
        "%",
        True,
        "Share of images whose map peaks on the object; a flat map misses.",
    ),
    _Figure(
        "pointing_context",
        "peaks on context",
        "%",
        False,
        "Share of images whose map peaks on the context.",
    ),
    _Figure(
        "confusion_ratio",
        "FP / TP",
        "",
        False,
        "False positive pixels per true positive pixel, on images with the class; no "
        "number if there is no true positive.",
    ),
    _Figure(
        "false_positive_area",
        "clear images marked",
        "%",
        False,
        "Mean share of pixels predicted foreground on images without the class.",
    ),
    _Figure(
        "false_positive_area_gated",
        "the same, gated",
        "%",
        False,
        "An image that the network predicts to be clear counts as 0.",
    ),
    # No best: the fall also depends on the scale of a network's logits.
    _Figure(
        "reliance_object",
        "logit falls without object",
        "",
        None,
        "Mean fall of the logit when only the object is removed from the scene.",
    ),
    _Figure(
        "reliance_context",
        "without context",
        "",
        None,
        "Mean fall of the logit when only the context is removed.",
    ),
    _Figure(
        "reliance_context_share",
        "context's share",
        "%",
        False,
        "Share of the context in both falls, by absolute value.",
    ),
    _Figure(
        "context_flips",
        "lost without context",
        "%",
        False,
        "Share of true positive images that the network misses without the context.",
    ),
)


def diagnostics_table(record: StudyRecord) -> Table:
    """Build the table: a row per configuration and class, and only columns that have data."""
    several = len(record.classes) > 1
    figures = [
        _Figure(record.objective, MEASURE_NAMES[record.objective], "%", True, "", outcome=True),
        *_FIGURES,
    ]
    rows_of = [(one, name) for one in record.configurations for name in record.classes]
    known = [
        figure
        for figure in figures
        if any(_by_seed(record, one, name, figure) for one, name in rows_of)
    ]
    columns = (
        Column("configuration", "configuration"),
        *([Column("class", "class")] if several else []),
        *(Column(f.key, f.header, f.unit, f.higher_is_better, True, f.about) for f in known),
    )
    rows = tuple(
        (
            Cell(one.name),
            *([Cell(name)] if several else []),
            *(_cell(record, one, name, figure) for figure in known),
        )
        for one, name in rows_of
    )
    table = Table(
        "diagnostics", "What it relies on", columns, rows, _caption(record), _notes(record)
    )
    return mark_best(table, within="class" if several else None)


def _by_seed(
    record: StudyRecord, one: ConfigurationRecord, name: str, figure: _Figure
) -> dict[Pair, float]:
    if figure.share_of:
        of = record.by_seed(one.name, figure.share_of, class_name=name)
        counted = record.by_seed(one.name, figure.key, class_name=name)
        return {seed: counted[seed] / of[seed] for seed in counted if of.get(seed)}
    if figure.outcome:
        return record.by_seed(one.name, figure.key, class_name=name)
    return record.diagnostic_by_seed(one.name, figure.key, class_name=name)


def _cell(record: StudyRecord, one: ConfigurationRecord, name: str, figure: _Figure) -> Cell:
    by_seed = _by_seed(record, one, name, figure)
    states = record.states(one.name)
    cell = summary_cell(by_seed, states)
    if by_seed and not figure.unit:
        cell = replace(cell, text=_plain(summarise_pairs(by_seed)))
    cell = with_class_state(cell, record, one.name, name, figure.key)
    healthy = states.get("ok", 0)
    if figure.key != UNDEFINED_WITHOUT_HITS or not healthy:
        return cell
    left_out = healthy - len(by_seed)
    cell = replace(cell, data={**cell.data, "left_out": left_out})
    if not left_out:
        return cell
    # A mean without its worst trials cannot be the best.
    return replace(cell, text=f"{cell.text} ({left_out} of {healthy} left out)", rank=None)


def _notes(record: StudyRecord) -> tuple[str, ...]:
    """Say how many trials have no FP / TP: they are the worst."""
    healthy = sum(record.states(one.name).get("ok", 0) for one in record.configurations)
    known = sum(
        len(record.diagnostic_by_seed(one.name, UNDEFINED_WITHOUT_HITS))
        for one in record.configurations
    )
    states = tuple(never_predicted_notes(record))
    if not known or known == healthy:
        return states
    where = "of a class" if len(record.classes) > 1 else "of the class"
    return (
        f"FP / TP is undefined if no pixel {where} is found. Its means leave out "
        f"{healthy - known} of {healthy} healthy trials, the worst ones (in brackets).",
        *states,
    )


def _plain(summary: Summary) -> str:
    """Write a number that is no share: `1.2 ± 0.3`."""
    text = f"{summary.mean:.1f}"
    if float(text) == 0:
        text = text.lstrip("-")
    if summary.sd is not None:
        text += f" ± {summary.sd:.1f}"
    return text.replace("-", "−")


def _caption(record: StudyRecord) -> str:
    chance = [
        value
        for one in record.configurations
        for value in record.diagnostic_by_seed(one.name, "object_pixels").values()
    ]
    caption = (
        f"Test split, maps cut at {THRESHOLD_NAMES[record.rule]}; mean ± sample standard deviation "
        f"over {spread_over(record, 'healthy trials')}. A network is right for the wrong reason if "
        "its accuracy is high, but its maps or logits depend on the context."
    )
    if chance:
        caption += (
            f" Chance level: the object covers {points(chance[0])} % of the pixels of its images, "
            "and a uniform map has that share of its mass on it."
        )
    return caption
