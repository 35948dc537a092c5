"""`gpus: packed`: trials share a GPU by what trials like them took."""

import copy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from studies.planning.planner import make_plan
from studies.ray_tune.callbacks import ScheduleCallback
from studies.scheduling.gpu_packing import MOST, GpuPacking, alike, fitting_trials, share_of
from studies.scheduling.stopping import Stop
from studies.spec.resources import Demand
from studies.spec.study import Study
from studies.stages import GpuMemory, JobStatus, Outcome
from studies.stages.device import memory_fraction

GIB = 2**30


def ended(peak: float, total: float = 24.0) -> Outcome:
    return Outcome(JobStatus.OK, gpu_memory=GpuMemory(int(peak * GIB), int(total * GIB)))


@pytest.fixture
def jobs(tiny: dict[str, Any]) -> list[Any]:
    """Training runs of a CNN and of a ViT, two of each: they are of two kinds."""
    tiny["configurations"] = tiny["configurations"][:2]
    tiny["seeds"] = [0, 1]
    tiny["resources"] = {"gpus": "packed"}
    plan = make_plan(Study.model_validate(tiny))
    found = sorted(plan.jobs.values(), key=lambda job: (job.name, job.key))
    assert len(found) == 4
    return found


def test_the_first_of_a_kind_has_a_gpu_and_those_after_it_what_it_took(jobs: list[Any]) -> None:
    packing = GpuPacking(1.0, 2)
    assert packing.request(jobs[0])["GPU"] == 1.0
    assert packing.request(jobs[1])["GPU"] == 1.0  # nothing is measured yet
    packing.ended(jobs[0], ended(peak=3))
    assert packing.request(jobs[1])["GPU"] == share_of(5)
    assert packing.request(jobs[2])["GPU"] == 1.0  # of another kind
    packing.ended(jobs[1], ended(peak=10))  # it took more after all
    assert packing.request(jobs[0])["GPU"] == 1.0


def test_jobs_on_the_cpu_do_not_count_as_room_on_gpus(jobs: list[Any]) -> None:
    on_cpu = replace(jobs[2], resources=Demand(cpus=1, gpus=0))
    nodes = [{"CPU": 64.0, "GPU": 1.0}]
    requests = {job.key: job.resources.asks(1.0) for job in (jobs[0], on_cpu)}
    packing = GpuPacking.on(nodes, [jobs[0], on_cpu], requests)
    packing.request(jobs[0])
    assert packing.must_wait


def test_no_more_start_than_gpus_while_nothing_is_measured(jobs: list[Any]) -> None:
    packing = GpuPacking(1.0, 2)
    packing.request(jobs[0])
    assert not packing.must_wait
    packing.request(jobs[2])
    assert packing.must_wait
    packing.ended(jobs[0], None)  # its worker died: it is asked for again
    assert not packing.must_wait
    packing.request(jobs[0])
    packing.ended(jobs[0], ended(peak=1))
    packing.request(jobs[1])  # a share of a GPU: does not count
    assert not packing.must_wait


def test_the_smallest_gpu_that_was_seen_decides(jobs: list[Any]) -> None:
    packing = GpuPacking(1.0, 1)
    packing.ended(jobs[0], ended(peak=1, total=12))
    assert packing.request(jobs[1])["GPU"] == share_of(6)
    packing.ended(jobs[2], ended(peak=1, total=6))
    assert packing.request(jobs[1])["GPU"] == share_of(3)


def test_seeds_and_lambdas_are_alike_and_metrics_are_not(taught: dict[str, Any]) -> None:
    def names(**changes: Any) -> set[str]:
        study = copy.deepcopy(taught)
        study["configurations"][0] |= changes
        plan = make_plan(Study.model_validate({**study, "seeds": [0, 1]}))
        return {alike(job) for job in plan.jobs.values() if job.settings.get("transfer")}

    assert len(names()) == 1
    assert names() == names(**{"lambda": 7})
    assert names().isdisjoint(names(metric="L2"))


def test_without_a_gpu_nothing_is_packed(jobs: list[Any]) -> None:
    packing = GpuPacking(0.0, 2)
    assert "GPU" not in packing.request(jobs[0])
    assert not packing.must_wait


@pytest.mark.parametrize("peak", [0.1, 0.5, 1.0, 3.0, 7.9, 11.0, 30.0])
@pytest.mark.parametrize("total", [8, 24, 80])
def test_what_a_trial_took_fits_into_its_share(peak: float, total: float) -> None:
    fitting = fitting_trials(int(peak * GIB), int(total * GIB))
    assert 1 <= fitting <= MOST
    if fitting > 1:
        limit = memory_fraction(share_of(fitting), int(total * GIB)) * total
        assert limit >= 1.2 * peak
    assert fitting * share_of(fitting) <= 1


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("packed", "packed", "packed"),
        ("packed", "auto", "auto"),
        ("packed", 0.5, 1.0),
        ("packed", 0, "packed"),
    ],
)
def test_a_training_run_that_rows_share_gets_what_serves_both(
    one: Any, other: Any, both: Any
) -> None:
    assert Demand(gpus=one).larger(Demand(gpus=other)).gpus == both
    assert Demand(gpus=other).larger(Demand(gpus=one)).gpus == both


def test_no_gpu_is_left_once_workers_of_any_shares_keep_all_of_them() -> None:
    stop, nothing, taken = Stop(), SimpleNamespace(), []
    nothing.came_back = lambda key, outcome: taken.append(key)
    nodes = [{"CPU": 16.0, "GPU": 2.0, "memory": 1e12}]
    callback = ScheduleCallback(nothing, nothing, stop, nodes)
    failed = {"outcome": Outcome(JobStatus.GPU_FAILED, "broken")}

    def fails(number: int, share: float) -> None:
        request = {"CPU": 1.0, "memory": 1e9, "GPU": share}
        label = SimpleNamespace(key=str(number), request=request)
        trial = SimpleNamespace(trial_id=str(number), config={"job": label})
        callback.on_trial_result(0, [], trial, failed)

    fails(0, 1.0)
    for number in range(1, 4):
        fails(number, 0.25)
        assert stop.fault is None
    fails(4, 0.25)
    assert "no GPU is left that can be used; the last: broken" in str(stop.fault)
    assert len(taken) == 5
