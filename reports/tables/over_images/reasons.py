"""The tables of reasons: accuracy on altered images, and in the groups of a flag."""

import math
from collections.abc import Mapping
from dataclasses import replace

from reports.names import MEAN_OF_CLASSES, MEASURE_NAMES
from reports.pairing import Pair
from reports.results.reasons import LEAST, SENSITIVITY, TrialReasons
from reports.results.study_record import StudyRecord
from reports.statistics import summarise_pairs
from reports.tables.cells import ABSENT, Cell, Column, Table, mark_best, points, summary_cell
from reports.tables.folds import spread_over
from wsss_core.evaluate.reasons import GroupAccuracy

_SHARES: tuple[tuple[str, str, bool | None, str], ...] = (
    ("clean", "found", True, "Share of the test images that show the class in which it is found."),
    ("noisy_object", "noise on object", False, "Balanced accuracy with noise on the object."),
    ("noisy_context", "noise on context", True, "The same with noise on all but the object."),
    ("object_grey", "object grey", False, "Share found with the object covered by grey."),
    ("object_box", "box grey", False, "The same with the box around the object grey."),
    ("object_tiled", "box tiled", False, "The same with that box filled from beside it."),
    ("context_grey", "context grey", True, "The same with all but the object grey."),
    ("other_background", "other background", True, "The object on an image without the class."),
    ("deletion_area", "deletion", False, "Area below the class's probability while pixels go."),
    ("insertion_area", "insertion", True, "Area below it while pixels come, in the CAM's order."),
    ("max_box_accuracy", "MaxBoxAccV2", True, "Images found by a box, at the best thresholds."),
    ("pixel_average_precision", "PxAP", True, "Area below precision over recall of the pixels."),
    ("saliency_recall", "saliency recall", True, "The object's share in half of the CAM's mass."),
    ("delta_density", "inside − outside", True, "Mean score on the object minus that elsewhere."),
)


def reasons_table(record: StudyRecord) -> Table:
    """Build the table of altered images: a row per configuration and class."""
    names = record.classes
    several = len(names) > 1
    columns = (
        Column("configuration", "configuration"),
        *([Column("class", "class")] if several else []),
        Column("balanced_accuracy", "balanced accuracy", "%", True, True, "Of unaltered images."),
        Column(record.objective, MEASURE_NAMES[record.objective], "%", True, True),
        Column(
            SENSITIVITY,
            "RFS",
            "",
            True,
            True,
            "Relative foreground sensitivity, -1 to 1: above 0 noise on the object hurts more.",
        ),
        Column("worst_group", "worst group", "%", True, True, "Accuracy in the worst group."),
        *(Column(key, name, "%", better, True, about) for key, name, better, about in _SHARES),
    )
    rows = []
    for one in record.configurations:
        states = record.states(one.name)
        for name in names:

            def of(figure: str, one_name: str = one.name, name: str = name) -> dict[Pair, float]:
                return record.reason_by_seed(one_name, figure, name)

            rows.append(
                (
                    Cell(one.name),
                    *([Cell(name)] if several else []),
                    *(
                        summary_cell(record.by_seed(one.name, figure, class_name=name), states)
                        for figure in ("balanced_accuracy", record.objective)
                    ),
                    _plain(summary_cell(of(SENSITIVITY), states), of(SENSITIVITY)),
                    summary_cell(of("worst_group"), states),
                    *(summary_cell(of(key), states) for key, *_ in _SHARES),
                )
            )
    table = Table(
        "altered_images", "What altered images show", columns, tuple(rows), _caption(record)
    )
    table = _with_data(table)
    return mark_best(table, within="class" if several else None)


