"""The strategies table and the opening sentences, against numbers taken from the raw CAMs."""

import csv
import io
import math
from collections import Counter

import numpy as np
import pytest
import scipy.stats

from reports.ledger.parts import read_table, write_part
from reports.page.headlines import headlines
from reports.results.comparisons import best_taught, comparisons
from reports.results.reading import read_studies
from reports.tables.cells import count_text, p_value, points, state_text
from reports.tables.rendering import to_csv
from reports.tables.strategies import strategies_table
from reports.tables.trials import trials_table


@pytest.fixture(scope="module")
def record(ledger):
    return read_studies(ledger.results)[0]


def tuned_iou(ledger, name, seed):
    """Mean foreground IoU over test images at the tune split's best level, by plain loops."""

    def mean_iou(split, level):
        cams = ledger.cams[name, seed, split, "student", "smoke"]
        pairs = zip(cams >= level, ledger.masks[split, "smoke"], strict=True)
        return np.mean([(c & m).sum() / (c | m).sum() for c, m in pairs if m.any()])

    return mean_iou("test", int(np.argmax([mean_iou("tune", t) for t in range(256)])))


def cell(table, configuration, key):
    keys = [column.key for column in table.columns]
    (row,) = [row for row in table.rows if row[0].text == configuration]
    return row[keys.index(key)]


@pytest.fixture(scope="module")
def expected(ledger):
    healthy = {
        "CNN alone": (0, 1, 2),
        "ViT alone": (0, 1, 2),
        "cosine global": (0, 1, 2),
        "L1 global": (0, 1),
        "L2 global": (0, 2),
    }
    return {
        name: {seed: tuned_iou(ledger, name, seed) for seed in seeds}
        for name, seeds in healthy.items()
    }


def test_a_row_costs_its_training_and_its_teachers(record):
    # Trainings of 31.5 s, one more with each seed; the ledger names no other runs before them.
    table = strategies_table(record)
    assert cell(table, "ViT alone", "minutes").data[""] == pytest.approx(32.5 / 60)
    assert cell(table, "cosine global", "minutes").data[""] == pytest.approx(2 * 32.5 / 60)
    assert cell(table, "cosine global", "minutes").text == "1.1"


def test_rows_stand_in_the_plans_order(record):
    names = [row[0].text for row in strategies_table(record).rows]

    assert names == [
        "CNN alone",
        "ViT alone",
        "cosine global",
        "cosine channel",
        "cosine spatial",
        "L1 global",
        "L2 global",
        "co-training",
    ]


def test_a_cell_is_the_mean_and_spread_over_seeds_in_percent(record, expected):
    table = strategies_table(record)

    for name in ("CNN alone", "ViT alone", "cosine global"):
        values = list(expected[name].values())
        mean, sd = 100 * np.mean(values), 100 * np.std(values, ddof=1)
        assert cell(table, name, "per_image_iou").text == f"{mean:.1f} ± {sd:.1f}"


def test_the_difference_is_paired_by_seed_with_scipys_interval_and_p(record, expected):
    taught, alone = expected["cosine global"], expected["ViT alone"]
    differences = [taught[seed] - alone[seed] for seed in (0, 1, 2)]
    interval = scipy.stats.t.interval(
        0.95, 2, loc=np.mean(differences), scale=scipy.stats.sem(differences)
    )

    data = cell(strategies_table(record), "cosine global", "delta").data

    assert data["mean"] == pytest.approx(np.mean(differences))
    assert data["sd"] == pytest.approx(np.std(differences, ddof=1))
    assert (data["low"], data["high"]) == pytest.approx(interval)
    assert data["p"] == pytest.approx(
        scipy.stats.ttest_rel(list(taught.values()), list(alone.values())).pvalue
    )


def test_a_difference_uses_only_the_seeds_that_both_have(record, expected):
    data = cell(strategies_table(record), "L2 global", "delta").data

    assert data["n"] == 2
    assert data["mean"] == pytest.approx(
        np.mean([expected["L2 global"][s] - expected["ViT alone"][s] for s in (0, 2)])
    )


