"""The segmentation table: segmenters beside the maps that their masks were cut from."""

from collections import Counter
from dataclasses import dataclass, replace

from reports.names import (
    MEAN_OF_CLASSES,
    MEASURE_NAMES,
    OWN_MASKS,
    PLAIN,
    RULE_NAMES,
    TUNED_CHAIN,
)
from reports.pairing import Pair
from reports.results.comparisons import tuned_by_seed, tuned_chains
from reports.results.segments import SegmentRecord
from reports.results.study_record import StudyRecord
from reports.statistics import PairedDifference, holm, paired_difference, summarise
from reports.tables.cells import (
    ABSENT,
    Cell,
    Column,
    Table,
    absent_cell,
    count_cell,
    difference_cell,
    mark_best,
    mean_cell,
    p_cell,
    published_notes,
    share_cell,
    summary_cell,
)
from reports.tables.folds import interval_name, paired_by, spread_over
from reports.tables.segments.cost import peak_bytes, whole_minutes

MORE_FIGURES = (
    ("dataset_miou_all_images", "mIoU, VOC", "Pixels of all images, mean over background and "
     "classes: PASCAL VOC's mIoU."),
    ("foreground_miou", "mIoU, foreground", "Pixels of all images, mean over the classes alone."),
    ("present_miou", "mIoU, present", "As mIoU, classes that are neither true nor predicted left "
     "out."),
    ("image_miou", "mIoU, image by image", "Mean over what each image holds, the background "
     "included, then over images."),
    ("boundary_iou", "boundary IoU", "IoU of the pixels near the outlines, within a fiftieth of "
     "the image's diagonal (Cheng et al., CVPR 2021)."),
)  # fmt: skip
"""Figures beside the study's own: name, header, meaning."""


@dataclass(frozen=True)
class SegmentResult:
    """An entry of `segment`, for one class, beside the maps of its masks.

    Attributes:
        record: the entry.
        class_name: a class, or the mean over classes; None if there is only one.
        by_seed: the study's measure by seed, shares.
        difference: to the maps of its pseudo masks, paired by seed; None without any.
        corrected_p: corrected by Holm over all differences of the table.

    """

    record: SegmentRecord
    class_name: str | None
    by_seed: dict[Pair, float]
    difference: PairedDifference | None
    corrected_p: float | None = None


def segment_results(record: StudyRecord) -> list[SegmentResult]:
    """Compare every entry, class by class, with the maps that its pseudo masks were cut from."""
    several = len(record.classes) > 1
    names = list(record.classes) if several else [None]
    found = []
    for entry in record.segments:
        for name in names:
            own = None if name == MEAN_OF_CLASSES else name
            by_seed = entry.by_seed(record.objective, own)
            difference = None
            if entry.configuration is not None:
                difference = paired_difference(by_seed, _of_maps(record, entry, name))
            found.append(SegmentResult(entry, name, by_seed, difference))
    compared = [one.difference for one in found if one.difference is not None]
    corrected = iter(holm([difference.p for difference in compared]))
    return [
        one if one.difference is None else replace(one, corrected_p=next(corrected))
        for one in found
    ]


def _of_maps(
    record: StudyRecord, entry: SegmentRecord, class_name: str | None
) -> dict[Pair, float]:
    """Return the objective of the maps that an entry's pseudo masks were cut from."""
    configuration = entry.configuration or ""
    if entry.refinement == TUNED_CHAIN:
        main = record.main_class
        chosen = tuned_chains(record, configuration, main)  # as the run chose
        return tuned_by_seed(record, configuration, class_name or main, chosen)
    return record.by_seed(
        configuration,
        record.objective,
        chain=entry.refinement or PLAIN,
        rule="tuned" if entry.rule == OWN_MASKS else entry.rule,
        class_name=class_name,
    )


def has_segmentation(record: StudyRecord) -> bool:
    """Return whether a study has segmenters, and classes to tell of."""
    return bool(record.segments and record.classes)


