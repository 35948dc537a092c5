import numpy as np
import pytest

from reports.deciding import (
    DecisionRule,
    GroupSequential,
    TMixture,
    Verdict,
    decide_comparisons,
)
from wsss_core.errors import InputError

RULE = DecisionRule(TMixture(), smallest_difference=5.0, most_seeds=12)
CLEAR = [11.0, 9.5, 12.0, 10.5, 10.0, 12.5, 9.0, 11.0]
NOISE = [0.5, -0.4, 0.3, -0.6, 0.2, -0.1, 0.4, -0.3]
WILD = [9.0, -12.0, 15.0, -8.0, 14.0, -11.0, 7.0, -13.0, 10.0, -9.0, 8.0, -10.0]


def decide_one(values, rule=RULE):
    return decide_comparisons({"row": values}, rule)["row"]


@pytest.mark.parametrize(
    ("values", "verdict", "seeds"),
    [
        (CLEAR, Verdict.BETTER, 5),  # with g = 1 nothing can be decided earlier
        ([-d for d in CLEAR], Verdict.WORSE, 5),
        (NOISE, Verdict.NO_DIFFERENCE, 4),  # at 90 % the fourth seed can
        (WILD, Verdict.BUDGET_SPENT, 12),
        (WILD[:11], Verdict.OPEN, 11),
    ],
)
def test_a_comparison_ends_as_its_differences_say(values, verdict, seeds):
    decision = decide_one(values)

    assert (decision.verdict, decision.seeds) == (verdict, seeds)
    assert [point.seeds for point in decision.path] == list(range(2, seeds + 1))


def test_a_difference_that_is_there_but_too_small_does_not_matter():
    assert decide_one([1.0 + d / 10 for d in NOISE]).verdict is Verdict.NO_DIFFERENCE
    without = DecisionRule(TMixture(), smallest_difference=0.0, most_seeds=12)
    assert decide_one([1.0 + d / 10 for d in NOISE], without).verdict is Verdict.BETTER


def test_a_decided_comparison_reads_no_later_seed():
    decision = decide_one([*CLEAR[:5], -500.0, -400.0])

    assert decision.verdict is Verdict.BETTER
    assert decision.signs.negative == 0


def test_a_missing_pair_is_no_difference_and_the_seed_is_spent():
    decision = decide_one([None, *CLEAR[:2], float("nan"), *CLEAR[2:]])

    assert (decision.verdict, decision.seeds) == (Verdict.BETTER, 7)
    assert (decision.path[-1].interval.n, decision.signs.missing) == (5, 2)


@pytest.mark.parametrize(
    ("values", "verdict", "said"),
    [
        ([], Verdict.OPEN, "No pair is complete"),
        ([3.0], Verdict.OPEN, "One difference has no spread"),
        ([3.0] * 12, Verdict.BUDGET_SPENT, "All 12 differences are equal (3)"),
        ([None] * 12, Verdict.BUDGET_SPENT, "No pair is complete"),
    ],
)
def test_what_allows_no_decision_is_said(values, verdict, said):
    decision = decide_one(values)

    assert decision.verdict is verdict
    assert said in decision.note


def test_more_comparisons_ask_more_evidence_and_decided_ones_give_it_back():
    # Alone, this difference is decided at its fifth seed.
    borderline = [4.0, 7.0, 9.0, 6.0, 5.0, 8.0, 6.5, 7.5]
    alone = decide_one(borderline)
    beside_open = decide_comparisons({"a": borderline, "b": WILD, "c": WILD, "d": WILD}, RULE)
    beside_clear = decide_comparisons({"a": borderline, "b": CLEAR, "c": CLEAR, "d": CLEAR}, RULE)

    assert alone.verdict is Verdict.BETTER
    assert beside_open["a"].seeds > alone.seeds
    assert alone.seeds <= beside_clear["a"].seeds < beside_open["a"].seeds
    share = beside_open["a"].path[-1].interval
    assert share.low is not None


def test_the_path_narrows_to_the_interval_that_decides():
    last = decide_one(CLEAR).path[-1]

    assert last.interval.low > 0
    assert last.equivalence.low > last.interval.low


@pytest.mark.parametrize("mean", [0.0, 1.0])
@pytest.mark.parametrize("test", [TMixture(0.5), GroupSequential(14)])
@pytest.mark.parametrize("comparisons", [1, 3])
def test_no_more_studies_hold_a_wrong_decision_than_stated(mean, test, comparisons):
    # The smallest difference is one standard deviation, and so is the mean: the hardest cases.
    rule = DecisionRule(test, smallest_difference=1.0, most_seeds=14, level=0.1)
    rng = np.random.default_rng(8)
    wrong = Verdict.NO_DIFFERENCE if mean else Verdict.BETTER
    studies, failed = 300, 0
    for _ in range(studies):
        differences = rng.normal(mean, 1.0, (comparisons, 14)).tolist()
        ends = decide_comparisons({str(k): d for k, d in enumerate(differences)}, rule).values()
        failed += any(d.verdict in (wrong, Verdict.WORSE) for d in ends)

    # Three standard errors above the stated rate.
    assert failed / studies < 0.1 + 3 * (0.09 / studies) ** 0.5


def test_rules_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match="smallest difference"):
        DecisionRule(TMixture(), smallest_difference=-1.0, most_seeds=5)
    with pytest.raises(InputError, match="decisions from 3 to 2 seeds"):
        DecisionRule(TMixture(), smallest_difference=1.0, most_seeds=2)
    with pytest.raises(InputError, match="error rate"):
        DecisionRule(TMixture(), smallest_difference=1.0, most_seeds=5, level=0.3)
