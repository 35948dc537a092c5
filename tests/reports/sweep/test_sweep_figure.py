"""The sweep's figure: its numbers, and what is drawn of them."""

import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from reports.figures.style import draw_svg, style
from reports.figures.sweep import draw_sweep, sweep_info

VALUES = (0.05, 0.5, 0.95)
SEEDS = (0, 1, 2, 3)
NAMES = ("alone", "cosine", "L1", "co-training")


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


def test_a_line_is_broken_where_every_trial_is_lost(record_at):
    well = {"alone": {0: (0.4, 0.9), 1: (0.5, 0.9)}}
    lost = {"alone": dict.fromkeys((0, 1), "collapsed")}
    info = sweep_info([record_at(0.1, well), record_at(0.5, lost), record_at(0.9, well)])
    with style():
        axes = draw_sweep(info).axes[0]

    assert any(
        np.array_equal(drawn.get_ydata(), [45, math.nan, 45], equal_nan=True)
        for drawn in axes.lines
    )


def test_every_seed_lies_within_its_panel_however_wide_the_intervals(record_at, reliance):
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


def test_evil_names_stay_text_in_svg_that_is_the_same_to_the_byte(record_at):
    names = ("<script>alert(1)</script>", "_hidden", "$x_1$ & 5%")
    trials = {name: {0: (0.3, 0.9), 1: (0.4, 0.8)} for name in names}
    given = [record_at(value, trials, sweep="<b>$y$</b>") for value in (0.1, 0.9)]
    first, second = (draw_svg(lambda: draw_sweep(sweep_info(given)), "dial", "&") for _ in "12")
    tree = ElementTree.fromstring(first)
    texts = ["".join(text.itertext()) for text in tree.iter("{http://www.w3.org/2000/svg}text")]

    assert first == second
    assert {*names, "<b>$y$</b>"} <= set(texts)
