"""Studies of any size are planned in time that grows with their trials, or refused before work."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studies.planning import make_plan
from studies.spec import fused_rows
from studies.spec.configuration import Configuration
from studies.spec.fused_rows import is_alone
from studies.spec.loading import load_study
from studies.spec.study import MOST_RESULTS
from wsss_core.errors import InputError

Raw = dict[str, Any]


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Raw], str]:
    """Write a study as JSON, which is YAML too and is written fast; return its path."""

    def write(study: Raw) -> str:
        file = tmp_path / "large.yaml"
        file.write_text(json.dumps(study))
        return str(file)

    return write


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seeds": list(range(200_000))}, "bytes, expected at most 1048576"),
        ({"seeds": [*range(10), *range(100_000)]}, "more than 100000 values"),
        (
            {"seeds": list(range(20_000))},
            "4 configurations x 20000 seeds x 1 values of a sweep x 1 chains (the plain CAM "
            f"included) are 80000 results; expected at most {MOST_RESULTS}",
        ),
        ({"seeds": [*range(9_000), 3]}, "holds a seed twice: 3"),
        ({"sweep": {"key": "data.chimney_given_clear", "values": [i / 4e4 for i in range(2000)]}},
         "sweep.values: expected at most 1000 items"),
    ],
)  # fmt: skip
def test_a_study_that_is_too_large_is_refused(
    tiny: Raw, written: Callable[[Raw], str], change: Raw, said: str
) -> None:
    with pytest.raises(InputError) as caught:
        load_study(written({**tiny, **change}))
    assert said in str(caught.value)
    assert len(str(caught.value)) < 500


def test_lists_are_counted_before_they_are_multiplied_out(
    tiny: Raw, written: Callable[[Raw], str]
) -> None:
    tiny["configurations"][2] |= {
        "metric": ["cosine", "l1", "l2"],
        "level": ["global", "spatial", "channel"],
        "lambda": [i / 1000 for i in range(1, 9_001)],
    }
    with pytest.raises(InputError, match=r"81003 configurations x 1 seeds .* are 81003 results"):
        load_study(written({**tiny, "seeds": [0]}))


def test_chains_and_trials_of_a_search_count(tiny: Raw, written: Callable[[Raw], str]) -> None:
    tiny["search"] = {
        "student": "vit",
        "teacher": "cnn",
        "space": {"metric": ["cosine"], "lambda": {"low": 0.1, "high": 10}},
        "seeds": [100, 101],
        "trials": 10**9,
    }
    with pytest.raises(InputError, match=r"and 2000000\d+ trials of the search are"):
        load_study(written(tiny))


def test_as_many_results_as_allowed_are_read(tiny: Raw, written: Callable[[Raw], str]) -> None:
    tiny["seeds"] = list(range(MOST_RESULTS // 4))
    assert len(load_study(written(tiny)).seeds) == MOST_RESULTS // 4


@pytest.mark.ci
def test_20_000_lambdas_are_planned_each_once(
    tiny: Raw, written: Callable[[Raw], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Configuration] = []

    def counted(one: Configuration) -> bool:
        asked.append(one)
        return is_alone(one)

    monkeypatch.setattr(fused_rows, "is_alone", counted)
    # A loop over pairs of them would take minutes here.
    tiny["configurations"][2]["lambda"] = [i / 1000 for i in range(1, 20_001)]
    plan = make_plan(load_study(written({**tiny, "seeds": [0]})))
    assert len(plan.trials) == len({trial.key for trial in plan.trials}) == 20_003
    assert plan.trials[2].configuration.endswith(", λ 0.001")
    assert 0 < len(asked) <= 3 * 20_003  # once a row for each of the few times they are named


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("configurations.0.lambda", "'configurations' is no section of the study"),
        ("title.x", "'title' is no section of the study"),
        ("seeds", "a sweep changes neither the seeds nor itself"),
        ("sweep.label.x", "'label' is no section of the study"),
    ],
)
def test_a_sweep_of_what_is_no_setting_is_refused(
    tiny: Raw, written: Callable[[Raw], str], key: str, said: str
) -> None:
    tiny["sweep"] = {"key": key, "values": [3, 4], "label": "s"}
    with pytest.raises(InputError, match=rf"^sweep: {key} = 3: {said}"):
        make_plan(load_study(written(tiny)))


@pytest.mark.parametrize("key", ["training.lr_warmup", "training.warmup"])
@pytest.mark.parametrize("written_as", ["lr_warmup", "warmup"])
def test_a_sweep_may_use_either_spelling_of_a_key(
    tiny: Raw, written: Callable[[Raw], str], key: str, written_as: str
) -> None:
    tiny["training"][written_as] = 0.5
    tiny["sweep"] = {"key": key, "values": [0.1, 0.3]}
    study = load_study(written(tiny))
    assert [study.at(value).training.lr_warmup for value in (0.1, 0.3)] == [0.1, 0.3]
