"""What networks rely on: the tables and the figure, against loops over the raw maps and logits."""

import csv
import io
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from reports.figures.diagnostics import diagnostics_info, draw_diagnostics
from reports.figures.style import style
from reports.ledger.parts import read_table
from reports.names import PLAIN
from reports.results.diagnostics import DIAGNOSTICS, trial_diagnostics
from reports.results.reading import read_studies
from reports.tables.diagnostics import diagnostics_table
from reports.tables.rendering import to_csv

NAMES = ("CNN alone", "ViT alone", "cosine global")


@pytest.fixture(scope="module")
def known(build_ledger, tmp_path_factory):
    return build_ledger(tmp_path_factory.mktemp("diagnosed"), diagnosed=True)


@pytest.fixture(scope="module")
def record(known):
    return read_studies(known.results)[0]


def level_of(record, name, seed):
    return int(record.trials[name, seed].figure("level", rule="tuned", class_name="smoke"))


def by_hand(ledger, record, name, seed):
    """Every diagnostic of the student, image by image and region by region."""
    where = (name, seed, "test", "student", "smoke")
    cams, logits = ledger.cams[where].astype(float), ledger.logits[where]
    masks = ledger.masks["test", "smoke"]
    context, ring = (ledger.regions["test", "smoke", r] for r in ("context", "ring"))
    marked = ledger.cams[where] >= level_of(record, name, seed)
    holding = [i for i in range(len(masks)) if masks[i].any()]
    clear = [i for i in range(len(masks)) if not masks[i].any()]
    elsewhere = ~(masks | context | ring)
    parts = {"object": masks, "context": context, "ring": ring, "elsewhere": elsewhere}
    found = {
        f"mass_{region}": np.mean([cams[i][pixels[i]].sum() / cams[i].sum() for i in holding])
        for region, pixels in parts.items()
    }
    peaks = {i: np.unravel_index(cams[i].argmax(), cams[i].shape) for i in holding}
    found["object_pixels"] = np.mean([masks[i].mean() for i in holding])
    found["pointing_object"] = np.mean([masks[i][peaks[i]] for i in holding])
    found["pointing_context"] = np.mean([context[i][peaks[i]] for i in holding])
    wrong = sum((marked[i] & ~masks[i]).sum() for i in holding)
    found["confusion_ratio"] = wrong / sum((marked[i] & masks[i]).sum() for i in holding)
    found["false_positive_area"] = np.mean([marked[i].mean() for i in clear])
    found["false_positive_area_gated"] = np.mean(
        [marked[i].mean() if logits[i] > 0 else 0.0 for i in clear]
    )
    falls = {
        thing: logits.astype(float) - ledger.without[(*where, thing)]
        for thing in ("object", "context")
    }
    on_object, on_context = (falls[thing][holding].mean() for thing in ("object", "context"))
    found["reliance_object"], found["reliance_context"] = on_object, on_context
    found["reliance_context_share"] = abs(on_context) / (abs(on_context) + abs(on_object))
    right = [i for i in holding if logits[i] > 0]
    found["context_flips"] = np.mean([ledger.without[(*where, "context")][i] <= 0 for i in right])
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_diagnostic_is_that_of_the_raw_maps_and_logits(known, record, name):
    for seed in (0, 1, 2):
        expected = by_hand(known, record, name, seed)
        assert set(expected) == set(DIAGNOSTICS)
        for key, value in expected.items():
            found = record.trials[name, seed].diagnostic(key, class_name="smoke")
            assert found == pytest.approx(value, abs=1e-6), key


def test_partner_and_fusion_are_diagnosed_on_their_own(record):
    rows = record.trials["co-training", 0].diagnostics

    assert list(rows["network"]) == ["fused", "student", "teacher"]
    assert rows["mass_object"].nunique() == 3


def test_by_seed_is_over_healthy_trials_alone(known, record):
    found = record.diagnostic_by_seed("L1 global", "mass_object")

    assert set(found) == {0, 1}  # seed 2 collapsed
    assert not math.isnan(
        record.trials["L1 global", 2].diagnostic("mass_object", class_name="smoke")
    )
    assert record.diagnostic_by_seed("L2 global", "mass_object").keys() == {0, 2}


def test_the_table_has_mean_and_spread_over_seeds(known, record):
    (row,) = [
        row
        for row in csv.DictReader(io.StringIO(to_csv(diagnostics_table(record))))
        if row["configuration"] == "ViT alone"
    ]
    each = [by_hand(known, record, "ViT alone", seed) for seed in (0, 1, 2)]

    for key in ("mass_context", "confusion_ratio", "reliance_context", "context_flips"):
        values = [one[key] for one in each]
        assert float(row[f"{key}_mean"]) == pytest.approx(np.mean(values), abs=1e-6)
        assert float(row[f"{key}_sd"]) == pytest.approx(np.std(values, ddof=1), abs=1e-6)


