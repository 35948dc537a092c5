"""The table of thresholds: every rule per seed, what it peeks at, and its price."""

import csv
import io
import math
import re
from dataclasses import replace

import numpy as np
import pytest

from reports.ledger.parts import read_table
from reports.names import PLAIN
from reports.results.outcomes import trial_figures
from reports.results.reading import read_studies
from reports.tables.rendering import to_csv
from reports.tables.thresholds import threshold_table

RULES = ("fixed", "otsu", "gaussian_mixture", "tuned", "dataset_oracle", "image_oracle")


@pytest.fixture(scope="module")
def record(ledger):
    return read_studies(ledger.results)[0]


@pytest.fixture(scope="module")
def told(record):
    rows = list(csv.DictReader(io.StringIO(to_csv(threshold_table(record)))))
    assert len(rows) == 24
    return [row for row in rows if row["tuned_iou"]]


def test_thresholds_are_told_per_seed_and_the_oracles_bound_the_others(told):
    assert len(told) == 22
    for row in told:
        dataset, image = (float(row[f"{rule}_iou"]) for rule in ("dataset_oracle", "image_oracle"))
        assert dataset <= image
        assert float(row["fixed_level"]) == math.ceil(0.3 * 255)
        for rule in ("fixed", "otsu", "gaussian_mixture", "tuned"):
            assert float(row[f"{rule}_iou"]) <= dataset


def test_every_rule_that_is_no_oracle_has_its_price_in_csv_and_in_brackets(record, told):
    table = threshold_table(record)
    keys = [column.key for column in table.columns]
    shown = {(row[0].text, row[1].text): dict(zip(keys, row, strict=True)) for row in table.rows}
    for row in told:
        best = float(row["dataset_oracle_iou"])
        for rule in ("fixed", "otsu", "gaussian_mixture", "tuned"):
            price = float(row[f"{rule}_iou_price"])
            assert price == pytest.approx(best - float(row[f"{rule}_iou"]))
            cell = shown[row["configuration"], row["seed"]][f"{rule}_iou"]
            bracket = re.fullmatch(r"[\d.]+ \((0\.0|−[\d.]+)\)", cell.text).group(1)
            assert float(bracket.replace("−", "-")) == pytest.approx(-100 * price, abs=0.051)
    assert not any(key.endswith("oracle_iou_price") for key in told[0])


def test_each_rule_is_labelled_with_what_it_peeks_at(record):
    about = {column.key: column.about for column in threshold_table(record).columns}

    assert about["fixed_iou"] == "Peeks at nothing."
    assert about["otsu_level"] == "Peeks at scores and image-level labels."
    assert about["gaussian_mixture_iou"] == "Peeks at scores and image-level labels."
    assert about["tuned_iou"] == "Peeks at the tune split's masks."
    assert about["dataset_oracle_iou"] == "Peeks at the test masks."
    assert about["image_oracle_iou"] == "Peeks at each test image's mask."
    outcomes = record.outcomes()
    for rule, words in zip(outcomes["rule"], outcomes["peeks_at"], strict=True):
        assert about[f"{rule}_iou"] == f"Peeks at {words}."


def test_rules_stand_in_the_order_of_what_they_see(record):
    keys = [column.key for column in threshold_table(record).columns]
    assert [key for key in keys if key.endswith("_iou")] == [f"{rule}_iou" for rule in RULES]


def test_the_note_averages_the_prices_over_healthy_trials_alone(record):
    (note,) = threshold_table(record).notes
    rows = record.outcomes().query("status == 'ok' and split == 'test' and network == 'student'")
    assert note.startswith("Points below the dataset oracle, averaged over 21 healthy trials: ")
    for rule, name in (("fixed", "fixed"), ("otsu", "Otsu"), ("tuned", "tuned")):
        mean = 100 * np.mean(rows.loc[rows["rule"] == rule, "price"])
        assert f"{mean:.1f} for {name}" in note


def test_a_rule_of_one_s_own_gets_columns_under_its_name(ledger, record, tmp_path, monkeypatch):
    (tmp_path / "own_table_rules.py").write_text(
        "VERSION = 1\ndef high(tune, scores): return 200\nhigh.peeks_at = 'nothing at all'\n"
    )
    monkeypatch.chdir(tmp_path)
    trial = record.trials["CNN alone", 0]
    figures = trial_figures(
        read_table(ledger.results, "scores", keys=[trial.key]),
        objective="per_image_iou",
        fixed=0.3,
        own_rules=["own_table_rules:high"],
    )
    trials = {**record.all_trials, ("CNN alone", 0, PLAIN): replace(trial, figures=figures)}
    table = threshold_table(replace(record, all_trials=trials))
    keys = [column.key for column in table.columns]
    cells = dict(zip(keys, table.rows[0], strict=True))

    assert cells["own_table_rules:high_level"].text == "200"
    about = {column.key: (column.header, column.about) for column in table.columns}
    assert about["own_table_rules:high_iou"] == (
        "own_table_rules:high (sees nothing at all): IoU",
        "Peeks at nothing at all.",
    )
    others = dict(zip(keys, table.rows[1], strict=True))
    assert others["own_table_rules:high_iou"].text == "–"
