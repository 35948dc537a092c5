"""The sections of a page: a sweep, a search and published numbers, if the ledger holds them."""

import csv
import json
import re

import pandas as pd
import pytest

from reports import make_report
from reports.ledger.parts import read_table, write_part
from reports.page.views import study_view
from reports.results.reading import read_studies

SWEEP = "P(chimney | no smoke)"
VALUES = (0.05, 0.5)
PUBLISHED = {"ViT alone": 0.2, "cosine global": 0.4, "L1 global": 0.3}
STATES = {("L2 global", 1): "failed", ("L1 global", 2): "collapsed"}


def rows_of(results, table):
    frame = read_table(results, table).astype(object)
    rows = frame.where(frame.notna(), None).to_dict("records")
    for row in rows:
        if "started_at" in row:
            row["started_at"] = row["started_at"].to_pydatetime()
    return rows


def turn(build_ledger, folder, *, values=VALUES, changed=None, **given):
    """A results folder of one study with a sweep: a ledger for each value, brought together."""
    whole, plan = folder / "whole", []
    for place, value in enumerate(values):
        part = folder / f"part{place}"
        build_ledger(part, study="cooccurrence", counts=(4, 6), **given)
        for table in ("scores", "panels", "history", "trials"):
            by_key = {}
            for row in rows_of(part, table):
                row["trial_key"] = key = f"{place}{row['trial_key']}"
                if table == "trials":
                    row["evaluation_fingerprint"] = f"data{place}"
                    row |= (changed or {}).get(key, {})
                by_key.setdefault(key, []).append(row)
            for key, rows in by_key.items():
                write_part(whole, table, key, rows)
        plan += [
            {**row, "trial_key": f"{place}{row['trial_key']}", "dial": SWEEP, "dial_value": value}
            for row in rows_of(part, "plan")
        ]
    write_part(whole, "plan", "cooccurrence", plan)
    return whole


@pytest.fixture(scope="module")
def swept(build_ledger, tmp_path_factory):
    folder = tmp_path_factory.mktemp("swept")
    return turn(build_ledger, folder, seeds=(0, 1, 2), states=STATES, diagnosed=True)


@pytest.fixture(scope="module")
def files(swept, tmp_path_factory):
    return make_report(swept, tmp_path_factory.mktemp("report"))


def sections_of(files):
    return re.findall(r"^## (.*)$", files.markdown.read_text(), flags=re.MULTILINE)


def test_a_record_is_read_for_each_value_of_the_sweep(swept):
    records = read_studies(swept)

    assert [(record.sweep, record.sweep_value) for record in records] == [
        (SWEEP, value) for value in VALUES
    ]
    assert [record.name for record in records] == [
        f"cooccurrence, {SWEEP} = {value:g}" for value in VALUES
    ]
    assert all(len(record.trials) == 24 for record in records)
    keys = [trial.key for record in records for trial in record.trials.values()]
    assert len(set(keys)) == 48


def test_a_study_without_a_sweep_has_none(ledger):
    (record,) = read_studies(ledger.results)

    assert (record.sweep, record.sweep_value, record.name) == (None, None, "strategies")


def test_the_sweep_comes_first_and_then_each_value(files):
    text = files.markdown.read_text()
    found = [title.replace("\\", "") for title in sections_of(files)]

    assert found[0] == f"Sweep of {SWEEP}"
    assert [title for title in found if title.startswith(SWEEP)] == [
        f"{SWEEP} = {value:g}" for value in VALUES
    ]
    assert text.index("goes from 0.05 to 0.5") < text.index("## Sweep of")
    assert "Class activation maps" not in found
    assert len(re.findall(r"!\[", text)) == 1


def test_each_value_has_tables_of_its_own_with_labels_of_their_own(files):
    folder = files.html.parent / "tables"
    names = [
        f"{table}_{value:g}"
        for table in ("strategies", "diagnostics", "trials")
        for value in VALUES
    ]
    labels = [re.search(r"\\label\{(.*?)\}", path.read_text())[1] for path in folder.glob("*.tex")]

    assert all((folder / f"{name}.{e}").is_file() for name in names for e in ("csv", "md", "tex"))
    assert len(labels) == len(set(labels)) == 7


def test_the_sweep_shows_how_far_logits_fall_without_the_context(swept, files):
    svg = (files.html.parent / "figures" / "sweep.svg").read_text()

    assert "fall of the logit" in svg
    falls = read_studies(swept)[0].diagnostic_by_seed("ViT alone", "reliance_context")
    assert set(falls) == {0, 1, 2}


def test_tidy_files_tell_the_values_apart(files):
    folder = files.html.parent / "tables"
    for name in ("outcomes", "diagnostics_by_trial"):
        frame = pd.read_csv(folder / f"{name}.csv")
        assert set(frame["dial_value"]) == set(VALUES)
        keys = [k for k in ("trial_key", "network", "class_name", "split", "rule") if k in frame]
        assert not frame.duplicated(keys).any()
        pd.testing.assert_frame_equal(
            frame, pd.read_parquet(folder / f"{name}.parquet"), check_dtype=False
        )


def test_a_sweep_counts_the_trials_that_means_leave_out_over_all_values(files):
    said = files.markdown.read_text().replace("\\", "")

    assert "Of 48 planned trials 44 are healthy (2 failed, 2 collapsed). Means" in said