def test_p_values_are_corrected_over_all_rows_of_the_table(record):
    table = strategies_table(record)
    found = [c.difference.p for c in comparisons(record)]
    ranked = sorted(found)
    first = min(1.0, len(found) * ranked[0])

    best = next(c for c in comparisons(record) if c.difference.p == ranked[0])

    assert len(found) == 6
    assert cell(table, best.configuration.name, "holm_p").text == p_value(first)


def test_cells_say_which_trials_a_mean_lacks(record):
    table = strategies_table(record)

    texts = {
        name: cell(table, name, "per_image_iou").text
        for name in ("L1 global", "L2 global", "co-training", "cosine global")
    }
    assert texts["L1 global"].endswith(" (2 of 3, 1 collapsed)")
    assert texts["L2 global"].endswith(" (2 of 3, 1 failed)")
    assert texts["co-training"].endswith(" (2 of 3, 1 missing)")
    assert "(" not in texts["cosine global"]
    assert cell(table, "L2 global", "n").text == "2 of 3"


@pytest.mark.parametrize("state", ["failed", "collapsed", "missing"])
def test_a_row_without_a_healthy_trial_is_its_state_in_every_figure(tmp_path, build_ledger, state):
    states = {("L2 global", seed): state for seed in (0, 1)}
    ledger = build_ledger(tmp_path, seeds=(0, 1), states=states, counts=(3, 4))
    table = strategies_table(read_studies(ledger.results)[0])

    for key in ("per_image_iou", "delta", "dataset_miou", "balanced_accuracy"):
        found = cell(table, "L2 global", key)
        assert (found.text, found.state) == (state, state)
        assert found.data["n"] == 0


def test_only_a_row_with_all_its_seeds_can_be_the_best(record):
    table = strategies_table(record)
    keys = [column.key for column in table.columns]

    for key in ("per_image_iou", "delta", "dataset_iou", "balanced_accuracy"):
        at = keys.index(key)
        full = [row[at] for row in table.rows if not row[at].state and row[at].rank is not None]
        best = max(one.rank for one in full)
        bold = [row[at].rank for row in table.rows if row[at].best]
        assert set(bold) == {best}
    at = keys.index("clear_false_positive_share")
    full = [row[at].rank for row in table.rows if not row[at].state]
    assert {row[at].rank for row in table.rows if row[at].best} == {min(full)}


def test_the_student_alone_is_named_the_baseline(record):
    table = strategies_table(record)

    assert cell(table, "ViT alone", "delta").text == "baseline"
    assert cell(table, "CNN alone", "delta").text == "–"
    assert cell(table, "co-training", "networks").text == "vit ↔ cnn"
    assert cell(table, "cosine global", "networks").text == "vit ← cnn"


def test_the_representation_is_a_column_only_where_it_varies(tmp_path, build_ledger, record):
    ledger = build_ledger(tmp_path, seeds=(0,), counts=(3, 4))
    plan = read_table(ledger.results, "plan").astype(object)
    plan = plan.where(plan.notna(), None)
    plan.loc[plan["configuration"] == "L1 global", "representation"] = "logits"
    write_part(ledger.results, "plan", "strategies", plan.to_dict("records"))
    varied = strategies_table(read_studies(ledger.results)[0])

    assert "representation" not in [column.key for column in strategies_table(record).columns]
    assert cell(varied, "L1 global", "representation").text == "logits"
    assert cell(varied, "cosine global", "representation").text == "feature"


def test_published_numbers_are_a_column_only_where_there_are_any(tmp_path, build_ledger, record):
    ledger = build_ledger(
        tmp_path, seeds=(0,), counts=(3, 4), published={"ViT alone": 0.1234, "L1 global": 0.4737}
    )
    table = strategies_table(read_studies(ledger.results)[0])

    assert "published" not in [column.key for column in strategies_table(record).columns]
    assert cell(table, "L1 global", "published").text == "47.37"
    assert cell(table, "L2 global", "published").text == "–"
    assert "Published: a thesis, IJmond. Another data set" in table.notes[0]


