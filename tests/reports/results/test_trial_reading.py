"""Figures that are kept beside the ledger: those of the scores as they are, or computed anew."""

import shutil

import numpy as np
import pandas as pd
import pytest

from reports.ledger import snapshot
from reports.ledger.parts import part_name, read_arrow, read_table, write_part
from reports.results import trial_cache as trial_reading
from reports.results.outcomes import trial_figures
from reports.results.score_rows import Rules, ScoreRows
from reports.results.trial_cache import read_figures, read_scores

SETTINGS = Rules("per_image_iou", 0.3)


@pytest.fixture(autouse=True)
def few_are_worth_it(monkeypatch):
    monkeypatch.setattr(trial_reading, "WORTH", 2)
    monkeypatch.setattr(snapshot, "WORTH", 2)


@pytest.fixture
def results(ledger, tmp_path):
    """A copy that may be changed, of the first trials."""
    shutil.copytree(ledger.results / "ledger", tmp_path / "ledger")
    return tmp_path


@pytest.fixture
def keys(results):
    ended = read_table(results, "trials")
    return list(ended.loc[ended["status"] == "ok", "trial_key"])[:4]


def nothing_may_be_computed(monkeypatch):
    def refuse(*_):
        raise AssertionError("computed")

    monkeypatch.setattr(trial_reading, "_compute", refuse)


def alike(one, other):
    assert one.keys() == other.keys()
    for key, figures in one.items():
        outcomes, diagnostics = other[key].outcomes, other[key].diagnostics
        pd.testing.assert_frame_equal(figures.outcomes, outcomes, check_exact=True)
        pd.testing.assert_frame_equal(figures.diagnostics, diagnostics, check_exact=True)
        for curve, values in figures.curves.items():
            np.testing.assert_array_equal(values, other[key].curves[curve])


def test_figures_are_those_of_the_trial_alone(results, keys):
    found = read_figures(results, keys, SETTINGS)
    for key in keys:
        scores = read_table(results, "scores", keys=[key])
        expected = trial_figures(scores, objective="per_image_iou", fixed=0.3)
        pd.testing.assert_frame_equal(found[key].outcomes, expected.outcomes, check_exact=True)


def test_kept_figures_are_the_computed_ones_to_the_last_bit(results, keys, monkeypatch):
    first = read_figures(results, keys, SETTINGS)
    nothing_may_be_computed(monkeypatch)
    alike(first, read_figures(results, keys, SETTINGS))


def test_scores_that_changed_are_computed_anew(results, keys):
    first = read_figures(results, keys, SETTINGS)
    others = read_arrow(results, "scores", keys=[keys[1]]).to_pylist()
    write_part(results, "scores", keys[0], others)
    second = read_figures(results, keys, SETTINGS)
    of_other = first[keys[1]].outcomes
    pd.testing.assert_frame_equal(second[keys[0]].outcomes, of_other, check_exact=True)


def test_other_settings_have_figures_of_their_own(results, keys):
    first = read_figures(results, keys, SETTINGS)
    other = read_figures(results, keys, Rules("per_image_iou", 0.9))
    again = read_figures(results, keys, SETTINGS)
    alike(first, again)
    fixed = {s: trial[keys[0]].value("threshold", "student", "smoke", "test", "fixed")
             for s, trial in (("0.3", first), ("0.9", other))}  # fmt: skip
    assert fixed["0.3"] == pytest.approx(0.3, abs=1 / 255)
    assert fixed["0.9"] == pytest.approx(0.9, abs=1 / 255)


def test_what_other_code_computed_is_computed_anew(results, keys, monkeypatch):
    read_figures(results, keys, SETTINGS)
    monkeypatch.setattr(trial_reading, "figures_code", lambda: "another")
    nothing_may_be_computed(monkeypatch)
    with pytest.raises(AssertionError, match="computed"):
        read_figures(results, keys, SETTINGS)


