"""Masks of training images: written, compared with labels and sizes, recorded."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.wsss_core.data.importing.conftest import noisy, rectangle, save
from wsss_core.data.importing import check_imported, import_data
from wsss_core.errors import InputError


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.array(opened)


def rows(root: Path) -> dict[str, dict[str, str]]:
    with (root / "images.csv").open(newline="") as opened:
        return {row["file"]: row for row in csv.DictReader(opened)}


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Six images of value 1 (aeroplane), with annotations that say so; 255 lies at one corner."""
    root = tmp_path / "VOC"
    (root / "Annotations").mkdir(parents=True)
    for number in range(6):
        mask = rectangle(1, number)
        save(root / f"JPEGImages/a{number}.png", noisy(number))
        save(root / f"SegmentationClass/a{number}.png", mask)
        (root / f"Annotations/a{number}.xml").write_text(
            "<annotation><object><name>aeroplane</name></object></annotation>"
        )
    lists = root / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a0\na1\na2\n")
    (lists / "val.txt").write_text("a3\n")
    (lists / "test.txt").write_text("a4\na5\n")
    return root


def test_masks_of_training_images_are_written_with_their_pixels_and_recorded(
    smoke5k, settings, tmp_path
):
    import_data(settings(smoke5k, tune="2"))
    root = tmp_path / "data"
    written = sorted(path.name for path in (root / "train/masks").iterdir())
    assert written == sorted(path.name for path in (root / "train/images").iterdir())
    for name in written:
        np.testing.assert_array_equal(
            pixels(root / "train/masks" / name), pixels(smoke5k / "train/gt" / name) > 0
        )
        assert rows(root)[f"train/images/{name}"]["mask_digest"]
    check_imported(root)
    (root / "train/masks" / written[0]).write_bytes(b"")
    with pytest.raises(InputError, match="differs from what was imported"):
        check_imported(root)


def test_an_image_whose_mask_is_empty_is_not_trained_on_as_smoke(smoke5k, settings, tmp_path):
    save(smoke5k / "train/gt/s0.png", np.zeros((20, 30), np.uint8))
    record = import_data(settings(smoke5k, tune="test:2"))
    assert record.counts["train"] == {"images": 7, "smoke": 7, "clear": 0}
    assert not (tmp_path / "data/train/images/s0.png").exists()
    said = "1 images of train are left out, as their mask shows none of their classes"
    assert any(note.startswith(said) and "train/s0" in note for note in record.notes)


def test_images_to_take_by_their_label_show_it_in_their_mask(smoke5k, numbered, tmp_path, settings):
    from dataclasses import replace

    from wsss_core.data.importing import SourceSettings

    for stem in range(6):
        save(smoke5k / f"train/gt/s{stem}.png", np.zeros((20, 30), np.uint8))
    one = settings(
        numbered,
        "train=0.5,tune=0.25,test=0.25",
        options={"values": {1: "smoke", 2: "smoke"}},
    )
    record = import_data(
        replace(one, sources=(*one.sources, SourceSettings(smoke5k, "extra", take={"smoke": 2})))
    )
    taken = [name for name, row in rows(tmp_path / "data").items() if row["source"] == "extra"]
    assert sorted(taken) == ["train/images/extra__s6.png", "train/images/extra__s7.png"]
    assert any("6 images of extra are left out, as their mask" in note for note in record.notes)


def test_a_training_mask_of_another_size_is_refused_with_its_count(smoke5k, settings):
    for stem in (1, 2):
        save(smoke5k / f"train/gt/s{stem}.png", np.full((10, 15), 255, np.uint8))
    with pytest.raises(
        InputError, match=r"^2 images differ in size from their mask .*s1, 30x20, mask 15x10"
    ):
        import_data(settings(smoke5k, tune="test:2"))


def test_the_least_area_counts_in_train_where_annotations_give_the_labels(voc, settings, tmp_path):
    small = np.zeros((20, 30), np.uint8)
    small[3, 4:9] = 1
    save(voc / "SegmentationClass/a0.png", small)
    record = import_data(settings(voc, least_area=6))
    assert record.counts["train"]["aeroplane"] == 2
    assert any("1 images of train are left out, as their mask" in note for note in record.notes)
    other = import_data(settings(voc, least_area=5, destination=tmp_path / "five"))
    assert other.counts["train"]["aeroplane"] == 3


