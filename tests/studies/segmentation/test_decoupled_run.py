"""Rows whose images are decoupled by another row's masks: spec, keys, and a run."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import load_file

import studies.stages.job
from reports.results.reading import read_studies
from reports.tables.strategies import strategies_table
from studies.cli.plan_text import describe_plan
from studies.planning.planner import make_plan
from studies.spec.study import Study
from studies.stages.failures import LeaseLostError
from studies.store.artifacts import ArtifactStore
from studies.store.garbage import find_garbage

Raw = dict[str, Any]

SHARE = {"share": [0.01, 0.99]}
DECOUPLED: list[Raw] = [
    {
        "name": "pasted",
        "training": {"epochs": 2},
        "decouple": {"configuration": "CNN alone", "rule": "otsu", "paste": SHARE},
    },
    {
        "name": "crops",
        "decouple": {"configuration": "CNN alone", "chain": "PAR", "crops": {"count": 2}},
    },
]


def decoupled(tiny: Raw) -> Raw:
    study = copy.deepcopy(tiny)
    alone = [one for one in study["configurations"] if one["paradigm"] == "single"]
    more = [{"paradigm": "single", "student": "cnn", **one} for one in DECOUPLED]
    study["configurations"] = [*alone, *copy.deepcopy(more)]
    study["chains"] = {"PAR": [{"par": {"iterations": 2}}]}
    return study


def test_a_decoupled_row_has_a_key_of_its_own_and_waits_for_the_row_of_its_masks(
    tiny: Raw, tmp_path: Path
) -> None:
    study = decoupled(tiny)
    plan = make_plan(Study.model_validate(study))
    jobs = {trial.configuration: job for job in plan.jobs.values() for trial in job.trials}
    names = list(jobs)
    assert jobs["pasted"].needs == jobs["crops"].needs == (jobs["CNN alone"].key,)
    assert len({job.key for job in jobs.values()}) == len(names)
    said = describe_plan(plan, ArtifactStore(tmp_path), tmp_path)
    assert said.count("to be trained after the row that gives it maps") == 2
    del study["configurations"][-2:]
    plain = make_plan(Study.model_validate(study))
    assert list(plain.jobs) == [jobs[name].key for name in names if name not in ("pasted", "crops")]
    study = decoupled(tiny)
    study["configurations"][-2]["decouple"]["paste"]["largest"] = 0.5
    other = make_plan(Study.model_validate(study))
    assert set(plan.jobs) - set(other.jobs) == {jobs["pasted"].key}
    assert {row["configuration"]: row["baseline"] for row in plan.ledger_rows()} == {
        **dict.fromkeys(names), "pasted": "CNN alone", "crops": "CNN alone"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"configuration": "CNN alon", "paste": True}, "nearest: 'CNN alone'"),
        ({"configuration": "CNN alone", "chain": "PAT", "paste": True}, "no chain of this study"),
        ({"configuration": "pasted", "paste": True}, "is itself decoupled"),
        ({"configuration": "CNN alone"}, "expected paste or crops"),
        ({"configuration": "CNN alone", "rule": "oracle", "paste": True}, "expected fixed, otsu"),
        ({"configuration": "CNN alone", "paste": {"share": [0.5, 0.1]}}, "the lower first"),
        ({"configuration": "CNN alone", "paste": {"larges": 1}}, "nearest: 'largest'"),
    ],
)
def test_a_slip_in_decouple_is_named(tiny: Raw, change: Raw, said: str) -> None:
    study = decoupled(tiny)
    study["configurations"][-1]["decouple"] = change
    with pytest.raises(ValidationError) as error:
        Study.model_validate(study)
    assert said in str(error.value)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, shared_tiny: Raw, run: Callable[..., Any]) -> Any:
    finished = run(decoupled(shared_tiny), tmp_path_factory.mktemp("decoupled"))
    assert (finished.result.failed, finished.result.unrefined) == ({}, {})
    return finished


@pytest.mark.ci
def test_decoupled_rows_are_scored_beside_their_baseline_and_kept(ran: Any) -> None:
    (record,) = read_studies(ran.results)
    states = {trial.configuration: trial.status for trial in record.trials.values()}
    assert states["pasted"] == states["crops"] == "ok"
    unneeded = find_garbage(ran.store, older_than=0.0, unused_by=[ran.results])
    assert [one.name for one in unneeded] == []
    assert {row[0].text for row in strategies_table(record).rows} >= {"pasted", "crops"}


@pytest.mark.ci
def test_a_second_run_finds_everything_done_and_gc_keeps_what_gave_the_masks(
    ran: Any, run: Callable[..., Any], shared_tiny: Raw, tmp_path: Path
) -> None:
    study = decoupled(shared_tiny)
    again = run(study, ran.results, ran.store.where)
    assert (again.result.trained, again.result.reused) == (0, len(again.plan.trials))
    source = next(job.maps.training.key for job in again.plan.jobs.values() if job.maps)
    # A plan that names the row of the masks no longer.
    run(study, tmp_path, ran.store.where)
    run({**study, "configurations": study["configurations"][1:2]}, tmp_path, ran.store.where)
    unneeded = find_garbage(ran.store, older_than=0.0, unused_by=[tmp_path])
    assert not any(f"/train/{source}" in one.name for one in unneeded)


@pytest.mark.ci
def test_a_decoupled_training_that_is_broken_off_ends_in_the_same_bits(
    ran: Any, run: Callable[..., Any], shared_tiny: Raw, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    after_epoch, seen = studies.stages.job._after_epoch, []

    def break_off(job: Any, context: Any, lease: Any) -> Any:
        def on_epoch(record: Any) -> None:
            if job.maps is not None:
                seen.append(record.epoch)
                if len(seen) == 1:
                    raise LeaseLostError
            after_epoch(job, context, lease)(record)

        return on_epoch

    monkeypatch.setattr(studies.stages.job, "_after_epoch", break_off)
    study = decoupled(shared_tiny)
    del study["configurations"][-1]
    again = run(study, tmp_path / "results")
    assert seen[:2] == [0, 1]
    (key,) = (job.key for job in again.plan.jobs.values() if job.maps is not None)
    whole, resumed = (
        load_file(store.fetch("train", key) / "student.safetensors")
        for store in (ran.store, again.store)
    )
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)
