"""Flags of images, from attributes.csv and from the table of an import."""

from pathlib import Path

import pytest

from wsss_core.data import describe_data
from wsss_core.data.folder.origins import read_flags
from wsss_core.errors import InputError

NAMES = {"smoke/a.png", "smoke/b.jpg", "clear/c.png"}


def table(root: Path, *lines: str, name: str = "attributes.csv") -> None:
    root.mkdir(exist_ok=True)
    (root / name).write_text("\n".join(["file,flags", *lines]) + "\n", encoding="utf-8")


def test_flags_are_words_between_semicolons(tmp_path: Path):
    table(
        tmp_path, "train/smoke/a.png, night;rain ;", "train/clear/c.png,", "test/images/x.png,fog"
    )
    assert read_flags(tmp_path, "train", NAMES) == {"smoke/a.png": ("night", "rain")}


def test_a_folder_without_tables_has_no_flags(tmp_path: Path):
    assert read_flags(tmp_path, "train", NAMES) == {}


def test_flags_of_an_import_are_joined_by_those_of_the_table(tmp_path: Path):
    table(tmp_path, "train/smoke/a.png,weak", "train/gone.png,weak", name="images.csv")
    (tmp_path / "import.json").write_text("{}", encoding="utf-8")
    table(tmp_path, "train/smoke/a.png,night")
    assert read_flags(tmp_path, "train", NAMES) == {"smoke/a.png": ("night", "weak")}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("smoke/a.png,night", "expected a path such as train/smoke/a.jpg"),
        ("train/smoke/aa.png,night", "nearest: 'smoke/a.png'"),
        ("train/smoke/b.jpg,fog", "is listed twice, first in line 2"),
    ],
)
def test_a_line_that_names_no_image_or_one_twice_is_refused(tmp_path: Path, line: str, said: str):
    table(tmp_path, "train/smoke/b.jpg,rain", line)
    with pytest.raises(InputError, match=r"attributes\.csv, line 3") as error:
        read_flags(tmp_path, "train", NAMES)
    assert said in str(error.value)


def test_a_description_names_the_flags_of_a_folder(root: Path):
    table(root, "train/smoke/a.png,night")
    (first,) = (
        one for one in describe_data(root, pictures=0).images if one.identifier == "smoke/a.png"
    )
    assert first.flags == ("night",)