def test_a_damaged_file_of_figures_is_passed_over(results, keys):
    first = read_figures(results, keys, SETTINGS)
    (file,) = (results / "derived").glob("figures-*.parquet")
    file.write_bytes(file.read_bytes()[:100])
    alike(first, read_figures(results, keys, SETTINGS))


def test_pages_of_figures_that_cannot_be_read_are_passed_over(results, keys):
    first = read_figures(results, keys, SETTINGS)
    (file,) = (results / "derived").glob("figures-*.parquet")
    content = bytearray(file.read_bytes())
    content[4:1000] = bytes(996)
    file.write_bytes(content)
    alike(first, read_figures(results, keys, SETTINGS))


def test_figures_that_an_interruption_leaves_are_kept(results, keys, monkeypatch):
    whole = read_figures(results, keys, SETTINGS)
    shutil.rmtree(results / "derived")
    monkeypatch.setattr(trial_reading, "_CHUNK", 1)
    compute, asked = trial_reading._compute, []

    def interrupted(results, rules, keys):
        asked.extend(keys)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return compute(results, rules, keys)

    monkeypatch.setattr(trial_reading, "_compute", interrupted)
    with pytest.raises(KeyboardInterrupt):
        read_figures(results, keys, SETTINGS)
    known, asked[:] = asked[:2], []
    alike(whole, read_figures(results, keys, SETTINGS))
    assert not {*known} & {*asked}


def test_a_trial_without_scores_has_no_figures(results, keys):
    (results / "ledger" / "scores" / part_name(keys[0])).unlink()
    assert set(read_figures(results, [*keys, "nobody"], SETTINGS)) == set(keys[1:])


def test_figures_of_single_images_are_read_from_the_scores(results, keys):
    figures = read_figures(results, keys, SETTINGS)[keys[0]]
    scores = read_table(results, "scores", keys=[keys[0]])
    test = scores[(scores["split"] == "test") & (scores["network"] == "student")]
    assert figures.images["student", "smoke"] == tuple(test["image"])
    foreground, background = (np.stack(test[n].to_list()) for n in ("foreground", "background"))
    level = 100
    hits, wrong = foreground[:, level:].sum(axis=1), background[:, level:].sum(axis=1)
    union = foreground.sum(axis=1) + wrong
    expected = np.divide(hits, union, out=np.zeros(len(test)), where=union > 0)
    np.testing.assert_allclose(figures.image_iou["student", "smoke"][:, level], expected)


@pytest.mark.slow
def test_several_processes_give_the_same_figures(results, monkeypatch):
    monkeypatch.setattr(trial_reading, "_CHUNK", 3)
    keys = list(read_table(results, "trials")["trial_key"])
    one = read_figures(results, keys, SETTINGS)
    shutil.rmtree(results / "derived")
    alike(one, read_figures(results, keys, SETTINGS, processes=2))


def test_rows_are_the_same_from_arrow_and_from_a_frame(build_ledger, tmp_path):
    known = build_ledger(tmp_path, seeds=(0,), counts=(3, 5), diagnosed=True)
    key = read_table(known.results, "plan")["trial_key"].iloc[0]
    rows = read_arrow(known.results, "scores", keys=[key])
    one, other = ScoreRows.of(rows), ScoreRows.of(rows.to_pandas())
    assert len(one) == len(other) == 8
    for name in one.texts:
        assert one.texts[name].tolist() == other.texts[name].tolist()
    for name in one.counts:
        np.testing.assert_array_equal(one.counts[name], other.counts[name])
        np.testing.assert_array_equal(one.known[name], other.known[name])
    for name in one.logits:
        np.testing.assert_array_equal(one.logits[name], other.logits[name])
    # Some rows have no context: theirs is empty, and not another row's.
    assert 0 < one.known["context"].sum() < len(one)
    by_hand = rows.to_pandas()["context"]
    for place, counts in enumerate(by_hand):
        assert one.counts["context"][place].tolist() == (
            [0] * 256 if counts is None else list(counts)
        )
    assert len(read_scores(known.results, key)) == 8
