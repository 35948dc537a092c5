"""Keys of a study's data that say how pixels are read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from studies.planning.images import study_images
from studies.spec.loading import load_study
from wsss_core.errors import InputError


def test_keys_that_change_no_pixel_leave_the_keys_of_the_images(folder_study: Any) -> None:
    before = study_images(load_study(folder_study).data).splits
    for orientation in ("apply", "refuse", "ignore"):
        more = {"orientation": orientation, "largest_megapixels": 100}
        changed = folder_study | {"data": folder_study["data"] | more}
        assert study_images(load_study(changed).data).splits == before


def test_keys_that_change_pixels_change_the_keys_of_the_splits_that_they_change(
    folder_study: Any, smoke_folder: Path
) -> None:
    before = study_images(load_study(folder_study).data).splits.keys
    exif = Image.Exif()
    exif[0x0112] = 3
    image = Image.open(smoke_folder / "test/images/a.png")
    image.save(smoke_folder / "test/images/a.png", exif=exif)
    stored = study_images(load_study(folder_study).data).splits.keys
    for more, changed in (
        ({"orientation": "apply"}, ["test"]),
        ({"threshold": 100}, ["tune", "test"]),
        ({"white_level": 4095}, ["train", "tune", "test"]),
    ):
        study = folder_study | {"data": folder_study["data"] | more}
        found = study_images(load_study(study).data).splits.keys
        assert [split for split in found if found[split] != stored[split]] == changed
    assert before["train"] == stored["train"]


def test_an_image_with_an_orientation_stops_the_study_before_any_training(
    folder_study: Any, smoke_folder: Path, tmp_path: Path
) -> None:
    from studies.store import ArtifactStore

    exif = Image.Exif()
    exif[0x0112] = 6
    image = smoke_folder / "train/smoke/a.png"
    Image.open(image).save(image, exif=exif)
    images = study_images(load_study(folder_study).data)
    with pytest.raises(InputError, match=r"a\.png: EXIF orientation 6, so viewers turn it"):
        images.decode(ArtifactStore(str(tmp_path / "store")))
    turned = folder_study | {"data": folder_study["data"] | {"orientation": "apply"}}
    study_images(load_study(turned).data).decode(ArtifactStore(str(tmp_path / "store")))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"orientation": "upright"}, "data.folder.orientation"),
        ({"largest_megapixels": 0}, "largest_megapixels"),
        ({"white_level": 70000}, "white_level"),
        ({"threshold": 0}, "threshold"),
        ({"thresold": 128}, "unknown key 'thresold'; nearest: 'threshold'"),
    ],
)
def test_values_that_cannot_be_meant_are_named(
    folder_study: Any, more: dict[str, object], said: str
) -> None:
    study = folder_study | {"data": folder_study["data"] | more}
    with pytest.raises(InputError) as caught:
        load_study(study)
    assert said.rsplit(".", 1)[-1] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_threshold_reads_grey_masks_as_the_study_says(
    folder_study: Any, smoke_folder: Path
) -> None:
    grey = np.tile(np.arange(40, dtype=np.uint8) * 6, (40, 1))
    for split in ("tune", "test"):
        for name in ("a", "b"):
            Image.fromarray(grey).save(smoke_folder / split / "masks" / f"{name}.png")
    study = folder_study | {"data": folder_study["data"] | {"threshold": 120}}
    mask = study_images(load_study(study).data).source.read("test", 8).mask(1)
    np.testing.assert_array_equal(mask, grey >= 120)
