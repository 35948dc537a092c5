from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_core.data.folder.source import FolderSource
from wsss_core.data.image_set import SPLITS
from wsss_core.data.scenes.scene import SceneSettings, render_scene
from wsss_core.data.scenes.sheet import contact_sheet
from wsss_core.data.scenes.source import SceneSource, write_scenes
from wsss_core.errors import InputError

SETTINGS = SceneSettings(size=32, seed=4)
SOURCE = SceneSource(SETTINGS, train=12, tune=8, test=9)


def test_no_scene_is_in_two_splits():
    seen = [index for split in SPLITS for index in SOURCE.indices(split)]
    assert len(seen) == len(set(seen)) == 12 + 8 + 9


@pytest.mark.parametrize("split", ["tune", "test"])
@pytest.mark.parametrize("size", [32, 48])
def test_split_holds_the_scenes_of_its_indices_at_the_size_asked_for(split, size):
    read = SOURCE.read(split, size)
    assert read.classes == ("smoke",)
    assert read.images.shape == (len(SOURCE.indices(split)), size, size, 3)
    for position, index in enumerate(SOURCE.indices(split)):
        scene = render_scene(replace(SETTINGS, size=size), index)
        np.testing.assert_array_equal(read.images[position], scene.image)
        np.testing.assert_array_equal(read.mask(position), scene.smoke_mask.astype(np.uint8))
        np.testing.assert_array_equal(read.context(position), scene.context_mask)
        assert read.labels[position].tolist() == [scene.has_smoke]
    assert read.identifiers[3] == "scene_000003"
    assert read.groups == read.identifiers


def test_training_split_has_image_level_labels_alone():
    read = SOURCE.read("train", 32)
    assert not read.has_masks
    assert read.context(0) is None
    for position, index in enumerate(SOURCE.indices("train")):
        scene = render_scene(SETTINGS, index)
        np.testing.assert_array_equal(read.images[position], scene.image)
        assert read.labels[position, 0] == scene.has_smoke


def test_more_scenes_in_one_split_leave_all_that_was_there():
    larger = SceneSource(SETTINGS, train=30, tune=8, test=20)
    for split in SPLITS:
        mine = SOURCE.read(split, 32).images
        np.testing.assert_array_equal(larger.read(split, 32).images[: len(mine)], mine)


def test_fingerprint_changes_with_the_split_and_all_that_changes_its_scenes_only():
    def fingerprints(source: SceneSource) -> list[str]:
        return [source.fingerprint(split) for split in SPLITS]

    own = fingerprints(SOURCE)
    assert len(set(own)) == 3
    for changes in (
        {"seed": 5},
        {"smoke": 0.4},
        {"chimney_given_smoke": 0.9},
        {"chimney_given_clear": 0.5},
    ):
        other = SceneSource(replace(SETTINGS, **changes), train=12, tune=8, test=9)
        assert not set(own) & set(fingerprints(other))
    same = SceneSource(replace(SETTINGS, size=64, seed=np.int64(4)), train=12, tune=8, test=9)
    assert fingerprints(same) == own
    more_training = fingerprints(SceneSource(SETTINGS, train=13, tune=8, test=9))
    assert more_training[0] != own[0]
    assert more_training[1:] == own[1:]


def test_fingerprint_changes_with_the_version_of_the_generator(monkeypatch):
    before = SOURCE.fingerprint("test")
    monkeypatch.setattr("wsss_core.data.scenes.source.SCENE_VERSION", 10**6)
    assert SOURCE.fingerprint("test") != before


def test_written_folder_reads_back_as_the_same_splits(tmp_path: Path):
    folder = tmp_path / "new" / "scenes"
    write_scenes(SOURCE, folder)
    written = FolderSource(folder)
    assert written.classes == SOURCE.classes
    for split in SPLITS:
        drawn, read = SOURCE.read(split, 32), written.read(split, 32)
        assert len(read) == len(drawn)
        for position, identifier in enumerate(read.identifiers):
            original = drawn.identifiers.index(Path(identifier).stem)
            np.testing.assert_array_equal(read.images[position], drawn.images[original])
            np.testing.assert_array_equal(read.labels[position], drawn.labels[original])
            if split != "train":
                np.testing.assert_array_equal(read.mask(position), drawn.mask(original))
                np.testing.assert_array_equal(read.context(position), drawn.context(original))


def test_written_masks_are_black_and_white(tmp_path: Path):
    write_scenes(SOURCE, tmp_path)
    masks = [*tmp_path.glob("t*/masks/*.png"), *tmp_path.glob("t*/context/*.png")]
    values = {value for path in masks for value in np.unique(np.asarray(Image.open(path)))}
    assert values == {0, 255}


def test_folder_that_holds_something_is_refused_and_left_alone(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="folder is not empty"):
        write_scenes(SOURCE, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_path_that_is_a_file_is_refused(tmp_path: Path):
    file = tmp_path / "scenes"
    file.write_text("mine")
    with pytest.raises(InputError, match="cannot write scenes there"):
        write_scenes(SOURCE, file)


@pytest.mark.parametrize(("smoke", "kind"), [(0.0, "with smoke"), (1.0, "without smoke")])
def test_data_set_that_could_not_be_read_is_refused_before_anything_is_written(
    tmp_path: Path, smoke, kind
):
    source = SceneSource(replace(SETTINGS, smoke=smoke), train=5, tune=5, test=5)
    with pytest.raises(InputError, match=f"none of the 5 train scenes is {kind}"):
        write_scenes(source, tmp_path / "scenes")
    assert not (tmp_path / "scenes").exists()


@pytest.mark.parametrize("count", [0, -3, 2.0, True, 10**9 + 1])
def test_number_of_scenes_out_of_range_is_refused(count):
    with pytest.raises(InputError, match="scenes: tune is"):
        SceneSource(SETTINGS, tune=count)


def test_unknown_split_is_refused():
    with pytest.raises(ValueError, match="'val', expected one of train, tune, test"):
        SOURCE.read("val", 32)


def test_contact_sheet_shows_each_scene_with_its_outlines_and_counterfactuals():
    settings = replace(SETTINGS, size=128)
    indices = [i for i in range(40) if render_scene(settings, i).has_smoke][:2]
    sheet = np.asarray(contact_sheet(settings, indices=indices))
    cell, gap, header = 128, 4, 18
    assert sheet.shape == (header + 2 * 128 + gap, 4 * 128 + 3 * gap, 3)
    for row, index in enumerate(indices):
        top = header + row * (cell + gap)
        image, outlined, smokeless, bare = (
            sheet[top : top + cell, left : left + cell]
            for left in range(0, 4 * (cell + gap), cell + gap)
        )
        scene = render_scene(settings, index)
        np.testing.assert_array_equal(image, scene.image)
        np.testing.assert_array_equal(smokeless, render_scene(settings, index, smoke=False).image)
        np.testing.assert_array_equal(bare, render_scene(settings, index, chimney=False).image)
        drawn = (outlined != image).any(axis=2)
        assert drawn.any()
        assert not drawn[~(scene.smoke_mask | scene.context_mask)].any()


def test_small_scenes_are_enlarged_on_the_contact_sheet_by_a_whole_factor():
    sheet = np.asarray(contact_sheet(SETTINGS, count=1))
    scene = render_scene(SETTINGS, 0)
    np.testing.assert_array_equal(sheet[18:, :128], np.kron(scene.image, np.ones((4, 4, 1))))


def test_contact_sheet_of_no_scene_is_refused():
    with pytest.raises(InputError, match="0 scenes on a contact sheet"):
        contact_sheet(SETTINGS, count=0)