def test_a_ledger_without_regions_has_no_columns_of_them(ledger):
    record = read_studies(ledger.results)[0]
    keys = [column.key for column in diagnostics_table(record).columns]

    assert {"mass_object", "confusion_ratio", "false_positive_area_gated"} <= set(keys)
    assert not {"mass_context", "mass_ring", "pointing_object", "reliance_object"} & set(keys)


def test_falls_of_a_logit_have_no_best_since_scales_differ(record):
    table = diagnostics_table(record)
    keys = [column.key for column in table.columns]
    best = {key for row in table.rows for key, cell in zip(keys, row, strict=True) if cell.best}

    assert not {"reliance_object", "reliance_context"} & best
    assert {"mass_object", "confusion_ratio", "context_flips"} <= best


@pytest.fixture
def rows(known):
    scores = read_table(known.results, "scores", keys=["0100" + "ab" * 6])
    return scores[scores["split"] == "test"]


def test_where_some_contexts_are_unknown_shares_are_over_the_other_images(rows):
    holding = rows[rows["peak"].notna()]
    lost = list(holding.index[:3])
    partial = rows.copy()
    for index in lost:
        partial.at[index, "context"] = None
    kept = rows.drop(index=lost)
    found, expected = (
        trial_diagnostics(frame, {("student", "smoke"): 100.0}).iloc[0] for frame in (partial, kept)
    )

    for key in ("mass_object", "mass_context", "mass_ring", "mass_elsewhere", "pointing_context"):
        assert found[key] == pytest.approx(expected[key])
    assert found["confusion_ratio"] != expected["confusion_ratio"]  # needs no context


def test_no_map_peaks_on_a_context_that_is_not_known(rows):
    found = trial_diagnostics(rows.assign(context=None), {("student", "smoke"): 100.0}).iloc[0]

    assert math.isnan(found["pointing_context"])
    assert math.isnan(found["mass_context"])
    assert found["mass_object"] + found["mass_ring"] + found["mass_elsewhere"] == pytest.approx(1)


def test_without_a_level_nothing_is_said_of_marked_pixels(rows):
    found = trial_diagnostics(rows, {}).iloc[0]

    assert found[["confusion_ratio", "false_positive_area"]].isna().all()
    assert not math.isnan(found["mass_object"])


@pytest.fixture
def some_on_object(known):
    """Rows of a network whose maps peak on the object in some images and beside it in others."""
    scores = read_table(known.results, "scores", keys=["0200" + "ab" * 6])
    rows = scores[scores["split"] == "test"]
    assert {"object", "context"} <= set(rows["peak"].dropna())
    return rows


def emptied(rows, index):
    """The rows with one image's map at 0 throughout, as where its class is gated out."""
    rows = rows.copy()
    for column in ("foreground", "background", "context", "ring"):
        counts = np.zeros(256, np.uint32)
        counts[0] = rows.at[index, column].sum()
        rows.at[index, column] = counts
    return rows


@pytest.mark.parametrize("peak", ["object", None])
def test_an_image_that_gating_left_without_a_map_counts_in_no_share_and_no_peak(
    some_on_object, peak
):
    rows = some_on_object
    gated = rows.index[rows["peak"].notna()][:3]
    emptied_rows = rows
    for index in gated:
        emptied_rows = emptied(emptied_rows, index)
        emptied_rows.at[index, "peak"] = peak
    levels = {("student", "smoke"): 100.0}
    found = trial_diagnostics(emptied_rows, levels).iloc[0]
    without = trial_diagnostics(rows.drop(index=gated), levels).iloc[0]

    for key in ("mass_object", "mass_context", "pointing_object", "pointing_context"):
        assert found[key] == pytest.approx(without[key]), key


def test_a_flat_map_misses_the_object_and_the_context(some_on_object):
    rows = some_on_object
    holding = rows[rows["peak"].notna()]
    on_object = holding.index[holding["peak"] == "object"][0]
    flat = emptied(rows, on_object)
    flat.at[on_object, "peak"] = "nowhere"
    levels = {("student", "smoke"): 100.0}
    before, after = (trial_diagnostics(one, levels).iloc[0] for one in (rows, flat))

    assert after["pointing_object"] == pytest.approx(before["pointing_object"] - 1 / len(holding))
    assert after["pointing_context"] == pytest.approx(before["pointing_context"])


