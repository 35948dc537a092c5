"""From a source to a data folder: what is in it, how it is written, and going on."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wsss_core.data.importing.writing as writing
from wsss_core.data.folder import FolderSource
from wsss_core.data.importing import check_imported, import_data, read_record
from wsss_core.errors import InputError

VALUES = {1: "smoke", 2: "steam"}


def files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def rows(root: Path) -> list[dict[str, str]]:
    with (root / "images.csv").open(newline="") as opened:
        return list(csv.DictReader(opened))


def test_images_keep_their_bytes_and_masks_their_pixels(smoke5k, settings, tmp_path):
    import_data(settings(smoke5k, tune="2"))
    root = tmp_path / "data"
    for split, count in (("train", 6), ("tune", 2), ("test", 4)):
        written = sorted((root / split / "images").iterdir())
        assert len(written) == count
        for image in written:
            origin = "test" if split == "test" else "train"
            assert image.read_bytes() == (smoke5k / origin / "img" / image.name).read_bytes()
            if split != "train":
                with Image.open(smoke5k / origin / "gt" / image.name) as opened:
                    truth = np.array(opened) > 0
                with Image.open(root / split / "masks" / image.name) as opened:
                    np.testing.assert_array_equal(np.array(opened), truth)


def test_the_folder_is_read_by_the_product_with_the_counts_of_the_record(
    numbered, settings, tmp_path
):
    record = import_data(
        settings(numbered, "train=0.5,tune=0.25,test=0.25", options={"values": VALUES})
    )
    truth = {}
    for path in sorted((numbered / "masks").iterdir()):
        with Image.open(path) as opened:
            truth[path.name] = {VALUES[v] for v in np.unique(np.array(opened)) if v}
    summary = FolderSource(tmp_path / "data").examine()
    assert summary.classes == ("smoke", "steam")
    for split, figures in summary.splits.items():
        names = [
            row["file"].split("/")[-1]
            for row in rows(tmp_path / "data")
            if row["file"].startswith(split)
        ]
        for name in VALUES.values():
            counted = sum(name in truth[file] for file in names)
            assert figures.with_class[name] == counted == record.counts[split][name]
        clear = sum(not truth[file] for file in names)
        assert figures.clear == clear == record.counts[split]["clear"]
    assert sum(counts["images"] for counts in record.counts.values()) == 12


def test_the_record_says_where_the_set_came_from(smoke5k, settings, tmp_path):
    import_data(settings(smoke5k, tune="2", seed=3))
    content = json.loads((tmp_path / "data/import.json").read_text())
    assert content["sources"][0]["path"] == str(smoke5k)
    assert content["sources"][0]["format"] == "smoke5k"
    assert content["options"]["seed"] == 3
    assert content["options"]["split"]["tune"] == 2
    assert check_imported(tmp_path / "data") == read_record(tmp_path / "data")
    row = next(row for row in rows(tmp_path / "data") if row["file"] == "test/images/s20.png")
    assert row["source"] == "SMOKE5K"
    assert row["original"] == str(smoke5k / "test/img/s20.png")


@pytest.mark.parametrize("name", ["test/images/s20.png", "test/masks/s20.png", "images.csv"])
def test_a_file_that_was_changed_since_the_import_is_named(smoke5k, settings, tmp_path, name):
    import_data(settings(smoke5k, tune="2"))
    file = tmp_path / "data" / name
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(InputError, match="differs from what was imported"):
        check_imported(tmp_path / "data")


def test_a_record_that_was_changed_is_corrupt(smoke5k, settings, tmp_path):
    import_data(settings(smoke5k, tune="2"))
    file = tmp_path / "data/import.json"
    file.write_text(file.read_text().replace('"smoke5k"', '"voc"'))
    with pytest.raises(InputError, match=r"import\.json: corrupt"):
        read_record(tmp_path / "data")


def test_linked_images_point_to_the_source_and_masks_are_written(smoke5k, settings, tmp_path):
    import_data(settings(smoke5k, tune="2", link=True))
    image = tmp_path / "data/test/images/s20.png"
    assert image.is_symlink()
    assert image.resolve() == (smoke5k / "test/img/s20.png").resolve()
    assert not (tmp_path / "data/test/masks/s20.png").is_symlink()
    assert FolderSource(tmp_path / "data").check().splits["test"].images == 4


def test_the_same_import_again_changes_nothing_and_another_is_refused(smoke5k, settings, tmp_path):
    first = import_data(settings(smoke5k, tune="2"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")}
    assert import_data(settings(smoke5k, tune="2")) == first
    with pytest.raises(InputError, match="holds an import of other sources or options"):
        import_data(settings(smoke5k, tune="3"))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")} == before


def test_a_folder_that_holds_something_is_left_alone(smoke5k, settings, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mine.txt").write_text("mine")
    with pytest.raises(InputError, match="expected a new or empty folder"):
        import_data(settings(smoke5k, tune="2"))
    assert files(tmp_path / "data") == {"mine.txt": b"mine"}


def cut_after(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the writing of files end after some, as a killed process does."""
    left = [count]
    real = writing.write_whole

    def failing(file: Path, content: bytes) -> None:
        if file.suffix == ".png":
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
        real(file, content)

    monkeypatch.setattr(writing, "write_whole", failing)


