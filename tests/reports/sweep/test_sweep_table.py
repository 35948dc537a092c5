"""The sweep's table and sentences, against plain loops and scipy."""

import numpy as np
import pytest
import scipy.stats

from reports.results.sweep import read_sweep
from reports.tables.cells import p_value
from reports.tables.rendering import to_csv
from reports.tables.sweep import sweep_headlines, sweep_table
from wsss_core.errors import InputError

VALUES = (0.05, 0.5, 0.95)
SEEDS = (0, 1, 2, 3)
NAMES = ("alone", "cosine", "L1", "co-training")


def cell(table, name, key):
    keys = [column.key for column in table.columns]
    (row,) = [row for row in table.rows if row[0].text == name]
    return row[keys.index(key)]


def drops(shares, name, seeds=SEEDS):
    return [shares[0.05, name, seed][0] - shares[0.95, name, seed][0] for seed in seeds]


def test_sweep_values_ascend_whatever_the_order_of_the_records(records):
    keys = [column.key for column in sweep_table(records).columns]

    assert keys == [
        "configuration",
        "iou_0.05", "balanced_accuracy_0.05",
        "iou_0.5", "balanced_accuracy_0.5",
        "iou_0.95", "balanced_accuracy_0.95",
        "drop", "holm_p",
    ]  # fmt: skip
    assert sweep_table(records) == sweep_table(records[::-1])


def test_rows_stand_in_the_plans_order(records):
    assert [row[0].text for row in sweep_table(records).rows] == list(NAMES)


@pytest.mark.parametrize(("key", "which"), [("iou", 0), ("balanced_accuracy", 1)])
def test_a_cell_is_mean_and_spread_over_seeds_in_percent(records, shares, key, which):
    for value in VALUES:
        values = [100 * shares[value, "alone", seed][which] for seed in SEEDS]
        text = cell(sweep_table(records), "alone", f"{key}_{value:g}").text
        assert text == f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}"


def test_a_cell_says_which_trials_its_mean_lacks(records, shares):
    values = [100 * shares[0.5, "cosine", seed][0] for seed in (0, 1, 3)]
    found = cell(sweep_table(records), "cosine", "iou_0.5")

    assert found.text == (
        f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f} (3 of 4, 1 failed)"
    )
    assert found.state == "partial"


def test_a_value_without_a_healthy_trial_says_how_they_ended(record_at):
    trials = {"alone": dict.fromkeys((0, 1), "collapsed"), "cosine": {0: (0.3, 0.9), 1: (0.4, 0.9)}}
    well = {name: {0: (0.3, 0.9), 1: (0.4, 0.9)} for name in trials}
    table = sweep_table([record_at(0.1, well), record_at(0.9, trials)])

    assert cell(table, "alone", "iou_0.9").text == "collapsed"
    assert cell(table, "alone", "drop").text == "–"


def test_a_configuration_that_is_not_planned_at_a_value_has_a_dash_there(record_at):
    both = {"alone": {0: (0.3, 0.9)}, "cosine": {0: (0.4, 0.9)}}
    table = sweep_table([record_at(0.1, both), record_at(0.9, {"alone": {0: (0.2, 0.9)}})])

    assert cell(table, "cosine", "iou_0.9").text == "–"
    assert cell(table, "cosine", "drop").text == "–"


def test_the_drop_is_lowest_less_highest_paired_by_seed_with_scipys_interval(records, shares):
    differences = drops(shares, "alone")
    low, high = scipy.stats.t.interval(
        0.95, 3, loc=np.mean(differences), scale=scipy.stats.sem(differences)
    )
    data = cell(sweep_table(records), "alone", "drop").data

    assert data["mean"] == pytest.approx(np.mean(differences))
    assert data["sd"] == pytest.approx(np.std(differences, ddof=1))
    assert (data["low"], data["high"]) == pytest.approx((low, high))
    assert data["p"] == pytest.approx(scipy.stats.ttest_1samp(differences, 0).pvalue)
    assert data["n"] == 4


def test_a_drop_uses_the_seeds_healthy_at_both_ends_and_says_how_many(records, shares):
    found = cell(sweep_table(records), "L1", "drop")

    assert found.data["mean"] == pytest.approx(np.mean(drops(shares, "L1", (0, 2, 3))))
    assert found.text.endswith("] (n\u00a0=\u00a03)")
    # What failed half way does not concern the ends.
    assert "(n" not in cell(sweep_table(records), "cosine", "drop").text


def test_p_values_of_the_drops_are_corrected_over_all_rows_by_holm(records, shares):
    kept = {name: (0, 2, 3) if name == "L1" else SEEDS for name in NAMES}
    plain = {
        name: scipy.stats.ttest_1samp(drops(shares, name, kept[name]), 0).pvalue for name in NAMES
    }
    expected, largest = {}, 0.0
    for rank, name in enumerate(sorted(plain, key=plain.__getitem__)):
        largest = max(largest, min(1.0, (4 - rank) * plain[name]))
        expected[name] = largest

    table = sweep_table(records)
    for name in NAMES:
        found = cell(table, name, "holm_p")
        assert found.data[""] == pytest.approx(expected[name])
        assert found.text == p_value(expected[name])


def test_no_row_is_the_best_at_a_drop_since_nothing_cannot_fall(records):
    assert not any(found.best for row in sweep_table(records).rows for found in row)


