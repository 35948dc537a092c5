"""The command `wsss export`: one line and exit code 2 for what cannot be."""

import sys

import pandas as pd
import pytest

from reports.export import Tool
from reports.ledger.parts import write_part
from studies.cli.export import TOOLS

PLAN = {
    "study": "one", "study_title": "t", "position": 0, "configuration": "a", "seed": 0,
    "trial_key": "k0", "paradigm": "single", "student": "cnn", "fixed_threshold": 0.3,
    "objective": "per_image_iou", "settings": "{}", "family": "cnn",
}  # fmt: skip
EMPTY = ("metric", "level", "representation", "weight", "teacher", "baseline", "reference")


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    write_part(folder, "plan", "one", [PLAN | dict.fromkeys(EMPTY)])
    return folder


def test_the_tools_of_the_command_are_those_of_the_room():
    assert tuple(Tool) == TOOLS


def test_it_prints_where_the_export_lies(wsss, results):
    said = wsss("export", results, "--to", "csv")
    assert said.code == 0
    assert said.out == f"{results / 'export' / 'csv'}\n"
    assert "0 trials exported" in said.err
    trials = pd.read_csv(results / "export" / "csv" / "trials.csv")
    assert list(trials["status"]) == ["missing"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--to", "csv", "--uri", "http://x"], "--uri: only MLflow has a server; csv is written"),
        (["--to", "mlflow", "--out", "x"], "--out: MLflow takes runs at a server; name it by"),
        (["--to", "mlflow"], "--uri: expected the address of an MLflow server, or MLFLOW_TRACK"),
        (["--to", "csv", "--study", "two"], "holds no study two, but one"),
    ],
)
def test_what_cannot_be_is_one_line(wsss, results, monkeypatch, arguments, line):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    said = wsss("export", results, *arguments)
    assert said.code == 2
    assert line in said.err
    assert said.err.count("\n") == 1


def test_a_folder_that_is_no_results_folder_is_said_and_left_alone(wsss, tmp_path):
    said = wsss("export", tmp_path / "nothing", "--to", "tensorboard")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "no plan in a ledger there" in said.err
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("package", ["tensorboard", "wandb"])
def test_a_package_that_is_not_installed_is_named_with_its_extra(
    wsss, results, monkeypatch, package
):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    said = wsss("export", results, "--to", package)
    assert said.code == 2
    assert f"pip install 'wsss-studies[{package}]'" in said.err
