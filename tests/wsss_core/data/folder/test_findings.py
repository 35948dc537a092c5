"""Findings about a data set: counted, sorted, with the names' pattern, refused in one line."""

import pytest

from wsss_core.data.folder.findings import (
    DataFinding,
    DataFindings,
    FindingCollector,
    FindingKind,
    Severity,
    common_pattern,
)
from wsss_core.errors import InputError


def _warning(text, **more):
    return DataFinding(FindingKind.PAGES, Severity.WARNING, text, **more)


def test_a_thousand_files_are_counted_and_three_are_named():
    names = [f"test/masks/x{number:04}_mask.png" for number in range(1000)]
    found = DataFinding.counted(FindingKind.PAIRING, Severity.REFUSED, "no image", names, "test")
    assert found.count == 1000
    assert found.describe() == (
        "no image: test/masks/x0000_mask.png, test/masks/x0001_mask.png, "
        "test/masks/x0002_mask.png and 997 more, all x*_mask.png"
    )


def test_few_files_are_all_named_without_a_pattern():
    found = DataFinding.counted(FindingKind.PAGES, Severity.NOTE, "pages", ["a.tif", "b.tif"])
    assert found.describe() == "pages: a.tif, b.tif"


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (["a/frame_001.jpg", "b/frame_002.jpg"], "frame_*.jpg"),
        (["0101.png", "0102.png"], "*.png"),
        (["a.jpg", "b.png"], ""),
        (["cat.jpg", "bat.jpg", "cart.jpg"], "*.jpg"),
        (["smoke_a.jpg", "smoke_ab.jpg"], "smoke_*.jpg"),
        (["x/same.png", "y/same.png"], "same.png"),
        ([], ""),
    ],
)
def test_a_pattern_is_what_the_names_have_in_common(names, pattern):
    assert common_pattern(names) == pattern


def test_the_worst_come_first_then_the_splits_in_their_order():
    note = DataFinding(FindingKind.LAYOUT, Severity.NOTE, "n")
    fault = DataFinding(FindingKind.TWINS, Severity.REFUSED, "r", split="test")
    later, earlier = _warning("w", split="test"), _warning("w", split="tune")
    whole = _warning("w")
    found = DataFindings.of([note, later, earlier, whole, fault])
    assert list(found) == [fault, whole, earlier, later, note]
    assert found.tally() == "1 fault, 3 warnings, 1 note"


def test_equal_findings_are_kept_once():
    assert len(DataFindings.of([_warning("w"), _warning("w")])) == 1


def test_each_finding_is_a_line_of_a_table():
    found = DataFindings.of([_warning("w", split="tune", count=1200), _warning("all", count=3)])
    assert found.lines() == [
        "warning  -         3  all",
        "warning  tune  1,200  w",
    ]


def test_the_first_fault_is_raised_and_the_others_are_counted():
    faults = [
        DataFinding(FindingKind.SIZES, Severity.REFUSED, text, split="test", examples=("a.png",))
        for text in ("first", "second", "third")
    ]
    with pytest.raises(InputError, match=r"^a\.png: first; and 2 more faults, see check$"):
        DataFindings.of(faults).raise_refused("check")


def test_a_fault_of_many_files_names_the_first_and_counts_the_others():
    names = [f"{number}_mask.png" for number in range(1000)]
    fault = DataFinding.counted(FindingKind.PAIRING, Severity.REFUSED, "no image", names)
    with pytest.raises(InputError, match=r"^0_mask\.png: no image \(and 999 more, all \*_mask.png"):
        DataFindings.of([fault]).raise_refused()


def test_files_of_one_reason_are_one_finding_with_the_text_of_the_first():
    collector = FindingCollector()
    for stem in ("a", "b"):
        collector.refuse(FindingKind.PAIRING, f"expected {stem}.png", f"{stem}.jpg", "no mask")
    collector.refuse(FindingKind.NAMES, "not UTF-8", "c.jpg")
    found = [(one.kind, one.count, one.text) for one in collector.findings()]
    assert found == [("image and mask", 2, "expected a.png"), ("names", 1, "not UTF-8")]


def test_warnings_are_not_raised():
    DataFindings.of([_warning("w")]).raise_refused()


def test_a_name_with_an_end_of_line_stays_on_its_line():
    found = DataFindings.of([_warning("pages", examples=("a\nb\x1b[31m.tif",))])
    assert found.lines() == [r"warning  -  1  pages: a\nb\x1b[31m.tif"]
