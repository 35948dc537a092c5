"""From a study to jobs, what they wait for, and what the ledger expects."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from studies.cli.plan_text import describe_plan
from studies.planning.plan import Plan
from studies.planning.planner import make_plan
from studies.spec.study import Study
from studies.store.artifacts import ArtifactStore

Raw = dict[str, Any]


def planned(study: Raw) -> Plan:
    return make_plan(Study.model_validate(study))


def finish(store: ArtifactStore, stage: str, *keys: str) -> None:
    for key in keys:
        with store.build(stage, key, {}):
            pass


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


def test_a_trial_is_a_configuration_under_a_seed_in_the_order_of_the_file(tiny: Raw) -> None:
    tiny["seeds"] = [3, 1]
    found = [(trial.configuration, trial.seed) for trial in planned(tiny).trials]
    names = [
        "CNN alone",
        "ViT alone",
        "taught, cosine global",
        "co-trained, cosine global",
    ]
    assert found == [(name, seed) for name in names for seed in (3, 1)]


def test_a_teacher_is_one_job_per_seed_for_all_whom_it_teaches(taught: Raw) -> None:
    taught["seeds"] = [0, 1]
    taught["configurations"][0]["level"] = ["global", "channel", "spatial"]
    jobs = planned(taught).jobs
    teachers = {key for key, job in jobs.items() if job.settings["paradigm"] == "single"}
    assert len(teachers) == 2
    assert len(jobs) == 2 + 2 * 3
    for job in jobs.values():
        if job.parent is not None:
            assert jobs[job.parent].seed == job.seed


def test_the_teacher_is_the_job_of_the_configuration_that_has_it_alone(tiny: Raw) -> None:
    plan = planned(tiny)
    alone, _, student, _ = plan.trials
    job = {trial.key: job for job in plan.jobs.values() for trial in job.trials}
    assert job[student.key].parent == job[alone.key].key


def test_a_configuration_trained_otherwise_is_not_the_teacher(tiny: Raw) -> None:
    tiny["configurations"][0]["training"] = {"epochs": 2}
    plan = planned(tiny)
    job = {trial.configuration: u for u in plan.jobs.values() for trial in u.trials}
    taught = job["taught, cosine global"]
    assert taught.parent != job["CNN alone"].key
    assert plan.jobs[str(taught.parent)].trials == ()


def test_a_teacher_that_no_row_reports_is_made_all_the_same(taught: Raw) -> None:
    teacher, student = planned(taught).jobs.values()
    assert teacher.trials == ()
    assert teacher.name == "teacher resnet18"
    assert student.parent == teacher.key


def test_teachers_come_before_whom_they_teach(tiny: Raw) -> None:
    tiny["configurations"].reverse()
    seen: set[str] = set()
    for job in planned(tiny).jobs.values():
        assert job.parent is None or job.parent in seen
        seen.add(job.key)


def test_networks_that_learn_together_wait_for_nobody(tiny: Raw) -> None:
    together = [u for u in planned(tiny).jobs.values() if u.settings["paradigm"] == "co-training"]
    assert [job.parent for job in together] == [None]


def test_a_student_is_trained_as_its_backbone_and_its_configuration_say(taught: Raw) -> None:
    taught["backbones"]["vit"]["training"] = {"epochs": 5, "batch_size": 2}
    taught["configurations"][0]["training"] = {"epochs": 7}
    teacher, student = planned(taught).jobs.values()
    assert (teacher.settings["training"]["epochs"], teacher.settings["training"]["batch_size"]) == (
        1,
        8,
    )
    assert (student.settings["training"]["epochs"], student.settings["training"]["batch_size"]) == (
        7,
        2,
    )


def test_two_names_for_one_thing_are_one_training_run(tiny: Raw) -> None:
    tiny["configurations"] = [
        {"paradigm": "single", "student": "cnn", "name": "one"},
        {"paradigm": "single", "student": "cnn", "name": "two"},
    ]
    (job,) = planned(tiny).jobs.values()
    assert [trial.configuration for trial in job.trials] == ["one", "two"]


def test_a_job_sent_to_a_worker_arrives_whole_and_is_small(tiny: Raw) -> None:
    for job in planned(tiny).jobs.values():
        sent = pickle.dumps(job)
        assert pickle.loads(sent) == job
        assert len(sent) < 4096
        assert json.loads(json.dumps(job.settings)) == job.settings


def pending(plan: Plan, store: ArtifactStore) -> list[str]:
    return [job.name for job in plan.pending(store)]


def test_with_nothing_done_everything_is_pending(taught: Raw, store: ArtifactStore) -> None:
    assert pending(planned(taught), store) == [
        "teacher resnet18",
        "taught, cosine global",
    ]


def test_a_trained_teacher_is_not_trained_again(taught: Raw, store: ArtifactStore) -> None:
    plan = planned(taught)
    finish(store, "train", next(iter(plan.jobs)))
    assert pending(plan, store) == ["taught, cosine global"]


def test_a_trained_student_is_scored_without_its_teacher(taught: Raw, store: ArtifactStore) -> None:
    plan = planned(taught)
    finish(store, "train", list(plan.jobs)[1])
    assert pending(plan, store) == ["taught, cosine global"]


def test_with_its_scores_a_trial_needs_neither_network(taught: Raw, store: ArtifactStore) -> None:
    plan = planned(taught)
    finish(store, "scores", plan.trials[0].key)
    assert pending(plan, store) == []


def test_a_scored_teacher_whose_network_is_gone_is_trained_for_its_student(
    tiny: Raw, store: ArtifactStore
) -> None:
    plan = planned(tiny)
    finish(store, "scores", plan.trials[0].key, plan.trials[1].key, plan.trials[3].key)
    assert pending(plan, store) == ["CNN alone", "taught, cosine global"]


def test_the_ledger_expects_every_trial_with_what_it_is_compared_to(tiny: Raw) -> None:
    rows = planned(tiny).ledger_rows()
    assert [
        (row["configuration"], row["baseline"], row["reference"], row["family"]) for row in rows
    ] == [
        ("CNN alone", None, None, "cnn"),
        ("ViT alone", None, None, "vit"),
        ("taught, cosine global", "ViT alone", "CNN alone", "vit"),
        ("co-trained, cosine global", "ViT alone", "CNN alone", "vit"),
    ]
    assert [row["position"] for row in rows] == [0, 1, 2, 3]
    assert {row["study"] for row in rows} == {"tiny"}


def test_a_row_has_no_baseline_where_the_study_trains_none(taught: Raw) -> None:
    (row,) = planned(taught).ledger_rows()
    assert (row["baseline"], row["reference"]) == (None, None)


def test_a_baseline_trained_alike_goes_before_the_ordinary_one(tiny: Raw) -> None:
    longer = {"training": {"epochs": 2}}
    tiny["configurations"] = [
        tiny["configurations"][1],
        {**tiny["configurations"][1], **longer, "name": "ViT for long"},
        {**tiny["configurations"][2], **longer},
    ]
    assert planned(tiny).ledger_rows()[2]["baseline"] == "ViT for long"


def states(plan: Plan, store: ArtifactStore) -> list[str]:
    lines = describe_plan(plan, store, store.root.parent).splitlines()
    return [line.split(trial.key)[1].strip() for line, trial in zip(lines[3:], plan.trials,
                                                                   strict=False)]  # fmt: skip


def test_the_listing_says_what_each_trial_waits_for(tiny: Raw, store: ArtifactStore) -> None:
    plan = planned(tiny)
    assert states(plan, store) == [
        "to be trained",
        "to be trained",
        "to be trained after its teacher",
        "to be trained",
    ]
    cnn, vit, *_ = plan.jobs
    finish(store, "train", cnn, vit)
    finish(store, "scores", plan.trials[1].key)
    assert states(plan, store) == [
        "trained, to be scored",
        "done",
        "to be trained",
        "to be trained",
    ]


def test_the_listing_counts_the_passes_that_are_left(taught: Raw, store: ArtifactStore) -> None:
    taught["training"]["epochs"] = 3
    taught["configurations"].append({**taught["configurations"][0], "paradigm": "co-training"})
    plan = planned(taught)
    # 3 epochs of the teacher, 3 of the student, 3 of two networks that learn together.
    assert (
        "2 trials, 3 training runs to do (1 of them teachers that no row reports): "
        "12 passes over the training images"
    ) in describe_plan(plan, store, store.root.parent)


def test_the_estimate_is_made_of_measured_trials_of_the_same_kind(tiny: Raw, finished: Any) -> None:
    from reports.ledger.parts import read_table

    tiny["seeds"] = [0, 1]
    tiny["training"]["epochs"] = 1000
    tiny["configurations"] = tiny["configurations"][:2]
    measured = read_table(finished.results, "trials").set_index("configuration")
    seconds = measured["seconds_training"]
    expected = 2 * 1000 * (seconds["CNN alone"] + seconds["ViT alone"])
    said = describe_plan(planned(tiny), ArtifactStore(finished.results / "no"), finished.results)
    from studies.formatting import duration

    assert f"training {duration(expected)}, scoring" in said
