"""Small published sets of every format, for tests that import them and read them in place."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wsss_core.data.formats import FormatOptions
from wsss_core.data.importing import ImportSettings, SourceSettings, parse_splits

HEIGHT, WIDTH = 20, 30


def save(path: Path, pixels: np.ndarray, **more: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **more)


def noisy(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def block(*values: int) -> np.ndarray:
    """A mask whose columns hold these values, from left to right, over all rows but the first."""
    mask = np.repeat(np.array(values, np.uint8), WIDTH // len(values))[None].repeat(HEIGHT, axis=0)
    mask[0] = values[0]
    return mask


def put_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def made(path: Path, split: str = "", tune: str | None = None, **more: Any) -> ImportSettings:
    """Return the settings of an import of one set."""
    options = FormatOptions(**more.pop("options", {}))
    source = SourceSettings(path, path.name, options=options, **more.pop("source", {}))
    return ImportSettings((source,), split=parse_splits([split] if split else [], tune), **more)


def coco_rows(shapes: dict[int, list[tuple[int, tuple[int, int, int, int]]]]) -> dict[str, Any]:
    """Return COCO annotations of boxes: image -> (category, left, top, right, bottom)."""
    rows = [
        {
            "id": 100 * image + n,
            "image_id": image,
            "category_id": category,
            "segmentation": [[a, b, c, b, c, d, a, d]],
            "bbox": [a, b, c - a, d - b],
            "area": (c - a) * (d - b),
            "iscrowd": 0,
        }
        for image, drawn in shapes.items()
        for n, (category, (a, b, c, d)) in enumerate(drawn)
    ]
    return {
        "images": [
            {"id": n, "file_name": f"{n}.png", "height": HEIGHT, "width": WIDTH} for n in shapes
        ],
        "annotations": rows,
        "categories": [{"id": 4, "name": "smoke"}, {"id": 9, "name": "steam"}],
    }


def coco(root: Path) -> ImportSettings:
    """Polygons of two classes; the third image of each split is clear."""
    for base, split in ((0, "train"), (10, "val"), (20, "test")):
        for number in range(3):
            save(root / f"{split}2017/{base + number}.png", noisy(base + number))
        shapes = {
            base: [(4, (2, 2, 9, 9)), (9, (5, 5, 20, 15))],
            base + 1: [(9, (1, 3, 12, 18))],
            base + 2: [],
        }
        put_json(root / f"annotations/instances_{split}2017.json", coco_rows(shapes))
    return made(root)


def ijmond(root: Path) -> ImportSettings:
    """Frames of 700x600 with smoke of two opacities, cut into the thesis's windows."""
    for base, split in ((0, "train"), (10, "valid"), (20, "test")):
        rows, images = [], []
        for number in range(2):
            name = f"kooks_{number}__2023_frame_{base}_jpg.rf.{base + number:04x}.png"
            save(root / split / name, noisy(base + number, 600, 700))
            images.append({"id": number, "file_name": name, "height": 600, "width": 700})
            left, top = 200 + 40 * number, 150 + base
            for kind in (1, 2):
                a, b, c, d = left * kind, top, left * kind + 60, top + 90
                rows.append(
                    {
                        "id": 10 * number + kind,
                        "image_id": number,
                        "category_id": kind,
                        "segmentation": [[a, b, c, b, c, d, a, d]],
                        "bbox": [a, b, c - a, d - b],
                        "area": (c - a) * (d - b),
                        "iscrowd": 0,
                    }
                )
        names = ("smoke", "high-opacity-smoke", "low-opacity-smoke")
        put_json(
            root / split / "_annotations.coco.json",
            {
                "images": images,
                "annotations": rows,
                "categories": [{"id": n, "name": name} for n, name in enumerate(names)],
            },
        )
    return made(root, options={"crops": "thesis"})


