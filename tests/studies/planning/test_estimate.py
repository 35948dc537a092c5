"""What is left of a study, from what trials have taken: hours, wall time, money."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import studies.cli.plan_summary
import studies.planning.cost
from reports.ledger.parts import write_part
from studies.cli.main import main
from studies.cli.plan_text import describe_plan
from studies.formatting import duration
from studies.planning.cost import Estimate, QueuedRun, estimate, read_timings, wall_seconds
from studies.planning.job import TrainingJob, Trial
from studies.planning.plan import Plan
from studies.planning.planner import make_plan
from studies.search.candidates import first_jobs, parts_prefix
from studies.spec.resources import GIB
from studies.spec.study import Study
from studies.store.artifacts import ArtifactStore
from studies.store.keys import canonical

Raw = dict[str, Any]

MACHINE = {"CPU": 4.0, "memory": 64.0 * GIB}
CPU = "x86_64 CPU, 1 thread(s)"
START = datetime(2026, 11, 25, tzinfo=UTC)


@pytest.fixture
def study(tiny: Raw) -> Raw:
    """CNN alone, ViT alone, taught, co-trained; two epochs; two seeds."""
    tiny["training"]["epochs"] = 2
    tiny["seeds"] = [0, 1]
    tiny["resources"] = {"memory_gb": 1}
    return tiny


def planned(study: Raw) -> Plan:
    return make_plan(Study.model_validate(study))


def job_of(plan: Plan, configuration: str, seed: int = 0) -> TrainingJob:
    return next(
        job for job in plan.jobs.values() for trial in job.trials
        if (trial.configuration, trial.seed) == (configuration, seed)
    )  # fmt: skip


def record(results: Path, job: TrainingJob, trial: Trial, **more: Any) -> None:
    """Write a trial to the ledger as if it had run."""
    row = {
        "trial_key": trial.key,
        "configuration": trial.configuration,
        "seed": trial.seed,
        "status": "ok",
        "settings": canonical(job.settings),
        "train_fingerprint": job.images.fingerprints["train"],
        "package_version": "1",
        "packages": "{}",
        "device": CPU,
        "cpus": 1,
        "gpus": 0.0,
        "started_at": START,
        "seconds_training": 100.0,
        "seconds_scoring": 10.0,
        "epochs": 2,
        **more,
    }
    write_part(results, "trials", trial.key, [row])


def left(plan: Plan, results: Path, machine: Raw = MACHINE, at_once: int | None = None) -> Estimate:
    found = read_timings(plan, results)
    nothing: Callable[[str, str], bool] = lambda stage, key: False  # noqa: E731
    return estimate(list(plan.jobs.values()), nothing, found, machine, at_once)


def test_each_kind_takes_what_its_own_trials_took(study: Raw, tmp_path: Path) -> None:
    plan = planned(study)
    took = {"CNN alone": 100.0, "ViT alone": 40.0, "taught, cosine global": 60.0}
    for name, seconds in took.items():
        job = job_of(plan, name)
        record(tmp_path, job, job.trials[0], seconds_training=seconds)
    both = job_of(plan, "co-trained, cosine global")
    record(tmp_path, both, both.trials[0], seconds_training=300.0, seconds_scoring=30.0)
    found = left(plan, tmp_path)
    assert found.training == pytest.approx(2 * (100 + 40 + 60 + 300))
    assert found.scoring == pytest.approx(2 * (10 + 10 + 10 + 30))
    assert found.unmeasured == 0
    assert found.core_hours == pytest.approx((found.training + found.scoring) / 3600)
    assert found.gpu_hours == 0


def test_the_mean_of_a_kind_s_trials_counts_and_epochs_are_scaled(
    study: Raw, tmp_path: Path
) -> None:
    study["configurations"] = study["configurations"][:1]
    plan = planned(study)
    for seed, seconds in ((0, 100.0), (1, 140.0)):
        job = job_of(plan, "CNN alone", seed)
        record(tmp_path, job, job.trials[0], seconds_training=seconds)
    study["training"]["epochs"] = 20
    assert left(planned(study), tmp_path).training == pytest.approx(2 * 10 * 120)


def test_what_was_never_measured_is_taken_by_its_passes(study: Raw, tmp_path: Path) -> None:
    """2 epochs in 100 s are 50 s a pass; co-training makes two passes an epoch."""
    plan = planned(study)
    job = job_of(plan, "CNN alone")
    record(tmp_path, job, job.trials[0])
    found = left(plan, tmp_path)
    assert found.training == pytest.approx(2 * (100 + 100 + 100 + 200))
    assert found.unmeasured == 6


def test_a_collapsed_and_a_failed_trial_are_no_measure(study: Raw, tmp_path: Path) -> None:
    plan = planned(study)
    for name, status in (("CNN alone", "failed"), ("ViT alone", "collapsed")):
        job = job_of(plan, name)
        record(tmp_path, job, job.trials[0], status=status, error="so")
    assert read_timings(plan, tmp_path).trials == 0


def test_trials_on_another_device_than_the_last_one_say_nothing(study: Raw, tmp_path: Path) -> None:
    study["configurations"] = study["configurations"][:2]
    plan = planned(study)
    slow, fast = job_of(plan, "CNN alone"), job_of(plan, "CNN alone", 1)
    record(tmp_path, slow, slow.trials[0], seconds_training=5000.0)
    record(
        tmp_path, fast, fast.trials[0], seconds_training=20.0, device="A10", gpus=1.0,
        started_at=START + timedelta(hours=1),
    )  # fmt: skip
    found = read_timings(plan, tmp_path)
    assert (found.trials, found.device, found.with_gpu) == (1, "A10", True)
    assert left(plan, tmp_path).training == pytest.approx(4 * 20)


def test_more_threads_of_a_cpu_are_no_other_device(study: Raw, tmp_path: Path) -> None:
    study["resources"]["co-training"] = {"cpus": 2}
    plan = planned(study)
    one, both = job_of(plan, "CNN alone"), job_of(plan, "co-trained, cosine global")
    record(tmp_path, one, one.trials[0], started_at=START - timedelta(hours=1))
    about = {"cpus": 2, "device": "x86_64 CPU, 2 thread(s)", "seconds_training": 500.0}
    record(tmp_path, both, both.trials[0], **about)
    found = read_timings(plan, tmp_path)
    assert (found.trials, found.device) == (2, "x86_64 CPU")
    # Those that were not measured, by 50 s a pass of the one and 125 s of the other.
    assert left(plan, tmp_path).training == pytest.approx(2 * (100 + 175 + 175 + 500))


def test_a_trial_with_the_same_share_of_a_gpu_counts_before_others(
    study: Raw, tmp_path: Path
) -> None:
    study["configurations"] = study["configurations"][:1]
    plan = planned(study)
    for seed, gpus, seconds in ((0, 1.0, 50.0), (1, 0.5, 80.0)):
        job = job_of(plan, "CNN alone", seed)
        about = {"gpus": gpus, "seconds_training": seconds, "device": "A10"}
        record(tmp_path, job, job.trials[0], **about)
    for asked, seconds in ((1, 50.0), (0.5, 80.0), (0.25, 65.0), ("auto", 50.0)):
        study["resources"]["gpus"] = asked
        assert left(planned(study), tmp_path).training == pytest.approx(2 * seconds)


def test_hours_are_those_of_what_a_trial_holds(study: Raw, tmp_path: Path) -> None:
    study["resources"] = {"gpus": 0.25, "memory_gb": 1, "co-training": {"gpus": 1}}
    study["resources"]["single"] = {"gpus": 0, "cpus": 3}
    plan = planned(study)
    for name, share in (("CNN alone", 0.0), ("taught, cosine global", 0.25)):
        job = job_of(plan, name)
        record(tmp_path, job, job.trials[0], device="A10", gpus=share, seconds_scoring=0.0)
    found = left(plan, tmp_path)
    # Two seeds of 100 s with a quarter of a GPU, of 200 s with one; four single runs on 3 cores.
    assert found.gpu_hours == pytest.approx(2 * (0.25 * 100 + 1 * 200) / 3600)
    assert found.core_hours == pytest.approx(4 * 3 * 100 / 3600)


def test_what_the_store_holds_is_not_counted(study: Raw, tmp_path: Path) -> None:
    plan = planned(study)
    for name in ("CNN alone", "ViT alone"):
        job = job_of(plan, name)
        record(tmp_path, job, job.trials[0])
    vit, cnn = job_of(plan, "ViT alone"), job_of(plan, "CNN alone")
    there = {("train", vit.key), ("train", cnn.key), ("scores", cnn.trials[0].key)}
    found = estimate([vit, cnn], lambda *one: one in there, read_timings(plan, tmp_path), MACHINE)
    assert (found.training, found.scoring) == (0, 10)


def test_refinement_counts_on_cores_by_chain(study: Raw, tmp_path: Path) -> None:
    study["refine"] = {"CRF": {"steps": ["crf"]}}
    plan = planned(study)
    job = job_of(plan, "CNN alone")
    record(tmp_path, job, job.trials[0])
    key = job.trials[0].chains["CRF"]
    row = {"scores_key": key, "trial_key": job.trials[0].key, "refinement": "CRF", "status": "ok"}
    write_part(tmp_path, "refined", key, [{**row, "seconds": 7.0, "ended_at": START}])
    found = left(plan, tmp_path)
    assert found.refinement == pytest.approx(8 * 7)
    assert found.core_hours == pytest.approx((found.training + found.scoring + 56) / 3600)


def brute_force(jobs: list[QueuedRun]) -> float:
    """The same queue in steps of a second."""
    first = [job for job in jobs if any(job.key in other.needs for other in jobs)]
    order = first + [job for job in jobs if job not in first]
    keys = {job.key for job in jobs}
    queue = [job for job in order if not keys.intersection(job.needs)]
    waiting = [job for job in order if keys.intersection(job.needs)]
    running: list[tuple[int, QueuedRun]] = []
    for now in itertools.count():
        for end, job in sorted(running, key=lambda one: one[0]):
            if end == now:
                running.remove((end, job))
                queue += [child for child in waiting if job.key in child.needs]
        while queue and queue[0].part + sum(job.part for _, job in running) <= 1 + 1e-9:
            job = queue.pop(0)
            running.append((now + int(job.seconds), job))
        if not running:
            return now
    raise AssertionError


@pytest.mark.parametrize("slots", [1, 2, 3, 7])
def test_the_wall_time_is_that_of_the_queue_second_by_second(slots: int) -> None:
    jobs = [QueuedRun(f"teacher {seed}", (), 7 + seed, 1 / slots) for seed in range(3)]
    jobs += [
        QueuedRun(f"student {number}", (f"teacher {number % 3}",), 2 + 3 * (number % 4), 1 / slots)
        for number in range(10)
    ]
    jobs += [QueuedRun(f"large {number}", (), 5, min(1.0, 2 / slots)) for number in range(3)]
    jobs.append(QueuedRun("of a teacher that is trained", ("another",), 4, 1 / slots))
    assert wall_seconds(jobs) == brute_force(jobs)


def test_more_slots_are_no_help_to_a_chain() -> None:
    jobs = [
        QueuedRun(name, needs, s, 0.1)
        for name, needs, s in (("a", (), 5), ("b", ("a",), 6), ("c", ("b",), 7))
    ]
    assert wall_seconds(jobs) == 18


def test_as_many_run_at_a_time_as_fit_on_the_machine(study: Raw, tmp_path: Path) -> None:
    study["configurations"] = study["configurations"][:1]
    plan = planned(study)
    job = job_of(plan, "CNN alone")
    record(tmp_path, job, job.trials[0], seconds_scoring=0.0)
    assert left(plan, tmp_path).wall == pytest.approx(100)
    assert left(plan, tmp_path, {**MACHINE, "CPU": 1.0}).wall == pytest.approx(200)
    assert left(plan, tmp_path, {**MACHINE, "memory": 1.5 * GIB}).wall == pytest.approx(200)
    assert left(plan, tmp_path, at_once=1).wall == pytest.approx(200)
    nowhere = left(plan, tmp_path, {**MACHINE, "memory": 0.5 * GIB})
    assert (nowhere.wall, nowhere.unfitting) == (None, "CNN alone")


def test_gpu_time_says_nothing_of_a_machine_without_one(study: Raw, tmp_path: Path) -> None:
    plan = planned(study)
    job = job_of(plan, "CNN alone")
    record(tmp_path, job, job.trials[0], device="A10", gpus=1.0)
    assert left(plan, tmp_path).wall is None
    assert left(plan, tmp_path, {**MACHINE, "GPU": 1.0}).at_once == (1, 1)
    assert left(plan, tmp_path, at_once=8).wall is not None


@pytest.fixture
def listed(study: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The listing of the study, one trial of CNN alone with a half GPU measured."""
    study["configurations"] = study["configurations"][:1]
    study["resources"] = {"gpus": 0.5, "memory_gb": 1}
    monkeypatch.setattr(studies.cli.plan_summary, "this_machine", lambda: {**MACHINE, "GPU": 1.0})

    def listing(**resources: float) -> str:
        study["resources"] |= resources
        plan = planned(study)
        job = job_of(plan, "CNN alone")
        about = {"device": "A10", "gpus": 0.5, "seconds_training": 3590.0}
        record(tmp_path, job, job.trials[0], **about)
        return describe_plan(plan, ArtifactStore(tmp_path / "store"), tmp_path)

    return listing


