"""The table of folds, and the words of captions for what figures and intervals are over."""

from collections import Counter
from dataclasses import replace

from reports.names import MEASURE_NAMES, THRESHOLD_NAMES
from reports.pairing import FoldRecord, Pair, fold_of
from reports.results.comparisons import at_chance
from reports.results.study_record import ConfigurationRecord, StudyRecord
from reports.statistics import Summary, paired_difference, summarise, summarise_pairs
from reports.tables.cells import (
    ABSENT,
    Cell,
    CellValue,
    Column,
    Table,
    count_cell,
    difference_cell,
    mean_and_spread,
    percent,
    points,
    summary_cell,
)


def spread_over(record: StudyRecord, otherwise: str = "the seeds of healthy trials") -> str:
    """Say what means and standard deviations are over."""
    if not record.folds:
        return otherwise
    return "folds, each the mean of its healthy seeds"


def paired_by(record: StudyRecord) -> str:
    """Say what pairs the trials of a difference."""
    return "seed and fold" if record.folds else "seed"


def interval_name(record: StudyRecord) -> str:
    """Name the interval of a mean; that over folds allows for the images that they share."""
    if not record.folds:
        return "95 % Student-t interval"
    return "95 % t interval corrected for overlapping folds (Nadeau and Bengio 2003)"


def over_images(record: StudyRecord) -> str:
    """Say how many groups the test images are of, where images share groups; else nothing."""
    extent = record.extent
    if not extent.dependent:
        return ""
    among = "" if not record.folds else f", in {len(record.folds)} folds together"
    holding = ""
    if extent.images_with_class < extent.images:
        some = "the class" if len(record.classes) <= 1 else "a class"
        of_groups = f"{extent.images_with_class} of them, of {extent.groups_with_class} groups"
        holding = f"; {of_groups}, hold {some}"
    return f"{extent.images} test images of {extent.groups} groups{among}{holding}"


def with_groups(table: Table, record: StudyRecord) -> Table:
    """Return a table whose caption says how many groups its figures are over."""
    return replace(table, caption=table.caption + over_groups(record))


def over_groups(record: StudyRecord) -> str:
    """Return the sentence on groups for the end of a caption; nothing where none is due."""
    said = over_images(record)
    return f" Figures are over {said}." if said else ""


def group_headlines(record: StudyRecord) -> list[str]:
    """Say what the study's intervals leave open where images share groups, in a sentence."""
    said = over_images(record)
    if not said:
        return []
    if record.folds:
        return [f"Figures are over {said}."]
    return [
        f"Figures are over {said}. Images of a group are alike, and intervals are over seeds: they "
        "do not say how figures would vary with other groups. Folds by group do."
    ]


def folds_title(record: StudyRecord) -> str:
    """Return the title of a study's folds: `Leave one camera out`, `5 folds by group`."""
    first = record.folds[0]
    if first.alone:
        return f"Leave one {first.by} out"
    return f"{len(record.folds)} folds by {first.by}"


def _of_fold(by_pair: dict[Pair, float], fold: FoldRecord) -> dict[Pair, float]:
    """Return the values of a fold by seed."""
    return {
        pair.seed: value
        for pair, value in by_pair.items()
        if not isinstance(pair, int) and pair.fold == fold.number
    }


def _states(record: StudyRecord, one: ConfigurationRecord, fold: FoldRecord) -> Counter[str]:
    return Counter(t.status for t in record.of(one.name) if fold_of(t.pair) == fold.number)


