"""COCO files whose annotations or images would go astray."""

import pytest

from wsss_core.errors import InputError


@pytest.fixture
def folder(tmp_path, put, put_json):
    def make(image_id=0, crowd=0, file_name="a.jpg", place="train"):
        put(tmp_path / f"set/{place}/a.jpg")
        shape = [[4, 5, 20, 5, 20, 15, 4, 15]]
        content = {
            "images": [{"id": 0, "file_name": file_name, "height": 20, "width": 30}],
            "annotations": [
                {"id": 1, "image_id": image_id, "category_id": 1, "iscrowd": crowd}
                | {"segmentation": shape}
            ],
            "categories": [{"id": 1, "name": "smoke"}],
        }
        put_json(tmp_path / "set/train/_annotations.coco.json", content)
        return tmp_path / "set"

    return make


@pytest.mark.parametrize("number", ["0", 1.0 - 1.0])
def test_image_ids_of_another_type_are_refused(folder, read, number):
    with pytest.raises(InputError, match="listed as another type"):
        read(folder(image_id=number))


def test_an_image_is_not_taken_from_the_folder_of_another_split(folder, read):
    with pytest.raises(InputError, match="of split train is not there, only"):
        read(folder(place="test"))


def test_an_ignored_crowd_leaves_its_class_unknown(folder, read):
    image = read(folder(crowd=1), crowd="ignore").images[0]
    assert image.labels.unknown == {"smoke"}


@pytest.mark.parametrize("broken", ["cut short", "NaN"])
def test_a_broken_file_of_one_split_is_refused_and_not_passed_over(
    folder, read, put, put_json, broken
):
    root = folder()
    whole = (root / "train/_annotations.coco.json").read_text()
    put(root / "test/b.jpg")
    text = whole[:-10] if broken == "cut short" else whole.replace("[4, 5,", "[NaN, 5,")
    assert text != whole
    (root / "test/_annotations.coco.json").write_text(text.replace("a.jpg", "b.jpg"))
    with pytest.raises(InputError, match=r"test/_annotations\.coco\.json: not valid JSON"):
        read(root)
