"""Figures in the rows that seal trials: taken as they are, or derived again from the scores."""

import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from reports.ledger import read_arrow, table_folder, write_part
from reports.ledger.content_digests import part_digests
from reports.ledger.digest import digest_in
from reports.ledger.footer_rows import footer_rows
from reports.results import trial_cache
from reports.results.outcomes import trial_figures
from reports.results.score_rows import Rules
from reports.results.stored import derived_columns
from reports.results.trial_cache import read_figures

RULES = Rules("per_image_iou", 0.3)


@pytest.fixture
def results(ledger, tmp_path):
    shutil.copytree(ledger.results / "ledger", tmp_path / "ledger")
    return tmp_path


@pytest.fixture
def keys(results):
    ended = read_arrow(results, "trials").to_pandas()
    return list(ended.loc[ended["status"] == "ok", "trial_key"])[:3]


def digest_of(results, key):
    content = table_folder(results, "scores").read(f"{key}.parquet")
    return digest_in(content)


def sealed(results, keys, rules=RULES, **changes):
    """The figures of trials as their rows hold them."""
    rows = []
    for key in keys:
        scores = read_arrow(results, "scores", keys=[key])
        rows.append({"key": key, **derived_columns(scores, rules, digest_of(results, key))})
        rows[-1] |= changes
    return [pa.Table.from_pylist(rows)]


def refuse(*_):
    raise AssertionError("derived")


def test_figures_in_the_rows_are_those_of_the_scores_which_are_not_read(results, keys, monkeypatch):
    rows = sealed(results, keys)
    monkeypatch.setattr(trial_cache, "read_scores", refuse)
    found = read_figures(results, keys, RULES, sealed=rows)
    assert list(found) == keys
    for key, figures in found.items():
        scores = read_arrow(results, "scores", keys=[key]).to_pandas()
        expected = trial_figures(scores, objective="per_image_iou", fixed=0.3)
        pd.testing.assert_frame_equal(figures.outcomes, expected.outcomes, check_exact=True)
        for at, curve in expected.curves.items():
            np.testing.assert_array_equal(figures.curves[at], curve)


@pytest.mark.parametrize("why", ["other scores", "other code", "other rules", "none", "no text"])
def test_figures_that_are_not_of_these_scores_rules_and_code_are_derived_again(
    results, keys, monkeypatch, why
):
    right = read_figures(results, keys, RULES)
    shutil.rmtree(results / "derived", ignore_errors=True)
    rules = Rules("per_image_iou", 0.9) if why == "other rules" else RULES
    changes = {"none": {"figures": None}, "no text": {"figures_about": "{"}}.get(why, {})
    rows = sealed(results, keys, rules, **changes)
    if why == "other scores":
        other = read_arrow(results, "scores", keys=[keys[1]]).to_pylist()
        write_part(results, "scores", keys[0], other)
    if why == "other code":
        monkeypatch.setattr("reports.results.stored.packing.figures_code", lambda: "another")
    found = read_figures(results, keys, RULES, sealed=rows)
    of = keys[1] if why == "other scores" else keys[0]
    pd.testing.assert_frame_equal(found[keys[0]].outcomes, right[of].outcomes, check_exact=True)


def test_figures_under_rules_of_the_study_s_own_are_not_kept(results, keys):
    scores = read_arrow(results, "scores", keys=keys[:1])
    assert derived_columns(scores, Rules("per_image_iou", 0.3, ("a:b",)), "0" * 32) == {}


def test_a_part_s_digest_is_read_from_its_end_and_again_after_a_change(results, keys):
    folder = table_folder(results, "scores")
    names = sorted(f"{key}.parquet" for key in keys)
    before = part_digests(results, "scores", names, folder.listing())
    assert before == {name: digest_in(folder.read(name)) for name in names}
    write_part(
        results, "scores", keys[0], read_arrow(results, "scores", keys=[keys[1]]).to_pylist()
    )
    after = part_digests(results, "scores", names, folder.listing())
    changed = {name for name in names if before[name] != after[name]}
    assert changed == {f"{keys[0]}.parquet"}


@pytest.mark.parametrize("table", ["trials", "history"])
def test_the_rows_in_a_footer_are_those_of_the_columns(results, keys, table):
    content = table_folder(results, table).read(f"{keys[0]}.parquet")
    _, rows = footer_rows(content)
    import pyarrow.parquet as pq

    columns = pq.read_table(pa.BufferReader(content))
    assert rows.num_rows > 0
    assert pa.Table.from_batches([rows]).to_pylist() == columns.to_pylist()
