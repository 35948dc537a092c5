"""Entries of `chains` that stand for every order of their steps, and steps under a condition."""

from itertools import permutations
from typing import Any

import pytest
from pydantic import ValidationError

from studies.planning.chains import prefix_keys
from studies.planning.planner import make_plan
from studies.spec.study import Study
from wsss_core.refine.steps.registry import STEP_KINDS

MAKERS = {"multi_scale", "fusion"}
STEPS = ["multi_scale", "fusion", "crf", "affinity", "par"]


def with_chains(tiny: dict[str, Any], chains: Any, **more: Any) -> Study:
    return Study.model_validate({**tiny, "chains": chains, **more})


def possible_orders(lengths: list[int]) -> set[tuple[frozenset[str], tuple[str, ...]]]:
    """Every order in which no step that makes the CAM follows a refiner, by what it computes."""
    found = set()
    for length in lengths:
        for order in permutations(STEPS, length):
            makers = [step for step in order if step in MAKERS]
            if list(order[: len(makers)]) == makers:
                found.add((frozenset(makers), order[len(makers) :]))
    return found


@pytest.mark.parametrize("lengths", [[1], [2], [3], [1, 2, 3], [5]])
def test_every_order_that_can_be_is_there_once(tiny, lengths):
    study = with_chains(tiny, {"all": {"steps": STEPS, "lengths": lengths}})
    found = []
    for name, chain in zip(study.chains, study.resolved_chains(), strict=True):
        names = name.split(" + ")
        makers = [step for step in names if step in MAKERS]
        assert [step.kind for step in chain.steps] == names[len(makers) :]
        found.append((frozenset(makers), tuple(names[len(makers) :])))
    assert len(found) == len(set(found))
    assert set(found) == possible_orders(lengths)


def test_orders_stand_beside_other_chains_and_use_the_names_of_refiners(tiny):
    refiners = {"weak": {"use": "par", "iterations": 1}, "scales": {"use": "multi_scale"}}
    chains = {"one": ["crf"], "all": {"steps": ["weak", "scales"], "lengths": [1, 2]}}
    study = with_chains(tiny, chains, refiners=refiners)
    assert list(study.chains) == ["one", "scales", "weak", "scales + weak"] or list(
        study.chains
    ) == ["one", "weak", "scales", "scales + weak"]
    last = study.resolved_chains()[-1]
    assert last.steps[0].settings["iterations"] == 1
    assert last.cam["scales"] == [0.5, 1.0, 1.5, 2.0]


@pytest.mark.parametrize(
    ("orders", "said"),
    [
        ({"steps": ["crf", "par"], "lengths": [3]}, "expected different numbers from 1 to 2"),
        ({"steps": ["crf", "par"], "lengths": [1, 1]}, "expected different numbers from 1 to 2"),
        ({"steps": ["crf", {"crf": {"preset": "psa"}}], "lengths": [1]}, "given twice"),
        ({"steps": ["crf", "par"], "length": [1], "lengths": [1]}, "unknown key 'length'"),
        ({"steps": ["fusion", "grad_cam"], "lengths": [1]}, "fusion and grad_cam exclude"),
        ({"steps": [f"a{n}:b" for n in range(8)], "lengths": [5]}, "6720 chains; expected at most"),
        ({"steps": ["crf", "parr"], "lengths": [2]}, "step 'parr' is unknown"),
    ],
)
def test_a_slip_in_orders_is_named(tiny, orders, said):
    with pytest.raises(ValidationError, match=r"(?s)chains") as error:
        with_chains(tiny, {"all": orders})
    assert said in str(error.value)


def test_a_chain_cannot_be_there_twice(tiny):
    orders = {"steps": ["crf", "par"], "lengths": [1]}
    with pytest.raises(ValidationError, match="all: the chain 'crf' is there already"):
        with_chains(tiny, {"crf": ["crf"], "all": orders})


