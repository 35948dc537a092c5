"""Each format, from a sample as its tools write it to the data folder: counts and pixels.

The truth of a sample is what its maker knows; the import never sees it.
"""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.wsss_core.data.importing.conftest import noisy, rectangle, save
from wsss_core.data.folder import FolderSource
from wsss_core.data.formats import FormatOptions, recognise
from wsss_core.data.importing import ImportSettings, SourceSettings, import_data, parse_splits
from wsss_core.errors import InputError

SHAPE = (20, 30)


@dataclass
class Truth:
    """An image of a sample: its split here, its classes, its mask by class or None."""

    split: str
    classes: set[str]
    mask: dict[str, np.ndarray] | None


Sample = dict[str, Truth]
SPLITS = {"train": 3, "val": 2, "test": 2}
HERE = {"train": "train", "val": "tune", "test": "test"}


def members() -> list[tuple[str, str, int]]:
    """Name, split and seed of seven images; the second of each split holds nothing."""
    return [
        (f"{split}{number}", split, 100 * at + number)
        for at, (split, count) in enumerate(SPLITS.items())
        for number in range(count)
    ]


def smoke_or_none(name: str, seed: int) -> np.ndarray:
    return rectangle(0 if name.endswith("1") else 1, seed)


def truth(split: str, mask: np.ndarray, name: str = "smoke") -> Truth:
    return Truth(HERE[split], {name} if mask.any() else set(), {name: mask > 0})


def pairs(root: Path) -> Sample:
    sample = {}
    for name, split, seed in members():
        mask = smoke_or_none(name, seed)
        save(root / f"{split}/images/{name}.jpg", noisy(seed))
        save(root / f"{split}/masks/{name}.png", mask * 255)
        sample[name] = truth(split, mask, "object")
    return sample


def coco(root: Path) -> Sample:
    sample: Sample = {}
    for split in SPLITS:
        images, annotations = [], []
        for name, _, seed in (member for member in members() if member[1] == split):
            mask = smoke_or_none(name, seed)
            save(root / f"{split}2017/{name}.jpg", noisy(seed))
            images.append({"id": seed, "file_name": f"{name}.jpg", "height": 20, "width": 30})
            sample[name] = truth(split, mask)
            if mask.any():
                rows, columns = np.nonzero(mask)
                top, left = int(rows.min()), int(columns.min())
                down, right = int(rows.max()) + 1, int(columns.max()) + 1
                corners = [left, top, right, top, right, down, left, down]
                annotations.append(
                    {"id": seed, "image_id": seed, "category_id": 3, "iscrowd": 0, "area": 96,
                     "bbox": [left, top, right - left, down - top], "segmentation": [corners]}
                )  # fmt: skip
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 3, "name": "smoke", "supercategory": "air"}],
        }
        file = root / f"annotations/instances_{split}2017.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    return sample


def voc(root: Path) -> Sample:
    sample = {}
    for name, split, seed in members():
        mask = rectangle(3 if seed % 2 else 8, seed)
        save(root / f"JPEGImages/{name}.jpg", noisy(seed))
        stored = Image.fromarray(np.where(mask, mask, 0).astype(np.uint8))
        stored.putpalette([0, 0, 0, *range(1, 250)])
        (root / "SegmentationClass").mkdir(exist_ok=True)
        stored.save(root / f"SegmentationClass/{name}.png")
        lists = root / "ImageSets/Segmentation"
        lists.mkdir(parents=True, exist_ok=True)
        with (lists / f"{split}.txt").open("a") as opened:
            opened.write(f"{name}\n")
        sample[name] = truth(split, mask, "bird" if seed % 2 else "cat")
    return sample


