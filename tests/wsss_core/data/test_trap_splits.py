"""Trap splits: which images stay, that the folder is whole, and scenes with a reversed test."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wsss_core.data.folder import FolderSource
from wsss_core.data.folder.origins import read_flags
from wsss_core.data.scenes import SceneSettings, SceneSource
from wsss_core.data.trap_splits import make_trap, most_with_share
from wsss_core.errors import InputError

SPLITS = ("train", "tune", "test")


def write_data(root: Path) -> Path:
    """12 images a split with smoke, 12 without; every second of each at night, a third of RISE."""
    lines, origins = ["file,flags"], ["file,group,source,camera"]
    for split in SPLITS:
        for kind in ("smoke", "clear"):
            folder = kind if split == "train" else {"smoke": "images"}.get(kind, kind)
            for number in range(12):
                place = root / split / folder / f"{kind}{number}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                value = 10 * number + SPLITS.index(split)
                Image.fromarray(np.full((20, 20, 3), value, np.uint8)).save(place)
                if kind == "smoke":
                    mask = np.zeros((20, 20), np.uint8)
                    mask[number:, :5] = 255
                    masks = root / split / "masks" / ("smoke" if split == "train" else "")
                    masks.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(mask).save(masks / place.name)
                name = f"{split}/{folder}/{place.name}"
                if number % 2:
                    lines.append(f"{name},night;rain")
                origins.append(
                    f"{name},{split}-{kind}{number // 2},{'RISE' if number < 4 else 'B'},"
                )
    (root / "attributes.csv").write_text("\n".join(lines) + "\n")
    (root / "groups.csv").write_text("\n".join(origins) + "\n")
    return root


def shares(source: FolderSource, split: str, flag: str) -> list[float]:
    labels = source.outline(split).labels[:, 0]
    entries = source.images(split)
    flags = read_flags(source.root, split, {one.identifier for one in entries})
    has = np.array([flag in flags.get(one.identifier, ()) for one in entries])
    return [float(has[labels == held].mean()) for held in (True, False)]


def test_the_flag_goes_with_the_class_and_in_test_against_it(tmp_path: Path) -> None:
    root = write_data(tmp_path / "data")
    made = make_trap(root, tmp_path / "trap", "night", agreement=0.75)
    trap = FolderSource(tmp_path / "trap")
    for split, expected in (
        ("train", [0.75, 0.25]),
        ("tune", [0.75, 0.25]),
        ("test", [0.25, 0.75]),
    ):
        assert shares(trap, split, "night") == expected
        assert len(trap.images(split)) == 16  # of 6 + 6 as many as keep three to one: 6 + 2
    assert shares(FolderSource(root), "train", "night") == [0.5, 0.5]
    assert [one.kept for one in made.splits] == [(6, 2, 2, 6), (6, 2, 2, 6), (2, 6, 6, 2)]
    record = json.loads((tmp_path / "trap" / "trap.json").read_text())
    assert (record["flag"], record["class"], record["seed"]) == ("night", "smoke", 0)


def test_what_belongs_to_an_image_comes_with_it(tmp_path: Path) -> None:
    root = write_data(tmp_path / "data")
    make_trap(root, tmp_path / "trap", "night", agreement=1.0)
    whole, trap = FolderSource(root), FolderSource(tmp_path / "trap")
    trap.check(16).findings.raise_refused("")
    for split in SPLITS:
        before = whole.read(split, 16)
        after = trap.read(split, 16)
        places = [before.identifiers.index(name) for name in after.identifiers]
        np.testing.assert_array_equal(after.images, before.images[places])
        assert after.flags == tuple(before.flags[place] for place in places)
        assert after.sources == tuple(before.sources[place] for place in places)
        assert after.groups == tuple(before.groups[place] for place in places)
        if split != "train":
            for place, index in enumerate(places):
                np.testing.assert_array_equal(after.mask(place), before.mask(index))
    kept = set(trap.training_masks())
    assert kept == {
        name for name in whole.training_masks() if (trap.root / "train" / name).exists()
    }
    assert kept


def test_another_seed_keeps_other_images_and_the_same_seed_the_same(tmp_path: Path) -> None:
    root = write_data(tmp_path / "data")
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_trap(root, tmp_path / name, "night", agreement=0.75, seed=seed, linked=True)
    a, b, c = (
        [one.identifier for one in FolderSource(tmp_path / name).images("train")] for name in "abc"
    )
    assert a == b
    assert a != c
    assert (tmp_path / "a" / "train" / a[0]).is_symlink()


def test_a_source_is_a_flag_too(tmp_path: Path) -> None:
    made = make_trap(write_data(tmp_path / "data"), tmp_path / "trap", "source RISE", agreement=1)
    assert [one.kept for one in made.splits] == [(4, 0, 0, 8), (4, 0, 0, 8), (0, 8, 4, 0)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"flag": "nigth"}, "train: no image has the flag 'nigth'; nearest: 'night'"),
        ({"class_name": "steam"}, "class: expected one of smoke, got 'steam'"),
        ({"agreement": 0.5}, "agreement: expected above 0.5, at most 1, got 0.5"),
        ({"flag": "rare", "agreement": 1.0}, "train: no image with the class is with the flag"),
    ],
)
def test_bad_input_is_named_before_anything_is_written(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    root = write_data(tmp_path / "data")
    lines = [f"{split}/clear/clear0.png,rare" for split in SPLITS]
    with (root / "attributes.csv").open("a") as file:
        file.write("\n".join(lines) + "\n")
    settings = {"flag": "night", **changes}
    with pytest.raises(InputError, match=said):
        make_trap(root, tmp_path / "trap", **settings)  # type: ignore[arg-type]
    assert not (tmp_path / "trap").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(InputError, match="expected a new or an empty folder"):
        make_trap(root, tmp_path / "full", "night")


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0, 1))
def test_no_larger_number_of_images_has_the_share(there: int, others: int, share: float) -> None:
    first, second = most_with_share(there, others, share)
    assert 0 <= first <= there
    assert 0 <= second <= others
    every = [
        a + b
        for a in range(there + 1)
        for b in range(others + 1)
        if a + b and a == round(share * (a + b))
    ]
    assert first + second == max(every, default=0)


SETTINGS = SceneSettings(size=16, steam=0.5)


def test_reversed_scenes_differ_in_the_contexts_of_the_test_split_alone() -> None:
    plain = SceneSource(SETTINGS, 6, 4, 60)
    trap = SceneSource(SETTINGS, 6, 4, 60, reverse_test=True)
    for split in ("train", "tune"):
        assert plain.fingerprint(split) == trap.fingerprint(split)
    assert plain.fingerprint("test") != trap.fingerprint("test")
    assert SceneSource(SETTINGS.reversed(), 6, 4, 60).fingerprint("test") == trap.fingerprint(
        "test"
    )
    one, other = plain.read("test", 16), trap.read("test", 16)
    np.testing.assert_array_equal(one.labels, other.labels)
    for number in (0, 1):
        held = other.labels[:, number]
        there = np.array([bool(other.context(i, number).any()) for i in range(60)])  # type: ignore[union-attr]
        assert there[held].mean() < 0.6
        assert there[~held].mean() > 0.7


def test_a_family_reversed_twice_is_itself() -> None:
    assert SETTINGS.reversed().reversed() == SETTINGS
    assert replace(SETTINGS.reversed(), chimney_given_smoke=0.95) != SETTINGS