def smoke5k(root: Path) -> ImportSettings:
    """Pairs with masks of 0 and 255; some of train become tune; one image is a JPEG in grey."""
    for split, count, base in (("train", 8, 0), ("test", 3, 100)):
        for number in range(count):
            save(root / f"{split}/img/{base}_{number}.png", noisy(base + number))
            save(root / f"{split}/gt/{base}_{number}.png", block(0, 255, 0))
        save(root / f"{split}/img/grey.jpg", noisy(base + 50)[..., 0])
        save(root / f"{split}/gt/grey.png", block(255, 0, 0))
    return made(root, tune="3")


def write_video(path: Path, seed: int) -> None:
    """Write twelve frames without loss, at uneven times."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "bgr0"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(noisy(seed + number, 16, 16), format="rgb24")
            frame.pts = 40 * number + number % 3
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def rise(root: Path) -> ImportSettings:
    """Clips as arrays and as videos; tune and test are clear, but for a set that has masks."""
    (root / "clips").mkdir(parents=True)
    for split, names in {"train": ("gold", "none"), "validation": ("v0",), "test": ("t0",)}.items():
        rows = []
        for number, name in enumerate(names):
            smoke = name == "gold"
            rows.append(
                {
                    "file_name": name,
                    "label_state": 23 if smoke else 16,
                    "label_state_admin": 47 if smoke else 32,
                    "camera_id": number,
                    "view_id": 7,
                }
            )
            if number % 2:
                np.save(root / f"clips/{name}.npy", np.stack([noisy(n, 16, 16) for n in range(9)]))
            else:
                write_video(root / f"clips/{name}.mkv", len(split))
        put_json(root / f"split/metadata_{split}_split_0_by_camera.json", rows)
    pairs = root.parent / "masked"
    for split in ("tune", "test"):
        save(pairs / f"{split}/images/a.png", noisy(len(split)))
        save(pairs / f"{split}/masks/a.png", block(0, 1, 1))
    return ImportSettings(
        (
            SourceSettings(root, "RISE", options=FormatOptions(frames=3)),
            SourceSettings(pairs, "masked", classes={"smoke": ("object",)}),
        )
    )


def voc(root: Path) -> ImportSettings:
    """Palette masks with void borders and annotations; JPEG images."""
    lists = root / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    for number, split in enumerate(("train", "val", "test")):
        for at in range(2):
            stem = f"2007_{number}{at}"
            save(root / f"JPEGImages/{stem}.jpg", noisy(10 * number + at))
            mask = Image.fromarray(block(0, 255, 3, 255, 8))
            mask.putpalette([(7 * n) % 256 for n in range(768)])
            (root / "SegmentationClass").mkdir(exist_ok=True)
            mask.save(root / f"SegmentationClass/{stem}.png")
        (lists / f"{split}.txt").write_text(f"2007_{number}0\n2007_{number}1\n")
    return made(root, source={"classes": {"bird": ("bird",), "cat": ("cat",)}})


def camvid(root: Path) -> ImportSettings:
    for number, split in enumerate(("train", "val", "test")):
        for at in range(2):
            name = f"Seq0{number}VD_f{at}"
            save(root / f"{split}/{name}.png", noisy(10 * number + at))
            save(root / f"{split}annot/{name}.png", block(0, 3, 8, 10, 11))
    return made(root)


def cityscapes(root: Path) -> ImportSettings:
    """Label ids; the sets of two classes, and small areas are ignored."""
    for split, city in (("train", "aachen"), ("train", "bonn"), ("val", "ulm"), ("test", "kiel")):
        name = f"{split}/{city}/{city}_000001_000019"
        save(root / f"leftImg8bit/{name}_leftImg8bit.png", noisy(len(city) + len(split)))
        mask = block(7, 26, 3, 7, 7)
        if city == "ulm":
            mask[5:7, 1:3] = 24
        save(root / f"gtFine/{name}_gtFine_labelIds.png", mask)
    return made(root, least_area=5, source={"classes": {"car": ("car",), "person": ("person",)}})


def ade20k(root: Path) -> ImportSettings:
    for split in ("training", "validation"):
        for at in range(3):
            save(root / f"images/{split}/ADE_{at}.jpg", noisy(at + len(split)))
            save(root / f"annotations/{split}/ADE_{at}.png", block(0, 1, 2, 1, 1))
    lines = ["Idx\tRatio\tName", "1\t0.1\twall", "2\t0.1\tbuilding, edifice"]
    (root / "objectInfo150.txt").write_text("\n".join(lines) + "\n")
    return made(root, tune="test:1", split="test=validation,train=training")


def pairs(root: Path) -> ImportSettings:
    """Photographs with an EXIF orientation, masks of colours, by patterns and shares."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for at in range(8):
        save(root / f"photos/v{at % 4}_{at}.jpg", noisy(at, WIDTH, HEIGHT), exif=exif)
        colours = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        colours[3:12, 4:20] = (200, 0, 10)
        save(root / f"drawn/v{at % 4}_{at}_gt.png", colours)
    (root / "colours.txt").write_text("200 0 10 car\n")
    return made(
        root,
        split="train=0.5,tune=0.25,test=0.25",
        orientation="apply",
        seed=3,
        source={"format": "pairs"},
        options={
            "images": "photos/{group}_{stem}.jpg",
            "masks": "drawn/{group}_{stem}_gt.png",
            "colours": root / "colours.txt",
        },
    )