def test_one_class_of_two_may_be_too_small_and_is_ignored_then(voc, settings, tmp_path):
    both = rectangle(1, 0)
    both[0, 0] = 2
    save(voc / "SegmentationClass/a0.png", both)
    save(voc / "SegmentationClass/a1.png", np.where(rectangle(1, 1), 2, 0).astype(np.uint8))
    for stem in ("a0", "a1"):
        names = "".join(f"<object><name>{n}</name></object>" for n in ("aeroplane", "bicycle"))
        (voc / f"Annotations/{stem}.xml").write_text(f"<annotation>{names}</annotation>")
    import_data(settings(voc, least_area=4))
    found = {name: row["classes"] for name, row in rows(tmp_path / "data").items()}
    assert found["train/images/a0.png"] == "aeroplane"
    assert found["train/images/a1.png"] == "bicycle"
    written = pixels(tmp_path / "data/train/masks/a0.png")
    assert written[0, 0] == 255
    assert (written == 1).sum() == (both == 1).sum()


def test_a_labelled_class_stays_where_the_mask_ignores_what_may_be_it(voc, settings, tmp_path):
    save(voc / "SegmentationClass/a0.png", np.where(rectangle(1, 0), 255, 0).astype(np.uint8))
    import_data(settings(voc))
    assert rows(tmp_path / "data")["train/images/a0.png"]["classes"] == "aeroplane"


def test_labels_of_a_table_that_lack_a_class_of_the_mask_are_told(smoke5k, settings, tmp_path):
    table = tmp_path / "labels.csv"
    names = [f"train/{n}" for n in (f"s{k}" for k in range(8))]
    lines = [f"{name},{'' if name.endswith('s3') else 'smoke'}" for name in names]
    lines += [f"test/s{k},smoke" for k in range(20, 24)]
    table.write_text("\n".join(["file,classes", *lines, ""]))
    record = import_data(settings(smoke5k, tune="test:2", source={"labels": table}))
    assert record.counts["train"]["clear"] == 1
    said = "1 training images have labels that lack a class of their mask (first: train/s3)"
    assert said in record.notes


def test_classes_that_no_image_holds_are_left_out_unless_they_are_chosen(voc, settings, tmp_path):
    record = import_data(settings(voc))
    assert record.classes == ("aeroplane",)
    assert any(
        note.startswith("19 classes that no image holds are left out") for note in record.notes
    )
    assert "bicycle" not in record.describe().splitlines()[0]
    for name in ("train/masks/a0", "test/masks/a4"):
        np.testing.assert_array_equal(
            pixels(tmp_path / f"data/{name}.png"),
            pixels(voc / f"SegmentationClass/{Path(name).name}.png"),
        )
    chosen = {"classes": {"bicycle": ("bicycle",), "aeroplane": ("aeroplane",)}}
    again = import_data(settings(voc, source=chosen, destination=tmp_path / "chosen"))
    assert again.classes == ("bicycle", "aeroplane")


def test_labels_of_a_table_that_contradict_masks_of_tune_and_test_are_told(
    smoke5k, settings, tmp_path
):
    table = tmp_path / "labels.csv"
    lines = [f"train/s{k},smoke" for k in range(8)]
    lines += [f"test/s{k},{'' if k in (21, 22) else 'smoke'}" for k in range(20, 24)]
    table.write_text("\n".join(["file,classes", *lines, ""]))
    record = import_data(settings(smoke5k, tune="test:2", source={"labels": table}))
    assert record.counts["test"]["clear"] == record.counts["tune"]["clear"] == 0
    (note,) = [note for note in record.notes if "other labels" in note]
    assert note.startswith("2 images of tune and test have other labels than their mask")
    assert re.search(r"first: test/s2[12]\)", note)


def test_labels_of_a_table_that_agree_with_masks_are_not_told(smoke5k, settings, tmp_path):
    save(smoke5k / "test/gt/s20.png", np.zeros((20, 30), np.uint8))
    table = tmp_path / "labels.csv"
    lines = [f"train/s{k},smoke" for k in range(8)]
    lines += [f"test/s{k},{'' if k == 20 else 'smoke'}" for k in range(20, 24)]
    table.write_text("\n".join(["file,classes", *lines, ""]))
    record = import_data(settings(smoke5k, tune="test:2", source={"labels": table}))
    assert not any("other labels" in note for note in record.notes)
