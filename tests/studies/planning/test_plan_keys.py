"""Which settings make which keys: what is made anew when a study changes."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from studies.planning.plan import Plan
from studies.planning.planner import make_plan
from studies.spec.study import Study

Raw = dict[str, Any]


def planned(study: Raw) -> Plan:
    return make_plan(Study.model_validate(study))


def keys(study: Raw) -> tuple[str, str, str]:
    """The keys of the taught ViT under seed 0: of its teacher, its training and its scores."""
    plan = planned(study)
    job = next(
        job
        for job in plan.jobs.values()
        if job.settings["paradigm"] == "teacher-student" and job.seed == 0
    )
    assert job.parent is not None
    return job.parent, job.key, job.trials[0].key


def changed(before: Raw, after: Raw) -> str:
    """The stages with new keys, of "teacher student scores"."""
    names = ("teacher", "student", "scores")
    pairs = zip(names, keys(before), keys(after), strict=True)
    return " ".join(name for name, old, new in pairs if old != new)


def set_in(study: Raw, path: str, value: Any) -> Raw:
    at: Any = study
    *parents, last = path.split(".")
    for step in parents:
        at = at[int(step)] if isinstance(at, list) else at.setdefault(step, {})
    at[last] = value
    return study


ALL = "teacher student scores"
STUDENT = "student scores"


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        # What trains both.
        ("training.epochs", 2, ALL),
        ("training.batch_size", 4, ALL),
        ("training.learning_rate", 2e-3, ALL),
        ("training.weight_decay", 0.02, ALL),
        ("training.schedule", "cosine", ALL),
        ("training.warmup", 0.1, ALL),
        ("training.flip", True, ALL),
        ("data.size", 64, ALL),
        ("data.train", 25, ALL),
        ("data.seed", 1, ALL),
        ("data.smoke", 0.6, ALL),
        ("data.chimney_given_smoke", 0.9, ALL),
        ("data.chimney_given_clear", 0.5, ALL),
        # The teacher's network.
        ("backbones.cnn.model", "resnet34", ALL),
        ("backbones.cnn.stage", "layer3", ALL),
        ("backbones.cnn.output_stride", 16, ALL),
        ("backbones.cnn.final_norm", False, ALL),
        ("backbones.cnn.options.channels", [4, 8, 16, 64], ALL),
        ("backbones.cnn.training.epochs", 2, ALL),
        # The student, and how it is taught.
        ("backbones.vit.model", "vit_small_patch16_224", STUDENT),
        ("backbones.vit.options.depth", 2, STUDENT),
        ("backbones.vit.training.learning_rate", 2e-3, STUDENT),
        ("configurations.0.training.epochs", 2, STUDENT),
        ("configurations.0.metric", "l2", STUDENT),
        ("configurations.0.level", "spatial", STUDENT),
        ("configurations.0.representation", "activation_map", STUDENT),
        ("configurations.0.projection", "none", STUDENT),
        ("configurations.0.variant", "thesis", STUDENT),
        ("configurations.0.lambda", 0.5, STUDENT),
        # What is scored, and how.
        ("data.tune", 9, "scores"),
        ("data.test", 9, "scores"),
        ("cam.normalisation", "max", "scores"),
        ("panels", 3, "scores"),
        # What cannot change any of it.
        ("study", "another", ""),
        ("title", "Another title", ""),
        ("backbones.cnn.label", "ResNet", ""),
        ("backbones.vit.label", "Transformer", ""),
        ("configurations.0.name", "ours", ""),
        ("thresholds.fixed", 0.5, ""),
        ("thresholds.objective", "dataset_iou", ""),
        ("resources", {"cpus": 2, "gpus": 0.5, "memory_gb": 4}, ""),
        ("seeds", [1, 0], ""),
        # Written otherwise, but the same.
        ("training.learning_rate", "1e-3", ""),
        ("training.flip", False, ""),
        ("configurations.0.lambda", 1, ""),
        ("configurations.0.metric", ["COSINE"], ""),
        ("configurations.0.representation", "feature", ""),
        ("backbones.vit.weights", "none", ""),
        ("backbones.cnn.final_norm", None, ""),
        ("backbones.vit.training.epochs", 1, ""),
    ],
)
def test_a_change_makes_anew_what_depends_on_it_and_nothing_else(
    taught: Raw, path: str, value: Any, expected: str
) -> None:
    before = Study.model_validate(taught).model_dump(by_alias=True)
    assert changed(before, set_in(taught, path, value)) == expected


@pytest.mark.parametrize(
    ("change", "steadied"),
    [
        ({}, True),
        ({"projection": "conv1x1"}, False),
        ({"metric": "l2"}, False),
        ({"representation": "gram"}, False),
    ],
)
def test_the_cosine_of_an_unprojected_spatial_map_from_random_weights_is_another_training(
    taught: Raw, change: Raw, steadied: bool
) -> None:
    taught["configurations"][0] |= {"representation": "spatial_map", **change}
    jobs = make_plan(Study.model_validate(taught)).jobs.values()
    versions = {job.settings.get("spatial_map") for job in jobs if job.parent}
    assert versions == {2 if steadied else None}


def test_each_seed_has_keys_of_its_own(taught: Raw) -> None:
    taught["seeds"] = [0, 1, 2]
    plan = planned(taught)
    assert len(plan.jobs) == 6
    assert len({trial.key for trial in plan.trials}) == 3


def test_the_order_of_the_file_makes_no_other_keys(tiny: Raw) -> None:
    def backwards(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: backwards(inner) for key, inner in reversed(value.items())}
        return value

    before = {trial.configuration: trial.key for trial in planned(tiny).trials}
    tiny["configurations"] = [backwards(entry) for entry in tiny["configurations"][::-1]]
    assert {t.configuration: t.key for t in planned(backwards(tiny)).trials} == before


def test_all_configurations_of_a_study_have_different_keys(taught: Raw) -> None:
    taught["configurations"][0] |= {
        "paradigm": ["teacher-student", "co-training"],
        "metric": ["cosine", "l1", "l2"],
        "level": ["global", "channel", "spatial"],
        "representation": ["feature", "activation_map"],
        "lambda": [0, 1],
    }
    found = [trial.key for trial in planned(taught).trials]
    assert len(found) == len(set(found)) == 2 * 3 * 3 * 2 * 2


def test_weights_are_known_by_their_content_not_by_their_path(taught: Raw, tmp_path: Path) -> None:
    first, moved, other = (tmp_path / name for name in ("a.pth", "b.pth", "c.pth"))
    first.write_bytes(b"one")
    moved.write_bytes(b"one")
    other.write_bytes(b"two")
    studies = [
        keys(set_in(taught, "backbones.cnn.weights", str(file))) for file in (first, moved, other)
    ]
    assert studies[0] == studies[1]
    assert all(old != new for old, new in zip(studies[0], studies[2], strict=True))


def test_no_weights_pretrained_weights_and_a_file_are_three_things(
    taught: Raw, tmp_path: Path
) -> None:
    (tmp_path / "w.pth").write_bytes(b"one")
    found = [
        keys(set_in(taught, "backbones.cnn.weights", given))
        for given in ("none", "pretrained", str(tmp_path / "w.pth"))
    ]
    assert all(one != other for one, other in itertools.combinations(found, 2))


def folder_keys(study: Raw) -> tuple[str, str, str]:
    study["configurations"] = [
        entry for entry in study["configurations"] if entry["paradigm"] == "teacher-student"
    ]
    return keys(study)


def add_image(file: Path) -> None:
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(file)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("train/clear/new.png", (False, False, False)),
        ("tune/clear/new.png", (True, True, False)),
        ("test/clear/new.png", (True, True, False)),
        ("notes.png", (True, True, True)),
    ],
)
def test_an_added_image_touches_only_what_reads_its_split(
    folder_study: Raw, smoke_folder: Path, file: str, expected: tuple[bool, bool, bool]
) -> None:
    before = folder_keys(folder_study)
    add_image(smoke_folder / file)
    after = folder_keys(folder_study)
    assert tuple(old == new for old, new in zip(before, after, strict=True)) == expected


def test_a_moved_data_folder_has_the_same_keys(
    folder_study: Raw, smoke_folder: Path, tmp_path: Path
) -> None:
    before = folder_keys(folder_study)
    moved = smoke_folder.rename(tmp_path / "elsewhere")
    folder_study["data"]["root"] = str(moved)
    assert folder_keys(folder_study) == before


def test_a_changed_mask_changes_the_scores_alone(folder_study: Raw, smoke_folder: Path) -> None:
    before = folder_keys(folder_study)
    Image.fromarray(np.full((40, 40), 255, np.uint8)).save(
        smoke_folder / "test" / "masks" / "a.png"
    )
    assert [old == new for old, new in zip(before, folder_keys(folder_study), strict=True)] == [
        True,
        True,
        False,
    ]


def test_two_studies_share_the_trials_that_they_have_in_common(tiny: Raw, taught: Raw) -> None:
    other = {**taught, "study": "other", "title": "Other"}
    all_of_tiny = {trial.key for trial in planned(tiny).trials}
    assert {trial.key for trial in planned(other).trials} < all_of_tiny


@pytest.mark.parametrize(
    ("model", "version"),
    [("resnet34", None), ("vit_small_patch16_224", None), ("convnext_atto", 2), ("dla46_c", 2)],
)
def test_only_networks_that_changed_have_a_version_in_their_key(
    taught: Raw, model: str, version: int | None
) -> None:
    set_in(taught, "backbones.cnn", {"model": model})
    (settings,) = {
        str(job.settings["teacher"].get("encoder"))
        for job in planned(taught).jobs.values()
        if "teacher" in job.settings
    }
    assert settings == str(version)


@pytest.mark.parametrize(
    ("pooling", "pairs", "changes"),
    [
        ("token", [{"student": 0, "teacher": "layer3"}], False),
        ("avg", [{"student": 0, "teacher": "layer3"}], True),
        ("avg", [{"teacher": "layer3"}], False),
        ("avg", None, False),
    ],
)
def test_taps_of_a_vit_that_pools_the_mean_have_a_key_of_their_own(
    taught: Raw, pooling: str, pairs: list[Raw] | None, changes: bool
) -> None:
    set_in(taught, "backbones.vit.options.global_pool", pooling)
    set_in(taught, "configurations.0.layers", pairs)
    (job,) = [job for job in planned(taught).jobs.values() if "teacher" in job.settings][:1]
    assert ("taps" in job.settings["student"]) == changes
    assert "taps" not in job.settings["teacher"]