def test_the_listing_says_times_hours_and_what_they_are_taken_from(
    listed: Callable[..., str],
) -> None:
    said = listed()
    assert "cost of what is left, from the trials measured here (1, A10):" in said
    assert "trials     training 1 h 59 min, scoring 20 s" in said
    assert "resources  1 GPU-hour\n" in said
    assert "wall time  about 1 h 00 min, with 2 at a time on this machine" in said
    assert "money" not in said


def test_a_price_makes_money_of_the_hours(listed: Callable[..., str]) -> None:
    assert "money      about 2.50, at 2.5 a GPU-hour" in listed(price_per_gpu_hour=2.5)


def test_a_search_and_the_confirmation_of_its_best_are_in_the_cost(
    study: Raw, tmp_path: Path
) -> None:
    study["configurations"] = study["configurations"][:1]
    study["refine"] = {"PAR": [{"par": {"iterations": 1}}]}
    study["search"] = {
        "student": "vit", "teacher": "cnn", "trials": 4, "seeds": [8, 9], "confirm": 3,
        "space": {"metric": ["cosine", "L1"], "lambda": {"low": 0.1, "high": 10}},
    }  # fmt: skip
    checked = Study.model_validate(study)
    plan = planned(study)
    job = job_of(plan, "CNN alone")
    record(tmp_path, job, job.trials[0])
    planner, _ = first_jobs(checked)
    row = {"study": "tiny", "number": 0, "configuration": "a", "parameters": "{}", "seed": 8,
           "objective": 0.5, "state": "pruned"}  # fmt: skip
    write_part(tmp_path, "search", parts_prefix(planner) + "00000", [row])
    said = describe_plan(plan, ArtifactStore(tmp_path / "store"), tmp_path, at_once=1)
    assert "4 configurations, 1 of them tried; seeds each: up to 2; of them join" in said
    assert "the best 3; the cost is that of all" in said
    # CNN alone under both seeds, which teaches the confirmed ones too; CNN alone under the seeds of
    # the search; 3 configurations left to try under these; 3 to confirm under the study's.
    training, scoring = 2 + 2 + 3 * 2 + 3 * 2, 2 + 3 * 2 + 3 * 2
    times = f"training {duration(100 * training)}, scoring {duration(10 * scoring)}"
    assert f"  trials     {times}\n" in said
    assert f"wall time  about {duration(100 * training + 10 * scoring)}, with 1 at a time" in said