def test_errors_at_every_value_are_shown_and_all_settings(files):
    page = files.html.read_text()

    for value in VALUES:
        assert f"L2 global at {value:g}, seed 1, failed" in page
        assert f"<summary>ViT alone at {value:g}</summary>" in page


def test_data_that_differ_from_value_to_value_are_as_they_should_be(files):
    assert "Trials differ" not in files.html.read_text()
    assert "data0 (24 trials), data1 (24 trials)" in files.html.read_text()


def test_data_that_differ_within_a_value_and_code_that_differs_at_all_are_called_out(
    build_ledger, tmp_path
):
    keys = [f"1{position:02d}00" + "ab" * 6 for position in (0, 1)]
    changed = {
        keys[0]: {"evaluation_fingerprint": "other"},
        keys[1]: {"code_revision": "changed"},
    }
    results = turn(build_ledger, tmp_path, changed=changed, seeds=(0,), states={})
    page = make_report(results, tmp_path / "out").html.read_text()

    assert "Trials at 0.5 differ in their fingerprint of the evaluation data: " in page
    assert "Trials at 0.05 differ" not in page
    assert "Trials differ in their code revision: " in page


def test_a_sweep_that_has_not_begun_is_a_page_of_missing_cells(build_ledger, tmp_path):
    names = ("CNN alone", "ViT alone", "cosine global", "cosine channel", "cosine spatial",
             "L1 global", "L2 global", "co-training")  # fmt: skip
    missing = {(name, 0): "missing" for name in names}
    results = turn(build_ledger, tmp_path, seeds=(0,), states=missing)
    page = make_report(results, tmp_path / "out").html.read_text()

    assert "No trial of this study has scores yet." in page
    assert "Of 16 planned trials 0 are healthy (16 missing)" in page


def test_a_sweep_stands_beside_a_plain_study(build_ledger, swept, tmp_path):
    results = tmp_path / "results"
    for table in ("plan", "trials", "scores", "panels", "history"):
        for part in (swept / "ledger" / table).glob("*.parquet"):
            target = results / "ledger" / table / part.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(part.read_bytes())
    build_ledger(results, study="plain", seeds=(0,), counts=(3, 4))
    files = make_report(results, tmp_path / "out")
    names = {path.name for path in files.tables}
    ids = re.findall(r'\sid="([^"]*)"', files.html.read_text())

    assert {"1-cooccurrence-sweep.csv", "2-plain-strategies.csv"} <= names
    assert len(ids) == len(set(ids))


def test_published_numbers_open_a_section_of_their_own(build_ledger, tmp_path):
    ledger = build_ledger(tmp_path, seeds=(0, 1), counts=(4, 6), published=PUBLISHED)
    view = study_view(read_studies(ledger.results)[0])

    assert [section.title for section in view.sections][:2] == [
        "Strategies", "Against the published order",
    ]  # fmt: skip
    assert [row[0].text for row in view.tables["published"].rows] == list(PUBLISHED)
    assert any(text.startswith("Of 3 pairs in the published order") for text in view.headlines)


@pytest.mark.ci
@pytest.mark.parametrize("published", [{}, {"ViT alone": 0.2}])
def test_a_single_published_number_is_no_order(build_ledger, tmp_path, published):
    ledger = build_ledger(tmp_path, seeds=(0,), counts=(3, 4), published=published)
    view = study_view(read_studies(ledger.results)[0])

    assert "published" not in view.tables


def search_rows(study, objectives):
    return [
        {
            "study": study, "number": number, "configuration": "ViT taught",
            "parameters": json.dumps({"lambda": 10.0**-number, "metric": "cosine"}),
            "seed": 0, "objective": objective, "state": "complete",
        }
        for number, objective in enumerate(objectives)
    ]  # fmt: skip


@pytest.mark.ci
def test_a_search_is_shown_by_the_study_it_is_of_alone(build_ledger, tmp_path):
    results = tmp_path / "results"
    for study in ("alpha", "beta"):
        build_ledger(results, study=study, seeds=(0,), counts=(3, 4))
    for row in search_rows("beta", (0.2, 0.4, 0.3)):
        write_part(results, "search", f"search-{row['number']}", [row])
    files = make_report(results, tmp_path / "out")
    names = {path.name for path in (*files.tables, *files.figures)}
    rows = list(csv.DictReader((tmp_path / "out/tables/2-beta-search.csv").open()))

    assert sections_of(files).count("Search") == 1
    assert {"2-beta-search.csv", "2-beta-search.svg"} <= names
    assert not {"1-alpha-search.csv", "1-alpha-search.svg"} & names
    assert [row["number"] for row in rows] == ["1", "2", "0"]


@pytest.mark.ci
def test_a_diagnosed_study_says_what_it_relies_on(build_ledger, tmp_path):
    ledger = build_ledger(tmp_path / "results", seeds=(0, 1), counts=(4, 6), diagnosed=True)
    files = make_report(ledger.results, tmp_path / "out")
    markdown = files.markdown.read_text()

    after = markdown[markdown.index("## What it relies on") :]
    assert after.index("| configuration |") < after.index("figures/reliance.svg")
    assert "without context" in after
    assert {"diagnostics.csv", "diagnostics.md", "diagnostics.tex", "diagnostics_by_trial.csv"} <= {
        path.name for path in files.tables
    }
