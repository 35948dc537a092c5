"""`wsss thresholds`: what it prints of a finished study, and where it writes."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

Command = Callable[..., Any]
NAMES = ["threshold_choices.csv", "threshold_choices.parquet", "threshold_curves.parquet"]


@pytest.fixture
def results(finished: Any, tmp_path: Path) -> Path:
    """The ledger of the finished study, to write beside."""
    shutil.copytree(finished.results / "ledger", tmp_path / "results" / "ledger")
    return tmp_path / "results"


def test_it_prints_every_rule_of_every_trial_and_names_its_files(
    wsss: Command, results: Path
) -> None:
    ended = wsss("thresholds", results)
    assert (ended.code, ended.err) == (0, "")
    choices = pd.read_parquet(results / "report" / "tables" / NAMES[1])
    lines = ended.out.splitlines()
    header = next(n for n, line in enumerate(lines) if line.startswith("configuration"))
    assert lines.index("", header) - header - 1 == len(choices)
    assert len(choices.groupby(["configuration", "seed", "network"])) == 6
    assert lines[-3:] == [f"wrote {results / 'report' / 'tables' / name}" for name in NAMES]


def test_another_folder_can_be_named(wsss: Command, results: Path, tmp_path: Path) -> None:
    ended = wsss("thresholds", results, "--out", tmp_path / "elsewhere")
    assert ended.code == 0
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == NAMES
    assert not (results / "report").exists()


def test_a_report_in_the_same_folder_keeps_its_own_tables(wsss: Command, results: Path) -> None:
    assert wsss("report", results).code == 0
    tables = results / "report" / "tables"
    before = {path: path.read_bytes() for path in tables.iterdir()}
    assert wsss("thresholds", results).code == 0
    assert {path: path.read_bytes() for path in before} == before


def test_a_folder_without_a_ledger_is_one_line_and_exit_code_2(
    wsss: Command, tmp_path: Path
) -> None:
    ended = wsss("thresholds", tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        f"wsss: {tmp_path}: no plan in a ledger there; expected a folder that `wsss run` wrote\n"
    )


def test_its_help_shows_an_example(wsss: Command) -> None:
    ended = wsss("thresholds", "--help")
    assert ended.code == 0
    assert "wsss thresholds results/quickstart" in ended.out