def folds_table(record: StudyRecord) -> Table:
    """Build the table: a row per configuration, class and fold, then all folds together."""
    several = len(record.classes) > 1
    measure, rule = MEASURE_NAMES[record.objective], THRESHOLD_NAMES[record.rule]
    columns = (
        Column("configuration", "configuration"),
        *([Column("class", "class")] if several else []),
        Column("fold", "fold", numeric=True),
        Column("held_out", "held out", about="Tested on, and neither trained nor tuned on."),
        Column("images", "test images", numeric=True),
        Column("groups", "test groups", numeric=True),
        Column(record.objective, measure, "%", None, True, f"Mean ± sd over seeds at {rule}."),
        Column("delta", "Δ student alone [95 %]", "points", None, True, "Paired by seed."),
        Column("balanced_accuracy", "balanced accuracy", "%", None, True),
        Column("n", "n", about="Healthy trials in the means, of all planned trials."),
    )
    rows = []
    for one in record.configurations:
        for name in record.classes or ("",):
            reached = record.by_seed(one.name, record.objective, class_name=name)
            accuracy = record.by_seed(one.name, "balanced_accuracy", class_name=name)
            alone: dict[Pair, float] = {}
            if one.baseline not in (None, one.name):
                alone = record.by_seed(str(one.baseline), record.objective, class_name=name)
            begin = (Cell(one.name), *([Cell(name)] if several else []))
            for fold in record.folds:
                states = _states(record, one, fold)
                rows.append(
                    (
                        *begin,
                        Cell(str(fold.number), data={"": fold.number}),
                        _held_out_cell(fold),
                        Cell(str(fold.images["test"]), data={"": fold.images["test"]}),
                        Cell(str(fold.groups["test"]), data={"": fold.groups["test"]}),
                        _unranked(summary_cell(_of_fold(reached, fold), states)),
                        _difference(_of_fold(reached, fold), _of_fold(alone, fold), states),
                        _unranked(summary_cell(_of_fold(accuracy, fold), states)),
                        count_cell(states),
                    )
                )
            states = record.states(one.name)
            rows.append(
                (
                    *begin,
                    Cell("all", data={"": None}),
                    Cell(f"{len(record.folds)} folds"),
                    _total(record, "images"),
                    _total(record, "groups"),
                    _over_folds(reached),
                    _difference(reached, alone, states),
                    _over_folds(accuracy),
                    count_cell(states),
                )
            )
    caption = (
        f"{folds_title(record)}: {measure} on the test images of each fold, at {rule} of its own "
        "tune images. Rows of a fold: mean ± sample standard deviation over seeds, with Student-t "
        f"intervals. Rows of all folds: over {spread_over(record)}, with 95 % t intervals "
        "corrected for overlapping folds (Nadeau and Bengio 2003)."
    )
    notes = tuple(_absent_notes(record))
    return Table("folds", folds_title(record), columns, tuple(rows), caption, notes)


def _unranked(cell: Cell) -> Cell:
    return replace(cell, rank=None)


def _held_out_cell(fold: FoldRecord) -> Cell:
    rest = fold.held_out_count - 3
    shown = ", ".join(fold.held_out[:3]) + (f" and {rest} more" if rest > 0 else "")
    return Cell(shown, data={"": "; ".join(fold.held_out), "count": fold.held_out_count})


def _total(record: StudyRecord, what: str) -> Cell:
    total = sum(getattr(fold, what)["test"] for fold in record.folds)
    return Cell(str(total), data={"": total})


def _difference(reached: dict[Pair, float], alone: dict[Pair, float], states: Counter[str]) -> Cell:
    if not alone:
        return Cell(ABSENT, data={"mean": None})
    return _unranked(difference_cell(paired_difference(reached, alone), states))


def _over_folds(by_pair: dict[Pair, float]) -> Cell:
    """Write mean and spread over folds with the corrected interval."""
    summary = summarise_pairs(by_pair)
    data: dict[str, CellValue] = {
        "mean": summary.mean, "sd": summary.sd, "n": summary.n,
        "low": summary.low, "high": summary.high,
    }  # fmt: skip
    if not summary.n:
        return Cell(ABSENT, data=data)
    return Cell(f"{mean_and_spread(summary)}{_bounds(summary)}", data=data)


def _bounds(summary: Summary) -> str:
    if summary.low is None or summary.high is None:
        return ""
    return f" [{points(summary.low)}, {points(summary.high)}]"


def _absent_notes(record: StudyRecord) -> list[str]:
    found: dict[tuple[str, str], list[str]] = {}
    for fold in record.folds:
        for role, names in fold.absent.items():
            for name in names:
                found.setdefault((role, name), []).append(str(fold.number))
    return [
        f"No {role} image of fold {', '.join(numbers)} holds {name}."
        for (role, name), numbers in found.items()
    ]


def fold_headlines(record: StudyRecord) -> list[str]:
    """Say how far the folds of the best configuration lie apart, and what folds lack."""
    if not record.folds:
        return group_headlines(record)
    means = {
        one.name: summarise_pairs(record.by_seed(one.name, record.objective))
        for one in record.configurations
    }
    known = {n: summary for n, summary in means.items() if summary.n and not at_chance(record, n)}
    sentences = []
    if known:
        name = max(known, key=lambda name: known[name].mean)
        reached = record.by_seed(name, record.objective)
        of_fold = {
            fold.number: (summarise(values.values()).mean, fold.label)
            for fold in record.folds
            if (values := _of_fold(reached, fold))
        }
        worst, best = min(of_fold.values()), max(of_fold.values())
        sentences.append(
            f"{folds_title(record)}: {name} reaches {percent(known[name].mean)} in the mean over "
            f"{len(of_fold)} folds, from {percent(worst[0])} on {worst[1]} to "
            f"{percent(best[0])} on {best[1]}, which its networks had not seen."
        )
    return sentences + _absent_notes(record) + group_headlines(record)
