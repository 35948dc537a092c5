"""How far a study's comparisons are, read from its trials in the ledger alone."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from reports.decisions.question import Question, read_question
from reports.decisions.rounds import Rounds, SeedResult, follow_rounds
from reports.results.reading import read_study
from reports.results.study_record import StudyRecord, TrialRecord
from reports.storage import Location


def read_rounds(results: Location, plan: Iterable[Mapping[Any, Any]]) -> Rounds | None:
    """Read how far a study is.

    Args:
        results: the results folder.
        plan: the study's rows of the table `plan`; further trials than were asked for are not
            looked at.

    Returns:
        None of a study without `decide`.

    """
    return rounds_of(read_study(results, pd.DataFrame(list(plan))))


def rounds_of(record: StudyRecord) -> Rounds | None:
    """Return how far a study is; None of a study without `decide`. A record is followed once."""
    return record.once(_follow)


def _follow(record: StudyRecord) -> Rounds | None:
    if record.decide is None:
        return None
    question = read_question(record.decide)
    rows = [one.name for one in record.configurations]
    cancelled = {name: str(row) for name, row in record.cancelled.items()}
    return follow_rounds(question, rows, seed_results(record, question), cancelled)


def seed_results(record: StudyRecord, question: Question) -> dict[tuple[str, int], SeedResult]:
    """Return how each row ended under each seed, where all of its trials have ended."""
    of_seed: dict[tuple[str, int], list[TrialRecord]] = defaultdict(list)
    for (row, _), trial in record.trials.items():
        of_seed[row, trial.seed].append(trial)
    return {
        at: _result(record, question, trials)
        for at, trials in of_seed.items()
        if all(trial.status not in ("missing", "cancelled") for trial in trials)
    }


def _result(record: StudyRecord, question: Question, trials: list[TrialRecord]) -> SeedResult:
    values = [
        trial.figure(
            question.figure,
            rule=question.rule or record.rule,
            class_name=record.main_class,
            split=question.split,
        )
        for trial in trials
        if trial.status == "ok"
    ]
    whole = len(values) == len(trials) and all(map(math.isfinite, values))
    work, spans = {}, []
    for trial in trials:
        row = trial.row
        if row.get("started_at") is None:
            continue
        start = pd.Timestamp(row["started_at"]).timestamp()
        seconds = (row.get("seconds_training") or 0.0) + (row.get("seconds_scoring") or 0.0)
        # Rows that share a training run name the same host and start.
        work[f"{row.get('host')} {start}"] = seconds * (row.get("gpus") or row.get("cpus") or 1)
        spans.append((start, start + seconds))
    return SeedResult(
        math.fsum(values) / len(values) if whole else None,
        any(trial.status == "failed" for trial in trials),
        any(trial.status == "collapsed" for trial in trials),
        work,
        tuple(spans),
    )
