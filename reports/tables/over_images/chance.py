"""Both sources of chance: intervals over seeds, and over seeds and images; what values vary with.

An interval over seeds says what another start would give on the same test images. One over seeds
and images says what it would give on other images of their kind. The components of variance say
which of the two more seeds, or more masks, would narrow.
"""

import math
from collections.abc import Mapping

import numpy as np

from reports.deciding import CrossedInterval, crossed_interval
from reports.names import MEAN_OF_CLASSES
from reports.results.study_record import ConfigurationRecord, StudyRecord, TrialRecord
from reports.statistics import summarise
from reports.tables.cells import ABSENT, Cell, Column, Table, bounds, points, share_cell

MOST_TRIALS = 400
"""The most trials whose images a page reads again; `Results.table` reads any number."""

MORE_MASKS = 10
"""The masks whose worth is told."""


_ImageScores = tuple[Mapping[str, float], Mapping[str, str]]
"""The IoU of a trial's test images that hold a class, and their groups, by image."""


def has_both_chances(record: StudyRecord) -> bool:
    """Return whether a study has comparisons under two seeds or more, and few enough trials."""
    compared = [pair for pair in _pairs(record) if len(record.healthy(pair[0].name)) > 1]
    trials = sum(len(record.healthy(one.name)) for one in record.configurations)
    return not record.folds and bool(compared) and trials <= MOST_TRIALS


def chance_table(record: StudyRecord) -> Table:
    """Build the table: a row per comparison with the student alone, and class."""
    names = [name for name in record.classes if name != MEAN_OF_CLASSES]
    several = len(names) > 1
    columns = (
        Column("configuration", "configuration"),
        *([Column("class", "class")] if several else []),
        Column("difference", "Δ student alone", "points", None, True),
        Column("over_seeds", "95 % over seeds", "points", None, True),
        Column("over_both", "95 % over seeds and images", "points", None, True),
        Column("seed", "sd: seed", "points", None, True),
        Column("group", "sd: group", "points", None, True),
        Column("image", "sd: image", "points", None, True),
        Column("rest", "sd: rest", "points", None, True),
        Column("half_width", "half width", "points", None, True),
        Column("one_more_seed", "with one more seed", "points", None, True),
        Column("more_masks", f"with {MORE_MASKS} more masks", "points", None, True),
        Column("extent", "seeds x images (groups)"),
    )
    rows = []
    notes = []
    # Rows share their baseline, and classes a trial's scores.
    read: dict[str, Mapping[str, _ImageScores]] = {}
    for one, baseline in _pairs(record):
        shared = _shared_trials(record, one, baseline)
        for trial in (trial for both in shared for trial in both):
            if trial.key not in read:
                read[trial.key] = _image_scores(record, trial, names)
        for name in names:
            values, groups = _differences(
                [(read[a.key][name], read[b.key][name]) for a, b in shared]
            )
            if not values.size:
                continue
            found = crossed_interval(values, groups)
            if found.note:
                notes.append(f"{one.name}: {found.note}")
            of_class = [Cell(name)] if several else []
            rows.append((Cell(one.name), *of_class, *_cells(found, values)))
    caption = (
        "Test images that hold the class, per-image IoU at the "
        f"{record.rule} threshold, minus that of the student alone on the same image under the "
        "same seed. Over seeds: what another start would give on these images. Over seeds and "
        "images: what it would give on other images of their kind, by crossed random effects with "
        "images of a group as a cluster. sd: what single values vary with. Half width: of the "
        "second interval, and what it would be expected to be."
    )
    return Table(
        "chance",
        "Both sources of chance",
        columns,
        tuple(rows),
        caption,
        tuple(dict.fromkeys(notes)),
    )


def _pairs(record: StudyRecord) -> list[tuple[ConfigurationRecord, ConfigurationRecord]]:
    found = [(one, record.configuration(one.baseline)) for one in record.configurations]
    return [(one, base) for one, base in found if base is not None and base.name != one.name]


def _shared_trials(
    record: StudyRecord, one: ConfigurationRecord, baseline: ConfigurationRecord
) -> list[tuple[TrialRecord, TrialRecord]]:
    """Return the healthy trials of both, by the seeds that both have."""
    of_one, of_baseline = (
        {trial.pair: trial for trial in record.healthy(of.name)} for of in (one, baseline)
    )
    return [
        (of_one[pair], of_baseline[pair])
        for pair in record.pairs
        if pair in of_one and pair in of_baseline
    ]


def _image_scores(
    record: StudyRecord, trial: TrialRecord, names: list[str]
) -> Mapping[str, _ImageScores]:
    """Return the scores of a trial's images by class, empty where there is no level."""
    levels = {name: trial.figure("level", rule=record.rule, class_name=name) for name in names}
    known = {name: int(level) for name, level in levels.items() if not math.isnan(level)}
    there = {} if trial.figures is None else trial.figures.iou_of_images("student", known)
    return {name: there.get(name, ({}, {})) for name in names}


def _differences(
    shared: list[tuple[_ImageScores, _ImageScores]],
) -> tuple[np.ndarray, list[str]]:
    """Return differences [seeds, images] of two rows, and each image's group."""
    if not shared:
        return np.empty((0, 0)), []
    (first, groups), _ = shared[0]
    images = list(first)
    nothing = math.nan
    values = [[a.get(i, nothing) - b.get(i, nothing) for i in images] for (a, _), (b, _) in shared]
    return np.array(values), [groups[image] for image in images]


def _cells(found: CrossedInterval, values: np.ndarray) -> list[Cell]:
    over_seeds = summarise(np.nanmean(values, axis=1).tolist())
    parts = found.components
    half = None if found.high is None or found.low is None else (found.high - found.low) / 2
    more = (
        (None, None)
        if half is None
        else (
            found.half_width_with(found.seeds + 1, found.images),
            found.half_width_with(found.seeds, found.images + MORE_MASKS),
        )
    )
    variances = (None,) * 4 if parts is None else (parts.seed, parts.group, parts.image, parts.rest)
    return [
        Cell(points(found.mean, signed=True), data={"": found.mean}),
        _interval_cell(over_seeds.low, over_seeds.high),
        _interval_cell(found.low, found.high),
        *map(_sd_cell, variances),
        *map(share_cell, (half, *more)),
        Cell(
            f"{found.seeds} x {found.images} ({found.groups})",
            data={"seeds": found.seeds, "images": found.images, "groups": found.groups},
        ),
    ]


def _interval_cell(low: float | None, high: float | None) -> Cell:
    return Cell(bounds(low, high) or ABSENT, data={"low": low, "high": high})


def _sd_cell(variance: float | None) -> Cell:
    return share_cell(None if variance is None else math.sqrt(variance))
