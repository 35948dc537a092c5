"""Known labels of images: found by path, name or stem, in any Unicode form, or refused."""

import unicodedata

import pytest

from studies.masks.labels import check_labels, classes_of_image, known_labels
from wsss_core.errors import InputError

CLASSES = ("smoke", "steam")


def test_an_image_is_found_by_its_name_in_another_unicode_form():
    listed = unicodedata.normalize("NFD", "f\u00fcr.png")
    labels = known_labels({listed: ["steam"]}, CLASSES)
    assert labels is not None
    for form in ("NFC", "NFD"):
        image = "a/" + unicodedata.normalize(form, "f\u00fcr.png")
        assert classes_of_image(labels, image) == (1,)
        check_labels(labels, [image])


def test_an_image_is_found_without_its_ending_as_in_a_data_folder(tmp_path):
    (tmp_path / "labels.csv").write_text("file,classes\na,smoke\nb.c,steam\nd/e,\n")
    labels = known_labels(tmp_path / "labels.csv", CLASSES)
    assert labels is not None
    images = ["a.png", "b.c.jpg", "d/e.tif"]
    assert [classes_of_image(labels, image) for image in images] == [(0,), (1,), ()]
    check_labels(labels, images)


def test_a_name_without_ending_that_two_images_have_is_refused():
    labels = known_labels({"a": ["smoke"]}, CLASSES)
    assert labels is not None
    with pytest.raises(InputError, match=r"a\.png and a\.jpg have the same name"):
        check_labels(labels, ["a.png", "a.jpg"])


def test_a_name_that_is_listed_in_two_unicode_forms_is_refused():
    given = {unicodedata.normalize(form, "\u00fc.png"): ["smoke"] for form in ("NFC", "NFD")}
    with pytest.raises(InputError, match="is listed twice, in two Unicode forms"):
        known_labels(given, CLASSES)
