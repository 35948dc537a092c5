"""Files of a report that appear together, or not at all."""

import pytest

from reports.page.staging import StagedFiles
from wsss_core.errors import InputError


def test_files_appear_at_the_end_of_the_block(tmp_path):
    with StagedFiles(tmp_path, "no") as files:
        place = files.write("tables/a.csv", ["x\n", b"y\n"])
        assert not place.exists()
    assert place.read_text() == "x\ny\n"
    assert files.below("tables") == (tmp_path / "tables" / "a.csv",)
    assert [one.name for one in tmp_path.iterdir()] == ["tables"]


def failing(folder):
    with StagedFiles(folder, "no") as files:
        files.write("a", ["newer"])
        raise ValueError("half-way")


def test_older_files_stay_where_the_block_fails(tmp_path):
    (tmp_path / "a").write_text("older")
    with pytest.raises(ValueError, match="half-way"):
        failing(tmp_path)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("a", "older")]


def test_a_place_that_is_no_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: cannot"):
        StagedFiles(tmp_path / "file", "cannot").__enter__()
