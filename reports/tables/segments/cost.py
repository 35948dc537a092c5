"""What rows and segmenters cost in training: their own, and all that had to come before it."""

from collections.abc import Mapping
from typing import Any

from reports.names import PLAIN
from reports.pairing import Pair
from reports.results.segments import SegmentRecord
from reports.results.study_record import StudyRecord


def trained_rows(record: StudyRecord, name: str, pair: Pair) -> list[Mapping[str, Any]]:
    """Return the row of a configuration's trial, and of its teacher; empty where unknown."""
    one = record.configuration(name)
    names = [name]
    if one is not None and one.paradigm == "teacher-student":
        names.append(one.reference or "")
    trials = [record.all_trials.get((each, pair, PLAIN)) for each in names]
    return [{} if trial is None else trial.row for trial in trials]


def training_seconds(record: StudyRecord, name: str, pair: Pair) -> float | None:
    """Return the seconds of a trial's training and of those before it; None where unknown.

    Before it come its teachers, the members that it fuses, and what made masks for it. The ledger
    of an earlier version does not say what came before: there the teacher's row does. A teacher
    that no row reports, and the members of a fused row, are then unknown.

    Args:
        record: the study.
        name: the configuration.
        pair: the seed, in a study with folds the fold too.

    """
    own, *teachers = trained_rows(record, name, pair)
    before = own.get("seconds_before")
    each = [own.get("seconds_training")]
    each += [row.get("seconds_training") for row in teachers] if before is None else [before]
    one = record.configuration(name)
    if None in each or (before is None and one is not None and one.paradigm == "fused"):
        return None
    return float(sum(seconds or 0.0 for seconds in each))


def whole_minutes(record: StudyRecord, entry: SegmentRecord) -> dict[Pair, float]:
    """Return the minutes of training by seed, over healthy runs whose networks are all known.

    A segmenter of pseudo masks needs the network that made the maps, and all that had to be trained
    before it, see `training_seconds`. The decoder of a single-stage training needs that training
    alone. Refinement chains are not counted.

    Args:
        record: the study.
        entry: the segmenter.

    """
    found = {}
    for run in entry.healthy:
        own = 0.0 if entry.single_stage else run.row.get("seconds_training")
        network: float | None = 0.0
        if entry.configuration is not None:
            network = training_seconds(record, entry.configuration, run.pair)
        if own is not None and network is not None:
            found[run.pair] = (own + network) / 60
    return found


def peak_bytes(record: StudyRecord, entry: SegmentRecord) -> dict[Pair, float]:
    """Return the most memory that one of these trainings held, by seed."""
    found = {}
    for run in entry.healthy:
        rows = [run.row]
        if entry.configuration is not None:
            rows += trained_rows(record, entry.configuration, run.pair)
        peaks = [row.get("peak_memory_bytes") for row in rows]
        if None not in peaks:
            found[run.pair] = float(max(peak or 0.0 for peak in peaks))
    return found
