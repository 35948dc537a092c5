"""Networks at chance, and what the page says of results that are no findings about maps."""

import numpy as np
import pytest

from reports.ledger.parts import read_table, write_part
from reports.page.headlines import headlines, key_figures
from reports.page.warnings import study_warnings
from reports.results.comparisons import at_chance, balanced_accuracy_interval, best_taught
from reports.results.reading import read_studies
from reports.tables.cells import Cell, Column, Table, mark_best
from reports.tables.strategies import strategies_table


def rewritten(ledger, change):
    """Write every trial's scores anew, each row changed by a function of configuration and row."""
    trials = read_table(ledger.results, "trials").set_index("trial_key")["configuration"]
    for key in read_table(ledger.results, "scores", columns=["trial_key"])["trial_key"].unique():
        frame = read_table(ledger.results, "scores", keys=[key]).astype(object)
        rows = frame.where(frame.notna(), None).to_dict("records")
        for row in rows:
            change(trials[key], row)
        write_part(ledger.results, "scores", key, rows)
    (record,) = read_studies(ledger.results)
    return record


@pytest.fixture
def small(build_ledger, tmp_path):
    return build_ledger(tmp_path, seeds=(0, 1), states={}, counts=(6, 60))


def says_smoke(row):
    row["logit"] = 1.0


@pytest.mark.parametrize(
    ("rates", "counts", "expected"),
    [
        # Newcombe 1998, table II, contrast (a): 56/70 - 48/80 has the interval .0524 to .3339.
        ((56 / 70, 32 / 80), (70, 80), (0.5 + 0.0524 / 2, 0.5 + 0.3339 / 2)),
        # (b): 9/10 - 3/10 has .1705 to .8090; (g): 5/56 - 0/29 has -.0381 to .1926.
        ((0.9, 0.7), (10, 10), (0.5 + 0.1705 / 2, 0.5 + 0.8090 / 2)),
        ((5 / 56, 1.0), (56, 29), (0.5 - 0.0381 / 2, 0.5 + 0.1926 / 2)),
    ],
)
def test_the_interval_is_newcombes(rates, counts, expected):
    assert balanced_accuracy_interval(*rates, *counts) == pytest.approx(expected, abs=1e-4)


def test_a_network_that_always_answers_alike_is_at_chance_and_a_right_one_is_not(small):
    record = rewritten(small, lambda name, row: says_smoke(row) if name == "ViT alone" else None)
    assert at_chance(record, "ViT alone")
    assert not at_chance(record, "CNN alone")


def test_no_headline_names_a_winner_among_networks_at_chance(small):
    record = rewritten(small, lambda name, row: says_smoke(row))
    sentences = headlines(record)
    assert "gains most" not in " ".join(sentences)
    assert sentences[0].startswith("No network is named the best by per-image foreground IoU")
    for one in record.configurations:
        assert one.name not in sentences[0]
    assert [figure.role for figure in key_figures(record)] == ["student alone", "teacher alone"]
    (warned,) = [one for one in study_warnings(record) if one.startswith("At chance")]
    assert "every configuration" in warned
    assert "50.0\u00a0%" in warned


def test_a_headline_passes_over_a_transfer_at_chance(small):
    best = best_taught(read_studies(small.results)[0])[0].configuration.name
    record = rewritten(small, lambda name, row: says_smoke(row) if name == best else None)
    second = best_taught(record)[1].configuration.name
    assert f"gains most from {second}" in headlines(record)[0]
    assert any(w.startswith(f"At chance: {best}.") for w in study_warnings(record))


def test_without_a_baseline_no_network_at_chance_reaches_the_highest(build_ledger, tmp_path):
    ledger = build_ledger(tmp_path, seeds=(0,), states={}, counts=(6, 60))
    plan = read_table(ledger.results, "plan").astype(object)
    plan = plan.where(plan.notna(), None).assign(baseline=None, reference=None)
    write_part(ledger.results, "plan", "strategies", plan.to_dict("records"))
    winner = headlines(read_studies(ledger.results)[0])[0].split(" reaches")[0]

    record = rewritten(ledger, lambda name, row: says_smoke(row) if name == winner else None)
    assert " reaches the highest" in headlines(record)[0]
    assert not headlines(record)[0].startswith(winner)
    record = rewritten(ledger, lambda name, row: says_smoke(row))
    assert headlines(record)[0].startswith("No network is named the best")


def emptied(row):
    for counts in ("foreground", "background"):
        total = int(np.sum(row[counts]))
        row[counts] = np.zeros(256, np.int64)
        row[counts][0] = total
    row["logit"] = -1.0


def test_masks_that_are_empty_throughout_are_counted(small):
    def nothing_on_test(name, row):
        if (name, row["split"]) == ("L1 global", "test"):
            emptied(row)

    record = rewritten(small, nothing_on_test)
    held = 2 * int(small.masks["test", "smoke"].any(axis=(1, 2)).sum())
    (warned,) = [one for one in study_warnings(record) if "empty throughout" in one]
    assert warned.endswith(f"L1 global: {held} of {held}.")


def test_masks_that_are_full_throughout_are_counted(small):
    def filled(name, row):
        if name == "L1 global":
            for counts in ("foreground", "background"):
                row[counts] = np.roll(
                    np.eye(256, dtype=np.int64)[0] * int(np.sum(row[counts])), 254
                )

    record = rewritten(small, filled)
    (warned,) = [one for one in study_warnings(record) if "full throughout" in one]
    assert warned.endswith("L1 global: 120 of 120.")


def test_a_class_that_is_never_predicted_is_a_state_in_the_table_and_never_bold(small):
    record = rewritten(small, lambda name, row: emptied(row))
    table = strategies_table(record)
    at = {column.key: place for place, column in enumerate(table.columns)}
    for row in table.rows:
        for key in ("per_image_iou", "dataset_iou", "dataset_miou_all_images"):
            assert row[at[key]].text == "never predicted"
            assert row[at[key]].data["mean"] < 1  # the number stays in CSV
        assert not any(cell.best for cell in row if cell.text != "50.0 ± 0.0")
    assert any(note.startswith("Never predicted: smoke, in none of the 40") for note in table.notes)
    assert any("wsss masks --labels" in warned for warned in study_warnings(record))


def test_some_seeds_that_never_predict_a_class_are_counted_in_its_cell(small):
    def first_seed(name, row):
        if name == "CNN alone" and row["trial_key"].startswith("0000"):
            emptied(row)

    record = rewritten(small, first_seed)
    table = strategies_table(record)
    (row,) = [row for row in table.rows if row[0].text == "CNN alone"]
    assert "(1 of 2 never predicted)" in row[1].text
    assert any("CNN alone (seed 0)" in note for note in table.notes)


def test_a_healthy_study_has_no_warning(small):
    (record,) = read_studies(small.results)
    assert study_warnings(record) == []


def test_an_iou_of_0_is_not_the_best():
    columns = (Column("iou", "IoU", higher_is_better=True), Column("fp", "FP", "%", False))
    rows = tuple((Cell("0.0", rank=0.0), Cell("0.0", rank=0.0)) for _ in range(2))
    marked = mark_best(Table("t", "T", columns, rows))
    assert [cell.best for cell in marked.rows[0]] == [False, True]
