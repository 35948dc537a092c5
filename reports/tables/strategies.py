"""The strategies table: what each transfer makes of the student."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from reports.results.outcomes import MEASURES
from reports.results.study_record import ConfigurationRecord, StudyRecord
from reports.statistics import PairedDifference, holm, paired_difference
from reports.tables.cells import (
    ABSENT,
    MEASURE_NAMES,
    difference_cell,
    p_value,
    points,
    summary_cell,
    worst_state,
)
from reports.tables.model import Cell, Column, Table, mark_best

RULE_NAMES = {
    "fixed": "the fixed threshold",
    "tuned": "the tuned threshold",
    "dataset_oracle": "the dataset oracle's threshold",
    "image_oracle": "the per-image oracle's thresholds",
}
_METRIC_NAMES = {"l1": "L1", "l2": "L2", "kl": "KL"}
REPRESENTATION_NAMES = {
    "spatial_map": "spatial map",
    "gram": "inner product (Gram)",
    "activation_map": "activation map",
}


@dataclass(frozen=True)
class Comparison:
    """One configuration against the student alone, for one class.

    Attributes:
        configuration: The taught one.
        class_name: Class, or the mean over classes.
        difference: Paired by seed, at the study's threshold rule and objective.
        corrected_p: By Holm over all comparisons of the study.

    """

    configuration: ConfigurationRecord
    class_name: str
    difference: PairedDifference
    corrected_p: float | None


def comparisons(record: StudyRecord) -> list[Comparison]:
    """Compare every configuration that names a baseline with it, class by class."""
    pairs = [
        (one, name)
        for one in record.configurations
        for name in record.classes
        if one.baseline not in (None, one.name) and record.configuration(one.baseline)
    ]
    differences = [
        paired_difference(
            record.by_seed(one.name, record.objective, class_name=name),
            record.by_seed(str(one.baseline), record.objective, class_name=name),
        )
        for one, name in pairs
    ]
    corrected = holm([difference.p for difference in differences])
    return [
        Comparison(one, name, difference, p)
        for (one, name), difference, p in zip(pairs, differences, corrected, strict=True)
    ]


def _described(
    record: StudyRecord,
) -> list[tuple[Column, Callable[[ConfigurationRecord], str | None]]]:
    columns: list[tuple[Column, Callable[[ConfigurationRecord], str | None]]] = [
        (Column("configuration", "configuration"), lambda one: one.name),
        (Column("networks", "networks", about="Student ← teacher; ↔ learn together."),
         lambda one: one.networks),
        (Column("paradigm", "paradigm"), lambda one: one.paradigm),
        (Column("metric", "metric"), lambda one: _METRIC_NAMES.get(str(one.metric), one.metric)),
        (Column("level", "level"), lambda one: one.level),
        (Column("representation", "representation"),
         lambda one: one.representation and REPRESENTATION_NAMES.get(
             one.representation, one.representation)),
        (Column("weight", "λ", numeric=True, about="Weight of the transfer loss."),
         lambda one: None if one.weight is None else f"{one.weight:g}"),
    ]  # fmt: skip
    varies = len({one.representation for one in record.configurations} - {None}) > 1
    return [entry for entry in columns if varies or entry[0].key != "representation"]


def strategies_table(record: StudyRecord) -> Table:
    """Build the study's main table: one row per configuration and class, in the plan's order."""
    described = _described(record)
    several = len(record.classes) > 1
    figures = [
        Column(
            measure,
            MEASURE_NAMES[measure],
            "%",
            higher_is_better=True,
            numeric=True,
            about=f"Mean ± sd over seeds at {RULE_NAMES[record.rule]}.",
        )
        for measure in sorted(MEASURES, key=lambda name: name != record.objective)
    ]
    besides = _besides(record)
    columns = (
        described[0][0],
        *([Column("class", "class")] if several else []),
        figures[0],
        *(column for column, _ in besides),
        Column("delta", "Δ student alone [95 %]", "points", True, True,
               "Difference to the student alone, paired by seed: mean ± sd and its t interval."),
        Column("holm_p", "Holm p", numeric=True,
               about="Two-sided paired t-test, corrected over the whole table."),
        Column("n", "n", about="Healthy trials that the means are over, of those planned."),
        *figures[1:],
        Column("balanced_accuracy", "balanced accuracy", "%", True, True,
               "Of the image-level prediction on the test split."),
        Column("clear_false_positive_share", "false positives, clear images", "%", False, True,
               "Share of pixels predicted foreground on images without the class."),
        *(column for column, _ in described[1:]),
    )  # fmt: skip
    found = {(c.configuration.name, c.class_name): c for c in comparisons(record)}
    rows = []
    for one in record.configurations:
        states = record.states(one.name)
        for name in record.classes or ("",):
            cells = [
                summary_cell(
                    record.by_seed(one.name, figure, class_name=name),
                    states,
                    spell_out=figure == record.objective,
                )
                for figure in (
                    *(column.key for column in figures),
                    "balanced_accuracy",
                    "clear_false_positive_share",
                )
            ]
            compared = found.get((one.name, name))
            texts = [text(one) for _, text in described]
            title, *factors = (Cell(text or ABSENT, data={"": text}) for text in texts)
            rows.append(
                (
                    title,
                    *([Cell(name)] if several else []),
                    cells[0],
                    *(cell(one, name) for _, cell in besides),
                    *_delta_cells(compared, record, one),
                    _count_cell(record, one),
                    *cells[1:],
                    *factors,
                )
            )
    return mark_best(
        Table(
            "strategies",
            "Knowledge transfer strategies",
            columns,
            tuple(rows),
            _caption(record),
            tuple(_notes(record)),
        ),
        within="class" if several else None,
    )


def _count_cell(record: StudyRecord, one: ConfigurationRecord) -> Cell:
    """Write ``2 of 3``; the main figure's cell says what became of the others."""
    states = record.states(one.name)
    data = {"ok": states["ok"], "planned": states.total()}
    bad = {state: states[state] for state in ("failed", "collapsed", "missing")}
    text = f"{states['ok']} of {states.total()}"
    return Cell(text, data={**data, **bad}, state=worst_state(states))


