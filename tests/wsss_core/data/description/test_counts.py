"""The data set table, with the thesis's counts beside the ones found."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_core.data import describe_data
from wsss_core.data.description.counts import class_counts
from wsss_core.data.description.facts import ImageFacts
from wsss_core.data.description.published import THESIS, known_source
from wsss_core.data.importing import ImportSettings, SourceSettings, SplitSettings, import_data

SOURCES = {"IJmond": "ijmond", "SMOKE5K": "smoke5k", "RISE": "rise"}


def some(count: int, source: str, split: str, held: bool, **more: object) -> list[ImageFacts]:
    areas = None if split == "train" else (0.1 * held,)
    return [
        ImageFacts(split, f"{source}{held}{n}", (held,), 8, 8, source=source, areas=areas, **more)  # type: ignore[arg-type]
        for n in range(count)
    ]


def thesis_images() -> list[ImageFacts]:
    return [
        *some(1000, "IJmond", "train", True),
        *some(1362, "IJmond", "train", False),
        *some(900, "IJmond", "test", True),
        *some(19, "SMOKE5K", "train", True),
        *some(107, "RISE", "train", False),
    ]


def test_the_set_of_the_thesis_has_its_counts_beside_equal_ones():
    rows = class_counts(thesis_images(), ["smoke"], SOURCES)
    beside = {count: row.images for row in rows for count in row.published if "thesis" in count.by}
    assert set(beside) == set(THESIS)
    assert all(count.images == found for count, found in beside.items())


def test_the_training_images_of_all_sources_are_the_sum_of_the_table():
    table = [one.images for one in THESIS if one.split == "train" and one.by == "thesis"]
    (total,) = (one.images for one in THESIS if one.by == "thesis T1")
    assert total == sum(table) == 2362 + 19 + 107


def test_what_the_thesis_has_and_the_set_lacks_is_a_row_of_none():
    rows = class_counts(some(5, "IJmond", "train", True), ["smoke"], SOURCES)
    empty = {
        (row.source, row.split, row.images) for row in rows if not row.images and row.published
    }
    assert ("rise", "train", 0) in empty
    assert ("smoke5k", "train", 0) in empty
    assert ("ijmond", "test", 0) in empty


def test_other_data_sets_have_no_published_counts():
    rows = class_counts(some(5, "mine", "train", True), ["smoke"], {})
    assert [row.published for row in rows] == [()] * 3


def test_sources_are_rows_and_their_sum_follows():
    images = [*some(4, "A", "train", True), *some(6, "B", "train", False)]
    rows = class_counts(images, ["smoke"], {})
    found = [(row.source, row.class_name, row.images) for row in rows]
    assert found == [
        ("A", "smoke", 4), ("A", "clear", 0), ("A", "all images", 4),
        ("B", "smoke", 0), ("B", "clear", 6), ("B", "all images", 6),
        ("all sources", "smoke", 4), ("all sources", "clear", 6), ("all sources", "all images", 10),
    ]  # fmt: skip


def test_an_image_without_a_group_is_a_group_of_its_own():
    images = [*some(6, "", "train", True, group="clip"), *some(3, "", "train", True)]
    rows = class_counts(images, ["smoke"], {})
    assert [row.groups for row in rows] == [4, None, 4]


@pytest.mark.parametrize(
    ("names", "known"),
    [(("ijmond", "x"), "ijmond"), (("folder", "RISE-dataset"), "rise"), (("sunrise",), "")],
)
def test_a_source_is_known_by_its_format_or_its_name(names: tuple[str, ...], known: str):
    assert known_source(*names) == known


def test_an_import_tells_the_formats_of_its_sources(tmp_path: Path):
    for split in ("train", "test"):
        for n in range(8):
            for kind, value in (("img", 100 + n), ("gt", 255)):
                pixels = np.full((8, 8, 3) if kind == "img" else (8, 8), value, np.uint8)
                pixels[:4] = 0
                folder = tmp_path / "abc" / split / kind
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / f"{n}.png")
    import_data(
        ImportSettings(
            (SourceSettings(tmp_path / "abc", "mine"),),
            tmp_path / "set",
            split=SplitSettings(tune=2),
        )
    )
    rows = describe_data(tmp_path / "set", pictures=0).counts
    (test,) = (row for row in rows if (row.split, row.class_name) == ("test", "smoke"))
    assert (test.source, test.images) == ("mine", 8)
    assert [count.images for count in test.published] == [400]