def without_hits(record, name, seeds):
    """The record as if those seeds' maps marked no pixel of the class."""
    trials = dict(record.all_trials)
    for seed in seeds:
        trial = trials[name, seed, PLAIN]
        diagnostics = trial.diagnostics.assign(confusion_ratio=math.nan)
        trials[name, seed, PLAIN] = replace(trial, diagnosed=diagnostics)
    return replace(record, all_trials=trials)


def confusion_cells(table):
    at = [column.key for column in table.columns].index("confusion_ratio")
    return {row[0].text: row[at] for row in table.rows}


def test_trials_that_find_nothing_are_counted_where_fp_over_tp_leaves_them_out(record):
    table = diagnostics_table(without_hits(record, "CNN alone", [1]))
    cell = confusion_cells(table)["CNN alone"]
    left = [
        record.trials["CNN alone", seed].diagnostic("confusion_ratio", class_name="smoke")
        for seed in (0, 2)
    ]

    mean, sd = np.mean(left), np.std(left, ddof=1)
    assert cell.text == f"{mean:.1f} ± {sd:.1f} (1 of 3 left out)"
    assert cell.data["left_out"] == 1
    assert "leave out 1 of 21 healthy trials" in table.notes[0]


def test_a_mean_without_its_worst_trials_is_never_the_best(record):
    best = {name for name, cell in confusion_cells(diagnostics_table(record)).items() if cell.best}
    assert best == {"CNN alone"}
    shortened = confusion_cells(diagnostics_table(without_hits(record, "CNN alone", [1])))
    assert not shortened["CNN alone"].best
    assert any(cell.best for cell in shortened.values())


def test_where_no_trial_finds_anything_the_count_stands_alone(record):
    cell = confusion_cells(diagnostics_table(without_hits(record, "CNN alone", [0, 1, 2])))
    assert cell["CNN alone"].text == "– (3 of 3 left out)"


def test_where_every_trial_finds_something_nothing_is_said_of_it(record):
    table = diagnostics_table(record)
    assert table.notes == ()
    cells = confusion_cells(table).values()
    assert not any("left out" in cell.text for cell in cells)
    assert {cell.data["left_out"] for cell in cells} == {0}


def test_of_two_classes_the_mean_lacks_what_one_of_them_lacks(rows):
    other = rows.assign(class_name="steam", context=None)
    levels = {("student", name): 100.0 for name in ("smoke", "steam")}
    frame = trial_diagnostics(pd.concat([rows, other]), levels).set_index("class_name")
    mean = frame.loc["mean over classes"]

    assert list(frame.index) == ["smoke", "steam", "mean over classes"]
    assert math.isnan(mean["mass_context"])
    assert mean["mass_object"] == pytest.approx(frame["mass_object"].iloc[:2].mean())


def test_a_fall_that_rounds_to_nothing_has_no_sign(record, monkeypatch):
    monkeypatch.setattr(type(record), "diagnostic_by_seed", lambda *a, **k: {0: -0.01, 1: -0.02})
    table = diagnostics_table(record)
    at = [column.key for column in table.columns].index("reliance_context")

    assert table.rows[0][at].text == "0.0 ± 0.0"


def test_the_figure_holds_the_means_in_percent_and_every_seeds_fall(known, record):
    info = diagnostics_info(record)
    at = info.names.index("cosine global")
    each = [by_hand(known, record, "cosine global", seed) for seed in (0, 1, 2)]

    for key, shares in info.mass.items():
        assert shares[at] == pytest.approx(100 * np.mean([one[key] for one in each]))
    assert info.chance == pytest.approx(100 * each[0]["object_pixels"])
    assert info.fall_by_seed["reliance_context"][at] == pytest.approx(
        [one["reliance_context"] for one in each], abs=1e-6
    )


def test_bars_of_a_configuration_add_up_to_the_whole_map(record):
    info = diagnostics_info(record)
    with style():
        mass, falls = draw_diagnostics(info).axes
    ends = [bar.get_x() + bar.get_width() for bar in mass.patches[-len(info.names) :]]

    assert ends == pytest.approx([100.0] * len(info.names))
    widths = [bar.get_width() for bar in falls.patches[: len(info.names)]]
    assert widths == pytest.approx(info.falls["reliance_object"])


def test_without_counterfactuals_there_is_no_second_panel(ledger):
    info = diagnostics_info(read_studies(ledger.results)[0])
    with style():
        figure = draw_diagnostics(info)

    assert info.falls == {}
    assert list(info.mass) == ["mass_object", "mass_elsewhere"]
    assert len(figure.axes) == 1
