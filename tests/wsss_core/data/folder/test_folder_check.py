import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_core.data.folder.source import FolderSource
from wsss_core.errors import InputError


def striped(path: Path, rows: list[int]) -> None:
    """Write an 8x8 mask whose rows hold these values."""
    Image.fromarray(np.repeat(np.array(rows, np.uint8)[:, None], 8, axis=1)).save(path)


class TestCheck:
    def test_the_summary_counts_images_sizes_and_mask_pixels(self, two_classes: Path) -> None:
        Image.new("RGB", (30, 10)).save(two_classes / "test/clear/r.png")
        striped(two_classes / "test/masks/q.png", [255, 7, 7, 0, 0, 0, 0, 0])
        summary = FolderSource(two_classes).check()
        train, test = summary.splits["train"], summary.splits["test"]
        assert (train.images, dict(train.with_class), train.clear) == (
            4,
            {"smoke": 2, "steam": 1},
            1,
        )
        assert train.mask_share is None
        assert (test.smallest, test.largest) == ((8, 8), (30, 10))
        assert test.mask_share == {"smoke": 9 / 64, "steam": 16 / 56}
        assert test.fingerprint == FolderSource(two_classes).fingerprint("test")
        assert summary.warnings == ()

    def test_the_description_is_a_table_of_the_figures(self, root: Path) -> None:
        Image.new("RGB", (30, 10)).save(root / "tune/clear/r.png")
        source = FolderSource(root)
        lines = source.check().describe().splitlines()
        assert lines[0] == f"{root}: smoke"
        assert lines[2].split() == (
            [
                "split",
                "images",
                "smoke",
                "clear",
                "width",
                "height",
                "smoke",
                "pixels",
                "fingerprint",
            ]
        )
        digest = source.fingerprint("train")
        assert lines[3].split() == ["train", "3", "2", "1", "8", "8", "-", digest]
        assert lines[4].split() == (
            ["tune", "3", "2", "1", "8-30", "8-10", "14.1", "%", source.fingerprint("tune")]
        )

    def test_equal_files_in_two_splits_or_under_two_labels_are_warned_of(self, root: Path) -> None:
        shutil.copy(root / "train/smoke/a.png", root / "test/clear/r.png")
        shutil.copy(root / "train/clear/c.png", root / "train/smoke/z.png")
        assert set(FolderSource(root).check().warnings) == {
            "the same image in several splits: train/smoke/a.png, test/clear/r.png",
            "the same image under several labels: train/clear/c.png, train/smoke/z.png",
        }

    def test_an_empty_mask_is_warned_of(self, root: Path) -> None:
        striped(root / "tune/masks/p.png", [0] * 8)
        assert FolderSource(root).check().warnings == (
            "tune/images/p.png: empty mask, so it counts as clear (1 such)",
        )

    def test_a_class_that_no_mask_holds_is_warned_of_and_has_no_share(
        self, two_classes: Path
    ) -> None:
        striped(two_classes / "tune/masks/q.png", [3, 3, 0, 0, 0, 0, 0, 0])
        summary = FolderSource(two_classes).check()
        assert summary.warnings == ("tune/masks: no mask holds steam",)
        share = summary.splits["tune"].mask_share
        assert share is not None
        assert share["smoke"] == (9 + 16) / (64 + 64)
        assert np.isnan(share["steam"])
        row = summary.describe().splitlines()[4].split()
        assert row[:-1] == ["tune", "3", "2", "0", "1", "8", "8", "19.5", "%", "-"]

    def test_checking_finds_what_reading_would(self, root: Path) -> None:
        (root / "train/smoke/b.jpg").write_bytes(b"no image")
        with pytest.raises(InputError, match=r"b\.jpg"):
            FolderSource(root).check()


@pytest.mark.data
@pytest.mark.skipif(
    "WSSS_DATA" not in os.environ, reason="WSSS_DATA names no folder of real images"
)
class TestRealCrops:
    def test_the_smoke_crops_hold_the_images_their_description_counts(self) -> None:
        summary = FolderSource(Path(os.environ["WSSS_DATA"]) / "smoke_crops").check()
        counts = {
            split: (figures.with_class["smoke"], figures.clear)
            for split, figures in summary.splits.items()
        }
        assert counts == {"train": (514, 568), "tune": (84, 40), "test": (150, 60)}
        assert {figures.smallest for figures in summary.splits.values()} == {(256, 256)}
        assert summary.warnings == ()
