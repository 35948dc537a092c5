"""What a segmenter costs in all: its own training, and that of the networks behind its masks."""

from collections.abc import Mapping
from typing import Any

from reports.names import PLAIN
from reports.pairing import Pair
from reports.results.segments import SegmentRecord
from reports.results.study_record import StudyRecord


def whole_minutes(record: StudyRecord, entry: SegmentRecord) -> dict[Pair, float]:
    """Return the minutes of training by seed, over healthy runs whose networks are all known.

    A segmenter of pseudo masks needs the network that made the maps, and all that had to be trained
    before it: teachers, members, and what made masks for it. The decoder of a single-stage training
    needs that training alone. Refinement chains are not counted. The ledger of an earlier version
    does not say what came before: there the teacher's row does, and where no row reports the
    teacher its students' segmenters have no time here.

    Args:
        record: the study.
        entry: the segmenter.

    """
    found = {}
    for run in entry.healthy:
        own = 0.0 if entry.single_stage else run.row.get("seconds_training")
        network, *teachers = _trained(record, entry, run.pair) or [{"seconds_training": 0.0}]
        before = network.get("seconds_before")
        each = [own, network.get("seconds_training")]
        each += [row.get("seconds_training") for row in teachers] if before is None else [before]
        if None not in each:
            found[run.pair] = sum(one or 0.0 for one in each) / 60
    return found


def peak_bytes(record: StudyRecord, entry: SegmentRecord) -> dict[Pair, float]:
    """Return the most memory that one of these trainings held, by seed."""
    found = {}
    for run in entry.healthy:
        rows = [run.row, *_trained(record, entry, run.pair)]
        peaks = [row.get("peak_memory_bytes") for row in rows]
        if None not in peaks:
            found[run.pair] = float(max(peak or 0.0 for peak in peaks))
    return found


def _trained(record: StudyRecord, entry: SegmentRecord, pair: Pair) -> list[Mapping[str, Any]]:
    """Return the row of the network of the masks, and of its teacher; empty where unknown."""
    if entry.configuration is None:
        return []
    of_maps = record.configuration(entry.configuration)
    names = [entry.configuration]
    if of_maps is not None and of_maps.paradigm == "teacher-student":
        names.append(of_maps.reference or "")
    trials = [record.all_trials.get((name, pair, PLAIN)) for name in names]
    return [{} if trial is None else trial.row for trial in trials]