def yolo(root: Path) -> Sample:
    sample = {}
    for name, split, seed in members():
        mask = smoke_or_none(name, seed)
        save(root / f"{split}/images/{name}.jpg", noisy(seed))
        text = root / f"{split}/labels/{name}.txt"
        text.parent.mkdir(parents=True, exist_ok=True)
        if mask.any():
            rows, columns = np.nonzero(mask)
            left, right = columns.min() / 30, (columns.max() + 1) / 30
            top, down = rows.min() / 20, (rows.max() + 1) / 20
            text.write_text(f"0 {left} {top} {right} {top} {right} {down} {left} {down}\n")
        else:
            text.write_text("")
        sample[name] = truth(split, mask)
    (root / "data.yaml").write_text(
        "train: ../train/images\nval: ../val/images\ntest: ../test/images\nnc: 1\nnames: [smoke]\n"
    )
    return sample


def rle(root: Path) -> Sample:
    sample, lines = {}, []
    for name, split, seed in members():
        mask = smoke_or_none(name, seed)
        save(root / f"train_images/{name}.jpg", noisy(seed))
        flat = np.concatenate([[0], mask.ravel(order="F"), [0]])
        edges = (np.flatnonzero(np.diff(flat)) + 1).reshape(-1, 2)
        lines.append([f"{name}.jpg", " ".join(f"{start} {end - start}" for start, end in edges)])
        sample[name] = truth(split, mask, "object")
    with (root / "train.csv").open("w", newline="") as opened:
        csv.writer(opened).writerows([["ImageId", "EncodedPixels"], *lines])
    return sample


def camvid(root: Path) -> Sample:
    sample = {}
    for name, split, seed in members():
        mask = rectangle(8, seed)  # car; what lies around is sky
        save(root / f"{split}/{name}.png", noisy(seed))
        save(root / f"{split}annot/{name}.png", mask)
        found = {"sky": mask == 0, "car": mask == 8}
        sample[name] = Truth(HERE[split], {"sky", "car"}, found)
    return sample


def cityscapes(root: Path) -> Sample:
    sample = {}
    for at, (_, split, seed) in enumerate(members()):
        name = f"bonn_{at:06d}_000019"
        mask = np.where(rectangle(1, seed), 26, 7).astype(np.uint8)  # labelIds of car and road
        mask[0] = 3  # out of the region of interest
        save(root / f"leftImg8bit/{split}/bonn/{name}_leftImg8bit.png", noisy(seed))
        save(root / f"gtFine/{split}/bonn/{name}_gtFine_labelIds.png", mask)
        found = {"road": mask == 7, "car": mask == 26}
        sample[f"{name}_leftImg8bit"] = Truth(HERE[split], {"road", "car"}, found)
    return sample


def ade20k(root: Path) -> Sample:
    sample = {}
    for name, split, seed in members():
        word = {"train": "training", "val": "validation", "test": "testing"}[split]
        mask = rectangle(2, seed) + 1  # 1 wall, 3 sky
        save(root / f"images/{word}/{name}.jpg", noisy(seed))
        save(root / f"annotations/{word}/{name}.png", mask)
        found = {"wall": mask == 1, "sky": mask == 3}
        sample[name] = Truth(HERE[split], {"wall", "sky"}, found)
    (root / "objectInfo150.txt").write_text(
        "Idx\tRatio\tTrain\tVal\tStuff\tName\n1\t0.1\t1\t1\t1\twall\n2\t0.1\t1\t1\t1\tbuilding\n"
        "3\t0.1\t1\t1\t1\tsky\n"
    )
    return sample


def smoke5k(root: Path) -> Sample:
    sample = {}
    for name, split, seed in members():
        if split == "val":
            continue
        mask = rectangle(1, seed)
        save(root / f"SMOKE5K/{split}/img/{name}.jpg", noisy(seed))
        save(root / f"SMOKE5K/{split}/gt/{name}.png", mask * 255)
        sample[name] = truth(split, mask)
    return sample


def folder(root: Path) -> Sample:
    sample = {}
    for name, split, seed in members():
        mask = smoke_or_none(name, seed)
        if split == "train":
            held = "smoke" if mask.any() else "clear"
            save(root / f"train/{held}/{name}.jpg", noisy(seed))
            if mask.any():
                save(root / f"train/masks/smoke/{name}.png", mask)
        else:
            place = "images" if mask.any() else "clear"
            save(root / f"{HERE[split]}/{place}/{name}.jpg", noisy(seed))
            if mask.any():
                save(root / f"{HERE[split]}/masks/{name}.png", mask)
        sample[name] = truth(split, mask)
    return sample


