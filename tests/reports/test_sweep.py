"""The sweep's table, sentences and figure, against plain loops and scipy."""

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from reports.figures.style import draw_svg, style
from reports.figures.sweep import draw_sweep, sweep_info
from reports.names import PLAIN
from reports.results.outcomes import OUTCOME_COLUMNS, TrialFigures
from reports.results.study_record import ConfigurationRecord, PanelParts, StudyRecord, TrialRecord
from reports.results.sweep import read_sweep
from reports.tables.cells import p_value
from reports.tables.rendering import to_csv
from reports.tables.sweep import sweep_headlines, sweep_table
from wsss_core.errors import InputError

SWEEP = "P(chimney | clear)"
VALUES = (0.05, 0.5, 0.95)
SEEDS = (0, 1, 2, 3)
NAMES = ("alone", "cosine", "L1", "co-training")


def configuration(name: str) -> ConfigurationRecord:
    blank = dict.fromkeys(ConfigurationRecord.__dataclass_fields__)
    given = {"paradigm": "single", "student": "vit", "fixed_threshold": 0.3}
    return ConfigurationRecord(**{**blank, **given, "name": name})


def record_at(
    value: float | None,
    trials: Mapping[str, Mapping[int, tuple[float, float] | str]],
    *,
    sweep: str | None = SWEEP,
    rule: str = "tuned",
    objective: str = "per_image_iou",
) -> StudyRecord:
    """A record of trials: (IoU, balanced accuracy) of a healthy one, or how it ended instead.

    The fixed threshold reaches half of the IoU of the tuned one.
    """
    made = {}
    for name, by_seed in trials.items():
        for seed, ended in by_seed.items():
            figures, status = None, "ok"
            if isinstance(ended, str):
                status = ended
            else:
                rows = [
                    {
                        "network": "student", "class_name": "smoke", "split": "test", "rule": rule_,
                        objective: share * ended[0], "balanced_accuracy": ended[1],
                    }
                    for rule_, share in (("tuned", 1.0), ("fixed", 0.5))
                ]  # fmt: skip
                outcomes = pd.DataFrame(rows, columns=list(OUTCOME_COLUMNS))
                figures = TrialFigures(outcomes, {})
            made[name, seed, PLAIN] = TrialRecord(f"{name}-{seed}", name, seed, status, {}, figures)
    return StudyRecord(
        name="cooccurrence",
        title="?",
        objective=objective,
        rule=rule,
        configurations=tuple(configuration(name) for name in trials),
        seeds=tuple(sorted({seed for by_seed in trials.values() for seed in by_seed})),
        classes=("smoke",) if any(trial.figures for trial in made.values()) else (),
        all_trials=made,
        history={},
        panels=PanelParts(Path()),
        sweep=sweep,
        sweep_value=value,
    )


@pytest.fixture(scope="module")
def shares():
    """IoU and accuracy by (value, name, seed): falling steeply, a little, not, and rising."""
    random = np.random.default_rng(0)
    slopes = {"alone": -0.35, "cosine": -0.12, "L1": 0.0, "co-training": 0.1}
    return {
        (value, name, seed): (
            0.5 + slopes[name] * value + random.normal(0, 0.02),
            0.95 - 0.1 * value + random.normal(0, 0.01),
        )
        for value in VALUES
        for name in NAMES
        for seed in SEEDS
    }


@pytest.fixture(scope="module")
def records(shares):
    """In falling order of the sweep; one trial failed in the middle, one collapsed at an end."""
    lost = {(0.5, "cosine", 2): "failed", (0.95, "L1", 1): "collapsed"}
    made = []
    for value in reversed(VALUES):
        trials = {
            name: {seed: lost.get((value, name, seed), shares[value, name, seed]) for seed in SEEDS}
            for name in NAMES
        }
        made.append(record_at(value, trials))
    alone, *taught = made[0].configurations
    named = (alone, *(replace(one, baseline="alone") for one in taught))
    return [replace(record, configurations=named) for record in made]


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


def test_a_value_without_a_healthy_trial_says_how_they_ended():
    trials = {"alone": dict.fromkeys((0, 1), "collapsed"), "cosine": {0: (0.3, 0.9), 1: (0.4, 0.9)}}
    well = {name: {0: (0.3, 0.9), 1: (0.4, 0.9)} for name in trials}
    table = sweep_table([record_at(0.1, well), record_at(0.9, trials)])

    assert cell(table, "alone", "iou_0.9").text == "collapsed"
    assert cell(table, "alone", "drop").text == "–"


