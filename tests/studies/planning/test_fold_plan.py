"""The plan of a study with folds: its keys, its teachers, what it says and what it refuses."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studies.cli.plan_text import describe_plan
from studies.planning.plan import Plan
from studies.planning.planner import make_plan
from studies.spec.loading import load_study
from studies.spec.study import Study
from studies.store.artifacts import ArtifactStore
from wsss_core.data.image_set import SPLITS
from wsss_core.errors import InputError

Raw = dict[str, Any]


def planned(study: Raw, **folds: Any) -> Plan:
    return make_plan(Study.model_validate({**study, "folds": folds} if folds else study))


def test_every_configuration_is_trained_for_each_seed_and_fold(tiny: Raw) -> None:
    tiny["seeds"] = [4, 2]
    plan = planned(tiny, by="group", k=3)
    found = [(t.configuration, t.seed, t.fold) for t in plan.trials[:6]]
    assert found == [("CNN alone", seed, fold) for seed in (4, 2) for fold in (1, 2, 3)]
    assert len(plan.trials) == 4 * 2 * 3
    assert len({trial.key for trial in plan.trials}) == len(plan.trials)
    assert [images.splits.fold for images in plan.image_sets] == [1, 2, 3]


def test_no_key_of_a_fold_is_one_of_the_study_without_folds_or_of_other_folds(tiny: Raw) -> None:
    def keys(plan: Plan) -> set[str]:
        images = {key for one in plan.image_sets for key in one.splits.keys.values()}
        return images | {key for trial in plan.trials for key in trial.score_keys} | set(plan.jobs)

    plain, two, other = (
        planned(tiny),
        planned(tiny, by="group", k=2),
        planned(tiny, by="group", k=2, seed=1),
    )
    assert not keys(plain) & keys(two)
    assert not keys(two) & keys(other)
    assert keys(two) == keys(planned(tiny, by="group", k=2, seed=0, tune=0.2))


def test_a_teacher_is_one_training_run_per_seed_and_fold(taught: Raw) -> None:
    taught["seeds"] = [0, 1]
    taught["configurations"][0]["level"] = ["global", "channel", "spatial"]
    jobs = planned(taught, by="group", k=2).jobs
    teachers = {key for key, job in jobs.items() if job.paradigm == "single"}
    assert len(teachers) == 2 * 2
    for job in jobs.values():
        if job.parent is not None:
            assert jobs[job.parent].pair == job.pair


def test_the_ledger_keeps_each_trials_fold_and_what_it_holds_out(tiny: Raw) -> None:
    rows = planned(tiny, by="group", k=2).ledger_rows()
    assert {row["fold"] for row in rows} == {1, 2}
    about = json.loads(rows[0]["fold_about"])
    assert (about["by"], about["k"], about["held_out_count"]) == ("group", 2, 8)
    assert about["images"]["test"] == 8
    assert sum(about["images"].values()) + about["unused"] == 24 + 8 + 8
    plain = planned(tiny).ledger_rows()[0]
    assert (plain["fold"], plain["fold_about"]) == (None, None)


def test_a_plan_says_what_each_fold_holds_out(tiny: Raw, tmp_path: Path) -> None:
    plan = planned(tiny, by="group", k=3)
    said = describe_plan(plan, ArtifactStore(tmp_path / "store"), tmp_path)
    assert "configuration              seed  fold  trial" in said
    lines = re.findall(r"^(\d) +(\d+) +(\d+) +(\d+) +(\d+) +(t.*)$", said, re.MULTILINE)
    assert [line[0] for line in lines] == ["1", "2", "3"]
    assert all(sum(map(int, line[1:5])) == 24 + 8 + 8 for line in lines)
    for text in (said, repr(plan)):
        assert "fold  train  tune  test  unused  held out" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"folds.k": 1}, "folds.k: expected a number of folds from 2 to 1000, or all, got 1"),
        ({"folds.k": "each"}, "expected a number of folds from 2 to 1000, or all, got 'each'"),
        ({"folds.by": "clip"}, "folds.by: expected 'group', 'source' or 'camera', got 'clip'"),
        ({"folds.fold": 3}, "unknown key 'fold'; expected: by, k, seed, tune"),
        ({"folds.tune": 1.0}, "folds.tune: expected less than 1|folds.tune: .* less than 1"),
        ({"sweep": {"key": "training.epochs", "values": [1, 2]}}, "takes folds or sweep, not both"),
        ({"seeds": list(range(60)), "folds.k": 900}, "results; expected at most 50000"),
    ],
)
def test_folds_that_cannot_be_are_refused_in_one_line(
    tiny: Raw, changes: dict[str, Any], said: str
) -> None:
    tiny["folds"] = {"by": "group", "k": 2}
    with pytest.raises(InputError, match=said) as refused:
        load_study(tiny, changes)
    assert "\n" not in str(refused.value)


def test_more_folds_than_there_are_groups_or_cameras_that_nobody_knows_are_refused(
    tiny: Raw,
) -> None:
    with pytest.raises(InputError, match="16 groups have images with masks; expected at least 17"):
        planned(tiny, by="group", k=17)
    with pytest.raises(InputError, match="16 of 16 images with masks have no camera"):
        planned(tiny, by="camera", k=2)


def test_training_sees_no_image_of_the_folds_test(
    tiny: Raw, tmp_path: Path, run: Callable[..., Any]
) -> None:
    study = copy.deepcopy(tiny)
    plan = planned(study, by="group", k=2)
    store = ArtifactStore(tmp_path / "store")
    tested: list[str] = []
    for images in plan.image_sets:
        images.decode(store)
        train, tune, test = (images.splits.load(store, split) for split in SPLITS)
        assert not train.has_masks
        for mine, other in ((train, tune), (train, test), (tune, test)):
            pictures = {picture.tobytes() for picture in mine.images}
            assert not pictures & {picture.tobytes() for picture in other.images}
        tested += test.identifiers
        assert images.decode(store) == []
    whole = plan.image_sets[0].whole
    names = [f"{s}/{name}" for s in SPLITS[1:] for name in whole.splits.load(store, s).identifiers]
    assert sorted(tested) == sorted(names)
