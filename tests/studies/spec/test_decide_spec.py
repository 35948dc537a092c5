"""The section `decide` of a study file, and what is wrong with it in one line."""

from typing import Any

import pytest

from studies.planning.plan import question_of
from studies.planning.planner import make_plan
from studies.spec.loading import load_study
from wsss_core.errors import InputError

ROWS = ["CNN alone", "ViT alone", "taught, cosine global", "co-trained, cosine global"]


def comparisons(tiny: dict[str, Any], **decide: Any) -> list[tuple[str, str]]:
    study = load_study({**tiny, "decide": {"smallest": 5, "most_seeds": 9, **decide}})
    assert study.decide is not None
    return study.decide.comparisons(ROWS)


def test_rows_are_compared_with_one_row_in_pairs_or_all_with_each_other(
    tiny: dict[str, Any],
) -> None:
    against = comparisons(tiny, against="ViT alone")
    assert against == [(row, "ViT alone") for row in ROWS if row != "ViT alone"]
    assert comparisons(tiny, pairs=[ROWS[2:]]) == [(ROWS[2], ROWS[3])]
    assert len(comparisons(tiny, best=True)) == 6
    both = comparisons(tiny, against="ViT alone", pairs=[["ViT alone", "CNN alone"]])
    assert both == against  # the same two rows once


def test_seeds_go_on_after_the_largest_that_is_given(tiny: dict[str, Any]) -> None:
    decide = {"against": "ViT alone", "smallest": 5, "most_seeds": 5, "first_seeds": 2}
    study = load_study({**tiny, "seeds": [7, 3], "decide": decide})
    assert study.planned_seeds == [7, 3, 8, 9, 10]
    plan = make_plan(study)
    assert len(plan.trials) == 4 * 5
    question = question_of(study)
    assert question is not None
    assert (question.seeds, question.smallest) == ((7, 3, 8, 9, 10), 0.05)
    first = plan.asked_for(lambda trial: trial.seed in (7, 3) and trial.position == 2)
    assert [trial.seed for trial in first.trials] == [7, 3]
    assert sum(not job.trials for job in first.jobs.values()) == 2  # their teachers


def test_a_study_without_it_has_the_seeds_of_its_file(tiny: dict[str, Any]) -> None:
    assert load_study(tiny).planned_seeds == [0]
    assert question_of(load_study(tiny)) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "nothing is compared; expected against, pairs or best"),
        ({"against": "ViT alon"}, "decide.against: 'ViT alon' is no row of this study; nearest: "
         "'ViT alone'"),
        ({"pairs": [["ViT alone", "ViT"]]}, "decide.pairs: 'ViT' is no row"),
        ({"pairs": [["ViT alone", "ViT alone"]]}, "compares 'ViT alone' with itself"),
        ({"against": "ViT alone", "first_seeds": 10}, "first_seeds 10 are more than most_seeds 9"),
        ({"against": "ViT alone", "figure": "iou"}, "'iou' is no figure; nearest"),
        ({"against": "ViT alone", "rule": "otsus"}, "decide.rule 'otsus' is no threshold rule"),
        ({"against": "ViT alone", "split": "tune", "rule": "otsu"}, "no figures of the tune split"),
        ({"against": "ViT alone", "error": 0.001}, "expected at most 2, or test: t-mixture"),
        ({"against": "ViT alone", "smallets": 1}, "unknown key 'smallets'; nearest: 'smallest'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(
    tiny: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as error:
        load_study({**tiny, "decide": {"smallest": 5, "most_seeds": 9, **changes}})
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_sweep_or_a_search_beside_it_is_refused(tiny: dict[str, Any]) -> None:
    decide = {"against": "ViT alone", "smallest": 5, "most_seeds": 9}
    sweep = {"key": "data.chimney_given_clear", "values": [0.1, 0.2]}
    with pytest.raises(InputError, match="a study takes decide or sweep, not both"):
        load_study({**tiny, "decide": decide, "sweep": sweep})
