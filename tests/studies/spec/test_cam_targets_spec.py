"""The key `targets`: which rows and chains it may name, and what a plan makes of it."""

from typing import Any

import pytest
from pydantic import ValidationError

from studies.planning.planner import make_plan
from studies.spec.study import Study


def rounds(tiny: dict[str, Any], *targets: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    """ViTs alone: the first without targets, each further one with those given."""
    rows: list[dict[str, Any]] = [{"name": "round 0", "paradigm": "single", "student": "vit"}]
    for number, one in enumerate(targets, 1):
        rows.append({**rows[0], "name": f"round {number}", "targets": one})
    return {**tiny, "chains": {"PAR": ["par"]}, **more, "configurations": rows}


ONE = {"configuration": "round 0", "chain": "PAR"}


def test_each_round_waits_for_the_last_and_has_a_key_of_its_own(tiny):
    plan = make_plan(Study.model_validate(rounds(tiny, ONE, {**ONE, "configuration": "round 1"})))
    jobs = {job.name: job for job in plan.jobs.values()}
    assert jobs["round 0"].needs == ()
    assert jobs["round 1"].needs == (jobs["round 0"].key,)
    assert jobs["round 2"].needs == (jobs["round 1"].key,)
    assert jobs["round 1"].settings["targets"] == {"rule": "otsu", "weight": 1.0}
    assert "targets" not in jobs["round 0"].settings


@pytest.mark.parametrize(
    "change", [{"weight": 0.5}, {"rule": "fixed"}, {"chain": "none"}, {"configuration": "round 1"}]
)
def test_what_decides_the_targets_is_in_the_key(tiny, change):
    plan = make_plan(Study.model_validate(rounds(tiny, ONE, {**ONE, **change})))
    assert len(plan.jobs) == 3


def test_the_fixed_threshold_counts_where_it_is_the_rule(tiny):
    def keys(fixed: float, rule: str) -> list[str]:
        study = rounds(tiny, {**ONE, "rule": rule}, thresholds={"fixed": fixed})
        return list(make_plan(Study.model_validate(study)).jobs)

    assert keys(0.3, "otsu") == keys(0.4, "otsu")
    assert keys(0.3, "fixed") != keys(0.4, "fixed")


def test_a_row_with_targets_is_compared_with_the_network_alone(tiny):
    rows = make_plan(Study.model_validate(rounds(tiny, ONE))).ledger_rows()
    baselines = {row["configuration"]: row["baseline"] for row in rows}
    assert baselines == {"round 0": None, "round 1": "round 0"}


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ({"configuration": "round 9"}, "targets.configuration 'round 9' is no configuration of"),
        ({**ONE, "chain": "CRF"}, "targets.chain 'CRF' is no chain of this study; nearest: 'PAR'"),
        ({"configuration": "round 1"}, "round 1 <- round 1 is a circle"),
        ({**ONE, "rule": "tuned"}, "'fixed', 'otsu' or 'gaussian_mixture'"),
        ({**ONE, "weight": 0}, "greater than 0"),
    ],
)
def test_targets_that_cannot_be_are_named(tiny, targets, said):
    with pytest.raises(ValidationError) as error:
        Study.model_validate(rounds(tiny, targets))
    assert said in str(error.value)


def test_a_circle_over_two_rows_is_named(tiny):
    study = rounds(tiny, {"configuration": "round 2"}, {"configuration": "round 1"})
    with pytest.raises(ValidationError, match="round 1 <- round 2 <- round 1 is a circle"):
        Study.model_validate(study)


def test_an_entry_with_targets_has_a_name_and_an_encoder_that_learns(tiny):
    study = rounds(tiny, ONE)
    del study["configurations"][1]["name"]
    with pytest.raises(ValidationError, match="an entry with 'targets' needs a 'name'"):
        Study.model_validate(study)
    study = rounds(tiny, ONE)
    study["backbones"] = {**tiny["backbones"], "vit": {**tiny["backbones"]["vit"], "train": "head"}}
    with pytest.raises(ValidationError, match="expected a student whose whole encoder learns"):
        Study.model_validate(study)