def rise(root: Path) -> None:
    for split in SPLITS:
        rows = []
        for name, _, seed in (member for member in members() if member[1] == split):
            clear = name.endswith("1") or split != "train"
            clip = np.random.default_rng(seed).integers(0, 256, (6, *SHAPE, 3), np.uint8)
            (root / "rgb").mkdir(parents=True, exist_ok=True)
            np.save(root / f"rgb/{name}.npy", clip)
            state = 16 if clear else 23
            rows.append({"file_name": name, "label_state": state, "label_state_admin": -1})
        word = "validation" if split == "val" else split
        file = root / f"split/metadata_{word}_split_0_by_camera.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(rows))


def test_clips_without_masks_are_refused_where_they_alone_are_to_be_scored(tmp_path):
    rise(tmp_path / "RISE")
    source = SourceSettings(tmp_path / "RISE", "RISE")
    with pytest.raises(
        InputError, match=r"^no image of tune shows a class in a mask, all 4 are clear"
    ):
        import_data(ImportSettings((source,), tmp_path / "data"))
    assert not list(tmp_path.glob("data*"))


FORMATS: dict[str, tuple[Callable[[Path], Sample], str | None, str | None]] = {
    "folder": (folder, None, None),
    "smoke5k": (smoke5k, None, "test:1"),
    "coco": (coco, None, None),
    "voc": (voc, None, None),
    "yolo": (yolo, None, None),
    "rle": (rle, "lists", None),
    "camvid": (camvid, None, None),
    "cityscapes": (cityscapes, None, None),
    "ade20k": (ade20k, None, None),
    "pairs": (pairs, None, None),
}


@pytest.mark.parametrize("name", FORMATS)
def test_counts_and_pixels_of_a_sample_reach_the_data_folder(name, tmp_path):
    make, split, tune = FORMATS[name]
    root = tmp_path / "sample"
    root.mkdir()
    sample = make(root)
    if split == "lists":
        for part in HERE.values():
            listed = [stem for stem, one in sample.items() if one.split == part]
            (tmp_path / f"{part}.txt").write_text("\n".join(listed))
        split = ",".join(f"{part}={tmp_path / part}.txt" for part in HERE.values())
    assert recognise(root).format.name == name
    settings = ImportSettings(
        (SourceSettings(root, "sample", options=FormatOptions()),),
        tmp_path / "data",
        split=parse_splits([split] if split else [], tune),
    )
    record = import_data(settings)
    with (tmp_path / "data/images.csv").open(newline="") as opened:
        rows = {Path(row["file"]).stem: row for row in csv.DictReader(opened)}
    assert set(rows) == set(sample)
    for stem, one in sample.items():
        held = set(filter(None, rows[stem]["classes"].split(";")))
        part = rows[stem]["file"].split("/")[0]
        assert held == one.classes
        assert part == one.split or (tune and {part, one.split} == {"tune", "test"})
        file = tmp_path / f"data/{part}/masks/{stem}.png"
        assert file.is_file() == bool(one.mask and one.classes) == bool(rows[stem]["mask_digest"])
        if file.is_file() and one.mask:
            with Image.open(file) as opened:
                written = np.array(opened)
            for code, word in enumerate(record.classes, start=1):
                expected = one.mask.get(word, np.zeros(SHAPE, bool))
                np.testing.assert_array_equal(written == code, expected)
    for part in HERE.values():
        these = [row for row in rows.values() if row["file"].startswith(part)]
        assert record.counts[part]["images"] == len(these)
        for word in record.classes:
            counted = sum(word in row["classes"].split(";") for row in these)
            assert record.counts[part][word] == counted
    listed = {part: len(FolderSource(tmp_path / "data").images(part)) for part in HERE.values()}
    assert listed == {part: record.counts[part]["images"] for part in HERE.values()}
