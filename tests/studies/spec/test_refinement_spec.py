"""The `chains` section: steps looked up, settings checked, slips named."""

import inspect
from typing import Any

import pytest
from pydantic import ValidationError

from studies.spec.refinement import CAM_STEPS, STEP_SETTINGS
from studies.spec.study import Study
from wsss_core.refine.steps.registry import STEP_KINDS


def chains_of(tiny: dict[str, Any], chains: Any, **more: Any) -> list[Any]:
    return Study.model_validate({**tiny, "chains": chains, **more}).resolved_chains()


def test_a_plain_list_is_one_chain_named_by_its_steps(tiny):
    (chain,) = chains_of(tiny, ["multi_scale", "crf", "par"])
    assert chain.name == "multi_scale + crf + par"
    assert chain.cam == CAM_STEPS["multi_scale"]
    assert [step.kind for step in chain.steps] == ["crf", "par"]


def test_a_named_step_takes_its_settings_from_refiners_and_the_step_itself(tiny):
    refiners = {"strong": {"use": "crf", "preset": "psa"}, "par": {"iterations": 3}}
    refine = {"both": ["strong", {"par": {"dilations": [1, 2]}}]}
    (chain,) = chains_of(tiny, refine, refiners=refiners)
    assert chain.steps[0].kind == "crf"
    assert chain.steps[0].settings["preset"] == "psa"
    assert chain.steps[1].settings == {"iterations": 3, "dilations": [1, 2]}


@pytest.mark.parametrize("kind", STEP_SETTINGS)
def test_what_a_study_leaves_out_is_what_the_library_leaves_out(kind):
    left_out = {
        name: parameter.default
        for name, parameter in inspect.signature(STEP_KINDS[kind].load()).parameters.items()
    }

    def alike(value: Any) -> Any:
        return list(value) if isinstance(value, tuple) else value or None

    in_a_study = STEP_SETTINGS[kind]().model_dump()
    assert {name: alike(value) for name, value in left_out.items()} == {
        name: alike(value) for name, value in in_a_study.items()
    }


def test_cam_steps_add_up(tiny):
    (chain,) = chains_of(tiny, {"x": ["fusion", "multi_scale"]})
    assert chain.cam["method"] == "grad_cam"
    assert chain.cam["layers"] == [-5, -4, -2, -1]
    assert chain.cam["scales"] == [0.5, 1.0, 1.5, 2.0]


def test_rows_that_every_table_has_may_hold_published_figures_alone(tiny):
    study = Study.model_validate(
        {**tiny, "chains": {"none": {"published": {"worse": 37.42}}, "x": ["par"]}}
    )
    assert [chain.name for chain in study.resolved_chains()] == ["x"]


@pytest.mark.parametrize(
    ("chains", "said"),
    [
        ({"x": ["crff"]}, "chains.x: step 'crff' is unknown; nearest: 'crf'"),
        ({"x": ["crf", "multi_scale"]}, "it must precede the refiners"),
        ({"x": [{"crf": {"preset": "best"}}]}, "preset: expected 'thesis', 'psa', 'irn' or 'afa'"),
        ({"x": [{"crf": {"iters": 3}}]}, "unknown key 'iters'"),
        ({"x": [{"crf": {}, "par": {}}]}, "a step with settings has one name"),
        ({"x": []}, "chains.x: a chain needs steps"),
        ({"none": ["crf"]}, "every table already has this row"),
        ({"tuned chain": ["crf"]}, "every table already has this row"),
    ],
)
def test_a_slip_is_named(tiny, chains, said):
    with pytest.raises(ValidationError, match=r"(?s)chains") as error:
        chains_of(tiny, chains)
    assert said in str(error.value)


def test_refine_is_an_older_spelling_of_chains(tiny: dict[str, Any]) -> None:
    chains = {"x": ["crf"]}
    old, new = ({**tiny, key: chains} for key in ("refine", "chains"))
    assert Study.model_validate(old) == Study.model_validate(new)
    with pytest.raises(ValidationError, match="'chains' is given twice"):
        Study.model_validate({**old, **new})
