"""Sources that an import would read otherwise than they are meant: refused in one line."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.wsss_core.data.importing.conftest import noisy, rectangle, save
from wsss_core.data.importing import import_data
from wsss_core.errors import InputError


def test_two_images_of_one_stem_are_refused(smoke5k, settings):
    save(smoke5k / "train/img/s3.jpg", noisy(1))
    with pytest.raises(InputError, match="same name as"):
        import_data(settings(smoke5k, tune="1"))


def test_a_threshold_that_masks_of_0_and_1_never_reach_is_refused(smoke5k, settings):
    save(smoke5k / "test/gt/s20.png", rectangle(1, 0))
    with pytest.raises(InputError, match="values 0 and 1"):
        import_data(settings(smoke5k, tune="1", options={"threshold": 128}))


def test_a_threshold_of_8_bits_on_masks_of_16_is_refused(smoke5k, settings):
    save(smoke5k / "test/gt/s20.png", rectangle(1, 0).astype(np.uint16) * 40000)
    with pytest.raises(InputError, match="values up to 40000"):
        import_data(settings(smoke5k, tune="1", options={"threshold": 128}))


def test_a_source_given_twice_is_refused(smoke5k, settings):
    one = settings(smoke5k, tune="1")
    twin = replace(one.sources[0], name="other")
    with pytest.raises(InputError, match="given twice"):
        import_data(replace(one, sources=(*one.sources, twin)))


def test_a_destination_in_its_source_is_refused(smoke5k, settings):
    with pytest.raises(InputError, match="lies in the source"):
        import_data(settings(smoke5k, tune="1", destination=smoke5k / "out"))


def test_an_edited_mask_is_not_taken_for_imported(smoke5k, settings):
    import_data(settings(smoke5k, tune="1"))
    save(smoke5k / "test/gt/s20.png", rectangle(255, 77)[::-1].copy())
    with pytest.raises(InputError, match="other sources or options"):
        import_data(settings(smoke5k, tune="1"))


def test_a_split_that_loses_all_its_images_is_refused(smoke5k, settings):
    for mask in (smoke5k / "test/gt").iterdir():
        save(mask, np.zeros((20, 30), np.uint8))
    with pytest.raises(InputError, match="no image is left in test: 4 images"):
        import_data(settings(smoke5k, tune="1"))


def test_a_label_that_differs_from_a_class_in_case_is_refused(smoke5k, settings, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("file,classes\ntrain/img/s1.png,Smoke\n")
    with pytest.raises(InputError, match="class 'Smoke', expected 'smoke'"):
        import_data(settings(smoke5k, tune="1", source={"labels": table}))


@pytest.fixture
def voc(tmp_path):
    for stem in ("a", "b", "c"):
        save(tmp_path / f"voc/JPEGImages/{stem}.png", noisy(ord(stem)))
        save(tmp_path / f"voc/SegmentationClass/{stem}.png", rectangle(1, ord(stem)))
    return tmp_path / "voc"


SHARES = "train=0.34,tune=0.33,test=0.33"


def test_voc_with_classes_of_its_own_is_not_read_as_aeroplanes(voc, settings):
    (voc / "Annotations").mkdir()
    for stem in ("a", "b", "c"):
        text = "<annotation><object><name>smoke</name></object></annotation>"
        (voc / f"Annotations/{stem}.xml").write_text(text)
    with pytest.raises(InputError, match="3 objects are of none of VOC's 20 classes"):
        import_data(settings(voc, SHARES))
    shutil.rmtree(voc / "Annotations")
    (voc / "class_names.txt").write_text("_background_\nsmoke\n")
    with pytest.raises(InputError, match="classes other than VOC's"):
        import_data(settings(voc, SHARES))


def test_an_image_ignored_everywhere_is_not_clear(voc, settings):
    save(voc / "JPEGImages/d.png", noisy(9))
    Image.new("L", (30, 20), 255).save(voc / "SegmentationClass/d.png")
    record = import_data(settings(voc, SHARES))
    assert sum(counts["images"] for counts in record.counts.values()) == 3
    assert any("unknown labels" in note for note in record.notes)
