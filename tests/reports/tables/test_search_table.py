"""What a search tried, as table and figure, against plain loops over the ledger's rows."""

import json
import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest

from reports.figures.search import draw_search, search_info
from reports.figures.style import draw_svg, style
from reports.tables.rendering import to_csv
from reports.tables.search import search_table, search_trials
from wsss_core.errors import InputError

# number, metric, lambda, objective by seed, state
TRIALS = (
    (0, "cosine", 0.30, {11: 0.20, 12: 0.24, 13: 0.22}, "complete"),
    (1, "l2", 2.00, {11: 0.90}, "pruned"),
    (2, "cosine", 1.00, {11: 0.40, 12: 0.46, 13: 0.43}, "complete"),
    (3, "l1", 0.05, {11: math.nan}, "failed"),
    (4, "l1", 0.70, {11: 0.31, 12: 0.35, 13: 0.30}, "complete"),
    (5, "l2", 4.00, {11: 0.01, 12: 0.02}, "collapsed"),
    (6, "pack.losses:mine", 1.50, {11: 0.47, 12: 0.47, 13: 0.50}, "complete"),
)


def ledger_rows(trials=TRIALS, study="search"):
    rows = [
        {
            "study": study,
            "number": number,
            "configuration": f"{metric} global {weight:g}",
            "parameters": json.dumps({"metric": metric, "level": "global", "lambda": weight}),
            "seed": seed,
            "objective": objective,
            "state": state,
        }
        for number, metric, weight, by_seed, state in trials
        for seed, objective in by_seed.items()
    ]
    names = ["study", "number", "configuration", "parameters", "seed", "objective", "state"]
    # Parts come in any order.
    return pd.DataFrame(rows, columns=names).iloc[::-1]


def column(table, key):
    at = [one.key for one in table.columns].index(key)
    return [row[at] for row in table.rows]


def test_complete_trials_come_first_by_their_mean_and_then_those_that_could_not_win():
    numbers = [int(cell.text) for cell in column(search_table(ledger_rows()), "number")]
    complete = [entry for entry in TRIALS if entry[4] == "complete"]
    complete.sort(key=lambda entry: -np.mean(list(entry[3].values())))

    assert numbers == [entry[0] for entry in complete] + [1, 5, 3]


def test_an_objective_is_the_mean_and_spread_over_finished_seeds():
    table = search_table(ledger_rows())
    cells = dict(
        zip((int(c.text) for c in column(table, "number")), column(table, "objective"), strict=True)
    )
    for number, _, _, by_seed, _ in TRIALS:
        values = [100 * value for value in by_seed.values() if not math.isnan(value)]
        expected = f"{np.mean(values):.1f}" if values else "–"
        if len(values) > 1:
            expected += f" ± {np.std(values, ddof=1):.1f}"
        assert cells[number].text == expected


def test_seeds_without_an_objective_are_not_counted():
    table = search_table(ledger_rows())

    assert [cell.text for cell in column(table, "seeds")] == ["3", "3", "3", "3", "1", "2", "0"]
    assert [cell.text for cell in column(table, "state")] == [
        *["complete"] * 4, "pruned", "collapsed", "failed",
    ]  # fmt: skip


def test_only_a_complete_trial_is_the_best():
    table = search_table(ledger_rows())
    best = [row[0].text for row in table.rows if any(cell.best for cell in row)]

    # Trial 1 reached 90 % under one seed and was pruned all the same.
    assert best == ["6"]


def test_a_trial_whose_seeds_ended_differently_has_the_worst_state():
    rows = ledger_rows([(0, "l1", 1.0, {11: 0.2, 12: math.nan}, "complete")])
    rows.loc[rows["seed"] == 12, "state"] = "failed"
    (trial,) = search_trials(rows)

    assert trial.state == "failed"
    assert trial.by_seed == {11: 0.2}


def test_each_parameter_has_a_column_and_a_dash_where_a_trial_lacks_it():
    rows = ledger_rows(TRIALS[:2])
    rows.loc[rows["number"] == 1, "parameters"] = json.dumps({"lambda": 2.0, "learning_rate": 3e-4})
    table = search_table(rows)

    assert [one.header for one in table.columns[5:]] == ["metric", "level", "λ", "learning rate"]
    assert [cell.text for cell in column(table, "parameter_metric")] == ["cosine", "–"]
    assert [cell.text for cell in column(table, "parameter_lambda")] == ["0.3", "2"]
    assert [cell.text for cell in column(table, "parameter_learning_rate")] == ["–", "0.0003"]
    assert [one.numeric for one in table.columns[5:]] == [False, False, True, True]


