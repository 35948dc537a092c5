"""A study with a sweep: one setting takes several values, all else stays the same."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports import make_report
from reports.ledger.parts import read_table
from reports.results.reading import read_studies
from studies.planning.planner import make_plan
from studies.spec.study import Study
from wsss_core.errors import InputError

Raw = dict[str, Any]


@pytest.fixture
def swept(tiny: Raw) -> Raw:
    tiny["configurations"] = tiny["configurations"][:2]
    tiny["sweep"] = {
        "key": "data.chimney_given_clear",
        "label": "P(chimney | clear)",
        "values": [0.9, 0.1],
    }
    return tiny


def test_every_value_has_all_trials_on_images_of_its_own(swept: Raw) -> None:
    plan = make_plan(Study.model_validate(swept))
    assert [(t.sweep_value, t.configuration) for t in plan.trials] == [
        (0.9, "CNN alone"), (0.9, "ViT alone"), (0.1, "CNN alone"), (0.1, "ViT alone"),
    ]  # fmt: skip
    assert len(plan.image_sets) == 2
    assert len({trial.key for trial in plan.trials}) == 4


def test_a_trial_at_a_value_is_that_of_the_study_written_with_it(swept: Raw) -> None:
    plain = copy.deepcopy(swept)
    del plain["sweep"]
    plain["data"]["chimney_given_clear"] = 0.1
    keys = {t.key for t in make_plan(Study.model_validate(plain)).trials}
    at_each = make_plan(Study.model_validate(swept)).trials
    assert keys == {t.key for t in at_each if t.sweep_value == 0.1}


@pytest.mark.parametrize(
    ("key", "said"),
    [("data.chimneys", "unknown key 'chimneys'"), ("data.smoke", "less than 1")],
)
def test_a_sweep_that_cannot_be_taken_is_refused_before_anything_runs(
    swept: Raw, key: str, said: str
) -> None:
    swept["sweep"] |= {"key": key, "values": [0.5, 1.0]}
    with pytest.raises(InputError, match=said):
        make_plan(Study.model_validate(swept))


def test_a_finished_sweep_is_one_page_over_all_its_values(
    swept: Raw, tmp_path: Path, run: Callable[..., Any]
) -> None:
    finished = run(swept, tmp_path)
    assert finished.result.failed == {}
    plan = read_table(tmp_path, "plan")
    assert sorted(plan["dial_value"].unique()) == [0.1, 0.9]
    assert [r.sweep_value for r in read_studies(tmp_path)] == [0.1, 0.9]
    files = make_report(tmp_path, tmp_path / "report")
    page = files.html.read_text()
    assert page.count("<article>") == 1
    assert "P(chimney | clear) = 0.9" in page
    assert {"sweep.csv", "strategies_0.1.csv", "diagnostics_0.9.csv"} <= {
        file.name for file in files.tables
    }