def test_partner_and_fusion_have_figures_of_co_training_alone(tmp_path, build_ledger):
    states = {("co-training", 1): "failed"}
    ledger = build_ledger(tmp_path, states=states, counts=(5, 7), diagnosed=True)
    table = strategies_table(read_studies(ledger.results)[0])
    outcomes = read_studies(ledger.results)[0].outcomes()
    mine = outcomes[
        (outcomes["configuration"] == "co-training")
        & (outcomes["rule"] == "tuned")
        & (outcomes["split"] == "test")
    ]

    for key, network in (("partner", "teacher"), ("fused", "fused")):
        values = 100 * mine.loc[mine["network"] == network, "per_image_iou"]
        text = f"{values.mean():.1f} ± {values.std(ddof=1):.1f}"
        assert cell(table, "co-training", key).text == text
        assert cell(table, "cosine global", key).text == "–"


def test_without_co_training_there_is_neither_partner_nor_fusion(tmp_path, build_ledger):
    ledger = build_ledger(tmp_path, seeds=(0,), counts=(3, 4))
    plan = read_table(ledger.results, "plan").astype(object)
    plan = plan.where(plan.notna(), None)
    kept = plan[plan["paradigm"] != "co-training"]
    write_part(ledger.results, "plan", "strategies", kept.to_dict("records"))
    table = strategies_table(read_studies(ledger.results)[0])

    assert not {"partner", "fused"} & {column.key for column in table.columns}
    assert not any("partner" in note for note in table.notes)


def test_the_difference_to_the_teacher_alone_is_paired_by_seed(record, expected):
    taught, teacher = expected["cosine global"], expected["CNN alone"]
    differences = [taught[seed] - teacher[seed] for seed in (0, 1, 2)]
    table = strategies_table(record)
    data = cell(table, "cosine global", "delta_teacher").data

    assert data["mean"] == pytest.approx(np.mean(differences))
    assert (data["low"], data["high"]) == pytest.approx(
        scipy.stats.t.interval(
            0.95, 2, loc=np.mean(differences), scale=scipy.stats.sem(differences)
        )
    )
    assert cell(table, "L1 global", "delta_teacher").data["n"] == 2
    assert cell(table, "ViT alone", "delta_teacher").text == "–"


def test_the_caption_warns_of_few_seeds(record, tmp_path, build_ledger):
    many = build_ledger(tmp_path, seeds=(0, 1, 2, 3), states={}, counts=(3, 4))

    assert "With n = 3 such intervals are wide" in strategies_table(record).caption
    assert "wide" not in strategies_table(read_studies(many.results)[0]).caption


def test_a_single_seed_has_a_mean_without_spread_or_interval(tmp_path, build_ledger):
    ledger = build_ledger(tmp_path, seeds=(0,), states={}, counts=(3, 4))
    record = read_studies(ledger.results)[0]
    table = strategies_table(record)

    assert "±" not in cell(table, "cosine global", "per_image_iou").text
    assert "[" not in cell(table, "cosine global", "delta").text
    assert cell(table, "cosine global", "holm_p").text == "–"
    assert "one seed, hence no interval" in headlines(record)[0]


def test_several_classes_have_rows_of_their_own_and_a_mean(tmp_path, build_ledger):
    ledger = build_ledger(tmp_path, classes=("smoke", "steam"), seeds=(0, 1), counts=(4, 7))
    record = read_studies(ledger.results)[0]
    rows = list(csv.DictReader(io.StringIO(to_csv(strategies_table(record)))))
    mine = {
        r["class"]: float(r["per_image_iou_mean"])
        for r in rows
        if r["configuration"] == "CNN alone"
    }

    assert list(mine) == ["smoke", "steam", "mean over classes"]
    assert mine["mean over classes"] == pytest.approx((mine["smoke"] + mine["steam"]) / 2)
    assert len(rows) == 24
    assert record.main_class == "mean over classes"