def test_the_caption_says_that_these_values_are_no_results():
    caption = search_table(ledger_rows(), objective="dataset_iou").caption

    assert "All 7 trials of the search (4 complete, 1 pruned, 1 collapsed, 1 failed)" in caption
    assert "dataset foreground IoU over positive images on the tune split" in caption
    assert "chose the winners and are no results" in caption
    assert "confirmations under fresh seeds" in caption


def test_csv_holds_shares_and_parameters_as_they_were_drawn():
    lines = to_csv(search_table(ledger_rows())).splitlines()

    assert lines[0] == (
        "number,configuration,objective_mean,objective_sd,objective_n,seeds,state,"
        "parameter_metric,parameter_level,parameter_lambda"
    )
    number, _, mean, _, n, *rest = lines[1].split(",")
    assert (number, n, rest) == ("6", "3", ["3", "complete", "pack.losses:mine", "global", "1.5"])
    assert float(mean) == pytest.approx(0.48)


def test_a_search_without_trials_is_an_empty_table():
    table = search_table(ledger_rows(()))

    assert table.rows == ()
    assert "All 0 trials of the search (none)" in table.caption


def test_searches_of_two_studies_are_not_mixed():
    rows = pd.concat([ledger_rows(study="one"), ledger_rows(study="two")])

    with pytest.raises(InputError, match="search of one study, got one, two"):
        search_trials(rows)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("parameters", "{", "trial 0: parameters are no JSON"),
        ("parameters", "[1]", r"trial 0: expected a JSON object, got \[1\]"),
    ],
)
def test_rows_that_cannot_be_read_are_named(name, value, said):
    with pytest.raises(InputError, match=said):
        search_trials(ledger_rows(TRIALS[:1]).assign(**{name: value}))


def test_the_best_so_far_rises_over_complete_trials_alone():
    best, reached = [], -1.0
    for number, _, _, by_seed, state in TRIALS:
        mean = np.mean(list(by_seed.values()))
        if state == "complete" and mean > reached:
            reached = mean
            best.append((number, pytest.approx(100 * mean)))

    assert [entry[0] for entry in best] == [0, 2, 6]
    assert list(search_info(ledger_rows()).best) == best


def test_points_stand_in_the_searchs_order_with_their_weight_and_metric():
    points = search_info(ledger_rows()).points

    assert [(p.number, p.metric, p.transfer_weight, p.state) for p in points] == [
        (number, metric, weight, state) for number, metric, weight, _, state in TRIALS
    ]
    assert math.isnan(points[3].objective)
    assert points[4].objective == pytest.approx(32)


def test_every_metric_has_a_hue_of_its_own():
    colours = search_info(ledger_rows()).colours

    assert set(colours) == {"cosine", "l1", "l2", "pack.losses:mine"}
    assert len(set(colours.values())) == 4


def test_the_figure_shows_every_trial_by_number_and_by_weight_on_a_log_scale():
    info = search_info(ledger_rows())
    with style():
        course, weights = draw_search(info).axes

    assert weights.get_xscale() == "log"
    for axes, name in ((course, "number"), (weights, "transfer_weight")):
        drawn = {
            (line.get_xdata()[0], line.get_ydata()[0])
            for line in axes.lines
            if len(line.get_xdata()) == 1
        }
        for point in info.points:
            # Without an objective a trial stands on the axis.
            height = 0 if math.isnan(point.objective) else point.objective
            assert (getattr(point, name), height) in drawn


def test_without_a_weight_the_course_stands_alone():
    rows = ledger_rows().assign(parameters=json.dumps({"learning_rate": 1e-3}))
    info = search_info(rows)
    with style():
        figure = draw_search(info)

    assert info.colours == {}
    assert len(figure.axes) == 1


def test_evil_names_stay_text_in_svg_that_is_the_same_to_the_byte():
    rows = ledger_rows([(0, "<script>alert(1)</script>", 1.0, {11: 0.2}, "complete")])
    first, second = (draw_svg(lambda: draw_search(search_info(rows)), "search", "&") for _ in "12")
    texts = [
        "".join(text.itertext())
        for text in ElementTree.fromstring(first).iter("{http://www.w3.org/2000/svg}text")
    ]

    assert first == second
    assert "<script>alert(1)</script>" in texts