def groups_table(record: StudyRecord) -> Table:
    """Build the table of groups: a row per configuration, class and flag."""
    names = [name for name in record.classes if name != MEAN_OF_CLASSES]
    several = len(names) > 1
    four = ((True, True), (True, False), (False, True), (False, False))
    columns = (
        Column("configuration", "configuration"),
        *([Column("class", "class")] if several else []),
        Column("flag", "flag"),
        *(
            Column(
                f"{'with' if held else 'without'}_class_{'with' if has else 'without'}_flag",
                f"{'class' if held else 'no class'}, {'flag' if has else 'no flag'}",
                "%",
                True,
                True,
                "Accuracy of the image-level prediction; in brackets the number of images.",
            )
            for held, has in four
        ),
        Column("worst", "worst", "%", True, True, "The lowest of the four of each trial."),
        Column("iou_with_flag", "IoU, flag", "%", True, True),
        Column("iou_without_flag", "IoU, no flag", "%", True, True),
    )
    rows = []
    for one in record.configurations:
        states = record.states(one.name)
        reasons = {trial.pair: record.reasons_of(trial) for trial in record.healthy(one.name)}
        for name in names:
            for flag in _flags(reasons, name):
                groups = {
                    pair: {
                        (group.labelled, group.flagged): group
                        for group in found.groups.get(name, ())
                        if group.flag == flag
                    }
                    for pair, found in reasons.items()
                }
                rows.append(
                    (
                        Cell(one.name),
                        *([Cell(name)] if several else []),
                        Cell(flag),
                        *(
                            _accuracy({p: found[at] for p, found in groups.items() if at in found})
                            for at in four
                        ),
                        summary_cell(_worst(groups), states),
                        *(
                            summary_cell(
                                {
                                    pair: found[True, has].iou
                                    for pair, found in groups.items()
                                    if (True, has) in found and not math.isnan(found[True, has].iou)
                                },
                                states,
                            )
                            for has in (True, False)
                        ),
                    )
                )
    caption = (
        "Test split, accuracy of the image-level prediction in the four groups of label and flag; "
        f"mean ± sample standard deviation over {spread_over(record, 'healthy trials')}. A network "
        "that takes the flag for the class is wrong where the two disagree: without the flag it "
        "misses the class, with the flag it sees the class where there is none."
    )
    return Table("groups", "Accuracy in the groups of a flag", columns, tuple(rows), caption)


def has_groups(record: StudyRecord) -> bool:
    """Return whether the images of a study that asks for reasons have flags."""
    return record.reasons is not None and any(
        groups
        for one in record.configurations
        for trial in record.healthy(one.name)
        for groups in record.reasons_of(trial).groups.values()
    )


def _flags(reasons: Mapping[Pair, TrialReasons], name: str) -> list[str]:
    found = (group.flag for one in reasons.values() for group in one.groups.get(name, ()))
    return list(dict.fromkeys(found))


def _accuracy(groups: Mapping[Pair, GroupAccuracy]) -> Cell:
    """Make the cell of a group: its accuracy over seeds, and its number of images."""
    counts = sorted({group.images for group in groups.values()})
    if not counts or not counts[-1]:
        return Cell(ABSENT, data={"mean": None, "sd": None, "images": 0})
    summary = summarise_pairs({p: group.accuracy for p, group in groups.items() if group.images})
    spread = "" if summary.sd is None else f" ± {points(summary.sd)}"
    # In a study with folds each fold has images of its own.
    images = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return Cell(
        f"{points(summary.mean)}{spread} ({images})",
        summary.mean,
        {"mean": summary.mean, "sd": summary.sd, "images": counts[-1]},
    )


def _worst(groups: Mapping[Pair, Mapping[tuple[bool, bool], GroupAccuracy]]) -> dict[Pair, float]:
    found = {
        pair: [group.accuracy for group in of_trial.values() if group.images >= LEAST]
        for pair, of_trial in groups.items()
    }
    return {pair: min(values) for pair, values in found.items() if values}


def _plain(cell: Cell, by_seed: Mapping[Pair, float]) -> Cell:
    """Write a cell's number as it is, not in percent: `+0.25 ± 0.10`."""
    if not by_seed or cell.state not in ("", "partial"):
        return cell
    summary = summarise_pairs(by_seed)
    text = f"{summary.mean:+.2f}" + ("" if summary.sd is None else f" ± {summary.sd:.2f}")
    return replace(cell, text=text.replace("-", "−"))


def _with_data(table: Table) -> Table:
    """Leave out columns that no row has a number in."""
    kept = [
        place
        for place, column in enumerate(table.columns)
        if not column.numeric or any(row[place].text != ABSENT for row in table.rows)
    ]
    return replace(
        table,
        columns=tuple(table.columns[place] for place in kept),
        rows=tuple(tuple(row[place] for place in kept) for row in table.rows),
    )


def _caption(record: StudyRecord) -> str:
    assert record.reasons is not None
    noise = ", ".join(f"{sigma:g}" for sigma in record.reasons.sigmas)
    return (
        "Test split, student; mean ± sample standard deviation over "
        f"{spread_over(record, 'healthy trials')}. Noise: balanced accuracy, mean over "
        f"sigma {noise} of the range; images without the class have noise in the same places. "
        "A network that is right for the right reason loses accuracy where the object is altered "
        "(low is good) and keeps it where the context is (high is good). The worst group is that "
        f"of a label and a flag, of at least {LEAST} images. Formulas: docs, reasons."
    )