def test_a_half_import_is_seen_and_gone_on_with(smoke5k, settings, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        cut_after(5, patch)
        with pytest.raises(KeyboardInterrupt):
            import_data(settings(smoke5k, tune="2"))
    assert not (tmp_path / "data").exists()
    half = {p: p.stat().st_ino for p in (tmp_path / "data.unfinished").rglob("*.png")}
    assert len(half) == 5
    import_data(settings(smoke5k, tune="2"))
    assert not (tmp_path / "data.unfinished").exists()
    for path, inode in half.items():
        kept = tmp_path / "data" / path.relative_to(tmp_path / "data.unfinished")
        assert kept.stat().st_ino == inode
    import_data(settings(smoke5k, tune="2", destination=tmp_path / "whole"))
    whole = files(tmp_path / "whole")
    assert {k: v for k, v in files(tmp_path / "data").items() if k != "import.json"} == {
        k: v for k, v in whole.items() if k != "import.json"
    }


def test_a_half_import_of_other_options_is_refused_until_it_is_begun_anew(
    smoke5k, settings, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        cut_after(5, patch)
        with pytest.raises(KeyboardInterrupt):
            import_data(settings(smoke5k, tune="2"))
    with pytest.raises(InputError, match=r"holds a half import .* --anew"):
        import_data(settings(smoke5k, tune="3"))
    record = import_data(settings(smoke5k, tune="3", anew=True))
    assert record.counts["tune"]["images"] == 3
    assert len(list((tmp_path / "data").rglob("*.png"))) == 2 * 12


def test_a_folder_of_the_unfinished_name_that_is_no_import_is_left_alone(
    smoke5k, settings, tmp_path
):
    (tmp_path / "data.unfinished").mkdir()
    (tmp_path / "data.unfinished/mine.txt").write_text("mine")
    with pytest.raises(InputError, match="half import"):
        import_data(settings(smoke5k, tune="2", anew=True))
    assert (tmp_path / "data.unfinished/mine.txt").read_text() == "mine"


def test_images_of_kinds_that_are_not_read_are_counted_by_ending(smoke5k, settings):
    for name in ("x.gif", "y.GIF", "z.avif"):
        (smoke5k / "train/img" / name).write_bytes(b"")
    notes = import_data(settings(smoke5k, tune="2")).notes
    said = "3 images of kinds that are not read are passed over: 1 .avif, 2 .gif (first: train/img/"
    assert any(note.startswith(said) for note in notes)


def test_masks_that_are_mostly_object_look_inverted(smoke5k, settings, tmp_path):
    assert not any("inverted" in note for note in import_data(settings(smoke5k, tune="2")).notes)
    for path in (smoke5k / "test/gt").iterdir():
        with Image.open(path) as opened:
            inverted = 255 - np.array(opened)
        Image.fromarray(inverted).save(path)
    made = settings(smoke5k, tune="test:2", destination=tmp_path / "inverted")
    notes = [note for note in import_data(made).notes if "inverted" in note]
    assert len(notes) == 1
    assert notes[0].startswith("4 masks are smoke in more than 80% of their pixels")


def test_the_same_image_in_two_splits_is_said(smoke5k, settings):
    (smoke5k / "train/img/s1.png").write_bytes((smoke5k / "test/img/s20.png").read_bytes())
    notes = import_data(settings(smoke5k, tune="test:1")).notes
    said = "2 files are the same image in several splits"
    assert any(note.startswith(said) for note in notes)


def test_names_that_occur_twice_in_a_split_get_the_folders_above_them(tmp_path, settings, numbered):
    for split in ("train", "val", "test"):
        for place in ("north", "south"):
            source = sorted((numbered / "images").iterdir())[1]
            target = tmp_path / f"set/{split}/images/{place}/a.png"
            target.parent.mkdir(parents=True)
            target.write_bytes(source.read_bytes())
            mask = tmp_path / f"set/{split}/masks/{place}/a.png"
            mask.parent.mkdir(parents=True)
            Image.fromarray(np.full((20, 30), 255, np.uint8)).save(mask)
    import_data(
        settings(
            tmp_path / "set",
            options={
                "images": "{split}/images/{camera}/{stem}.png",
                "masks": "{split}/masks/{camera}/{stem}.png",
            },
        )
    )
    assert sorted(path.name for path in (tmp_path / "data/test/images").iterdir()) == [
        "test__images__north__a.png",
        "test__images__south__a.png",
    ]


def test_a_class_below_the_least_area_is_ignored_where_it_is_scored(tmp_path, numbered, settings):
    speck = np.zeros((20, 30), np.uint8)
    speck[0, 0], speck[5:15, 5:15] = 1, 2
    Image.fromarray(speck).save(numbered / "masks/video0_0.png")
    lists = {}
    for split, numbers in (("train", range(1, 8)), ("tune", range(8, 12)), ("test", range(1))):
        lists[split] = tmp_path / f"{split}.txt"
        lists[split].write_text("".join(f"video{n % 3}_{n}\n" for n in numbers))
    record = import_data(
        settings(
            numbered,
            f"train={lists['train']},tune={lists['tune']},test={lists['test']}",
            options={"values": VALUES},
            least_area=4,
        )
    )
    row = next(r for r in rows(tmp_path / "data") if r["file"].endswith("video0_0.png"))
    assert row["classes"] == "steam"
    with Image.open(tmp_path / "data/test/masks/video0_0.png") as opened:
        mask = np.array(opened)
    assert mask[0, 0] == 255
    assert (mask == 2).sum() == 100
    assert any("less than 4 pixels" in note for note in record.notes)


def turned(path: Path, height: int, width: int, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(9).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path, exif=exif)


def test_a_photograph_whose_mask_was_drawn_upright_is_turned(numbered, settings, tmp_path):
    for number in range(12):
        turned(numbered / f"images/video{number % 3}_{number}.png", 30, 20, 6)
    record = import_data(
        settings(
            numbered,
            "train=0.4,tune=0.3,test=0.3",
            options={"values": VALUES},
            orientation="apply",
        )
    )
    assert any("12 images are turned upright" in note for note in record.notes)
    summary = FolderSource(tmp_path / "data").check()
    assert summary.splits["test"].largest == (30, 20)


def test_an_orientation_that_nothing_settles_is_refused_with_its_count(smoke5k, settings):
    for stem in (1, 2, 3):
        turned(smoke5k / f"train/img/s{stem}.png", 20, 20, 3)
        Image.fromarray(np.full((20, 20), 255, np.uint8)).save(smoke5k / f"train/gt/s{stem}.png")
    with pytest.raises(InputError, match=r"^3 images have an EXIF .*--orientation apply or ignore"):
        import_data(settings(smoke5k, tune="test:2"))
    import_data(settings(smoke5k, tune="test:2", orientation="ignore"))


def test_a_photograph_whose_tag_is_not_meant_is_written_without_it(smoke5k, settings, tmp_path):
    """Otherwise whoever reads the data folder would have to ask again."""
    for stem in (1, 2, 3):
        turned(smoke5k / f"train/img/s{stem}.png", 20, 30, 6)
    record = import_data(settings(smoke5k, tune="test:2"))
    assert not any("upright" in note for note in record.notes)
    for stem in (1, 2, 3):
        with (
            Image.open(tmp_path / f"data/train/images/s{stem}.png") as written,
            Image.open(smoke5k / f"train/img/s{stem}.png") as stored,
        ):
            assert 0x0112 not in written.getexif()
            np.testing.assert_array_equal(np.array(written), np.array(stored))
    assert FolderSource(tmp_path / "data").check().splits["train"].images == 8


def test_images_of_another_size_than_their_mask_are_counted(smoke5k, settings):
    for stem in (20, 21):
        Image.fromarray(np.full((21, 30), 255, np.uint8)).save(smoke5k / f"test/gt/s{stem}.png")
    with pytest.raises(InputError, match=r"^2 images differ in size from their mask .*30x20, mask"):
        import_data(settings(smoke5k, tune="2"))


def test_broken_images_are_counted_and_the_first_is_named(smoke5k, settings, tmp_path):
    for stem in (1, 2):
        (smoke5k / f"train/img/s{stem}.png").write_bytes(b"version https://git-lfs")
    with pytest.raises(InputError, match=r"^2 images cannot be imported .*s1\.png: not an image"):
        import_data(settings(smoke5k, tune="test:1"))
    assert not list(tmp_path.glob("data*"))