def test_orders_share_their_beginnings_so_short_ones_cost_no_steps_of_their_own(taught):
    """Of two refiners before one maker of CAMs: steps are counted, not chains."""
    steps = [{"par": {"iterations": 1}}, "affinity", "crf", "multi_scale"]
    plan = make_plan(with_chains(taught, {"all": {"steps": steps, "lengths": [1, 2, 3]}}))
    (job,) = (job for job in plan.jobs.values() if job.trials)
    after_steps = {
        key
        for chain in plan.chains
        for key in prefix_keys(job, chain, plan.cam.scaling, "test")[1:]
    }
    # By hand: sequences of 1 to 3 of three refiners over the plain CAM, of 1 to 2 over the scales.
    assert len(after_steps) == (3 + 6 + 6) + (3 + 6)
    longest = make_plan(with_chains(taught, {"all": {"steps": steps, "lengths": [3]}}))
    of_longest = {
        key
        for chain in longest.chains
        for key in prefix_keys(job, chain, plan.cam.scaling, "test")[1:]
    }
    assert of_longest == after_steps


def conditional(**condition: Any) -> dict[str, Any]:
    return {"if": {"score": "agreement", "above": 0.5, **condition}, "then": "affinity"}


def test_a_conditional_step_shares_what_its_step_learns_and_has_keys_of_its_own(taught):
    chains = {
        "plain": ["affinity"],
        "half": [conditional()],
        "most": [conditional(above=0.9)],
        "par": [conditional(**{"with": {"par": {"iterations": 1}}})],
    }
    plan = make_plan(with_chains(taught, chains))
    (job,) = (job for job in plan.jobs.values() if job.trials)
    steps = [chain.steps[0] for chain in plan.chains]
    assert all(step.needs_fitted_state for step in steps)
    from studies.planning.chains import fitted_state_key

    fits = {fitted_state_key(job, chain, chain.steps[0], plan.cam.scaling) for chain in plan.chains}
    assert len(fits) == 1
    assert len({prefix_keys(job, c, plan.cam.scaling, "test")[-1] for c in plan.chains}) == 4
    record = plan.chains[3].as_record()
    assert type(plan.chains[3]).from_record(record) == plan.chains[3]


def test_conditional_steps_are_named_by_what_they_do(tiny):
    study = with_chains(tiny, [conditional(below=0.9), "par"])
    assert list(study.chains) == ["affinity if agreement above 0.5 and below 0.9 + par"]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"if": {"score": "iou", "above": 0.5}, "then": "crf"}, "expected 'agreement', 'entropy'"),
        ({"if": {"score": "area"}, "then": "crf"}, "expected 'above', 'below' or both"),
        (
            {"if": {"score": "area", "above": 0.5, "below": 0.4}, "then": "crf"},
            "no score lies above 'above' and below 'below'",
        ),
        (
            {"if": {"score": "area", "above": 0.5, "with": "par"}, "then": "crf"},
            "area compares nothing",
        ),
        ({"if": {"score": "area", "above": 0.5}, "then": "crff"}, "step 'crff' is unknown"),
        ({"if": {"score": "area", "above": 0.5}, "then": "fusion"}, "makes the CAM of all images"),
        ({"if": {"score": "area", "above": 0.5}, "then": None}, "then: expected a refiner"),
        ({"if": {"score": "area", "above": 0.5}, "else": "crf"}, "has one name"),
        (
            {"if": {"score": "agreement", "above": 0.5, "with": "sam"}, "then": "crf"},
            "with: sam has to be prepared for all images",
        ),
    ],
)
def test_a_slip_in_a_condition_is_named(tiny, step, said):
    with pytest.raises(ValidationError, match=r"(?s)chains") as error:
        with_chains(tiny, {"x": [step]})
    assert said in str(error.value)


@pytest.mark.parametrize("background", [0, -1, "mean", {"quantile": 1.0}, {"quantil": 0.5}])
def test_another_background_of_a_crf_is_refused(tiny, background):
    with pytest.raises(ValidationError, match="background"):
        with_chains(tiny, {"x": [{"crf": {"background": background}}]})


def test_matting_needs_room_between_its_thresholds(tiny):
    with pytest.raises(ValidationError, match="'background' has to lie below 'foreground'"):
        with_chains(tiny, {"x": [{"matting": {"background": 0.9}}]})


def test_chains_with_matting_are_not_run_where_pymatting_is_not_installed(taught, monkeypatch):
    chains = {"matted": ["matting"], "other": ["par"]}
    absent = type(STEP_KINDS["matting"])("m", "M", package="no_such_package_is_installed")
    monkeypatch.setitem(STEP_KINDS, "matting", absent)
    matted, other = make_plan(with_chains(taught, chains)).chains
    assert matted.lacks is not None
    assert "not installed; pip install 'wsss-studies[matting]'" in matted.lacks
    assert other.lacks is None