def test_a_configuration_that_is_not_planned_at_a_value_has_a_dash_there():
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


def test_where_one_value_has_no_tuned_threshold_all_are_fixed():
    trials = {"alone": {0: (0.4, 0.9), 1: (0.6, 0.9)}}
    mixed = [record_at(0.1, trials), record_at(0.9, trials, rule="fixed")]

    # The fixed threshold reaches half as much.
    assert cell(sweep_table(mixed), "alone", "iou_0.1").data["mean"] == pytest.approx(0.25)
    assert "at the fixed threshold" in sweep_table(mixed).caption


def test_a_value_without_scores_does_not_choose_the_rule():
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
        ([record_at(None, TRIALS)], "expected a sweep and its value"),
        ([record_at(0.1, TRIALS, sweep=None)], "expected a sweep and its value"),
        ([record_at(0.1, TRIALS), record_at(0.1, TRIALS)], "two are at 0.1"),
        ([record_at(0.1, TRIALS), record_at(0.2, TRIALS, sweep="haze")], r"P\(chimney.*, haze"),
        (
            [record_at(0.1, TRIALS), record_at(0.2, TRIALS, objective="dataset_iou")],
            "dataset_iou, per_image_iou",
        ),
    ],
)  # fmt: skip
def test_records_that_are_no_sweep_are_told_apart(given, said):
    with pytest.raises(InputError, match=said):
        read_sweep(given)


def test_headlines_name_the_drops_whose_interval_excludes_zero_and_those_left_open(records, shares):
    sure = [
        name
        for name in ("alone", "cosine", "co-training")
        if scipy.stats.ttest_1samp(drops(shares, name), 0).pvalue < 0.05
    ]
    first, second = sweep_headlines(records)

    assert sure == ["alone", "cosine", "co-training"]
    assert f"As {SWEEP} goes from 0.05 to 0.95" in first
    assert "excludes 0 for 3 of 4 configurations: alone loses" in first
    assert first.index("alone loses") < first.index("cosine loses") < first.index("co-training gai")
    assert "For the other 1, 3 paired seeds leave open whether they lose anything: L1." in second


def test_a_gain_is_told_with_its_interval_the_right_way_round():
    low = {"alone": {0: (0.20, 0.9), 1: (0.21, 0.9), 2: (0.22, 0.9)}}
    high = {"alone": {0: (0.30, 0.9), 1: (0.32, 0.9), 2: (0.31, 0.9)}}
    # Gains of 10, 11 and 9 points: 10 ± 4.3027 * 1 / sqrt(3).
    (sentence,) = sweep_headlines([record_at(0.1, low), record_at(0.9, high)])

    assert "alone gains 10.0 points (7.5 to 12.5); for 1 of them after Holm" in sentence


def test_where_nothing_is_sure_no_name_is_put_forward():
    low = {"alone": {0: (0.2, 0.9), 1: (0.5, 0.9)}}
    high = {"alone": {0: (0.4, 0.9), 1: (0.2, 0.9)}}
    first, second = sweep_headlines([record_at(0.1, low), record_at(0.9, high)])

    assert first.endswith("excludes 0 for none of 1 configuration.")
    assert second == "For the 1, 2 paired seeds leave open whether they lose anything."


def test_whoever_collapses_at_an_end_is_named_as_not_judged():
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


def test_without_an_interval_there_is_nothing_to_say():
    one_seed = [record_at(value, TRIALS) for value in (0.1, 0.9)]

    assert sweep_headlines(one_seed) == []
    assert sweep_headlines(one_seed[:1]) == []


@pytest.fixture(scope="module")
def reliance(shares):
    return {key: 8 * key[0] + key[2] / 10 for key in shares}


def test_the_figure_holds_every_healthy_trial_in_percent(records, shares):
    info = sweep_info(records)
    iou, accuracy = info.panels

    assert info.values == VALUES
    assert list(iou.lines) == list(NAMES)
    for panel, which in ((iou, 0), (accuracy, 1)):
        for point in panel.lines["alone"]:
            assert point.by_seed == {
                seed: pytest.approx(100 * shares[point.at, "alone", seed][which]) for seed in SEEDS
            }
            assert point.summary.mean == pytest.approx(np.mean(list(point.by_seed.values())))
    assert set(iou.lines["cosine"][1].by_seed) == {0, 1, 3}