def segmentation_table(record: StudyRecord) -> Table:
    """Build the table: a row per entry (and class), figures over seeds, masks spent, cost."""
    several = len(record.classes) > 1
    published = any(one.published is not None for one in record.segments)
    overlap = record.segments[0].overlap
    measure = MEASURE_NAMES[record.objective]
    over = "folds" if record.folds else "seeds"
    columns = (
        Column("entry", "segmenter"),
        Column("labels", "trained on"),
        *([Column("class", "class")] if several else []),
        Column(
            "masks_spent", "true masks spent", numeric=True,
            about="Masks that training, or the threshold of the pseudo masks, has looked at.",
        ),
        Column(record.objective, measure, "%", True, True, f"Mean ± sd over {over}."),
        Column(
            "delta", "Δ maps [95 %]", "points", True, True,
            f"Difference to the maps of its pseudo masks, paired by {paired_by(record)}: mean ± sd "
            "and its t interval.",
        ),
        Column("holm_p", "Holm p", numeric=True,
               about="Two-sided paired t-test, corrected over the whole table."),
        *(Column(name, header, "%", True, True, about) for name, header, about in MORE_FIGURES),
        Column("object_recall", "objects found", "%", True, True,
               f"True objects that a predicted one overlaps by an IoU of {overlap:g} or more."),
        Column("false_objects", "false objects an image", "", False, True,
               "Predicted objects that match no true one, an image."),
        Column("n", "n", about="Healthy runs in the means, of all planned ones."),
        *([Column("published", "published", "%", None, True)] if published else []),
        Column("seconds", "training", "s", None, True, "Mean seconds of a run's training."),
        Column(
            "minutes", "training in all", "min", None, True,
            "Mean minutes of its training and those of the networks behind its masks, a frozen "
            "teacher included. A decoder of a single stage has that training alone.",
        ),
        Column("peak_memory_bytes", "peak memory", "MiB", None, True,
               "The most that one of these trainings held, mean over runs."),
        Column("model", "model", about="Decoder, encoder, and where its weights are from."),
    )  # fmt: skip
    rows = []
    for result in segment_results(record):
        entry, own = result.record, result.class_name
        own = None if own == MEAN_OF_CLASSES else own
        states = entry.states
        rows.append(
            (
                Cell(entry.entry),
                Cell(entry.trained_on(RULE_NAMES)),
                *([Cell(str(result.class_name))] if several else []),
                _spent_cell(entry),
                summary_cell(result.by_seed, states, spell_out=True),
                *_difference_cells(result, states),
                *(summary_cell(entry.by_seed(name, own), states) for name, _, _ in MORE_FIGURES),
                summary_cell(entry.by_seed("object_recall", own), states),
                _false_objects_cell(entry, own, states),
                count_cell(states),
                *([share_cell(entry.published, 2)] if published else []),
                _seconds_cell(entry),
                mean_cell(whole_minutes(record, entry).values(), 1),
                mean_cell(peak_bytes(record, entry).values(), 0, 2**20),
                Cell(entry.model),
            )
        )
    caption = (
        f"Test split, {measure} of predicted masks; the maps are cut by the rule that made the "
        f"pseudo masks. Cells are mean ± sample standard deviation over {spread_over(record)}. "
        f"Differences are paired by {paired_by(record)}, with {interval_name(record)}s, and "
        "Holm-corrected over the table. All figures come from the same counts of pixels, "
        f"boundaries and objects; an object is found at an overlap of {overlap:g} or more."
    )
    table = Table(
        "segmentation", "Segmentation", columns, tuple(rows), caption, tuple(_notes(record))
    )
    return mark_best(table, within="class" if several else None)


def _spent_cell(entry: SegmentRecord) -> Cell:
    spent = entry.masks_spent
    return Cell(ABSENT if spent is None else str(spent), data={"": spent})


def _difference_cells(result: SegmentResult, states: Counter[str]) -> tuple[Cell, Cell]:
    if result.difference is None:
        return Cell(ABSENT, data={"mean": None}), absent_cell()
    return (
        difference_cell(result.difference, states),
        p_cell(result.corrected_p),
    )


def _false_objects_cell(entry: SegmentRecord, own: str | None, states: Counter[str]) -> Cell:
    summary = summarise(entry.by_seed("false_objects", own).values())
    data = {"mean": summary.mean, "sd": summary.sd, "n": summary.n, "expected": states.total()}
    if not summary.n:
        return Cell(ABSENT, None, data)
    spread = "" if summary.sd is None else f" ± {summary.sd:.2f}"
    rank = None if states["ok"] < states.total() else summary.mean
    return Cell(f"{summary.mean:.2f}{spread}", rank, data)


def _seconds_cell(entry: SegmentRecord) -> Cell:
    took = [run.row["seconds_training"] for run in entry.healthy]
    mean = sum(took) / len(took) if took else None
    return Cell(ABSENT if mean is None else f"{mean:.0f}", data={"": mean})


def _notes(record: StudyRecord) -> list[str]:
    notes = [
        f"{entry.entry}, seed {run.pair}: {run.status}: {run.row.get('error')}"
        for entry in record.segments
        for run in entry.runs
        if run.status in ("failed", "collapsed")
    ]
    if any(one.rule == OWN_MASKS for one in record.segments):
        notes.append(
            "Where the threshold was tuned on the true masks of the entry itself, its maps are cut "
            "at the threshold that was tuned on the tune split."
        )
    notes += [f"{one.entry}: predicted with {one.views}." for one in record.segments if one.views]
    if any(entry.single_stage for entry in record.segments):
        notes.append(
            "In one stage: the decoder was trained together with the classifier of the row of its "
            "name, on labels that they made themselves. It spends no mask. The maps that it is "
            "compared with are its own classifier's, cut at the tuned threshold."
        )
    if any(entry.model.startswith("sam") for entry in record.segments):
        notes.append(
            "SAM: this toolkit's own tests use small random models; its authors have never run SAM "
            "with published weights."
        )
    return notes + published_notes(entry.published_from for entry in record.segments)
