"""The check of the images before a run: the findings of `wsss data check`, kept in the ledger."""

import shutil

import numpy as np
import pytest
from PIL import Image

from reports.ledger import read_table
from reports.ledger.parts import table_folder
from studies.planning.planner import make_plan
from studies.preflight import images_check
from studies.preflight.images_check import check_study_images, kept_findings
from studies.spec.study import Study
from studies.store.artifacts import ArtifactStore
from wsss_core.data.folder import FolderSource
from wsss_core.errors import InputError


@pytest.fixture
def checked(folder_study, tmp_path, listening):
    """Check the images of the folder study; return what was said."""

    def check(results="results", **changes):
        study = Study.model_validate({**folder_study, **changes})
        plan = make_plan(study)
        said = []
        with listening(said.append):
            check_study_images(plan, ArtifactStore(tmp_path / "store"), tmp_path / results)
        return plan, said

    return check


def test_what_the_check_warns_of_the_run_says_once_and_the_ledger_keeps(
    checked, smoke_folder, tmp_path
):
    shutil.copy(smoke_folder / "train/smoke/a.png", smoke_folder / "test/clear/z.png")
    plan, said = checked()
    expected = FolderSource(smoke_folder).check(32).findings
    line = f"images: {expected.tally()}; `wsss data check {smoke_folder}` and the report list them"
    assert said.count(line) == 1
    rows = read_table(tmp_path / "results", "findings")
    kept = [(r.severity, r.split, r.text, r.files) for r in rows.itertuples()][:-1]
    assert kept == [(f.severity, f.split, f.text, f.concerned()) for f in expected]
    assert (rows.iloc[-1]["text"], rows.iloc[-1]["kind"]) == ("images were checked", "layout")
    assert [one.describe() for one in kept_findings(plan, tmp_path / "results")][:-1] == [
        one.describe() for one in expected
    ]
    assert checked()[1] == []


def test_images_that_another_study_decoded_are_checked_for_a_ledger_without_findings(
    checked, smoke_folder, tmp_path
):
    checked("first")
    _, said = checked("second")
    assert not any("decoded" in line for line in said)
    assert read_table(tmp_path / "first", "findings").equals(
        read_table(tmp_path / "second", "findings")
    )


def test_findings_of_other_images_are_replaced(checked, smoke_folder, tmp_path):
    shutil.copy(smoke_folder / "train/smoke/a.png", smoke_folder / "test/clear/z.png")
    checked()
    (smoke_folder / "test/clear/z.png").unlink()
    checked()
    assert "duplicates" not in set(read_table(tmp_path / "results", "findings")["kind"])


def test_a_corrupt_part_of_findings_is_made_again(checked, tmp_path):
    checked()
    results = tmp_path / "results"
    (name,) = table_folder(results, "findings").listing()
    part = results / "ledger" / "findings" / name
    part.write_bytes(part.read_bytes()[:-9])
    checked()
    assert len(read_table(results, "findings")) > 0


def test_what_check_refuses_run_refuses(checked, smoke_folder):
    for path in (smoke_folder / "tune/masks").iterdir():
        Image.fromarray(np.zeros((40, 40), np.uint8)).save(path)
    with pytest.raises(InputError, match="every mask is empty"):
        FolderSource(smoke_folder).check()
    with pytest.raises(InputError, match="every mask is empty"):
        checked()


def test_each_file_is_read_once_to_be_decoded_and_judged(
    checked, smoke_folder, monkeypatch, folder_study
):
    from wsss_core.data.folder import examination

    read = []
    original = examination.PictureFile.read

    def counted(path, *rules):
        read.append(path)
        return original(path, *rules)

    monkeypatch.setattr(examination.PictureFile, "read", staticmethod(counted))
    checked()
    assert sorted(read) == sorted(smoke_folder.rglob("*.png"))


def test_scenes_have_no_findings(tiny, tmp_path):
    plan = make_plan(Study.model_validate(tiny))
    images_check.check_study_images(plan, ArtifactStore(tmp_path / "store"), tmp_path / "results")
    assert read_table(tmp_path / "results", "findings").empty


def test_groups_in_several_splits_are_no_finding_where_folds_pool_the_splits(
    checked, smoke_folder, tmp_path
):
    files = [path for path in smoke_folder.rglob("*.png") if path.parent.name != "masks"]
    lines = [f"{path.relative_to(smoke_folder)},{path.stem}" for path in sorted(files)]
    (smoke_folder / "groups.csv").write_text("\n".join(["file,group", *lines, ""]))
    said = "groups lie in several splits"
    assert any(said in one.text for one in FolderSource(smoke_folder).check(32).findings)
    checked()
    assert any(said in text for text in read_table(tmp_path / "results", "findings")["text"])
    plan, _ = checked(folds={"by": "group", "k": "all"})
    kept = kept_findings(plan, tmp_path / "results")
    assert not any(said in text for text in read_table(tmp_path / "results", "findings")["text"])
    assert [one.text for one in kept][-1] == "images were checked"