def test_reliance_is_of_the_trials_that_the_iou_is_of(records, reliance):
    lacking = {**reliance, (0.05, "alone", 1): math.nan}
    _, middle, _ = sweep_info(records, lacking).panels

    assert middle.axis == "fall of the logit\nwithout the context"
    assert middle.lines["cosine"][1].by_seed == {0: 4.0, 1: 4.1, 3: 4.3}
    assert set(middle.lines["alone"][0].by_seed) == {0, 2, 3}


def test_without_any_reliance_the_panel_is_left_out(records):
    assert len(sweep_info(records, {}).panels) == 2
    assert len(sweep_info(records, {(0.3, "nobody", 0): 1.0}).panels) == 2


def test_what_is_compared_with_is_dashed(records):
    info = sweep_info(records)

    assert info.dashes == {"alone": "--", "cosine": "-", "L1": "-", "co-training": "-"}
    assert set(info.colours) == set(NAMES)


def test_drawn_lines_are_the_means_and_drawn_dots_all_seeds(records, reliance):
    info = sweep_info(records, reliance)
    with style():
        figure = draw_sweep(info)

    assert len(figure.axes) == 3
    for axes, panel in zip(figure.axes, info.panels, strict=True):
        for name, line in panel.lines.items():
            mine = [drawn for drawn in axes.lines if drawn.get_color() == info.colours[name]]
            means = [point.summary.mean for point in line]
            assert any(list(drawn.get_ydata()) == means for drawn in mine)
            for point in line:
                seeds = list(point.by_seed.values())
                assert any(list(drawn.get_ydata()) == seeds for drawn in mine)


def test_lines_stand_apart_yet_nearest_to_their_own_sweep_value(records):
    info = sweep_info(records)
    with style():
        axes = draw_sweep(info).axes[0]
    starts = []
    for name, line in info.panels[0].lines.items():
        means = [point.summary.mean for point in line]
        (drawn,) = [
            found
            for found in axes.lines
            if found.get_color() == info.colours[name] and list(found.get_ydata()) == means
        ]
        for x, value in zip(drawn.get_xdata(), VALUES, strict=True):
            assert min(VALUES, key=lambda other: abs(other - x)) == value
        starts.append(drawn.get_xdata()[0])
    assert len(set(starts)) == len(NAMES)


def test_a_line_is_broken_where_every_trial_is_lost():
    well = {"alone": {0: (0.4, 0.9), 1: (0.5, 0.9)}}
    lost = {"alone": dict.fromkeys((0, 1), "collapsed")}
    info = sweep_info([record_at(0.1, well), record_at(0.5, lost), record_at(0.9, well)])
    with style():
        axes = draw_sweep(info).axes[0]

    assert any(
        np.array_equal(drawn.get_ydata(), [45, math.nan, 45], equal_nan=True)
        for drawn in axes.lines
    )


def test_every_seed_lies_within_its_panel_however_wide_the_intervals(reliance):
    trials = {"alone": {0: (0.1, 0.5), 1: (0.9, 1.0)}, "cosine": {0: (0.0, 0.5), 1: (0.02, 1.0)}}
    info = sweep_info([record_at(value, trials) for value in (0.05, 0.95)], reliance)
    with style():
        figure = draw_sweep(info)
    for axes, panel in zip(figure.axes, info.panels, strict=True):
        bottom, top = axes.get_ylim()
        for line in panel.lines.values():
            for point in line:
                assert all(bottom <= value <= top for value in point.by_seed.values())
        if panel.bounds is not None:
            assert bottom > -10
            assert top < 110


def test_evil_names_stay_text_in_svg_that_is_the_same_to_the_byte():
    names = ("<script>alert(1)</script>", "_hidden", "$x_1$ & 5%")
    trials = {name: {0: (0.3, 0.9), 1: (0.4, 0.8)} for name in names}
    given = [record_at(value, trials, sweep="<b>$y$</b>") for value in (0.1, 0.9)]
    first, second = (draw_svg(lambda: draw_sweep(sweep_info(given)), "dial", "&") for _ in "12")
    tree = ElementTree.fromstring(first)
    texts = ["".join(text.itertext()) for text in tree.iter("{http://www.w3.org/2000/svg}text")]

    assert first == second
    assert {*names, "<b>$y$</b>"} <= set(texts)
