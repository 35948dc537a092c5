"""Steam over cooling towers beside smoke over chimneys: scenes of two classes."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from wsss_core.data.folder.source import FolderSource
from wsss_core.data.scenes.scene import SceneSettings, render_scene
from wsss_core.data.scenes.source import SceneSource, index_context, index_mask, write_scenes
from wsss_core.errors import InputError

TWO = SceneSettings(size=48, steam=0.5, seed=3)


def test_scenes_of_one_class_are_what_they_were_to_the_bit():
    digest = hashlib.sha256()
    for index in range(6):
        scene = render_scene(SceneSettings(size=32, seed=5), index)
        for part in (scene.image, scene.smoke_mask, scene.context_mask):
            digest.update(part.tobytes())
        assert not scene.has_steam
        assert not scene.steam_mask.any()
        assert not scene.tower_mask.any()
    assert digest.hexdigest()[:16] == "ffca2f875a86a252"


def test_the_fingerprint_of_one_class_is_what_it_was():
    source = SceneSource(SceneSettings(size=32, seed=5), train=4, tune=2, test=2)
    assert source.fingerprint("train") == "70da2f2eda02cb7071265ec2c907057d"
    assert source.classes == ("smoke",)


@pytest.mark.parametrize(
    ("thing", "mask"), [("steam", "steam_mask"), ("cooling_tower", "tower_mask")]
)
def test_taking_a_thing_out_changes_the_pixels_it_covers_and_no_other(thing, mask):
    changed = 0
    for index in range(20):
        scene = render_scene(TWO, index)
        without = render_scene(TWO, index, **{thing: False})
        differs = (scene.image != without.image).any(axis=-1)
        assert not getattr(without, mask).any()
        if not getattr(scene, f"has_{thing}"):
            assert not differs.any()
            continue
        changed += 1
        # A thing covers more than its mask, which holds what it mostly hides: a margin around it.
        rows, columns = np.nonzero(getattr(scene, mask))
        if len(rows):
            box = np.zeros_like(differs)
            box[max(0, rows.min() - 12) : rows.max() + 13,
                max(0, columns.min() - 12) : columns.max() + 13] = True  # fmt: skip
            assert not (differs & ~box).any()
    assert changed > 3


def test_steam_comes_and_goes_with_its_share_whether_there_is_smoke_or_not():
    settings = SceneSettings(
        size=16, steam=0.3, cooling_tower_given_steam=0.9, cooling_tower_given_clear=0.2
    )
    scenes = [render_scene(settings, index) for index in range(400)]
    steam = np.array([scene.has_steam for scene in scenes])
    smoke = np.array([scene.has_smoke for scene in scenes])
    tower = np.array([scene.has_cooling_tower for scene in scenes])
    # Five standard deviations of a binomial share.
    for share, expected in (
        (steam, 0.3), (steam[smoke], 0.3), (tower[steam], 0.9), (tower[~steam], 0.2),
    ):  # fmt: skip
        assert abs(share.mean() - expected) < 5 * np.sqrt(expected * (1 - expected) / len(share))


def test_where_smoke_and_steam_meet_the_mask_holds_what_is_in_front():
    met = {True: 0, False: 0}
    for index in range(300):
        scene = render_scene(TWO, index, smoke=True, steam=True)
        both = scene.smoke_mask & scene.steam_mask
        if both.any():
            met[scene.smoke_in_front] += 1
            front = 1 if scene.smoke_in_front else 2
            assert (index_mask(scene)[both] == front).all()
    assert met[True] > 3


def test_a_split_has_both_labels_and_the_test_scenes_without_each_thing():
    source = SceneSource(TWO, train=6, tune=3, test=8)
    assert source.classes == ("smoke", "steam")
    test = source.read("test", 48)
    assert test.without_objects.shape == test.without_contexts.shape == (2, 8, 48, 48, 3)
    assert source.read("train", 48).without_objects is None
    for position, index in enumerate(source.indices("test")):
        scene = render_scene(TWO, index)
        assert test.labels[position].tolist() == [scene.has_smoke, scene.has_steam]
        assert np.array_equal(test.mask(position), index_mask(scene))
        tower = test.context(position, 1)
        assert tower is not None
        assert np.array_equal(tower, index_context(scene) == 2)
        without = render_scene(TWO, index, cooling_tower=False).image
        assert np.array_equal(test.without_contexts[1, position], without)


def test_written_and_read_again_they_are_the_same_images_labels_and_masks(tmp_path: Path):
    source = SceneSource(TWO, train=12, tune=6, test=6)
    write_scenes(source, tmp_path / "scenes")
    folder = FolderSource(tmp_path / "scenes")
    assert folder.classes == source.classes
    for split in ("train", "tune", "test"):
        ours, theirs = source.read(split, 48), folder.read(split, 48)
        by_name = {Path(name).stem: index for index, name in enumerate(theirs.identifiers)}
        for position, name in enumerate(ours.identifiers):
            index = by_name[name]
            assert np.array_equal(ours.images[position], theirs.images[index])
            if split == "train":
                assert np.array_equal(ours.labels[position], theirs.labels[index])
                continue
            assert np.array_equal(ours.mask(position), theirs.mask(index))
            for number in range(2):
                one, other = ours.context(position, number), theirs.context(index, number)
                assert np.array_equal(one, other)


def test_a_split_without_the_rare_class_is_refused_before_anything_is_written(tmp_path: Path):
    rare = SceneSettings(size=16, steam=0.03, seed=1)
    few = range(2 * 10**9, 2 * 10**9 + 4)  # the first test scenes
    assert not any(render_scene(rare, index).has_steam for index in few)
    source = SceneSource(rare, train=120, tune=120, test=4)
    with pytest.raises(InputError, match=r"none of the 4 test scenes is with steam.* is 0\.03$"):
        write_scenes(source, tmp_path / "scenes")
    assert not (tmp_path / "scenes").exists()


def test_a_share_of_3_percent_is_in_some_3_percent_of_the_scenes():
    rare = SceneSettings(size=16, steam=0.03, seed=0)
    held = [render_scene(rare, index).has_steam for index in range(600)]
    assert 6 <= sum(held) <= 33  # 18 on average; 99.9 % of such counts
