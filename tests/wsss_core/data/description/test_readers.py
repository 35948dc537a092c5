"""The same images described from a folder, from scenes and from a plug-in; and counts of files."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_core.data import ImageSet, describe_data
from wsss_core.data.description import CompanionKind
from wsss_core.data.description.looks import look_of, with_looks
from wsss_core.data.folder import FolderSource
from wsss_core.data.importing import (
    ImportSettings,
    PublishedSource,
    SourceSettings,
    SplitSettings,
    import_data,
)
from wsss_core.data.scenes import SceneSettings, SceneSource, write_scenes
from wsss_core.errors import InputError

SETTINGS = SceneSettings(size=24, steam=0.4)


class Other:
    """A source that is neither a folder nor scenes."""

    def __init__(self, source: FolderSource) -> None:
        self.inner = source
        self.classes = source.classes

    def fingerprint(self, split: str) -> str:
        return self.inner.fingerprint(split)

    def read(self, split: str, size: int) -> ImageSet:
        return self.inner.read(split, size)


@pytest.fixture
def scenes() -> SceneSource:
    return SceneSource(SETTINGS, train=40, tune=12, test=12)


@pytest.fixture
def folder(scenes: SceneSource, tmp_path: Path) -> Path:
    write_scenes(scenes, tmp_path / "scenes")
    return tmp_path / "scenes"


def test_scenes_and_the_folder_of_them_are_described_alike(scenes: SceneSource, folder: Path):
    of_scenes, of_folder = (describe_data(source, pictures=0) for source in (scenes, folder))
    assert of_scenes.classes == of_folder.classes == ("smoke", "steam")
    # A folder knows no contexts of training images, and calls those of the others by their class.
    names = {"chimneys": "context of smoke", "cooling towers": "context of steam"}
    rows = [
        {
            (row.class_name, names.get(row.companion, row.companion), row.both, row.lift, row.low)
            for row in described.cooccurrences
            if row.scope != "train"
            and row.kind in (CompanionKind.CONTEXT, CompanionKind.OTHER_CLASS)
        }
        for described in (of_scenes, of_folder)
    ]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 6
    assert [row.images for row in of_scenes.counts] == [row.images for row in of_folder.counts]


def test_a_plugin_is_described_as_the_folder_that_it_reads(folder: Path):
    source = FolderSource(folder)
    of_folder = describe_data(source, pictures=0)
    of_other = describe_data(Other(source), size=24, pictures=0)
    assert of_other.counts == of_folder.counts
    assert of_other.cooccurrences == of_folder.cooccurrences


def test_a_published_set_is_described_in_place_as_the_folder_of_its_import(tmp_path: Path):
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for n in range(9):
            for kind in ("img", "gt"):
                path = tmp_path / f"SMOKE5K/{split}/{kind}/{n}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = random.integers(0, 256, (12, 16, 3), np.uint8)
                mask = np.zeros((12, 16), np.uint8)
                mask[: n + 1] = 255
                Image.fromarray(pixels if kind == "img" else mask).save(path)
    sources = (SourceSettings(tmp_path / "SMOKE5K", "SMOKE5K"),)
    settings = ImportSettings(sources, tmp_path / "set", split=SplitSettings(tune=3))
    import_data(settings)
    in_place, imported = (
        describe_data(source, pictures=2)
        for source in (PublishedSource(settings), tmp_path / "set")
    )
    assert in_place.counts == imported.counts
    assert in_place.cooccurrences == imported.cooccurrences
    for one, other in zip(in_place.sheet, imported.sheet, strict=True):
        assert one.title == other.title
        for left, right in zip(one.thumbnails, other.thumbnails, strict=True):
            assert np.array_equal(left.pixels, right.pixels)


def test_figures_are_those_of_the_files(folder: Path):
    described = describe_data(folder, pictures=0)
    (row,) = (r for r in described.counts if (r.split, r.class_name) == ("test", "steam"))
    shares = []
    for path in sorted((folder / "test/masks").glob("*.png")):
        values = np.asarray(Image.open(path))
        if (values == 2).any():
            shares.append((values == 2).mean())
    assert row.images == len(shares) > 0
    assert row.share is not None
    assert row.share.median == pytest.approx(np.median(shares))
    assert (row.share.low, row.share.high) == pytest.approx(
        (np.quantile(shares, 0.05), np.quantile(shares, 0.95))
    )
    assert row.largest == (24, 24)
    assert str(row.label_type) == "pixel-level"


def test_ignored_pixels_count_neither_as_object_nor_as_image(root: Path):
    mask = np.zeros((8, 8), np.uint8)
    mask[:2], mask[2:4] = 3, 255
    (root / "classes.yaml").write_text("classes: {3: smoke}\n")
    for path in [*root.glob("t*/masks/*.png")]:
        Image.fromarray(mask).save(path)
    counts = describe_data(root, pictures=0).counts
    (row,) = (r for r in counts if (r.split, r.class_name) == ("test", "smoke"))
    assert row.share is not None
    assert row.share.median == 16 / 48


def test_a_folder_without_tune_is_described_and_the_split_is_missed(root: Path):
    shutil.rmtree(root / "tune")
    described = describe_data(root, pictures=0)
    assert {row.split for row in described.counts} == {"train", "test"}
    assert "there is no split tune" in described.notes


def test_a_mask_of_another_size_is_named(root: Path):
    Image.fromarray(np.zeros((4, 8), np.uint8)).save(root / "test/masks/p.png")
    with pytest.raises(InputError, match=r"p\.png: 8x4 pixels, expected 8x8"):
        describe_data(root)


def test_a_broken_image_is_named(root: Path):
    (root / "train/smoke/a.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"a\.png: not an image"):
        describe_data(root)


def test_the_darkest_quarter_looks_dark_and_the_greyest_grey():
    described = describe_data(SceneSource(SceneSettings(size=16), 40, 4, 4), pictures=0)
    train = [one for one in described.images if one.split == "train"]
    dark = {one.identifier for one in train if "dark" in one.looks}
    by_brightness = sorted(train, key=lambda one: one.look.brightness if one.look else 0)
    assert dark == {one.identifier for one in by_brightness[:10]}


def test_images_that_are_all_alike_look_like_nothing():
    described = describe_data(SceneSource(SceneSettings(size=16), 8, 4, 4), pictures=0)
    same = look_of(np.full(2304, 9, np.uint8))
    alike = [replace(one, look=same, looks=()) for one in described.images]
    assert all(one.looks == () for one in with_looks(alike, {"train": ["train"]}))
