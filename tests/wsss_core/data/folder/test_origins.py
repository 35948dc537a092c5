"""Sources, cameras and groups of images, from groups.csv or from the table of an import."""

from pathlib import Path

import pytest

from wsss_core.data.folder.source import FolderSource
from wsss_core.errors import InputError


def fingerprints(root: Path) -> dict[str, str]:
    source = FolderSource(root)
    return {split: source.fingerprint(split) for split in ("train", "tune", "test")}


def import_table(root: Path, *lines: str) -> None:
    (root / "import.json").write_text("{}")
    (root / "images.csv").write_text("\n".join(("file,source,camera", *lines)) + "\n")


def test_source_and_camera_are_optional_columns_of_the_groups(root: Path) -> None:
    (root / "groups.csv").write_text(
        "file,group,source,camera\ntest/images/p.png,frame 1,RISE,0-7\ntest/clear/r.png,,RISE,\n"
    )
    test = FolderSource(root).read("test", 4)
    assert test.groups == ("clear/r.png", "frame 1", "images/q.png")
    assert test.sources == ("RISE", "RISE", "")
    assert test.cameras == ("", "0-7", "")
    assert FolderSource(root).read("train", 4).sources == ("", "", "")


def test_an_imported_folder_names_sources_in_its_table_of_images(root: Path) -> None:
    import_table(root, "test/images/p.png,IJmond,", "test/images/q.png,SMOKE5K,c2")
    (root / "groups.csv").write_text("file,group\ntest/images/p.png,IJmond/frame\n")
    test = FolderSource(root).read("test", 4)
    assert test.groups == ("clear/r.png", "IJmond/frame", "images/q.png")
    assert test.sources == ("", "IJmond", "SMOKE5K")
    assert test.cameras == ("", "", "c2")


def test_a_column_of_the_groups_goes_before_the_table_of_an_import(root: Path) -> None:
    import_table(root, "test/images/p.png,IJmond,c1")
    (root / "groups.csv").write_text("file,group,source\ntest/images/p.png,f,mine\n")
    test = FolderSource(root).read("test", 4)
    assert test.sources == ("", "mine", "")
    assert test.cameras == ("", "c1", "")


def test_a_table_of_images_that_no_import_wrote_is_passed_over(root: Path) -> None:
    (root / "images.csv").write_text("anything\n")
    assert FolderSource(root).read("test", 4).sources == ("", "", "")


def test_a_source_changes_the_fingerprint_of_its_split_and_an_unknown_one_does_not(
    root: Path,
) -> None:
    before = fingerprints(root)
    (root / "groups.csv").write_text("file,group,source\ntest/images/p.png,images/p.png,\n")
    assert fingerprints(root) == before
    (root / "groups.csv").write_text("file,group,source\ntest/images/p.png,images/p.png,A\n")
    after = fingerprints(root)
    assert after.pop("test") != before.pop("test")
    assert after == before


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,group,source\ntest/images/p.png,f,A\ntest/images/p.png,f,B\n", "two sources"),
        ("file,group,camera\ntest/images/p.png,f,1\ntest/images/p.png,f,2\n", "two cameras"),
        ("file,group,source\ntest/images/p.png,,\n", "expected a path such as"),
        ("file,group,source\ntest/images/pp.png,,A\n", "nearest: 'images/p.png'"),
    ],
)
def test_a_line_that_says_nothing_or_two_things_is_refused(
    root: Path, table: str, message: str
) -> None:
    (root / "groups.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        FolderSource(root).images("test")