def test_a_single_value_has_no_drop(records):
    table = sweep_table(records[:1])

    assert [column.key for column in table.columns] == [
        "configuration", "iou_0.95", "balanced_accuracy_0.95",
    ]  # fmt: skip
    assert "drop" not in table.caption


def test_csv_holds_shares_and_counts_per_sweep_value(records):
    header = to_csv(sweep_table(records)).splitlines()[0]

    assert "iou_0.05_mean,iou_0.05_sd,iou_0.05_n,iou_0.05_expected" in header
    assert "drop_mean,drop_sd,drop_n,drop_low,drop_high,drop_p,holm_p" in header


def test_where_one_value_has_no_tuned_threshold_all_are_fixed(record_at):
    trials = {"alone": {0: (0.4, 0.9), 1: (0.6, 0.9)}}
    mixed = [record_at(0.1, trials), record_at(0.9, trials, rule="fixed")]

    # The fixed threshold reaches half as much.
    assert cell(sweep_table(mixed), "alone", "iou_0.1").data["mean"] == pytest.approx(0.25)
    assert "at the fixed threshold" in sweep_table(mixed).caption


def test_a_value_without_scores_does_not_choose_the_rule(record_at):
    trials = {"alone": {0: (0.4, 0.9), 1: (0.6, 0.9)}}
    failed = {"alone": dict.fromkeys((0, 1), "failed")}

    assert (
        read_sweep([record_at(0.1, trials), record_at(0.9, failed, rule="fixed")]).rule == "tuned"
    )


TRIALS = {"alone": {0: (0.4, 0.9)}}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "got none"),
        ([(None, {})], "expected a sweep and its value"),
        ([(0.1, {"sweep": None})], "expected a sweep and its value"),
        ([(0.1, {}), (0.1, {})], "two are at 0.1"),
        ([(0.1, {}), (0.2, {"sweep": "haze"})], r"P\(chimney.*, haze"),
        ([(0.1, {}), (0.2, {"objective": "dataset_iou"})], "dataset_iou, per_image_iou"),
    ],
)
def test_records_that_are_no_sweep_are_told_apart(record_at, given, said):
    with pytest.raises(InputError, match=said):
        read_sweep([record_at(value, TRIALS, **about) for value, about in given])


def test_headlines_name_the_drops_whose_interval_excludes_zero_and_those_left_open(records, shares):
    sure = [
        name
        for name in ("alone", "cosine", "co-training")
        if scipy.stats.ttest_1samp(drops(shares, name), 0).pvalue < 0.05
    ]
    first, second = sweep_headlines(records)

    assert sure == ["alone", "cosine", "co-training"]
    assert "As P(chimney | clear) goes from 0.05 to 0.95" in first
    assert "excludes 0 for 3 of 4 configurations: alone loses" in first
    assert first.index("alone loses") < first.index("cosine loses") < first.index("co-training gai")
    assert "For the other 1, 3 paired seeds leave open whether they lose anything: L1." in second


def test_a_gain_is_told_with_its_interval_the_right_way_round(record_at):
    low = {"alone": {0: (0.20, 0.9), 1: (0.21, 0.9), 2: (0.22, 0.9)}}
    high = {"alone": {0: (0.30, 0.9), 1: (0.32, 0.9), 2: (0.31, 0.9)}}
    # Gains of 10, 11 and 9 points: 10 ± 4.3027 * 1 / sqrt(3).
    (sentence,) = sweep_headlines([record_at(0.1, low), record_at(0.9, high)])

    assert "alone gains 10.0 points (7.5 to 12.5); for 1 of them after Holm" in sentence


def test_where_nothing_is_sure_no_name_is_put_forward(record_at):
    low = {"alone": {0: (0.2, 0.9), 1: (0.5, 0.9)}}
    high = {"alone": {0: (0.4, 0.9), 1: (0.2, 0.9)}}
    first, second = sweep_headlines([record_at(0.1, low), record_at(0.9, high)])

    assert first.endswith("excludes 0 for none of 1 configuration.")
    assert second == "For the 1, 2 paired seeds leave open whether they lose anything."


def test_whoever_collapses_at_an_end_is_named_as_not_judged(record_at):
    low = {name: {0: (0.5, 0.9), 1: (0.51, 0.9), 2: (0.53, 0.9)} for name in ("alone", "L2")}
    high = {"alone": low["alone"], "L2": dict.fromkeys((0, 1, 2), "collapsed")}
    first, _ = sweep_headlines([record_at(0.1, low), record_at(0.9, high)])

    assert (
        "1 configuration (not judged: L2, with fewer than two seeds healthy at both ends)." in first
    )


def test_sentences_say_how_many_drops_withstand_the_correction(records):
    table = sweep_table(records)
    kept = [
        n for n in ("alone", "cosine", "co-training") if cell(table, n, "holm_p").data[""] < 0.05
    ]

    assert f"; for {len(kept)} of them after Holm's correction." in sweep_headlines(records)[0]


def test_without_an_interval_there_is_nothing_to_say(record_at):
    one_seed = [record_at(value, TRIALS) for value in (0.1, 0.9)]

    assert sweep_headlines(one_seed) == []
    assert sweep_headlines(one_seed[:1]) == []
