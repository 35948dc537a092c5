"""What a seed has come to, from the trials of a study: folds, states, times of training runs."""

import math
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest

from reports.decisions import Question, RowPair, rounds_of, seed_results
from reports.decisions.table import decisions_table
from reports.names import PLAIN
from reports.pairing import FoldRecord, pair_of
from reports.results.outcomes import TrialFigures
from reports.results.study_record import ConfigurationRecord, PanelParts, StudyRecord, TrialRecord

QUESTION = Question(
    (RowPair("taught", "alone"),), False, (0, 1, 2, 3), 0.05, 0.05, 2, 1, None, "processor",
    "per_image_iou", "test", None, None, "apart", "t-mixture", 0.5,
)  # fmt: skip
START = datetime(2026, 1, 2, 3, tzinfo=UTC)


def figures(value: float) -> TrialFigures:
    row = {"network": "student", "class_name": "smoke", "rule": "tuned", "peeks_at": ""}
    frame = pd.DataFrame([{**row, "split": s, "per_image_iou": v} for s, v in
                          (("test", value), ("tune", value + 0.5))])  # fmt: skip
    return TrialFigures(frame, {})


def trial(
    row: str, seed: int, value: float | None, fold: int | None = None, **more: Any
) -> TrialRecord:
    status = more.pop("status", "ok")
    about = {"started_at": START, "seconds_training": 90.0, "seconds_scoring": 10.0, "cpus": 2}
    known = None if value is None else figures(value)
    return TrialRecord(f"{row}{seed}{fold}", row, seed, status, {**about, **more}, known, fold=fold)


def record(trials: list[TrialRecord], folds: int = 0, question: Question = QUESTION) -> StudyRecord:
    rows = [
        ConfigurationRecord(row, "single", None, None, None, None, "vit", None, None, None, 0.3,
                            "{}", "vit")
        for row in ("alone", "taught")
    ]  # fmt: skip
    about = tuple(
        FoldRecord(n + 1, "group", False, ("a",), 1, {"test": 1}, {"test": 1}) for n in range(folds)
    )
    return StudyRecord(
        "s", "?", "per_image_iou", "tuned", tuple(rows), (0, 1), ("smoke",),
        {(one.configuration, pair_of(one.seed, one.fold), PLAIN): one for one in trials},
        {}, PanelParts("nowhere"), folds=about, decide=question.as_json(),
    )  # fmt: skip


def test_a_seed_has_the_figure_of_its_trial_and_the_work_of_its_training_run() -> None:
    found = seed_results(record([trial("alone", 0, 0.4), trial("taught", 0, 0.7, gpus=0.5)]),
                         QUESTION)  # fmt: skip
    assert found["alone", 0].value == 0.4
    assert list(found["alone", 0].work.values()) == [200.0]  # two cores
    assert list(found["taught", 0].work.values()) == [50.0]  # half a GPU
    assert found["alone", 0].spans == ((START.timestamp(), START.timestamp() + 100),)


def test_with_folds_a_seed_is_the_mean_over_all_of_them() -> None:
    trials = [trial("alone", 0, 0.4, 1), trial("alone", 0, 0.6, 2), trial("alone", 1, 0.4, 1)]
    trials.append(trial("alone", 1, None, 2, status="missing"))
    found = seed_results(record(trials, folds=2), QUESTION)
    assert found["alone", 0].value == pytest.approx(0.5)
    assert ("alone", 1) not in found  # a fold is still to come


@pytest.mark.parametrize("status", ["failed", "collapsed"])
def test_a_fold_that_did_not_end_well_leaves_its_seed_without_a_figure(status: str) -> None:
    trials = [trial("alone", 0, 0.4, 1), trial("alone", 0, None, 2, status=status)]
    found = seed_results(record(trials, folds=2), QUESTION)["alone", 0]
    assert found.value is None
    assert (found.failed, found.collapsed) == (status == "failed", status == "collapsed")


def test_a_figure_that_is_no_number_is_missing() -> None:
    assert seed_results(record([trial("alone", 0, math.nan)]), QUESTION)["alone", 0].value is None


def test_the_rounds_of_a_record_follow_its_question() -> None:
    trials = [
        trial(row, seed, 0.3 + gain + 0.001 * seed * (1 + 100 * gain))
        for row, gain in (("alone", 0.0), ("taught", 0.3))
        for seed in range(2)
    ]
    rounds = rounds_of(record(trials))
    assert rounds is not None
    (answer,) = rounds.answers.values()
    assert answer.differences == pytest.approx((0.3, 0.33))
    assert set(rounds.waits_for) == {("alone", 2), ("taught", 2)}


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        (
            [0.3, -0.2, 0.1, -0.1],
            "All 4 seeds are spent. At this spread a study of 157 seeds, 153 more, would find 5.0 "
            "points with a power of 0.8.",
        ),
        (
            [0.03, 0.045, 0.035, 0.04],
            "All 4 seeds are spent. At this mean and spread a new study of 3 seeds, looked at "
            "once, would decide it.",
        ),
    ],
)
def test_a_spent_budget_says_what_it_would_take(differences: list[float], said: str) -> None:
    trials = [trial("alone", seed, 0.4) for seed in range(4)]
    trials += [trial("taught", seed, 0.4 + more) for seed, more in enumerate(differences)]
    (row,) = decisions_table(record(trials)).rows
    assert row[2].text == "budget spent"
    assert row[-1].text == said
