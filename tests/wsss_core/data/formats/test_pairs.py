"""Images beside mask files: usual layouts, patterns, values, colours, class folders."""

import os

import numpy as np
import pytest
from PIL import Image

from wsss_core.data.formats import parse_values, recognise
from wsss_core.errors import InputError


def ids(*values: int) -> np.ndarray:
    """A mask with a column block of each value."""
    return np.repeat(np.array(values, np.uint8), 6)[None].repeat(20, axis=0)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/a.jpg", "masks/a.png"),
        ("JPEGImages/a.jpg", "annotations/a_mask.png"),
        ("train/imgs/a.jpg", "train/labels/a.png"),
        ("images/val/a.jpg", "annotations/val/a.png"),
        ("Images/a.png", "GT/mask_a.tif"),
    ],
)
def test_usual_layouts_are_recognised_and_paired(tmp_path, put, read, image, mask):
    put(tmp_path / "set" / image)
    put(tmp_path / "set" / mask, ids(0, 255, 255, 0, 0))
    assert recognise(tmp_path / "set").format.name == "pairs"
    content = read(tmp_path / "set")
    assert content.classes == ("object",)
    assert len(content.images) == 1
    np.testing.assert_array_equal(content.images[0].mask.read(), ids(0, 1, 1, 0, 0))


def test_patterns_give_split_group_and_camera(tmp_path, put, read):
    for name in ("north/day1_a", "south/day2_b"):
        put(tmp_path / f"set/dev/{name}.photo.jpg")
        put(tmp_path / f"set/truth/{name}.bmp", ids(0, 255, 0, 0, 0))
    content = read(
        tmp_path / "set",
        "pairs",
        images="{split}/{camera}/{group}_{stem}.photo.*",
        masks="truth/{camera}/{group}_{stem}.bmp",
    )
    assert [(i.split, i.camera, i.group) for i in content.images] == [
        ("dev", "north", "day1"),
        ("dev", "south", "day2"),
    ]
    assert all(image.mask is not None for image in content.images)


def test_the_folder_is_the_class_and_image_and_mask_share_it_as_the_magnetic_tiles_do(
    tmp_path, put, read
):
    for name in ("Crack", "Fray", "Free"):
        put(tmp_path / f"set/MT_{name}/Imgs/{name}1.jpg")
        value = 0 if name == "Free" else 255
        put(tmp_path / f"set/MT_{name}/Imgs/{name}1.png", ids(0, value, 0, 0, 0))
    content = read(
        tmp_path / "set",
        "pairs",
        images="MT_{class}/Imgs/{stem}.jpg",
        masks="MT_{class}/Imgs/{stem}.png",
        clear=("Free",),
        threshold=128,
    )
    assert content.classes == ("Crack", "Fray")
    assert [sorted(image.labels.present) for image in content.images] == [["Crack"], ["Fray"], []]
    assert [set(np.unique(image.mask.read())) for image in content.images] == [{0, 1}, {0, 2}, {0}]


def test_values_give_classes_to_numbers_0_and_ignore_included(tmp_path, put, read):
    put(tmp_path / "set/images/a.jpg")
    put(tmp_path / "set/masks/a.png", ids(0, 1, 2, 11, 7))
    content = read(tmp_path / "set", values=parse_values("0=sky,1=road,2=road,7=car,11=ignore"))
    assert content.classes == ("sky", "road", "car")
    np.testing.assert_array_equal(content.images[0].mask.read(), ids(1, 2, 2, 255, 3))


def test_a_value_that_is_not_listed_is_refused_with_its_count(tmp_path, put, read):
    put(tmp_path / "set/images/a.jpg")
    put(tmp_path / "set/masks/a.png", ids(0, 1, 2, 2, 0))
    image = read(tmp_path / "set", values={1: "road"}).images[0]
    with pytest.raises(InputError, match=r"a\.png: 240 pixels of 2, which is not listed"):
        image.mask.read()


