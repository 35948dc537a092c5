"""The table of a threshold for each class beside the threshold that all classes share."""

from dataclasses import replace

from reports.names import MEAN_OF_CLASSES, MEASURE_NAMES, RULE_NAMES, images_of
from reports.results.study_record import ConfigurationRecord, StudyRecord
from reports.statistics import paired_difference, summarise
from reports.tables.cells import (
    Cell,
    Column,
    Table,
    difference_cell,
    equals,
    points,
    summary_cell,
    with_class_state,
)
from reports.tables.folds import interval_name, paired_by, spread_over
from reports.tables.thresholds import peeks_at


def has_class_thresholds(record: StudyRecord) -> bool:
    """Return whether a study's classes compete and have thresholds of their own."""
    return len(record.classes) > 1 and any(
        record.by_seed(one.name, "own_objective", rule=rule)
        for one in record.configurations
        for rule in peeks_at(record)
    )


def class_threshold_table(record: StudyRecord) -> Table:
    """Build the table: a row per configuration and class; IoU under one and under own thresholds.

    The last column is of the study's rule: own thresholds minus the one, paired by seed.
    """
    rules = peeks_at(record)
    columns = [Column("configuration", "configuration"), Column("class", "class")]
    for rule, seen in rules.items():
        name = RULE_NAMES.get(rule, rule)
        about = f"Mean ± sd; the rule peeks at {seen}."
        columns += [
            Column(f"{rule}_one", f"{name}: one", "%", None, True, about),
            Column(f"{rule}_own", f"{name}: own (level)", "%", None, True, about),
        ]
    about = f"Paired by {paired_by(record)}: mean ± sd and its t interval; not corrected."
    header = f"Δ own − one, {RULE_NAMES.get(record.rule, record.rule)} [95 %]"
    columns.append(Column("delta", header, "points", None, True, about))
    rows = tuple(
        (
            Cell(one.name),
            Cell(name),
            *(
                cell
                for rule in rules
                for cell in (_one(record, one, name, rule), _own(record, one, name, rule))
            ),
            _gain(record, one, name),
        )
        for one in record.configurations
        for name in record.classes
    )
    caption = (
        f"IoU is {MEASURE_NAMES[record.objective]} on the test split, mean ± sample standard "
        f"deviation over {spread_over(record)}.{images_of(record.objective)} A pixel takes "
        "its highest class where the score reaches a threshold, else it is background. "
        "One: all classes share the threshold. Own: each class has its own, chosen by the same "
        "rule from what the class says where it wins; in brackets its mean level of 255. The "
        f"mean over classes weighs each class alike. The difference has a {interval_name(record)}. "
        "Own thresholds of oracles are never worse; tuned ones may be, if few masks hold a class."
    )
    title = "A threshold for each class"
    return Table("class_thresholds", title, tuple(columns), rows, caption, _notes(record))


def _one(record: StudyRecord, one: ConfigurationRecord, name: str, rule: str) -> Cell:
    by_seed = record.by_seed(one.name, record.objective, rule=rule, class_name=name)
    cell = summary_cell(by_seed, record.states(one.name))
    return with_class_state(cell, record, one.name, name, record.objective)


def _own(record: StudyRecord, one: ConfigurationRecord, name: str, rule: str) -> Cell:
    by_seed = record.by_seed(one.name, "own_objective", rule=rule, class_name=name)
    cell = summary_cell(by_seed, record.states(one.name))
    cell = with_class_state(cell, record, one.name, name, record.objective)
    levels = record.by_seed(one.name, "own_level", rule=rule, class_name=name)
    level = summarise(levels.values()).mean if levels else None
    text = cell.text if level is None else f"{cell.text} ({level:.0f})"
    return replace(cell, text=text, data={**cell.data, "level": level})


def _gain(record: StudyRecord, one: ConfigurationRecord, name: str) -> Cell:
    difference = paired_difference(
        record.by_seed(one.name, "own_objective", class_name=name),
        record.by_seed(one.name, record.objective, class_name=name),
    )
    return difference_cell(difference, record.states(one.name))


def _notes(record: StudyRecord) -> tuple[str, ...]:
    """Average the gain of own thresholds in the mean over classes, for each rule."""
    means = []
    for rule in peeks_at(record):
        gains = [
            own[pair] - shared[pair]
            for one in record.configurations
            for own, shared in [
                [
                    record.by_seed(one.name, figure, rule=rule, class_name=MEAN_OF_CLASSES)
                    for figure in ("own_objective", record.objective)
                ]
            ]
            for pair in own.keys() & shared.keys()
        ]
        if gains:
            gain = points(summarise(gains).mean, signed=True)
            means.append(f"{gain} for {RULE_NAMES.get(rule, rule)} ({equals('n', len(gains))})")
    if not means:
        return ()
    text = "Points that own thresholds gain in the mean over classes, averaged over healthy trials"
    return (f"{text}: {', '.join(means)}.",)
