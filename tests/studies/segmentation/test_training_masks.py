"""True masks of training images: of scenes, of folders, and of the images that a fold trains on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from studies.planning import TrainingMasks
from studies.planning.planner import make_plan
from studies.spec.study import Study
from studies.store import ArtifactStore
from wsss_core.data.folder import FolderSource
from wsss_core.data.scenes import SceneSettings, SceneSource
from wsss_core.data.scenes.source import write_scenes


def test_scenes_in_memory_have_the_masks_that_are_written_beside_a_folder(tmp_path: Path) -> None:
    source = SceneSource(SceneSettings(size=32), train=12, tune=6, test=6)
    write_scenes(source, tmp_path / "scenes", train_masks=True)
    written = FolderSource(tmp_path / "scenes").training_masks(32)
    masks = {name: mask.read() for name, mask in source.training_masks(32).items()}
    assert {Path(name).stem for name in written} == set(masks)
    assert all(np.array_equal(mask.read(), masks[Path(n).stem]) for n, mask in written.items())


def test_the_fingerprint_of_a_folder_s_masks_follows_their_bytes_alone(tmp_path: Path) -> None:
    source = SceneSource(SceneSettings(size=32), train=12, tune=6, test=6)
    write_scenes(source, tmp_path / "scenes", train_masks=True)
    (tmp_path / "scenes").rename(tmp_path / "moved")
    folder = FolderSource(tmp_path / "moved")
    before, images = folder.training_masks_fingerprint(), folder.fingerprint("train")
    mask = sorted((tmp_path / "moved" / "train" / "masks").rglob("*.png"))[0]
    assert FolderSource(tmp_path / "moved").training_masks_fingerprint() == before
    mask.write_bytes(mask.read_bytes() + b"\0")
    assert folder.training_masks_fingerprint() != before
    assert folder.fingerprint("train") == images


@pytest.mark.ci
def test_a_fold_trains_with_the_masks_of_the_images_that_it_takes_from_all_splits(
    segmented: dict[str, Any], tmp_path: Path
) -> None:
    segmented["folds"] = {"by": "group", "k": 2}
    segmented["segment"]["entries"] = {"fully supervised": {"labels": "masks"}}
    plan = make_plan(Study.model_validate(segmented))
    store = ArtifactStore(tmp_path / "store")
    store.make()
    source = plan.image_sets[0].source
    whole = {split: source.read(split, 32) for split in ("train", "tune", "test")}
    own = source.training_masks(32)  # type: ignore[attr-defined]
    assert len({job.masks.key for job in plan.segments if job.masks}) == 2
    for images in plan.image_sets:
        masks = TrainingMasks(images)
        images.decode(store)
        masks.keep(store)
        expected = {}
        assert images.fold is not None
        for split, place in images.fold.roles["train"]:
            one = whole[split]
            name = one.identifiers[place]
            if one.labels[place].any():
                mask = own[name].read() if split == "train" else one.mask(place)
                expected[f"{split}/{name}"] = mask
        found = masks.known.load(store)
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[name], expected[name]) for name in expected)
        assert masks.known.count == len(expected)


def test_masks_that_the_store_holds_are_not_opened_again(
    segmented: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmented["segment"]["entries"] = {"fully supervised": {"labels": "masks"}}
    plan = make_plan(Study.model_validate(segmented))
    store = ArtifactStore(tmp_path / "store")
    store.make()
    for job in plan.segments[:1]:
        plan.decode(job, store)
    monkeypatch.setattr(TrainingMasks, "__init__", None)
    for job in plan.segments:
        plan.decode(job, store)
    assert all(job.masks and store.has("images", job.masks.key) for job in plan.segments)
