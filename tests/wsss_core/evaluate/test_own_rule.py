"""A threshold rule of one's own, from its name to the level it answers."""

from pathlib import Path

import numpy as np
import pytest

from wsss_core.errors import InputError
from wsss_core.evaluate import (
    HistogramStack,
    NoThresholdError,
    choose_threshold,
    evaluate,
    load_own_rule,
)

RULES = """
import numpy as np

VERSION = 2


def halfway(tune, scores):
    return np.searchsorted(np.cumsum(scores), scores.sum() / 2)


halfway.peeks_at = "the test images' scores"


def best_on_tune(tune, scores):
    return None if tune is None else int(tune.per_image_iou().argmax())


def broken(tune, scores):
    raise ValueError("no idea\\nat all")


def too_high(tune, scores):
    return 256


def half_a_level(tune, scores):
    return 12.5


def yes(tune, scores):
    return True


def mute(tune, scores):
    return 1


mute.peeks_at = 3
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_threshold_rules.py").write_text(RULES)
    (tmp_path / "own_rules_without_version.py").write_text("def rule(tune, scores): return 1")
    monkeypatch.chdir(tmp_path)


def counts(*levels):
    return np.bincount(levels, minlength=256)


def one_image(inside, outside):
    return HistogramStack(counts(*inside)[np.newaxis], counts(*outside)[np.newaxis])


def test_it_is_called_with_the_scores_and_its_answer_cuts_the_maps():
    choice = choose_threshold("own_threshold_rules:halfway", scores=counts(10, 20, 30, 30, 200))
    assert (choice.rule, choice.level) == ("own_threshold_rules:halfway", 30)
    found = evaluate(choice, one_image(inside=[30, 10], outside=[31, 29]))
    assert found.dataset_iou == pytest.approx(1 / 3)


def test_it_says_itself_what_it_peeks_at_else_that_is_not_declared():
    said = {
        name: load_own_rule(f"own_threshold_rules:{name}").peeks_at
        for name in ("halfway", "best_on_tune")
    }
    assert said == {"halfway": "the test images' scores", "best_on_tune": "not declared"}


def test_it_sees_the_tune_split_and_never_the_test_masks():
    tune = one_image(inside=[90, 80], outside=[70, 10])
    choice = choose_threshold(
        "own_threshold_rules:best_on_tune", tune=tune, test=object(), scores=counts(1, 2)
    )
    assert choice.level == 71


def test_one_that_answers_none_has_no_threshold():
    with pytest.raises(NoThresholdError, match="best_on_tune: no level separates the scores"):
        choose_threshold("own_threshold_rules:best_on_tune", scores=counts(1, 2))


def test_without_scores_there_is_nothing_to_call_it_with():
    with pytest.raises(NoThresholdError, match="halfway: expected the scores of the test split"):
        choose_threshold("own_threshold_rules:halfway")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("too_high", "expected a whole level 0-255 or None, got 256"),
        ("half_a_level", "expected a whole level 0-255 or None, got 12.5"),
        ("yes", "expected a whole level 0-255 or None, got True"),
        ("broken", "failed: ValueError: no idea at all"),
        ("mute", "expected peeks_at to be text, got 3"),
        ("missing", "module 'own_threshold_rules' has no 'missing'"),
    ],
)
def test_a_rule_that_cannot_be_used_is_named_with_the_reason(name, said):
    with pytest.raises(InputError) as raised:
        choose_threshold(f"own_threshold_rules:{name}", scores=counts(1, 2))
    assert str(raised.value).startswith(f"threshold rule 'own_threshold_rules:{name}'")
    assert said in str(raised.value)
    assert not isinstance(raised.value, NoThresholdError)


def test_a_rule_without_a_version_is_refused():
    with pytest.raises(InputError, match="own_rules_without_version:rule' declares no version"):
        load_own_rule("own_rules_without_version:rule")