def test_the_opening_names_the_largest_gain_among_rows_with_all_seeds(record, expected):
    first = headlines(record)[0]
    best = best_taught(record)[0]
    mean = np.mean(list(expected["cosine global"].values()))
    alone = np.mean(list(expected["ViT alone"].values()))

    assert best.configuration.name == "cosine global"
    assert "gains most from cosine global" in first
    assert f"from {100 * alone:.1f}\u00a0% (ViT alone) to {100 * mean:.1f}\u00a0%" in first
    assert f"+{100 * (mean - alone):.1f} points" in first
    assert f"interval {points(best.difference.summary.low, signed=True)} to" in first


def test_the_opening_counts_the_trials_that_means_leave_out(record):
    assert headlines(record)[-1] == (
        "Of 24 planned trials 21 are healthy (1 failed, 1 collapsed, 1 missing). Means include "
        "healthy trials only."
    )


def test_the_opening_admits_an_interval_that_includes_zero(tmp_path, build_ledger):
    # Two seeds: the interval reaches 12.7 standard errors to either side.
    ledger = build_ledger(tmp_path, seeds=(0, 1), states={}, counts=(3, 4))
    record = read_studies(ledger.results)[0]
    summary = best_taught(record)[0].difference.summary
    sentences = headlines(record)

    assert (summary.low <= 0 <= summary.high) == any("includes 0" in s for s in sentences)
    assert summary.low <= 0, "the ledger should show the case"


def test_the_opening_says_so_where_no_transfer_helps(tmp_path, build_ledger):
    swapped = {"CNN alone": "ViT alone", "ViT alone": "CNN alone"}  # the better one as the student
    ledger = build_ledger(tmp_path, names=swapped, states={}, counts=(6, 9))
    record = read_studies(ledger.results)[0]
    plan = read_table(ledger.results, "plan").astype(object)
    plan = plan.where(plan.notna(), None)
    taught = plan["baseline"].notna()
    plan.loc[taught, "baseline"] = "ViT alone"
    plan.loc[taught, "reference"] = "CNN alone"
    write_part(ledger.results, "plan", "strategies", plan.to_dict("records"))
    record = read_studies(ledger.results)[0]

    assert best_taught(record)[0].difference.summary.mean < 0
    assert headlines(record)[0].startswith("No transfer raises the student: the best, ")


def test_every_planned_trial_has_a_row_with_its_status_and_error(record):
    table = trials_table(record)
    keys = [column.key for column in table.columns]
    rows = {(row[0].text, row[1].text): dict(zip(keys, row, strict=True)) for row in table.rows}
    statuses = Counter(row["status"].text for row in rows.values())

    assert statuses == {"ok": 21, "failed": 1, "collapsed": 1, "missing": 1}
    assert rows["L2 global", "1"]["error"].text.startswith("RuntimeError: out of memory")
    assert rows["co-training", "2"]["seconds_training"].text == "–"
    assert rows["CNN alone", "0"]["peak_memory_bytes"].text == "700"  # MiB
    assert rows["CNN alone", "0"]["peak_memory_bytes"].data[""] == 700 * 2**20


@pytest.mark.parametrize(
    ("share", "signed", "text"),
    [
        (0.12345, False, "12.3"),
        (-0.0004, True, "0.0"),
        (-0.25, True, "−25.0"),
        (0.5, True, "+50.0"),
        (math.nan, False, "–"),
        (1.0, False, "100.0"),
    ],
)
def test_shares_are_written_as_percent_points(share, signed, text):
    assert points(share, signed=signed) == text


def test_states_are_written_with_their_counts():
    assert count_text(Counter(ok=1, failed=1, missing=2)) == "1 of 4, 1 failed, 2 missing"
    assert state_text(Counter(failed=2, missing=1)) == "2 failed, 1 missing"