def _delta_cells(
    compared: Comparison | None, record: StudyRecord, one: ConfigurationRecord
) -> tuple[Cell, Cell]:
    if compared is None:
        is_baseline = any(other.baseline == one.name for other in record.configurations)
        return Cell("baseline" if is_baseline else ABSENT, data={"mean": None}), Cell(
            ABSENT, data={"": None}
        )
    cell = difference_cell(compared.difference, record.states(one.name))
    return cell, Cell(p_value(compared.corrected_p), data={"": compared.corrected_p})


def _caption(record: StudyRecord) -> str:
    caption = (
        f"Test split, at {RULE_NAMES[record.rule]}; mean ± sample standard deviation over seeds, "
        "in percent. IoU is over images that hold the class. The difference is to the student "
        "alone of the same seed, with a 95 % Student-t interval and a paired t-test, "
        "Holm-corrected over the table. Means are over healthy trials alone. Bold: best of the "
        "rows with all "
        "seeds."
    )
    if len(record.seeds) <= 3:
        caption += (
            f" With n = {len(record.seeds)} such intervals are wide, and a mean over one seed has "
            "no spread."
        )
    return caption


CellOf = Callable[[ConfigurationRecord, str], Cell]


def _besides(record: StudyRecord) -> list[tuple[Column, CellOf]]:
    """Columns that not every study has: published figures, partners, the difference to the teacher.

    Of co-training the table's own figure is the student's; its partner and the fusion of both maps
    have columns of their own.
    """

    def published(one: ConfigurationRecord, name: str) -> Cell:
        known = one.published if name == record.main_class else None
        return Cell(points(known, 2), data={"": known})

    def network(role: str) -> CellOf:
        def cell(one: ConfigurationRecord, name: str) -> Cell:
            if one.paradigm != "co-training":
                return Cell(ABSENT, data={"mean": None})
            by_seed = record.by_seed(one.name, record.objective, class_name=name, network=role)
            return replace(summary_cell(by_seed, record.states(one.name)), rank=None)

        return cell

    def teacher(one: ConfigurationRecord, name: str) -> Cell:
        reference = record.configuration(one.reference)
        if reference is None:
            return Cell(ABSENT, data={"mean": None})
        difference = paired_difference(
            record.by_seed(one.name, record.objective, class_name=name),
            record.by_seed(reference.name, record.objective, class_name=name),
        )
        return difference_cell(difference, record.states(one.name))

    found: list[tuple[Column, CellOf]] = []
    if any(one.published is not None for one in record.configurations):
        about = "Another work's figure, on another data set: levels do not compare."
        found.append((Column("published", "published", "%", None, True, about), published))
    if any(one.paradigm == "co-training" for one in record.configurations):
        for role, header in (("teacher", "partner"), ("fused", "fused")):
            about = f"The main figure of the {header} {'maps' if role == 'fused' else 'network'}."
            found.append((Column(header, header, "%", None, True, about), network(role)))
    if any(record.configuration(one.reference) for one in record.configurations):
        about = "Difference to the teacher alone of the same seed: mean ± sd and its t interval."
        header = "Δ teacher alone [95 %]"
        found.append((Column("delta_teacher", header, "points", None, True, about), teacher))
    return found


def _notes(record: StudyRecord) -> list[str]:
    """Explain the columns that not every study has; formats without tooltips need it in words."""
    sources = sorted({one.published_from or "" for one in record.configurations} - {""})
    notes = [
        f"Published: {source}. Another data set and other networks: compare orders, not levels."
        for source in sources
    ]
    if any(one.paradigm == "co-training" for one in record.configurations):
        notes.append(
            "Co-training: the row is of the student; partner is the network that learnt beside it, "
            f"fused the average of both maps, each by its {MEASURE_NAMES[record.objective]}."
        )
    if any(record.configuration(one.reference) for one in record.configurations):
        notes.append("The difference to the teacher alone is paired likewise, and uncorrected.")
    return notes


def best_taught(record: StudyRecord) -> list[Comparison]:
    """Order the comparisons of the main class: most paired seeds first, then the largest mean.

    A difference over fewer seeds than the others' may owe its size to a lucky seed.
    """
    mine = [
        c
        for c in comparisons(record)
        if c.class_name == record.main_class and c.difference.summary.n
    ]
    return sorted(mine, key=lambda c: (-c.difference.summary.n, -c.difference.summary.mean))
