"""What rows and segmenters cost in all, by what the ledger says of the networks behind them."""

from types import SimpleNamespace
from typing import Any

import pytest

from reports.names import PLAIN
from reports.tables.segments.cost import training_seconds, whole_minutes


def minutes(network: dict[str, Any], teacher: dict[str, Any] | None = None) -> dict[Any, float]:
    """The minutes of a segmenter of 60 s over a taught row's maps."""
    trials = {("taught", 0, PLAIN): SimpleNamespace(row=network)}
    if teacher is not None:
        trials["CNN alone", 0, PLAIN] = SimpleNamespace(row=teacher)
    configuration = SimpleNamespace(paradigm="teacher-student", reference="CNN alone")
    record: Any = SimpleNamespace(configuration=lambda name: configuration, all_trials=trials)
    run = SimpleNamespace(pair=0, row={"seconds_training": 60.0})
    entry: Any = SimpleNamespace(healthy=[run], single_stage=None, configuration="taught")
    return whole_minutes(record, entry)


def test_the_network_and_all_that_came_before_it_count_though_no_row_reports_the_teacher() -> None:
    assert minutes({"seconds_training": 120.0, "seconds_before": 30.0}) == {0: 3.5}


@pytest.mark.parametrize("before", [{}, {"seconds_before": None}])
def test_a_ledger_that_does_not_say_it_counts_the_teachers_row(before: dict[str, Any]) -> None:
    network = {"seconds_training": 120.0, **before}
    assert minutes(network, {"seconds_training": 30.0}) == {0: 3.5}
    assert minutes(network) == {}


@pytest.mark.parametrize(
    ("row", "seconds"),
    [
        ({"seconds_training": 0.0, "seconds_before": 90.0}, 90.0),
        ({"seconds_training": 0.0, "seconds_before": None}, None),
        ({"seconds_training": None, "seconds_before": None}, None),
    ],
)
def test_a_fused_row_costs_what_its_members_do(row: dict[str, Any], seconds: float | None) -> None:
    configuration = SimpleNamespace(paradigm="fused", reference=None)
    trials = {("mean", 0, PLAIN): SimpleNamespace(row=row)}
    record: Any = SimpleNamespace(configuration=lambda name: configuration, all_trials=trials)
    assert training_seconds(record, "mean", 0) == seconds
