"""What trials ask for: the study's word, the paradigm's, the entry's; and whether a node has it."""

import itertools
import pickle
from typing import Any

import pytest
from pydantic import ValidationError

from studies.planning.capacity import whole_gpu
from studies.planning.plan import Plan
from studies.planning.planner import make_plan
from studies.spec.resources import Demand
from studies.spec.study import Study

Raw = dict[str, Any]

GIB = 2**30
PLAIN = {"CPU": 4.0, "memory": 8.0 * GIB}
WITH_GPUS = {**PLAIN, "GPU": 2.0}


def planned(study: Raw) -> Plan:
    return make_plan(Study.model_validate(study))


def demands(study: Raw) -> dict[str, Demand]:
    return {job.name: job.resources for job in planned(study).jobs.values()}


@pytest.mark.parametrize(
    ("asked", "nodes", "expected"),
    [
        ({}, [PLAIN], {"CPU": 1.0, "memory": 1.0 * GIB}),
        ({}, [PLAIN, WITH_GPUS], {"CPU": 1.0, "memory": 3.0 * GIB, "GPU": 1.0}),
        ({"gpus": 0}, [WITH_GPUS], {"CPU": 1.0, "memory": 1.0 * GIB}),
        ({"cpus": 3, "gpus": 0.5, "memory_gb": 0.5}, [WITH_GPUS],
         {"CPU": 3.0, "memory": 0.5 * GIB, "GPU": 0.5}),
        ({"gpus": 1, "memory_gb": 8}, [WITH_GPUS], {"CPU": 1.0, "memory": 8.0 * GIB, "GPU": 1.0}),
        ({"gpus": 0.5, "memory_gb": "auto"}, [WITH_GPUS],
         {"CPU": 1.0, "memory": 3.0 * GIB, "GPU": 0.5}),
    ],
)  # fmt: skip
def test_a_trial_asks_for_what_the_study_says_and_a_gpu_where_there_is_one(
    tiny: Raw, asked: Raw, nodes: list[dict[str, float]], expected: Raw
) -> None:
    tiny["resources"] = asked
    assert demands(tiny)["CNN alone"].asks(whole_gpu(nodes)) == expected


def test_a_paradigm_changes_what_the_study_says_and_an_entry_changes_that(tiny: Raw) -> None:
    tiny["resources"] = {
        "cpus": 2,
        "gpus": 0.25,
        "memory_gb": 4,
        "teacher-student": {"cpus": 3},
        "co-training": {"gpus": 1, "memory_gb": 8},
    }
    tiny["configurations"][3]["resources"] = {"memory_gb": 16}
    tiny["configurations"][1]["resources"] = {"gpus": 0}
    assert list(demands(tiny).values()) == [
        Demand(2, 0.25, 4),
        Demand(2, 0, 4),
        Demand(3, 0.25, 4),
        Demand(2, 1, 16),
    ]


def test_a_paradigm_may_be_written_with_an_underscore_as_elsewhere(tiny: Raw) -> None:
    tiny["resources"]["co_training"] = {"cpus": 2}
    assert [demand.cpus for demand in demands(tiny).values()] == [1, 1, 1, 2]


def test_rows_that_an_entry_is_multiplied_into_ask_for_the_same(taught: Raw) -> None:
    taught["configurations"][0] |= {"metric": ["cosine", "l1"], "resources": {"cpus": 7}}
    asked = demands(taught)
    assert asked.pop("teacher resnet18").cpus == 1
    assert [demand.cpus for demand in asked.values()] == [7, 7]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_training_run_of_several_rows_asks_for_the_largest_of_each(
    tiny: Raw, order: tuple[int, ...]
) -> None:
    asked: list[Raw] = [{"cpus": 2, "gpus": 0.5}, {"memory_gb": 3, "gpus": 0.25}, {"gpus": 0}]
    tiny["configurations"] = [
        {"paradigm": "single", "student": "cnn", "name": f"row {index}", "resources": asked[index]}
        for index in order
    ]
    (job,) = planned(tiny).jobs.values()
    assert job.resources == Demand(2, 0.5, 3)


@pytest.mark.parametrize("place", [0, 1])
def test_a_teacher_asks_for_what_its_own_row_says_if_there_is_one(taught: Raw, place: int) -> None:
    """The teacher is planned for its student too, with the study's own word; that counts less."""
    row = {"paradigm": "single", "student": "cnn", "resources": {"cpus": 2, "memory_gb": 0.1}}
    taught["resources"] = {"cpus": 3, "single": {"cpus": 4}}
    assert demands(taught)["teacher resnet18"].cpus == 4
    taught["configurations"].insert(place, row)
    assert demands(taught)["CNN alone"] == Demand(2, "auto", 0.1)


@pytest.mark.parametrize("whole", [0.0, 1.0])
@pytest.mark.parametrize("own", [0.0, 0.25, 1.0])
def test_auto_and_a_number_together_serve_both(own: float, whole: float) -> None:
    both = Demand(gpus="auto").larger(Demand(gpus=own))
    assert both == Demand(gpus=own).larger(Demand(gpus="auto"))
    given = both.asks(whole).get("GPU", 0.0)
    assert given >= max(own, whole)
    assert given in (own, whole, 1.0)


def test_resources_change_no_key(tiny: Raw) -> None:
    before = planned(tiny)
    tiny["resources"] = {"cpus": 3, "gpus": 0.5, "co-training": {"gpus": 1}, "single": {"cpus": 2}}
    tiny["resources"]["price_per_gpu_hour"] = 2.5
    for entry in tiny["configurations"]:
        entry["resources"] = {"memory_gb": 3}
    after = planned(tiny)
    assert list(after.jobs) == list(before.jobs)
    assert [trial.key for trial in after.trials] == [trial.key for trial in before.trials]
    assert after.ledger_rows() == before.ledger_rows()


def test_a_job_takes_its_demand_to_the_worker(tiny: Raw) -> None:
    tiny["resources"] = {"cpus": 3, "gpus": 0.5, "memory_gb": 2}
    job = next(iter(planned(tiny).jobs.values()))
    assert pickle.loads(pickle.dumps(job)).resources == Demand(3, 0.5, 2)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("cpus", 0, "greater than or equal to 1"),
        ("gpus", 2, "0, a share of one GPU, or 1: a trial uses one GPU at most"),
        ("gpus", -1.0, "0, a share of one GPU, or 1"),
        ("memory_gb", 0, "greater than 0"),
        ("gpu", 1, "unknown key 'gpu'; nearest: 'gpus'"),
    ],
)
def test_a_change_is_checked_like_the_study_s_own(
    tiny: Raw, place: str, value: Any, said: str
) -> None:
    tiny["resources"]["co-training"] = {place: value}
    with pytest.raises(ValidationError, match=said):
        Study.model_validate(tiny)
    del tiny["resources"]["co-training"]
    tiny["configurations"][0]["resources"] = {place: value}
    with pytest.raises(ValidationError, match=said):
        Study.model_validate(tiny)
