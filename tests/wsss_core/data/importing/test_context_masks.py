"""Context masks of a data folder: imported, renamed and recorded like masks, also in place."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.wsss_core.data.importing.conftest import noisy, rectangle, save
from wsss_core.data.folder import FolderSource
from wsss_core.data.image_set import SPLITS
from wsss_core.data.importing import (
    ImportSettings,
    PublishedSource,
    SourceSettings,
    check_imported,
    import_data,
)
from wsss_core.errors import InputError

Settings = Callable[..., ImportSettings]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.array(opened)


def data_folder(root: Path, seed: int) -> Path:
    """Value 3 is smoke, 7 is steam; every masked image and one clear image has a context mask."""
    for name in ("smoke/a", "steam/b", "clear/c"):
        seed += 1
        save(root / f"train/{name}.png", noisy(seed))
    for split in ("tune", "test"):
        for stem, value in (("p", 3), ("q", 7)):
            seed += 1
            save(root / f"{split}/images/{stem}.png", noisy(seed))
            save(root / f"{split}/masks/{stem}.png", rectangle(value, seed))
            save(root / f"{split}/context/{stem}.png", rectangle(10 - value, seed + 50))
        save(root / f"{split}/clear/r.png", noisy(seed + 100))
        save(root / f"{split}/context/r.png", rectangle(7, seed + 70))
    (root / "classes.yaml").write_text("classes: {3: smoke, 7: steam}\n")
    return root


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return data_folder(tmp_path / "mine", 0)


def test_context_masks_keep_their_stems_and_their_classes(
    mine: Path, settings: Settings, tmp_path: Path
) -> None:
    record = import_data(settings(mine))
    assert not any("left out" in note for note in (*record.notes, *record.sources[0]["notes"]))
    for split in ("tune", "test"):
        for stem in "pqr":
            given = pixels(mine / split / f"context/{stem}.png")
            expected = np.select([given == 3, given == 7], [1, 2], 0)
            written = pixels(tmp_path / "data" / split / f"context/{stem}.png")
            np.testing.assert_array_equal(written, expected)


def test_context_masks_are_recorded(mine: Path, settings: Settings, tmp_path: Path) -> None:
    import_data(settings(mine))
    root = tmp_path / "data"
    with (root / "images.csv").open(newline="") as opened:
        digests = {row["file"]: row["context_digest"] for row in csv.DictReader(opened)}
    assert {file for file, digest in digests.items() if not digest} == {
        f"train/images/{stem}.png" for stem in "abc"
    }
    check_imported(root)
    save(root / "test/context/r.png", rectangle(1, 9))
    with pytest.raises(InputError, match=r"context/r\.png: differs from what was imported"):
        check_imported(root)


def test_chosen_classes_keep_their_context_alone(
    mine: Path, settings: Settings, tmp_path: Path
) -> None:
    import_data(settings(mine, source={"classes": {"steam": ("steam",)}}, least_area=1))
    given = pixels(mine / "test/context/p.png")
    written = pixels(tmp_path / "data/test/context/p.png")
    np.testing.assert_array_equal(written, given == 7)


def test_context_masks_of_several_sources_follow_the_new_names_in_place_too(
    mine: Path, settings: Settings, tmp_path: Path
) -> None:
    other = data_folder(tmp_path / "other", 200)
    one = settings(mine)
    both = replace(one, sources=(*one.sources, SourceSettings(other, "other")))
    import_data(both)
    for source in (mine, other):
        name = f"test/context/{source.name}__q.png"
        expected = pixels(source / "test/context/q.png") == 3
        np.testing.assert_array_equal(pixels(tmp_path / "data" / name) == 1, expected)
    imported, in_place = FolderSource(tmp_path / "data"), PublishedSource(both)
    for split in SPLITS:
        before = in_place.fingerprint(split)
        found, expected = in_place.read(split, 8).contexts, imported.read(split, 8).contexts
        assert (found is None) == (expected is None) == (split == "train")
        if found is not None and expected is not None:
            np.testing.assert_array_equal(found.pixels, expected.pixels)
            np.testing.assert_array_equal(found.shapes, expected.shapes)
            save(mine / split / "context/q.png", rectangle(7, 1234))
            assert PublishedSource(both).fingerprint(split) != before


def test_context_masks_of_images_that_are_now_trained_on_are_counted(
    mine: Path, settings: Settings, tmp_path: Path
) -> None:
    record = import_data(settings(mine, "train=0.4,tune=0.3,test=0.3"))
    assert any("trained on, where context masks are not kept" in note for note in record.notes)
    assert not (tmp_path / "data/train/context").exists()
    assert len(FolderSource(tmp_path / "data").read("train", 8)) > 0


def test_a_context_mask_of_another_size_is_refused(mine: Path, settings: Settings) -> None:
    save(mine / "test/context/q.png", np.full((10, 15), 3, np.uint8))
    with pytest.raises(InputError, match=r"from their context mask .*q, 30x20, mask 15x10"):
        import_data(settings(mine))
