"""What an import counts and names because it may not be meant: files beside the set, palettes."""

import numpy as np
import pytest
from PIL import Image

from tests.wsss_core.data.importing.conftest import noisy, rectangle, save
from wsss_core.data.importing import import_data
from wsss_core.errors import InputError


def notes_with(record, words):
    return [note for note in record.notes if words in note]


def test_images_beside_the_split_folders_are_counted_by_folder(smoke5k, settings):
    for place in ("a.png", "extra/b.png", "extra/c.png", "train/d.jpg"):
        save(smoke5k / place, noisy(1))
    found = notes_with(import_data(settings(smoke5k, tune="2")), "no part of the set uses")
    assert found == [
        "4 image files that no part of the set uses are left out: 2 in extra, 1 in ., 1 in train "
        "(first: a.png)"
    ]


def test_nothing_is_said_where_every_file_is_used(smoke5k, settings):
    assert not notes_with(import_data(settings(smoke5k, tune="2")), "no part of the set uses")


def palette_mask(path, values, *colours):
    image = Image.fromarray(values)
    image.putpalette([channel for colour in colours for channel in colour])
    image.save(path)


WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (200, 0, 0)


def test_palettes_whose_index_0_is_not_black_are_counted_with_their_colours(smoke5k, settings):
    for stem in (20, 21, 22):
        # As tools write that sort a palette by how often a colour occurs: white is the object.
        palette_mask(smoke5k / f"test/gt/s{stem}.png", 1 - rectangle(1, stem), WHITE, BLACK)
    found = notes_with(import_data(settings(smoke5k, tune="2")), "another colour than black")
    assert len(found) == 1
    assert found[0].startswith("3 palette masks have another colour than black at index 0")
    assert "--values 0=smoke,1=background" in found[0]
    assert found[0].endswith("test/gt/s20.png: 0 is #ffffff, 1 is #000000)")


def test_a_palette_with_black_at_0_or_a_meaning_that_was_told_is_not_warned_of(
    smoke5k, settings, tmp_path
):
    for stem in range(20, 24):
        palette_mask(smoke5k / f"test/gt/s{stem}.png", rectangle(1, stem), BLACK, RED)
    assert not notes_with(import_data(settings(smoke5k, tune="2")), "another colour")
    for split, stems in (("test", range(20, 24)), ("train", range(8))):
        for stem in stems:
            palette_mask(smoke5k / f"{split}/gt/s{stem}.png", 1 - rectangle(1, stem), WHITE, BLACK)
    told = settings(
        smoke5k,
        tune="2",
        options={"values": {0: "smoke", 1: "background"}},
        destination=tmp_path / "told",
    )
    record = import_data(told)
    assert not notes_with(record, "another colour")
    assert not notes_with(record, "inverted")
    with Image.open(tmp_path / "told/test/masks/s20.png") as opened:
        np.testing.assert_array_equal(np.array(opened), rectangle(1, 20))


def disc(radius, shape=(20, 30)):
    rows, columns = np.indices(shape)
    middle = (shape[0] - 1) / 2, (shape[1] - 1) / 2
    return ((rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 <= radius**2).astype(np.uint8)


@pytest.mark.parametrize(
    ("mask", "inverted"),
    [
        (disc(8), False),  # a third of the image, in its middle
        (1 - disc(8), True),  # two thirds, and all of the border
        (1 - disc(3), True),  # more than 80 %
        (np.pad(np.ones((20, 16), np.uint8), ((0, 0), (0, 14))), False),  # half, from one side
        (np.ones((20, 30), np.uint8) * (np.arange(20) > 12)[:, None].astype(np.uint8), False),
    ],
)
def test_masks_that_lie_around_something_look_inverted(smoke5k, settings, mask, inverted):
    for split, stems in (("test", range(20, 24)), ("train", range(8))):
        for stem in stems:
            save(smoke5k / f"{split}/gt/s{stem}.png", mask * 255)
    found = notes_with(import_data(settings(smoke5k, tune="2")), "are they inverted?")
    assert len(found) == inverted
    if inverted:
        assert found[0].startswith("12 masks are smoke in more than")
        assert "--values 0=smoke,255=background" in found[0]


def test_files_of_several_pages_are_counted_and_named(smoke5k, settings):
    pages = [Image.fromarray(noisy(seed)) for seed in (1, 2)]
    (smoke5k / "train/img/s1.png").unlink()
    pages[0].save(smoke5k / "train/img/s1.tif", save_all=True, append_images=pages[1:])
    pages[0].save(smoke5k / "test/img/s20.png", save_all=True, append_images=pages[1:])
    found = notes_with(import_data(settings(smoke5k, tune="test:1")), "several pages or frames")
    assert len(found) == 1
    assert found[0].startswith("2 files hold several pages or frames; the first is read")
    assert "train/img/s1.tif" in found[0]


def test_a_tune_of_fewer_images_than_asked_is_told(numbered, settings, tmp_path):
    options = {
        "values": {1: "smoke", 2: "steam"},
        "images": "images/{group}_{stem}.png",
        "masks": "masks/{group}_{stem}.png",
    }
    lists = {}
    for split, groups in (("train", (0, 1)), ("test", (2,))):
        lists[split] = tmp_path / f"{split}.txt"
        lists[split].write_text(
            "".join(f"video{n % 3}_{n}\n" for n in range(12) if n % 3 in groups)
        )
    split = f"train={lists['train']},test={lists['test']}"
    record = import_data(settings(numbered, split, "5", options=options))
    assert record.counts["tune"]["images"] == 4
    assert notes_with(record, "tune has 4 images where 5 were asked for, as groups are kept")


def by_group(pattern):
    return {
        "values": {1: "smoke", 2: "steam"},
        "images": f"images/{pattern}.png",
        "masks": f"masks/{pattern}.png",
    }


def test_shares_that_groups_cannot_meet_are_told(numbered, settings):
    record = import_data(
        settings(numbered, "train=0.8,tune=0.1,test=0.1", options=by_group("{group}_{stem}"))
    )
    assert notes_with(record, "train has 33% of the images where 80% was asked for, as groups")


def test_shares_of_a_single_group_are_refused_with_its_name(numbered, settings):
    with pytest.raises(InputError, match=r"^12 images are of 1 group \('numbered/v'\), which no"):
        import_data(
            settings(
                numbered,
                "train=0.5,tune=0.25,test=0.25",
                options=by_group("{group}{camera}_{stem}"),
            )
        )


def test_an_image_and_its_mask_in_one_folder_are_told_how_to_be_read(smoke5k, settings):
    for stem in range(8):
        save(smoke5k / f"train/img/s{stem}.jpg", noisy(stem))
    with pytest.raises(InputError) as caught:
        import_data(settings(smoke5k, tune="1"))
    said = str(caught.value)
    assert "8 such names" in said
    assert "--images '**/{stem}.jpg' --masks '**/{stem}.png'" in said


@pytest.mark.parametrize(
    ("option", "value", "known"),
    [("crowd", "ignore", "ijmond, coco"), ("runs", "rows", "rle"), ("frames", 3, "ijmond, rise")],
)
def test_an_option_that_changes_nothing_is_refused(smoke5k, settings, option, value, known):
    with pytest.raises(InputError) as caught:
        import_data(settings(smoke5k, tune="1", options={option: value}))
    said = f"--{option} changes nothing in format smoke5k; it is for {known}"
    assert str(caught.value) == said
