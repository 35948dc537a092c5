"""Intervals over seeds and images against the maps themselves."""

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.deciding import crossed_interval
from reports.ledger import write_part
from reports.ledger.parts import read_table
from reports.results.reading import read_studies
from reports.tables.over_images import chance_table, has_both_chances


def ious(record: Any, ledger: Any, name: str, seed: int) -> list[float]:
    level = record.trials[name, seed].figure("level", rule="tuned", class_name="smoke")
    cams = ledger.cams[name, seed, "test", "student", "smoke"]
    return [
        float((mask & (cam >= level)).sum() / (mask | (cam >= level)).sum())
        for mask, cam in zip(ledger.masks["test", "smoke"], cams, strict=True)
        if mask.any()
    ]


def row_of(table: Any, name: str) -> dict[str, Any]:
    row = next(row for row in table.rows if row[0].text == name)
    return {column.key: cell for column, cell in zip(table.columns, row, strict=True)}


def test_a_row_is_the_crossed_interval_of_differences_of_the_maps(ledger: Any) -> None:
    record = read_studies(ledger.results)[0]
    assert has_both_chances(record)
    table = chance_table(record)
    for name, seeds in (("cosine global", (0, 1, 2)), ("L2 global", (0, 2))):
        values = np.array(
            [
                np.subtract(ious(record, ledger, name, s), ious(record, ledger, "ViT alone", s))
                for s in seeds
            ]
        )
        expected = crossed_interval(values)
        row = row_of(table, name)
        assert row["difference"].data[""] == pytest.approx(values.mean())
        assert row["over_both"].data == pytest.approx({"low": expected.low, "high": expected.high})
        assert row["rest"].data[""] == pytest.approx(math.sqrt(expected.components.rest))  # type: ignore[union-attr]
        assert row["one_more_seed"].data[""] == pytest.approx(
            expected.half_width_with(len(seeds) + 1, values.shape[1])
        )
        assert row["extent"].data == {"seeds": len(seeds), "images": 10, "groups": 10}


def test_images_of_a_group_are_one_cluster(ledger: Any, tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(ledger.results, results)
    for key in read_table(results, "plan")["trial_key"]:
        rows = [
            {
                **{k: v for k, v in row.items() if isinstance(v, np.ndarray) or v == v},
                "group": f"clip {int(row['image'][-8:-4]) // 6}",
            }
            for row in read_table(results, "scores", keys=[key]).to_dict("records")
        ]
        if rows:
            write_part(results, "scores", key, rows)
    row = row_of(chance_table(read_studies(results)[0]), "cosine global")
    assert row["extent"].text == "3 x 10 (3)"
    assert row["group"].data[""] is not None
    apart = row_of(chance_table(read_studies(ledger.results)[0]), "cosine global")
    assert apart["group"].data[""] is None


def test_a_study_of_one_seed_has_no_such_table(build_ledger: Any, tmp_path: Path) -> None:
    made = build_ledger(tmp_path, seeds=(0,), states={})
    record = read_studies(made.results)[0]
    assert not has_both_chances(record)
    table = chance_table(record)
    assert "1 complete seeds do not show how seeds differ" in table.notes[0]
    assert row_of(table, "cosine global")["over_both"].text == "–"