def folder(root: Path) -> ImportSettings:
    """The product's own layout, with groups, sources and cameras."""
    for name, count in (("smoke", 3), ("clear", 2)):
        for at in range(count):
            save(root / f"train/{name}/{name}{at}.png", noisy(at + count))
    for split in ("tune", "test"):
        save(root / f"{split}/images/p.png", noisy(len(split)))
        save(root / f"{split}/masks/p.png", block(0, 255))
        save(root / f"{split}/clear/q.png", noisy(len(split) + 9))
    (root / "groups.csv").write_text("file,group\ntest/images/p.png,f1\ntest/clear/q.png,f1\n")
    return made(root)


def yolo(root: Path) -> ImportSettings:
    """Roboflow's folders with polygons, one image of boxes alone to train on, one clear."""
    for base, (split, texts) in enumerate(
        {
            "train": ("0 0.1 0.2 0.6 0.2 0.4 0.9", "1 0.5 0.5 0.4 0.4", ""),
            "valid": ("1 0.2 0.1 0.9 0.1 0.9 0.8 0.2 0.8", ""),
            "test": ("0 0.3 0.3 0.8 0.3 0.5 0.9\n1 0 0 0.2 0 0.2 0.2 0 0.2",),
        }.items()
    ):
        for at, text in enumerate(texts):
            save(root / f"{split}/images/{split}{at}.png", noisy(20 * base + at))
            file = root / f"{split}/labels/{split}{at}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    (root / "data.yaml").write_text(
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnames: [smoke, fire]\n"
    )
    return made(root)


def rle(root: Path) -> ImportSettings:
    """A table of run lengths with two classes; two images that no line names."""
    lines = ["ImageId,ClassId,EncodedPixels"]
    for at in range(10):
        save(root / f"train_images/{at}.png", noisy(300 + at))
        start = 1 + 20 * at
        if at < 8:
            lines.append(f"{at}.png,{1 + at % 2},{start} 8 {start + 20} 8 {start + 40} 8")
    (root / "train.csv").write_text("\n".join(lines))
    return made(
        root,
        split="train=0.4,tune=0.3,test=0.3",
        assume_absent=True,
        options={"values": {1: "scratch", 2: "crack"}},
    )


SETS: dict[str, Callable[[Path], ImportSettings]] = {
    made_by.__name__: made_by
    for made_by in (
        *(coco, ijmond, smoke5k, rise, voc, camvid, cityscapes, ade20k, pairs, folder),
        *(yolo, rle),
    )
}
"""Format -> what makes a set of it and returns how it is imported."""


@pytest.fixture
def sets() -> dict[str, Callable[[Path], ImportSettings]]:
    return SETS
