"""A study whose student has several frozen teachers, and one that is taught by attention."""

import copy
from typing import Any

import pytest
from safetensors.numpy import load_file

from studies.planning.features import teacher_maps
from studies.planning.planner import make_plan
from studies.spec.study import Study
from studies.store.garbage import _members, find_garbage
from wsss_core.errors import InputError

TAUGHT = {
    "paradigm": "teacher-student",
    "student": "vit",
    "teachers": {"cnn": 1, "frozen": 0.5},
    "metric": "cosine",
    "level": "global",
}


def with_two_teachers(tiny: dict[str, Any], *more: dict[str, Any]) -> dict[str, Any]:
    """The tiny study with a CNN and a frozen ViT of another normalisation as teachers."""
    vit = tiny["backbones"]["vit"]
    frozen = {**vit, "label": "frozen ViT", "train": "head"}
    frozen |= {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    tiny["backbones"]["frozen"] = frozen
    tiny["training"] |= {"epochs": 3}
    tiny["configurations"] = [{"paradigm": "single", "student": "vit"}, TAUGHT, *more]
    return tiny


@pytest.fixture(scope="module")
def ran(shared_tiny, run, tmp_path_factory):
    attention = {
        "paradigm": "teacher-student", "student": "vit", "teacher": "cnn", "metric": "L2",
        "level": "global", "representation": "attention",
    }  # fmt: skip
    cross = {
        "paradigm": "teacher-student", "student": "cnn", "teacher": "vit",
        "metric": "cross_attention",
    }  # fmt: skip
    ofa = {
        "paradigm": "teacher-student", "student": "vit", "teacher": "cnn", "metric": "ofa",
        "representation": "logits", "gamma": 2, "layers": [{"student": 0}, {}],
    }  # fmt: skip
    study = with_two_teachers(copy.deepcopy(shared_tiny), attention, cross, ofa)
    return run(study, tmp_path_factory.mktemp("teachers"))


def taught(plan):
    return next(job for job in plan.jobs.values() if job.other_parents)


@pytest.mark.slow
def test_every_trial_ends_and_both_teachers_are_trained_before(ran):
    assert ran.result.remaining == 0
    assert ran.result.failed == {}
    job = taught(ran.plan)
    assert set(job.parents) == {"teacher", "teacher2"}
    assert set(job.needs) == set(job.parents.values())
    assert all(ran.store.has("train", key) for key in job.needs)
    models = [ran.plan.jobs[key].settings["student"].get("train") for key in job.needs]
    assert models == [None, "head"]
    assert job.settings["transfer"]["teachers"] == [1, 0.5]


@pytest.mark.slow
def test_garbage_collection_keeps_both_teachers(ran):
    manifest = ran.store.manifest("train", taught(ran.plan).key)
    parents = [*taught(ran.plan).parents.values()]
    assert [manifest.parent, *manifest.about["teachers"]] == parents
    needed = _members(manifest.about)
    assert needed == parents[1:]
    found = find_garbage(ran.store, older_than=0, unused_by=[ran.results])
    assert not [garbage.name for garbage in found if "/train/" in garbage.name]


@pytest.mark.slow
def test_teachers_that_answered_before_give_the_same_numbers_as_teachers_that_are_asked(
    ran, shared_tiny, run, tmp_path
):
    job = taught(ran.plan)
    assert teacher_maps(job) is not None
    study = with_two_teachers(copy.deepcopy(shared_tiny))
    study["caches"] = {"teachers": "none"}
    asked = run(study, tmp_path)
    assert taught(asked.plan).key == job.key
    files = [
        load_file(one.store.fetch("train", job.key) / "student.safetensors") for one in (ran, asked)
    ]
    for name, value in files[0].items():
        assert (value == files[1][name]).all(), name


def test_a_row_names_all_of_its_teachers(shared_tiny):
    study = Study(**with_two_teachers(copy.deepcopy(shared_tiny)))
    other = {**TAUGHT, "teachers": {"vit": 1, "cnn": 1}, "student": "cnn"}
    both = Study(**with_two_teachers(copy.deepcopy(shared_tiny), other))
    names = [name for name, _ in both.named_configurations()]
    assert any("taught by CNN + 0.5 frozen ViT" in name for name in names), names
    (row,) = [row for row in make_plan(study).ledger_rows() if row["paradigm"] != "single"]
    assert row["teacher"] == "CNN + 0.5 frozen ViT"


def test_the_weights_of_teachers_are_part_of_the_key(shared_tiny):
    keys = []
    for weight in (0.5, 0.25):
        study = with_two_teachers(copy.deepcopy(shared_tiny))
        study["configurations"][1] = {**TAUGHT, "teachers": {"cnn": 1, "frozen": weight}}
        keys.append(taught(make_plan(Study(**study))).key)
    assert keys[0] != keys[1]


WRONG = [
    ({"teacher": "frozen"}, "'teachers' names all teachers; leave 'teacher' out"),
    ({"teachers": {"cnn": 1}}, "at least 2"),
    ({"teachers": {"cnn": 1, "frozen": 0}}, "greater than 0"),
    ({"teachers": {"cnn": 1, "vitt": 1}}, "teachers 'vitt' is no backbone of this study"),
    ({"paradigm": "co-training"}, "'teachers' applies to teacher-student alone"),
    ({"layers": [{"teacher": "layer1"}]}, "names layers of the student alone"),
    ({"gamma": 2}, "'gamma' applies to the metric ofa alone"),
]


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_teachers_that_cannot_be_meant_are_refused(shared_tiny, change, said):
    study = with_two_teachers(copy.deepcopy(shared_tiny))
    study["configurations"][1] = {**TAUGHT, **change}
    with pytest.raises(ValueError, match=said):
        Study(**study)


UNHEARD = [
    (
        {"student": "frozen", "teacher": "cnn"},
        "attention lies in the encoder of the student, which",
    ),
    (
        {"student": "vit", "teacher": "cnn", "training": {"compile": True}},
        "expected training.compile",
    ),
]


@pytest.mark.parametrize(("change", "said"), UNHEARD)
def test_attention_that_is_not_computed_in_every_step_is_refused(shared_tiny, change, said):
    study = with_two_teachers(copy.deepcopy(shared_tiny))
    study["configurations"][1] = {
        "paradigm": "teacher-student", "metric": "L2", "level": "global",
        "representation": "attention", **change,
    }  # fmt: skip
    with pytest.raises(InputError, match=said):
        make_plan(Study(**study))