def test_a_few_trials_of_each_kind_are_read_however_many_there_are(
    study: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study["seeds"] = list(range(10))
    study["configurations"][2]["lambda"] = [1, 2, 3, 4, 5]
    plan = planned(study)
    for job in plan.jobs.values():
        for trial in job.trials:
            record(tmp_path, job, trial)
    read: list[str] = []
    whole = studies.planning.cost.read_arrow

    def counting(results: Path, table: str, **more: Any) -> Any:
        read.extend(more["keys"])
        return whole(results, table, **more)

    monkeypatch.setattr(studies.planning.cost, "read_arrow", counting)
    assert left(plan, tmp_path).unmeasured == 0
    assert len(read) == 4 * studies.planning.cost.SAMPLE


def test_slots_below_one_are_refused(
    write_study: Callable[[Raw], str], study: Raw, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", write_study(study), "--slots", "0"]) == 2
    assert "--slots 0: expected 1 or more" in capsys.readouterr().err


def test_slots_are_those_of_the_cluster_that_is_meant(
    write_study: Callable[[Raw], str],
    study: Raw,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = planned(study)
    job = job_of(plan, "CNN alone")
    record(tmp_path, job, job.trials[0])
    arguments = ["plan", write_study(study), "--results", str(tmp_path), "--slots", "8"]
    assert main(arguments) == 0
    # Of each seed, side by side: CNN 110 s and then its student 110 s, ViT 110 s, both 210 s.
    assert "wall time  about 3 min 40 s, with 8 at a time\n" in capsys.readouterr().out
