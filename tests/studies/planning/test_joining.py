"""Images with masks that join the training of some rows: which, by what labels, and what stays."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from studies.planning.joining import JoinedImages
from studies.planning.plan import Plan
from studies.planning.planner import make_plan
from studies.spec.loading import load_study
from studies.spec.study import Study
from studies.store.artifacts import ArtifactStore
from wsss_core.data.scenes import SceneSettings, SceneSource
from wsss_core.data.scenes.scene import render_scene
from wsss_core.errors import InputError

Raw = dict[str, Any]


def planned(study: Raw) -> Plan:
    return make_plan(Study.model_validate(study))


@pytest.fixture
def joining(tiny: Raw) -> Raw:
    """The tiny study; below the CNN alone, further scenes join the same CNN and a taught ViT."""
    cnn, _, taught, _ = tiny["configurations"]
    more = [{**cnn, "name": "CNN + T2", "join": True}, {**taught, "name": "taught", "join": True}]
    tiny["configurations"] = [cnn, *more]
    tiny["join"] = {"scenes": 6}
    return tiny


def joined_set(plan: Plan) -> JoinedImages:
    (found,) = (one for one in plan.image_sets if isinstance(one, JoinedImages) and one.places)
    return found


@pytest.fixture
def grouped(joining: Raw, tmp_path: Path) -> Raw:
    """The same over a folder: 8 clips of 2 images in tune, 2 of which test has images of too."""
    random = np.random.default_rng(0)
    mask = np.zeros((32, 32), np.uint8)
    mask[8:20, 10:24] = 255
    clips = {"tune": "abcdefgh", "test": "ghxy", "train": "uv"}
    rows = ["file,group"]
    for split, names in clips.items():
        for clip in names:
            for kind in ("smoke" if split == "train" else "images", "clear"):
                path = tmp_path / "crops" / split / kind / f"{clip}-{kind}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)).save(path)
                rows.append(f"{split}/{kind}/{path.name},{clip}")
                if kind == "images":
                    (path.parents[1] / "masks").mkdir(exist_ok=True)
                    Image.fromarray(mask).save(path.parents[1] / "masks" / path.name)
    (tmp_path / "crops" / "groups.csv").write_text("\n".join(rows) + "\n")
    joining["data"] = {"source": "folder", "root": str(tmp_path / "crops"), "size": 32}
    joining["join"] = {"tune": 0.5}
    return joining


def test_scenes_that_join_move_no_key_of_another_row(joining: Raw) -> None:
    plain = copy.deepcopy(joining)
    plain["configurations"] = plain["configurations"][:1]
    del plain["join"]
    with_join, without = planned(joining), planned(plain)
    assert without.trials[0].key == with_join.trials[0].key
    assert set(without.jobs) < set(with_join.jobs)
    assert with_join.image_sets[0].splits == without.image_sets[0].splits
    assert len({trial.key for trial in with_join.trials}) == 3


@pytest.mark.ci
def test_a_joined_row_is_trained_on_more_scenes_by_their_labels_and_scored_on_the_same(
    joining: Raw, tmp_path: Path
) -> None:
    plan = planned(joining)
    store = ArtifactStore(tmp_path / "store")
    store.make()
    images = joined_set(plan)
    images.decode(store)
    train = images.splits.load(store, "train")
    own = SceneSource(SceneSettings(), 24, 8, 8).read("train", 32)
    assert np.array_equal(train.images[:24], own.images)
    settings = SceneSettings(size=32)
    scenes = [render_scene(settings, 3 * 10**9 + number) for number in range(6)]
    assert np.array_equal(train.images[24:], [scene.image for scene in scenes])
    assert train.labels[24:, 0].tolist() == [scene.has_smoke for scene in scenes]
    assert train.masks is None
    assert train.contexts is None
    first = plan.image_sets[0].splits.fingerprints
    own_prints = images.splits.fingerprints
    assert [split for split in first if first[split] != own_prints[split]] == ["train"]
    (teacher,) = (plan.jobs[job.parent] for job in plan.jobs.values() if job.parent)
    assert teacher.images == images.splits


def test_whole_groups_join_and_none_that_any_row_is_scored_on(grouped: Raw, tmp_path: Path) -> None:
    plan = planned(grouped)
    store = ArtifactStore(tmp_path / "store")
    store.make()
    alone, images = plan.image_sets
    for one in plan.image_sets:
        one.decode(store)
    assert alone.splits.fingerprints["tune"] == images.splits.fingerprints["tune"]
    whole = alone.source.read("tune", 32)
    train = images.splits.load(store, "train")
    scored = [images.splits.load(store, split) for split in ("tune", "test")]
    taken = {name.removeprefix("tune/") for name in train.identifiers if name.startswith("tune/")}
    left = {name.removeprefix("tune/") for name in scored[0].identifiers}
    assert taken | left == set(whole.identifiers)
    assert not taken & left
    assert len(taken) == 6  # half of the six clips that test has no image of
    groups = dict(zip(whole.identifiers, whole.groups, strict=True))
    assert not {groups[name] for name in taken} & {g for one in scored for g in one.groups}
    labels = dict(zip(train.identifiers, train.labels[:, 0].tolist(), strict=True))
    assert all(labels[f"tune/{name}"] == name.startswith("images/") for name in taken)
    assert len(alone.splits.load(store, "train")) == 4
    assert planned(grouped).trials[1].key == plan.trials[1].key


def test_a_plan_says_how_many_labels_are_spent_and_on_which_rows(joining: Raw) -> None:
    held = sum(render_scene(SceneSettings(size=32), 3 * 10**9 + n).has_smoke for n in range(6))
    assert (
        f"6 images of further scenes, {held} of which hold a class, join the training of "
        "CNN + T2, taught by their image-level labels"
    ) in repr(planned(joining))


def test_null_leaves_out_rows_that_ask_and_the_plan_says_so(joining: Raw) -> None:
    joining["join"] = None
    plan = planned(joining)
    assert [trial.configuration for trial in plan.trials] == ["CNN alone"]
    assert "join: null leaves out CNN + T2, taught" in repr(plan)


@pytest.mark.parametrize(
    ("join", "said"),
    [
        ({}, "expected one of scenes: NUMBER"),
        ({"scenes": 3, "tune": 0.5}, "got scenes and tune"),
        ({"tune": 1.0}, "expected less than 1"),
        ({"tunes": 0.5}, "nearest: 'tune'"),
    ],
)
def test_a_slip_in_join_is_told_in_a_line(joining: Raw, join: Raw, said: str) -> None:
    joining["join"] = join
    with pytest.raises(InputError, match=said) as caught:
        load_study(joining)
    assert "join" in str(caught.value)


def test_join_needs_a_section_rows_and_data_that_can_give_images(
    joining: Raw, grouped: Raw, tmp_path: Path
) -> None:
    grouped["join"] = {"scenes": 4}
    with pytest.raises(InputError, match=r"data.source is folder; expected a share"):
        load_study(grouped)
    grouped["join"] = {"test": 0.5}
    grouped["folds"] = {"by": "group", "k": 2}
    with pytest.raises(InputError, match="join or folds, not both"):
        load_study(grouped)
    del grouped["folds"], grouped["join"]
    with pytest.raises(InputError, match=r"configurations\[1\].join: the study has no section"):
        load_study(grouped)
    grouped["join"] = {"test": 0.5}
    grouped["configurations"] = grouped["configurations"][:1]
    with pytest.raises(InputError, match="no configuration has join: true"):
        load_study(grouped)


def test_one_group_cannot_be_parted(grouped: Raw, tmp_path: Path) -> None:
    table = tmp_path / "crops" / "groups.csv"
    lines = table.read_text().splitlines()
    table.write_text(
        "\n".join(
            [",".join([line.split(",")[0], "a"]) if "tune/" in line else line for line in lines]
        )
        + "\n"
    )
    with pytest.raises(InputError, match=r"join.tune: 1 groups of the tune split .* at least 2"):
        planned(grouped)
