"""From a finished study to its diagnostics, its partners and the published order on the page."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from reports.figures.diagnostics import diagnostics_info, draw_diagnostics
from reports.figures.style import draw_svg
from reports.ledger.parts import read_table
from reports.results.reading import read_studies
from reports.results.study_record import StudyRecord
from reports.tables.cells import Table
from reports.tables.diagnostics import diagnostics_table
from reports.tables.strategies import strategies_table

Raw = dict[str, Any]


@pytest.fixture(scope="module")
def record(shared_tiny: Raw, run: Callable[..., Any], tmp_path_factory: Any) -> StudyRecord:
    study = copy.deepcopy(shared_tiny)
    study["published_from"] = "thesis, another data set"
    for entry, published in zip(study["configurations"], (33.56, 13.18, 47.37), strict=False):
        entry["published"] = published
    finished = run(study, tmp_path_factory.mktemp("relies"))
    (found,) = read_studies(finished.results)
    return found


def column(table: Table, key: str) -> dict[str, Any]:
    """The cells of a column by the first cell of their row."""
    place = [c.key for c in table.columns].index(key)
    return {row[0].text: row[place] for row in table.rows}


def test_a_trials_diagnostics_are_those_of_its_rows_in_the_ledger(
    record: StudyRecord, finished: Any
) -> None:
    trial = next(t for t in finished.plan.trials if t.configuration == "CNN alone")
    scores = read_table(finished.results, "scores", keys=[trial.key])
    test = scores[(scores["split"] == "test") & scores["labelled"]]
    weight = np.arange(256)
    shares = [
        row["foreground"] @ weight / ((row["foreground"] + row["background"]) @ weight)
        for _, row in test.iterrows()
        if row["foreground"].sum()
    ]
    fall = (test["logit"].astype(float) - test["logit_without_object"].astype(float)).mean()
    found = record.diagnostic_by_seed("CNN alone", "mass_object")[0]
    assert found == pytest.approx(np.mean(shares))
    assert record.diagnostic_by_seed("CNN alone", "reliance_object")[0] == pytest.approx(fall)


def test_the_table_has_a_row_of_each_configuration_and_columns_with_data(
    record: StudyRecord,
) -> None:
    table = diagnostics_table(record)
    assert [row[0].text for row in table.rows] == [one.name for one in record.configurations]
    parts = ("mass_object", "mass_context", "mass_ring", "mass_elsewhere")
    for name in column(table, "mass_object"):
        whole = sum(column(table, part)[name].data["mean"] for part in parts)
        assert whole == pytest.approx(1)
    fall = column(table, "reliance_object")["CNN alone"]
    expected = record.diagnostic_by_seed("CNN alone", "reliance_object")[0]
    assert fall.text == f"{expected:.1f}".replace("-", "−")


def test_the_figure_shows_what_the_table_says(record: StudyRecord) -> None:
    info = diagnostics_info(record)
    assert info.names == tuple(one.name for one in record.configurations)
    table = column(diagnostics_table(record), "mass_context")
    for name, share in zip(info.names, info.mass["mass_context"], strict=True):
        assert share == pytest.approx(100 * table[name].data["mean"])
    assert "context" in draw_svg(lambda: draw_diagnostics(info), "reliance", "title")


def test_published_figures_stand_beside_with_their_source(record: StudyRecord) -> None:
    table = strategies_table(record)
    assert column(table, "published")["CNN alone"].text == "33.56"
    assert column(table, "published")["co-trained, cosine global"].text == "–"
    assert any("thesis, another data set" in note for note in table.notes)


def test_a_co_trained_row_has_its_partners_and_the_fused_figure(record: StudyRecord) -> None:
    table = strategies_table(record)
    for key, network in (("partner", "teacher"), ("fused", "fused")):
        cell = column(table, key)["co-trained, cosine global"]
        expected = record.by_seed("co-trained, cosine global", record.objective, network=network)
        assert cell.data["mean"] == pytest.approx(expected[0])
        assert column(table, key)["ViT alone"].text == "–"


def test_the_difference_to_the_teacher_is_paired_by_seed(record: StudyRecord) -> None:
    cell = column(strategies_table(record), "delta_teacher")["taught, cosine global"]
    ours = record.by_seed("taught, cosine global", record.objective)[0]
    teacher = record.by_seed("CNN alone", record.objective)[0]
    assert cell.data["mean"] == pytest.approx(ours - teacher)
