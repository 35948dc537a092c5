"""Two results folders compared: rows by settings, differences by seed, alarms."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.ledger import write_part
from reports.ledger.parts import read_table
from reports.listing import compare_results, comparison_table
from wsss_core.errors import InputError

pytestmark = pytest.mark.ci


def changed(results: Path, trial: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Rewrite every row of `trials` by a function."""
    for row in read_table(results, "trials").to_dict("records"):
        known = {name: value for name, value in row.items() if value == value and value is not None}
        write_part(results, "trials", row["trial_key"], [trial(known)])


@pytest.fixture
def folders(ledger: Any, tmp_path: Path) -> tuple[Path, Path]:
    for name in ("first", "second"):
        shutil.copytree(ledger.results, tmp_path / name)
    return tmp_path / "first", tmp_path / "second"


def test_a_copy_is_reproduced_row_by_row(folders: tuple[Path, Path]) -> None:
    found = compare_results(*folders)
    assert [row.first.name for row in found.rows] == [row.second.name for row in found.rows]
    assert len(found.rows) == 8
    assert all(row.reproduced for row in found.rows)
    assert (found.only_first, found.only_second, found.alarms) == ((), (), [])


def test_rows_are_matched_by_settings_whatever_their_names(folders: tuple[Path, Path]) -> None:
    first, second = folders
    plan = read_table(second, "plan")
    plan["configuration"] = plan["configuration"].replace("cosine global", "taught")
    rows = [
        {name: value for name, value in row.items() if value == value and value is not None}
        for row in plan.to_dict("records")
    ]
    write_part(second, "plan", "strategies", rows)
    found = compare_results(first, second)
    matched = {row.first.name: row.second.name for row in found.rows}
    assert matched["cosine global"] == "taught"
    assert matched["L1 global"] == "L1 global"


def test_the_difference_is_paired_by_seed(
    build_ledger: Callable[..., Any], ledger: Any, tmp_path: Path
) -> None:
    other = build_ledger(tmp_path / "other", seeds=(1, 2, 3), states={})
    found = compare_results(ledger.results, other.results)
    row = next(row for row in found.rows if row.first.name == "cosine channel")
    assert set(row.difference.by_seed) == {1, 2}
    for seed, value in row.difference.by_seed.items():
        one, two = (
            record.trials["cosine channel", seed].figure(
                "per_image_iou", rule="tuned", class_name="smoke"
            )
            for record in (found.first, found.second)
        )
        assert value == two - one
    text = json.dumps([cell.text for cell in comparison_table(found).rows[3]])
    assert "2 of 2" in text


def test_settings_that_differ_without_any_effect_are_an_alarm(folders: tuple[Path, Path]) -> None:
    first, second = folders

    def faster(row: dict[str, Any]) -> dict[str, Any]:
        settings = json.loads(row["settings"])
        if row["configuration"] == "ViT alone":
            settings["learning_rate"] = 0.5
        return {**row, "settings": json.dumps(settings)}

    changed(second, faster)
    found = compare_results(first, second)
    (alarm,) = found.alarms
    assert "ViT alone: settings differ (learning_rate 0.001 → 0.5)" in alarm
    assert "3 seeds agrees to the bit" in alarm


def test_rows_of_one_study_that_agree_to_the_bit_are_an_alarm(folders: tuple[Path, Path]) -> None:
    first, second = folders
    keys = {
        (row["configuration"], row["seed"]): row["trial_key"]
        for row in read_table(first, "plan").to_dict("records")
    }
    for seed in (0, 1, 2):
        rows = read_table(second, "scores", keys=[keys["cosine global", seed]]).to_dict("records")
        target = keys["cosine channel", seed]
        known = [
            {
                k: v
                for k, v in row.items()
                if isinstance(v, np.ndarray) or (v is not None and v == v)
            }
            | {"trial_key": target}
            for row in rows
        ]
        write_part(second, "scores", target, known)
    found = compare_results(first, second)
    assert any(
        "second folder, cosine global and cosine channel differ in name" in alarm
        for alarm in found.alarms
    )


def test_what_differs_in_data_and_code_is_said(folders: tuple[Path, Path]) -> None:
    first, second = folders
    changed(second, lambda row: {**row, "train_fingerprint": "aa", "code_digest": "c0de"})
    changed(first, lambda row: {**row, "code_digest": "beef"})
    table = comparison_table(compare_results(first, second))
    said = table.rows[0][-1].text
    assert "training images" in said
    assert "code: beef (3 trials), c0de (3 trials)" in said
    assert "tune" not in said


def test_folders_that_cannot_be_compared_say_why(
    folders: tuple[Path, Path], build_ledger: Callable[..., Any]
) -> None:
    first, second = folders
    with pytest.raises(InputError, match="holds no study 'strategie'; nearest: 'strategies'"):
        compare_results(second, first, "strategie")
    build_ledger(second, study="more", states={}, seeds=(0,))
    with pytest.raises(InputError, match=r"holds 2 studies .* name one by --study"):
        compare_results(first, second)
    assert compare_results(first, second, "strategies").rows