def test_colours_are_read_by_their_list_and_black_is_background(tmp_path, put, read):
    colours = np.zeros((20, 30, 3), np.uint8)
    colours[:, :10] = (64, 128, 64)
    colours[:, 10:20] = (192, 0, 128)
    put(tmp_path / "set/images/a.jpg")
    put(tmp_path / "set/masks/a.png", colours)
    listing = tmp_path / "colours.txt"
    listing.write_text("64 128 64\tAnimal\n192 0 128\tVoid\n128 0 0\tBuilding\n")
    with pytest.raises(InputError, match=r"1 masks of colours .*--colours"):
        read(tmp_path / "set")
    content = read(tmp_path / "set", colours=listing)
    assert content.classes == ("Animal", "Building")
    expected = np.zeros((20, 30), np.uint8)
    expected[:, :10], expected[:, 10:20] = 1, 255
    np.testing.assert_array_equal(content.images[0].mask.read(), expected)


def test_a_colour_that_is_not_listed_is_refused(tmp_path, put, read):
    put(tmp_path / "set/images/a.jpg")
    put(tmp_path / "set/masks/a.png", np.full((20, 30, 3), (1, 2, 3), np.uint8))
    listing = tmp_path / "colours.csv"
    listing.write_text("name,r,g,b\ncar,64,0,128\n")
    image = read(tmp_path / "set", colours=listing).images[0]
    with pytest.raises(InputError, match="600 pixels of #010203"):
        image.mask.read()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P", "I;16"])
def test_a_mask_of_one_object_reads_alike_in_every_mode(tmp_path, put, read, mode):
    truth = ids(0, 1, 1, 0, 0)
    put(tmp_path / "set/images/a.jpg")
    path = tmp_path / "set/masks/a.png"
    path.parent.mkdir(parents=True)
    if mode == "I;16":
        Image.fromarray(truth.astype(np.uint16)).save(path)
    elif mode == "P":
        image = Image.fromarray(truth)
        image.putpalette([200, 10, 10, 0, 255, 0])
        image.save(path)
    else:
        Image.fromarray(truth * 255).convert(mode).save(path)
    np.testing.assert_array_equal(read(tmp_path / "set").images[0].mask.read(), truth)


def test_arrays_of_numpy_are_masks_too_and_pickled_ones_are_refused(tmp_path, put, read):
    put(tmp_path / "set/images/a.jpg")
    path = tmp_path / "set/masks/a.npy"
    path.parent.mkdir()
    np.save(path, ids(0, 1, 0, 0, 0).astype(bool))
    np.testing.assert_array_equal(read(tmp_path / "set").images[0].mask.read(), ids(0, 1, 0, 0, 0))
    np.save(path, np.array({"a": 1}, object), allow_pickle=True)
    with pytest.raises(InputError, match=r"a\.npy: expected a NumPy array"):
        read(tmp_path / "set")


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("../{stem}.jpg", "leads elsewhere"),
        ("/{stem}.jpg", "leads elsewhere"),
        ("images/{name}.jpg", "field 'name'"),
        ("images/*.jpg", "has no {stem}"),
        ("images/{stem.jpg", "'{'"),
        ("pictures/{stem}.jpg", "no file fits"),
    ],
)
def test_a_wrong_pattern_is_refused(tmp_path, put, read, pattern, said):
    put(tmp_path / "set/images/a.jpg")
    with pytest.raises(InputError) as caught:
        read(tmp_path / "set", "pairs", images=pattern)
    assert said in str(caught.value)


def test_masks_without_an_image_are_counted(tmp_path, put, read):
    put(tmp_path / "set/images/a.jpg")
    for stem in "abc":
        put(tmp_path / f"set/masks/{stem}.png", ids(0, 255, 0, 0, 0))
    with pytest.raises(InputError, match=r"^2 masks have no image"):
        read(tmp_path / "set", "pairs", images="images/{stem}.jpg", masks="masks/{stem}.png")


def test_a_name_that_is_not_utf_8_is_refused_with_its_place(tmp_path, put, read):
    put(tmp_path / "set/images/a.jpg")
    put(tmp_path / "set/masks/a.png", ids(0, 255, 0, 0, 0))
    os.rename(
        os.fsencode(tmp_path / "set/images/a.jpg"),
        os.fsencode(tmp_path / "set/images") + b"/a\xf6.jpg",
    )
    with pytest.raises(InputError, match="is not UTF-8"):
        read(tmp_path / "set", "pairs", images="images/{stem}.jpg", masks="masks/{stem}.png")
