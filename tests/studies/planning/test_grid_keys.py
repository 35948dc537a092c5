"""Keys of maps whose cells do not share the image evenly: they were once stretched over it."""

from collections.abc import Callable
from typing import Any

import pytest

from studies.planning import chains, laid_over, planner
from studies.planning.planner import make_plan
from studies.spec.study import Study
from wsss_core.cams import CamSettings

CNN = {"model": "resnet18"}


@pytest.mark.parametrize(
    ("backbone", "size", "cam", "even"),
    [
        (CNN, 224, {}, True),
        (CNN, 134, {}, False),
        ({**CNN, "output_stride": 8}, 136, {}, True),
        (CNN, 224, {"scales": (0.5, 1.0)}, False),  # 3.5 cells of 112 px
        ({**CNN, "output_stride": 16}, 224, {"scales": (0.5, 1.0)}, True),
        ({"model": "vit_tiny_patch16_224"}, 112, {"scales": (0.6, 1.0)}, True),  # whole patches
        ({"model": "inception_v3"}, 320, {}, False),  # without padding
        ({"model": "convnext_atto"}, 64, {}, True),
    ],
)
def test_only_their_keys_say_that_they_are_laid_over_their_pixels(
    backbone: dict[str, Any], size: int, cam: dict[str, Any], even: bool
) -> None:
    assert (laid_over(CamSettings(**cam), size, backbone) == {}) == even


@pytest.mark.parametrize(("size", "same"), [(32, True), (36, False)])
def test_a_study_at_such_a_size_has_other_trials_and_the_same_training(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, size: int, same: bool
) -> None:
    tiny["data"]["size"] = size
    tiny["backbones"] = {"cnn": {**tiny["backbones"]["cnn"], "output_stride": None}}
    tiny["configurations"] = [{"paradigm": "single", "student": "cnn"}]
    tiny["refine"] = {"multi": ["multi_scale"]} if not same else {}

    def keys() -> tuple[list[str], list[str], list[str]]:
        plan = make_plan(Study.model_validate(tiny))
        trials = plan.trials
        chained = [key for trial in trials for key in trial.chains.values()]
        return list(plan.jobs), [trial.key for trial in trials], chained

    def old(given: Callable[..., Any]) -> None:
        monkeypatch.setattr(chains, "share_the_image", given)

    now = keys()
    old(lambda *_: True)
    before = keys()
    assert now[0] == before[0]
    assert (now[1] == before[1]) == same
    assert (now[2] == before[2]) == same


VIT = {"model": "vit_tiny_patch16_224", "options": {"patch_size": 12}}


@pytest.mark.parametrize(
    ("size", "given", "same"),
    [
        (48, {}, False),  # 2 cells of 32 px, 4 patches of 12
        (96, {}, True),
        (48, {"representation": "logits"}, True),
        (48, {"representation": "gram"}, True),
        (48, {"teacher": "cnn"}, True),  # the same cells
        (48, {"teacher": "other"}, True),  # the same cells, other weights
    ],
)
def test_trainings_whose_maps_stand_for_other_pixels_have_other_keys(
    tiny: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    given: dict[str, Any],
    same: bool,
) -> None:
    tiny["data"]["size"] = size
    tiny["backbones"] = {"cnn": dict(CNN), "vit": VIT, "other": {**CNN, "mean": [0.5] * 3}}
    tiny["backbones"]["other"] |= {"std": [0.5] * 3}
    row = {"paradigm": "co-training", "student": "cnn", "teacher": "vit", "level": "global"}
    tiny["configurations"] = [{**row, "metric": "l2", "lambda": 1.0, **given}]

    def keys() -> list[str]:
        return list(make_plan(Study.model_validate(tiny)).jobs)

    now = keys()
    monkeypatch.setattr(planner, "share_the_image", lambda *_: True)
    assert (keys() == now) == same
