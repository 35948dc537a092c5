"""Five classes and their contexts: contrail, flare and dust beside smoke and steam."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wsss_core.data.folder.source import FolderSource
from wsss_core.data.scenes.scene import THINGS, SceneSettings, render_scene
from wsss_core.data.scenes.source import SceneSource, index_context, index_mask, write_scenes
from wsss_core.errors import InputError

FIVE = SceneSettings(size=32, steam=0.4, further=0.4, seed=2)
CLASSES = ("smoke", "steam", "contrail", "flare", "dust")
FURTHER = THINGS[2:]


def test_two_classes_are_what_they_were_beside_three_more():
    two = SceneSettings(size=32, steam=0.4, seed=2)
    for index in range(12):
        bare = {name: False for pair in FURTHER for name in pair}
        scene, before = render_scene(FIVE, index, **bare), render_scene(two, index)
        assert np.array_equal(scene.image, before.image)
        assert np.array_equal(index_mask(scene), index_mask(before))
        assert before.further_masks == {}


@pytest.mark.parametrize("thing", [name for pair in FURTHER for name in pair])
def test_taking_a_further_thing_out_changes_the_pixels_it_covers_and_no_other(thing):
    changed = 0
    for index in range(24):
        scene = render_scene(FIVE, index)
        without = render_scene(FIVE, index, **{thing: False})
        differs = (scene.image != without.image).any(axis=-1)
        assert thing not in without.things
        assert not without.further_masks[thing].any()
        if thing not in scene.things:
            assert not differs.any()
            continue
        mask = scene.further_masks[thing]
        # What is solid and in sight differs; a thing covers more than its mask.
        changed += bool(differs[mask].any())
        rows, columns = np.nonzero(mask)
        if len(rows):
            box = np.zeros_like(differs)
            box[max(0, rows.min() - 8) : rows.max() + 9,
                max(0, columns.min() - 10) : columns.max() + 11] = True  # fmt: skip
            assert not (differs & ~box).any()
    assert changed >= 4


@pytest.mark.ci
def test_classes_and_contexts_come_with_their_shares():
    settings = SceneSettings(
        size=16, steam=0.3, further=0.3, context_given_further=0.9, context_given_without=0.2
    )
    scenes = [render_scene(settings, index) for index in range(300)]
    for thing, context in FURTHER:
        held = np.array([thing in scene.things for scene in scenes])
        beside = np.array([context in scene.things for scene in scenes])
        # Five standard deviations of a binomial share.
        for found, expected in ((held, 0.3), (beside[held], 0.9), (beside[~held], 0.2)):
            deviation = np.sqrt(expected * (1 - expected) / len(found))
            assert abs(found.mean() - expected) < 5 * deviation


def test_every_class_has_pixels_and_a_context_in_the_test_split():
    source = SceneSource(FIVE, train=4, tune=2, test=16)
    assert source.classes == CLASSES
    test = source.read("test", 32)
    assert test.without_objects.shape == (5, 16, 32, 32, 3)
    assert np.array_equal(source.outline("test").labels, test.labels)
    for number, (thing, context) in enumerate(THINGS):
        masks = [test.mask(position) == number + 1 for position in range(16)]
        contexts = [test.context(position, number) for position in range(16)]
        assert any(mask.any() for mask in masks), thing
        assert any(one.any() for one in contexts), context
        for position, mask in enumerate(masks):
            assert test.labels[position, number] or not mask.any()


def test_the_mask_holds_the_thing_that_is_in_front():
    everything = {name: True for pair in FURTHER for name in pair}
    for index in range(12):
        scene = render_scene(FIVE, index, smoke=True, steam=True, **everything)
        mask = index_mask(scene)
        dust = scene.further_masks["dust"]
        front = scene.smoke_mask if scene.smoke_in_front else np.zeros_like(dust)
        assert (mask[dust & ~front] == 5).all()
        assert (mask[front] == 1).all()
        solid = scene.further_masks["stockpile"]
        assert (index_context(scene)[solid] == 5).all()


@pytest.mark.ci
def test_written_and_read_again_five_classes_are_the_same(tmp_path: Path):
    often = replace(FIVE, steam=0.7, further=0.7)
    source = SceneSource(often, train=12, tune=10, test=10)
    write_scenes(source, tmp_path / "scenes")
    folder = FolderSource(tmp_path / "scenes")
    assert folder.classes == CLASSES
    for split in ("train", "test"):
        ours, theirs = source.read(split, 32), folder.read(split, 32)
        by_name = {Path(name).stem: index for index, name in enumerate(theirs.identifiers)}
        for position, name in enumerate(ours.identifiers):
            index = by_name[name]
            assert np.array_equal(ours.images[position], theirs.images[index])
            assert np.array_equal(ours.labels[position], theirs.labels[index])
            if split == "test":
                assert np.array_equal(ours.mask(position), theirs.mask(index))


def test_further_classes_without_steam_are_refused():
    with pytest.raises(InputError, match=r"^scenes: further is 0.3 and steam is 0, expected steam"):
        SceneSettings(further=0.3)


def test_a_further_thing_of_a_family_without_them_is_refused():
    with pytest.raises(InputError, match=r"^scenes: thing 'dust', the family has no further ones$"):
        render_scene(SceneSettings(size=16), 0, dust=True)
    with pytest.raises(InputError, match=r"^scenes: thing 'fog', expected one of contrail, "):
        render_scene(FIVE, 0, fog=False)


def test_in_a_reversed_family_contexts_go_with_the_scenes_without_their_class():
    found = FIVE.reversed()
    assert (found.context_given_further, found.context_given_without) == (0.4, 0.95)
