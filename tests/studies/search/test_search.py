"""A search: what it tries and keeps, where it goes on, and whose numbers are reported."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reports import make_report
from reports.ledger.parts import read_table, write_part
from studies.planning.planner import make_plan
from studies.runner import run_plan
from studies.search.candidates import confirmation, first_jobs, parts_prefix
from studies.search.run import run_search
from studies.search.trials import tuned_objective
from studies.spec.study import Study
from studies.store.artifacts import ArtifactStore
from studies.store.keys import canonical
from wsss_core.errors import InputError

Raw = dict[str, Any]


@pytest.mark.ci
def test_a_search_goes_on_where_it_ended_and_its_winners_run_under_fresh_seeds(
    searching: Raw, listening: Callable[..., Any], tmp_path: Path, ray_here: None
) -> None:
    store = ArtifactStore(tmp_path / "store")
    run_search(Study.model_validate(searching), tmp_path, store)
    first = read_table(tmp_path, "search")
    assert sorted(first["number"].unique()) == [0, 1, 2]
    assert set(first["state"]) <= {"complete", "pruned", "collapsed"}

    searching["search"]["trials"] = 5
    said: list[str] = []
    with listening(said.append):
        study = run_search(Study.model_validate(searching), tmp_path, store)
    whole = read_table(tmp_path, "search")
    pd.testing.assert_frame_equal(whole[whole["number"] < 3].reset_index(drop=True), first)
    assert sorted(whole["number"].unique()) == [0, 1, 2, 3, 4]

    again: list[str] = []
    with listening(again.append):
        assert run_search(Study.model_validate(searching), tmp_path, store) == study
    assert not any("to try" in line for line in again)

    trial = whole[whole["state"] == "complete"].iloc[0]
    result = run_plan(make_plan(study), tmp_path, store, in_process=True)
    assert result.failed == {}
    plan = read_table(tmp_path, "plan")
    assert set(plan["seed"]) == {0}
    assert not set(plan["seed"]) & set(whole["seed"])
    assert sum(name.startswith("search ") for name in plan["configuration"].unique()) == 2
    assert 0 <= trial["objective"] <= 1
    page = make_report(tmp_path, tmp_path / "report").html.read_text()
    assert 'id="search"' in page


@pytest.mark.ci
def test_a_search_that_is_broken_off_keeps_what_ended_alone_and_goes_on(
    searching: Raw, listening: Callable[..., Any], tmp_path: Path, ray_here: None
) -> None:
    store = ArtifactStore(tmp_path / "store")

    def interrupt_after_the_first(line: str) -> None:
        if line.startswith("search ") and "seeds" in line:
            os.kill(os.getpid(), signal.SIGINT)

    searching["search"]["trials"] = 5
    study = Study.model_validate(searching)
    with pytest.raises(KeyboardInterrupt), listening(interrupt_after_the_first):
        run_search(study, tmp_path, store)
    kept = read_table(tmp_path, "search")
    assert 1 <= kept["number"].nunique() < 5
    assert "failed" not in set(kept["state"])
    run_search(study, tmp_path, store)
    whole = read_table(tmp_path, "search")
    assert whole["number"].nunique() == 5
    old = whole[whole["number"].isin(kept["number"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(old, kept)


def searched(*objectives: tuple[str, float, str]) -> pd.DataFrame:
    rows = [
        {
            "number": number,
            "state": state,
            "seed": seed,
            "objective": value,
            "parameters": parameters,
        }
        for number, (parameters, value, state) in enumerate(objectives)
        for seed in (8, 9)
    ]
    return pd.DataFrame(rows)


def point(weight: float) -> str:
    return json.dumps({
        "lambda": weight, "level": "global", "metric": "cosine", "representation": "feature",
        "learning_rate": 1e-3,
    })  # fmt: skip


def test_the_best_are_those_of_the_highest_mean_that_were_scored_under_all_seeds(
    searching: Raw,
) -> None:
    found = searched(
        (point(1), 0.2, "complete"),
        (point(2), 0.9, "pruned"),
        (point(3), 0.5, "complete"),
        (point(3), 0.4, "complete"),
        (point(4), 0.3, "complete"),
    )
    study = confirmation(Study.model_validate(searching), found)
    assert study.search is None
    rows = [row for _, row in study.named_configurations()]
    assert [row.transfer_weight for row in rows[2:]] == [3.0, 4.0]
    assert rows[2].training.learning_rate == 1e-3


def test_a_search_of_which_nothing_was_scored_confirms_nothing(searching: Raw) -> None:
    with pytest.raises(InputError, match="no search trial was scored under all of its seeds"):
        confirmation(Study.model_validate(searching), searched((point(1), 0.5, "failed")))


def test_the_objective_is_the_best_iou_of_the_tune_split_and_never_sees_the_test(
    finished: Any,
) -> None:
    trial = finished.plan.trials[0]
    scores = read_table(finished.results, "scores", keys=[trial.key])
    tune = scores[scores["split"] == "tune"]
    best = max(_iou_at(tune, level) for level in range(256))
    assert tuned_objective(finished.results, trial.key, "per_image_iou") == pytest.approx(best)


def _iou_at(rows: pd.DataFrame, level: int) -> float:
    each = []
    for _, row in rows.iterrows():
        total = int(row["foreground"].sum())
        if total:
            hit, false = int(row["foreground"][level:].sum()), int(row["background"][level:].sum())
            each.append(hit / (total + false))
    return sum(each) / len(each)


def test_a_corrupt_row_of_a_search_is_moved_away_and_the_search_goes_on_without_it(
    searching: Raw, tmp_path: Path
) -> None:
    study = Study.model_validate(searching)
    prefix = parts_prefix(first_jobs(study)[0])
    point = {"metric": "cosine", "level": "global", "representation": "feature", "lambda": 1.0}
    for number in range(4):
        parameters = canonical({**point, "learning_rate": 1e-4 * (number + 1)})
        about = {"study": study.study, "number": number, "configuration": f"c{number}"}
        rows = [
            {**about, "parameters": parameters, "seed": seed, "objective": 0.5, "state": "complete"}
            for seed in (8, 9)
        ]
        part = Path(write_part(tmp_path, "search", f"{prefix}{number:05d}", rows))
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    confirmed = run_search(study, tmp_path, ArtifactStore(tmp_path / "store"))
    assert len(confirmed.configurations) == 2 + 2
    assert set(read_table(tmp_path, "search")["number"]) == {0, 1, 2}
    assert len(list((tmp_path / "ledger" / "quarantined").iterdir())) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seeds": [0, 5]}, "search.seeds and seeds share 0"),
        ({"student": "vita"}, "search.student 'vita' is no backbone"),
        ({"paradigm": "single"}, "paradigm 'single' has none"),
        ({"trials": 0}, "greater than or equal to 1"),
    ],
)
def test_a_search_that_cannot_be_meant_is_refused(searching: Raw, change: Raw, said: str) -> None:
    searching["search"] |= change
    with pytest.raises(ValueError, match=said):
        Study.model_validate(searching)
