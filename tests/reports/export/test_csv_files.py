"""The tidy CSV files against the ledger's own rows."""

import json
import math

import pandas as pd
import pytest

from reports.export import export_results
from reports.ledger.parts import write_part
from reports.results.reading import read_studies
from wsss_core.errors import InputError

DIVERGED = "0401" + "ab" * 6  # cosine spatial, seed 1; its losses are 0.5, infinite and NaN
SEARCHED = [{"study": "another", "number": 0, "configuration": "a", "parameters": "{}", "seed": 1,
             "objective": 0.5, "state": "complete"}]  # fmt: skip


def read(folder, name):
    # Every text as it stands in the file.
    return pd.read_csv(folder / f"{name}.csv", dtype=str, keep_default_na=False)


@pytest.fixture(scope="module")
def exported(awkward, tmp_path_factory):
    folder = tmp_path_factory.mktemp("csv")
    export_results(awkward, "csv", out=folder)
    return folder


def test_every_planned_trial_has_its_row_with_its_status(exported, awkward):
    (record,) = read_studies(awkward)
    found = read(exported, "trials")
    expected = {(trial.key, trial.status) for trial in record.all_trials.values()}
    assert set(zip(found["trial_key"], found["status"], strict=True)) == expected
    assert {"ok", "failed", "collapsed", "missing"} == set(found["status"])


def test_scores_keep_every_digit(exported, awkward):
    (record,) = read_studies(awkward)
    found = read(exported, "scores")
    known = record.outcomes()
    assert list(found["chain"]) == list(known["refinement"])
    for name in ("per_image_iou", "price", "threshold"):
        expected = ["" if math.isnan(value) else repr(float(value)) for value in known[name]]
        assert list(found[name]) == expected


def test_losses_that_are_infinite_or_no_number_are_written_as_such(exported):
    curves = read(exported, "curves")
    diverged = curves[curves["trial_key"] == DIVERGED]
    assert list(diverged["loss"]) == ["0.5", "inf", "nan"]
    alone = curves[curves["configuration"] == "'=1+1"]
    assert set(alone["transfer_loss"]) == {""}


def test_settings_are_one_a_row_and_formulas_are_texts(exported):
    settings = read(exported, "settings")
    one = settings[settings["trial_key"] == "0000" + "ab" * 6]
    values = dict(zip(one["setting"], one["value"], strict=True))
    assert values["learning_rate"] == "0.001"
    assert values["configuration"] == "'=1+1"
    assert values["teacher"] == ""


def test_an_export_replaces_its_own_files_and_no_others(exported, awkward):
    before = {path.name: path.read_bytes() for path in exported.iterdir()}
    export_results(awkward, "csv", out=exported)
    assert {path.name: path.read_bytes() for path in exported.iterdir()} == before
    with pytest.raises(InputError, match="holds an export to csv; name another folder"):
        export_results(awkward, "tensorboard", out=exported)


def test_a_folder_with_other_files_is_refused_and_left_alone(awkward, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="holds files that no export wrote"):
        export_results(awkward, "csv", out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "mark", ["", "{", "[]", '{"tool": "csv"}', '{"tool": "csv", "studies": {"a": "b"}}']
)
def test_a_mark_that_is_not_as_written_is_said(awkward, tmp_path, mark):
    (tmp_path / ".wsss-export").write_text(mark)
    with pytest.raises(InputError, match=r"export"):
        export_results(awkward, "csv", out=tmp_path)


def test_an_edited_mark_leads_to_no_file_outside(awkward, tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    folder = tmp_path / "csv"
    export_results(awkward, "csv", out=folder)
    mark = json.loads((folder / ".wsss-export").read_text())
    mark["studies"]["strategies"] += ["../outside.txt", str(outside), "."]
    (folder / ".wsss-export").write_text(json.dumps(mark))
    export_results(awkward, "csv", out=folder)
    assert outside.read_text() == "mine"
    assert (folder / "trials.csv").exists()


def test_an_unknown_study_is_named_with_those_that_are_there(awkward, tmp_path):
    with pytest.raises(InputError, match="no study strategie, but strategies; did you mean"):
        export_results(awkward, "csv", out=tmp_path, study="strategie")
    assert list(tmp_path.iterdir()) == []


def test_an_anonymous_export_names_no_machine(awkward, tmp_path):
    export_results(awkward, "csv", out=tmp_path, anonymous=True)
    assert set(read(tmp_path, "trials")["host"]) == {"host-1", ""}


def test_an_export_of_another_study_replaces_the_files(build_ledger, awkward, tmp_path):
    build_ledger(tmp_path / "other", study="another", seeds=(0,), states={}, counts=(2, 3))
    write_part(tmp_path / "other", "search", "another.0a.00000", SEARCHED)
    folder = tmp_path / "csv"
    export_results(tmp_path / "other", "csv", out=folder)
    assert (folder / "search.csv").exists()
    export_results(awkward, "csv", out=folder)
    assert set(read(folder, "trials")["study"]) == {"strategies"}
    assert not (folder / "search.csv").exists()
