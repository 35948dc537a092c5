"""CamVid, Cityscapes and ADE20K, whose mask values are known."""

import numpy as np
import pytest

from wsss_core.data.formats import recognise
from wsss_core.errors import InputError


def ids(*values: int) -> np.ndarray:
    return np.repeat(np.array(values, np.uint8), 6)[None].repeat(20, axis=0)


def test_camvid_has_sky_at_0_and_void_at_11_and_its_videos_are_groups(tmp_path, put, read):
    for split, name in (
        ("train", "0001TP_006690"),
        ("val", "0016E5_07959"),
        ("test", "Seq05VD_f0"),
    ):
        put(tmp_path / f"CamVid/{split}/{name}.png")
        put(tmp_path / f"CamVid/{split}annot/{name}.png", ids(0, 3, 8, 10, 11))
    assert recognise(tmp_path / "CamVid").format.name == "camvid"
    content = read(tmp_path / "CamVid")
    assert len(content.classes) == 11
    assert content.classes[0] == "sky"
    assert [(image.split, image.group) for image in content.images] == [
        ("test", "Seq05VD"),
        ("train", "0001TP"),
        ("val", "0016E5"),
    ]
    np.testing.assert_array_equal(content.images[0].mask.read(), ids(1, 4, 9, 11, 255))


@pytest.mark.parametrize(
    ("kind", "stored", "road", "car"), [("labelTrainIds", 255, 0, 13), ("labelIds", 3, 7, 26)]
)
def test_cityscapes_reads_training_ids_and_label_ids_alike(
    tmp_path, put, read, kind, stored, road, car
):
    root = tmp_path / "cityscapes"
    put(root / "leftImg8bit/val/bonn/bonn_000001_000019_leftImg8bit.png")
    put(
        root / f"gtFine/val/bonn/bonn_000001_000019_gtFine_{kind}.png",
        ids(road, car, stored, road, road),
    )
    put(root / "gtFine/val/bonn/bonn_000001_000019_gtFine_color.png")
    content = read(root)
    image = content.images[0]
    assert (image.split, image.group) == ("val", "bonn")
    classes = content.classes
    expected = ids(classes.index("road") + 1, classes.index("car") + 1, 255, 0, 0)
    expected[expected == 0] = classes.index("road") + 1
    np.testing.assert_array_equal(image.mask.read(), expected)


def test_ade20k_names_its_classes_in_a_file_and_ignores_0(tmp_path, put, read):
    root = tmp_path / "ADEChallengeData2016"
    for split in ("training", "validation"):
        put(root / f"images/{split}/ADE_1.jpg")
        put(root / f"annotations/{split}/ADE_1.png", ids(0, 1, 2, 3, 3))
    (root / "objectInfo150.txt").write_text(
        "Idx\tRatio\tTrain\tVal\tStuff\tName\n"
        "1\t0.15\t11664\t1172\t1\twall\n2\t0.1\t6046\t612\t1\tscreen, door\n"
        "3\t0.1\t6046\t612\t1\tscreen, CRT\n"
    )
    content = read(root)
    assert content.classes == ("wall", "screen", "screen 3")
    assert [image.split for image in content.images] == ["training", "validation"]
    np.testing.assert_array_equal(content.images[0].mask.read(), ids(255, 1, 2, 3, 3))


def test_ade20k_without_names_is_refused(tmp_path, put, read):
    root = tmp_path / "ade"
    put(root / "images/training/a.jpg")
    put(root / "annotations/training/a.png", ids(0, 1, 2, 3, 3))
    (root / "objectInfo150.txt").write_text("1\n")
    with pytest.raises(InputError, match=r"objectInfo150\.txt, line 1"):
        read(root)
