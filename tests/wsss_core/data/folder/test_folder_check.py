import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_core.data.folder.findings import FindingKind, Severity
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
        assert {one.kind for one in summary.findings} == {FindingKind.SMALL_OBJECTS}

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

    def test_a_class_that_no_mask_holds_is_refused_and_has_no_share(
        self, two_classes: Path
    ) -> None:
        striped(two_classes / "tune/masks/q.png", [3, 3, 0, 0, 0, 0, 0, 0])
        summary = FolderSource(two_classes).examine()
        assert [one.headline() for one in summary.findings.with_severity(Severity.REFUSED)] == [
            "tune: no image holds class 'steam', expected at least one"
        ]
        share = summary.splits["tune"].mask_share
        assert share is not None
        assert share["smoke"] == (9 + 16) / (64 + 64)
        assert np.isnan(share["steam"])
        row = summary.describe().splitlines()[4].split()
        assert row[:-1] == ["tune", "3", "2", "0", "1", "8", "8", "19.5", "%", "-"]

    def test_with_many_classes_each_has_a_line(self, root: Path) -> None:
        names = [f"class_with_a_long_name_{number}" for number in range(6)]
        listed = "\n".join(f"  {number + 1}: {name}" for number, name in enumerate(names))
        (root / "classes.yaml").write_text(f"classes:\n{listed}\n")
        shutil.rmtree(root / "train")
        for number, name in enumerate(names):
            (root / "train" / name).mkdir(parents=True)
            Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(root / "train" / name / "a.png")
        for split in ("tune", "test"):
            striped(root / split / "masks/q.png", [1, 1, 2, 3, 4, 5, 6, 0])
            striped(root / split / "masks/p.png", [1, 0, 0, 0, 0, 0, 0, 0])
        lines = FolderSource(root).check().describe().splitlines()
        assert max(map(len, lines[1:10])) <= 140
        columns = " ".join(f"{split} images {split} pixels" for split in ("train", "tune", "test"))
        assert lines[7].split() == ["class", *columns.split()]
        assert lines[8].split() == [names[0], "1", "-", "2", "18.8", "%", "2", "18.8", "%"]

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
        assert not summary.findings.with_severity(Severity.REFUSED)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("file,flags\ntest/images/p.jpg,night\n", "is no image of"),
        ("file,words\ntest/images/p.png,night\n", "expected CSV with columns file, flags"),
    ],
)
def test_faults_in_attributes_are_warned_of(root: Path, table: str, said: str) -> None:
    def told() -> list[str]:
        found = FolderSource(root).examine().findings.with_severity(Severity.WARNING)
        return [one.text for one in found if "attributes.csv" in one.text]

    (root / "attributes.csv").write_text("file,flags\ntest/images/p.png,night\n")
    assert told() == []
    (root / "attributes.csv").write_text(table)
    (text,) = told()
    assert said in text
    assert "`wsss data describe` refuses it" in text
