"""Masks of training images: paired, checked, read on demand, and no part of weak supervision."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_core.data.folder.source import FolderSource
from wsss_core.data.scenes import SceneSettings, SceneSource, render_scene, write_scenes
from wsss_core.errors import InputError


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def square(value: int, size: int = 8) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    mask[2:6, 2:6] = value
    return mask


def test_masks_of_class_folders_are_paired_by_class_and_stem(root: Path) -> None:
    save(root / "train/masks/smoke/b.png", square(255))
    (mask,) = FolderSource(root).training_masks().values()
    assert mask.identifier == "smoke/b.jpg"
    np.testing.assert_array_equal(mask.read(), square(1))


def test_masks_beside_a_table_of_labels_lie_in_one_folder(two_classes: Path) -> None:
    train = two_classes / "train"
    (train / "images").mkdir()
    for name in ("smoke", "clear", "steam"):
        for file in (train / name).iterdir():
            file.rename(train / "images" / file.name)
        (train / name).rmdir()
    (train / "labels.csv").write_text(
        "file,classes\na.png,smoke\nb.jpg,smoke\nc.png,\nd.png,steam\n"
    )
    save(train / "masks/d.png", square(7))
    masks = FolderSource(two_classes).training_masks()
    assert list(masks) == ["images/d.png"]
    np.testing.assert_array_equal(masks["images/d.png"].read(), square(2))


def test_a_mask_of_another_side_keeps_its_values(two_classes: Path) -> None:
    mask = square(3)
    mask[0, :] = 255
    save(two_classes / "train/masks/smoke/a.png", mask)
    (found,) = FolderSource(two_classes).training_masks(size=16).values()
    expected = np.where(mask == 3, 1, mask).repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(found.read(), expected)


def test_masks_is_no_class_and_changes_neither_images_nor_fingerprint(root: Path) -> None:
    source = FolderSource(root)
    before = source.fingerprint("train"), source.images("train")
    save(root / "train/masks/smoke/a.png", square(255))
    source = FolderSource(root)
    assert source.classes == ("smoke",)
    assert (source.fingerprint("train"), source.images("train")) == before
    assert source.read("train", 4).masks is None


def bad_size(train: Path) -> None:
    save(train / "masks/smoke/a.png", square(255, 9))


def no_image(train: Path) -> None:
    save(train / "masks/smoke/z.png", square(255))


def of_clear(train: Path) -> None:
    save(train / "masks/clear/c.png", square(0))


def in_no_class_folder(train: Path) -> None:
    save(train / "masks/a.png", square(255))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (bad_size, r"masks/smoke/a.png: 9x9 pixels, expected 8x8 as its training image .*a.png"),
        (no_image, r"masks/smoke/z.png: mask without its training image, expected .*smoke/z.jpg"),
        (of_clear, "masks/clear: clear images have no mask"),
        (in_no_class_folder, "masks/a.png: expected masks .* folders of their classes: smoke"),
    ],
)
def test_a_mask_that_belongs_to_no_training_image_is_refused_by_the_check(
    root: Path, spoil, message: str
) -> None:
    spoil(root / "train")
    with pytest.raises(InputError, match=message):
        FolderSource(root).check()


@pytest.mark.parametrize("steam", [0.0, 0.5])
def test_scenes_are_written_with_masks_of_their_training_images(
    steam: float, tmp_path: Path
) -> None:
    settings = SceneSettings(size=16, steam=steam)
    scenes = SceneSource(settings, train=8, tune=8, test=8)
    write_scenes(scenes, tmp_path / "with", train_masks=True)
    write_scenes(scenes, tmp_path / "without")
    source = FolderSource(tmp_path / "with")
    masks = source.training_masks()
    held = [render_scene(settings, index) for index in scenes.indices("train")]
    assert len(masks) == sum(scene.has_smoke or (steam > 0 and scene.has_steam) for scene in held)
    for identifier, mask in masks.items():
        scene = held[int(Path(identifier).stem.removeprefix("scene_"))]
        np.testing.assert_array_equal(mask.read() > 0, scene.smoke_mask | scene.steam_mask)
    assert source.fingerprint("train") == FolderSource(tmp_path / "without").fingerprint("train")
