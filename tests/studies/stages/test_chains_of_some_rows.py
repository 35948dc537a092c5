"""Chains that refine the maps of some rows alone: plan, run, report, segmenters, slips."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from reports.results.reading import read_studies
from reports.tables.refinement import refinement_table
from studies.cli.plan_summary import summarise_plan
from studies.planning.planner import make_plan
from studies.spec.study import Study
from studies.status.reading import Watcher
from studies.status.text import describe_status

Raw = dict[str, Any]
PAR = [{"par": {"iterations": 1, "dilations": [1]}}]


def some_rows(tiny: Raw, rows: list[str] | None = None) -> Raw:
    chains = {
        "first": {"steps": PAR, "configurations": ["ViT alone"] if rows is None else rows},
        "all": [{"par": {"iterations": 2, "dilations": [1]}}],
    }
    return {**tiny, "configurations": tiny["configurations"][:2], "chains": chains}


@pytest.fixture(scope="module")
def ran(run: Callable[..., Any], shared_tiny: Raw, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run(some_rows(shared_tiny), tmp_path_factory.mktemp("rows"))


def test_a_chain_of_some_rows_has_the_key_that_it_has_among_all(tiny: Raw) -> None:
    some = make_plan(Study.model_validate(some_rows(tiny))).trials
    everywhere = make_plan(Study.model_validate(some_rows(tiny, ["ViT alone", "CNN alone"]))).trials
    cnn, vit = some
    assert (list(cnn.chains), list(vit.chains)) == (["all"], ["first", "all"])
    assert vit.chains == everywhere[1].chains
    assert cnn.chains["all"] == everywhere[0].chains["all"]


def test_it_is_scored_over_these_rows_alone_and_their_table_has_its_row(ran: Any) -> None:
    assert ran.result.remaining == 0
    (record,) = read_studies(ran.results)
    assert [chain.name for chain in record.chains] == ["first", "all"]
    assert [trial.status for trial in record.of("ViT alone", "first")] == ["ok"]
    assert record.of("CNN alone", "first") == []
    names = [(row[0].text, row[1].text) for row in refinement_table(record).rows]
    ends = ["tuned chain", "optimal threshold (upper bound)"]
    assert names == [
        *(("CNN alone", name) for name in ["none", "all", *ends]),
        *(("ViT alone", name) for name in ["none", "first", "all", *ends]),
    ]


def test_plan_and_status_count_these_rows(ran: Any) -> None:
    found = summarise_plan(ran.plan, ran.store, ran.results)
    assert [(chain.name, chain.done, chain.trials) for chain in found.chains] == [
        ("first", 1, 1),
        ("all", 2, 2),
    ]
    (status,) = Watcher(ran.results).look()
    assert "first  1 done" in describe_status(status)
    assert status.ended


def test_another_row_is_added_without_training(
    ran: Any, run: Callable[..., Any], shared_tiny: Raw
) -> None:
    more = run(some_rows(shared_tiny, ["CNN alone", "ViT alone"]), ran.results)
    assert more.result.trained == 0
    assert any("1 times a chain over a trial" in line for line in more.said)


def test_orders_refine_some_rows(tiny: Raw) -> None:
    study = some_rows(tiny)
    study["chains"] = {
        "orders": {"steps": ["par", "crf"], "lengths": [1], "configurations": ["CNN alone"]}
    }
    cnn, vit = make_plan(Study.model_validate(study)).trials
    assert (list(cnn.chains), list(vit.chains)) == (["par", "crf"], [])


def test_a_row_that_the_study_leaves_out_may_have_a_chain(tiny: Raw) -> None:
    study = some_rows(tiny)
    study["configurations"] = [
        study["configurations"][0],
        {**study["configurations"][1], "name": "ViT alone", "join": True},
    ]
    plan = make_plan(Study.model_validate({**study, "join": None}))
    assert [list(trial.chains) for trial in plan.trials] == [["all"]]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["ViT allone"], "chains.first.configurations 'ViT allone' is no row of this study"),
        ([], "at least 1 item"),
    ],
)
def test_a_slip_is_named(tiny: Raw, rows: list[str], said: str) -> None:
    with pytest.raises(ValidationError, match="chains") as error:
        Study.model_validate(some_rows(tiny, rows))
    assert said in str(error.value)


def test_a_segmenter_takes_no_chain_that_does_not_refine_its_maps(
    tiny: Raw, tmp_path: Path
) -> None:
    study = some_rows(tiny)
    entry = {"labels": {"configuration": "CNN alone", "chain": "first"}}
    model = {"model": "unet", "encoder": "resnet18"}
    study["segment"] = {"model": model, "training": {"steps": 2}, "entries": {"ours": entry}}
    said = "segment.entries.ours.labels.chain 'first' does not refine 'CNN alone'; it refines ViT"
    with pytest.raises(ValidationError, match=said):
        Study.model_validate(study)
    entry["labels"]["chain"] = "tuned chain"
    only = {**study, "chains": {"first": study["chains"]["first"]}}
    with pytest.raises(ValidationError, match="no chain refines 'CNN alone', so there is none"):
        Study.model_validate(only)
    (job,) = make_plan(Study.model_validate(study)).segments
    assert [maps.chain.name for maps in (job.maps, *job.alternatives)] == ["none", "all"]
