"""Which seeds are asked for, and what is decided, whatever the order in which trials end."""

import json
import math
from dataclasses import replace
from statistics import fmean, stdev

import numpy as np
import pytest

from reports.deciding import TMixture, Verdict
from reports.decisions import (
    Question,
    Rounds,
    RowPair,
    SeedResult,
    follow_rounds,
    read_question,
    standing_lines,
)
from wsss_core.errors import InputError

ROWS = ("alone", "taught", "longer", "aside")
TAUGHT, LONGER = RowPair("taught", "alone"), RowPair("longer", "alone")
QUESTION = Question(
    comparisons=(TAUGHT, LONGER),
    best=False,
    seeds=tuple(range(12)),
    smallest=0.05,
    error=0.05,
    first_seeds=3,
    step=1,
    most_hours=None,
    hours="processor",
    figure="per_image_iou",
    split="test",
    rule=None,
    collapsed_below=None,
    collapses="apart",
    test="t-mixture",
    precision=0.5,
)
SPREAD = (0.01, -0.012, 0.004, 0.011, -0.007, 0.002, -0.01, 0.006, 0.001, -0.003, 0.008, -0.006)


def values(gains: dict[str, float], spread: float = 1.0) -> dict[tuple[str, int], SeedResult]:
    """Every row under every seed: a gain over the row `alone`, with the same scatter each time."""
    return {
        (row, seed): SeedResult(0.3 + gains.get(row, 0.0) + spread * SPREAD[seed] * place)
        for place, row in enumerate(ROWS)
        for seed in QUESTION.seeds
    }


def run(
    question: Question, known: dict[tuple[str, int], SeedResult], rows: tuple[str, ...] = ROWS
) -> Rounds:
    """Give what is asked for, round by round, as a driver does."""
    ended: dict[tuple[str, int], SeedResult] = {}
    while waits := (rounds := follow_rounds(question, rows, ended)).waits_for:
        ended |= {at: known[at] for at in waits}
    return rounds


def verdicts(rounds: Rounds) -> dict[RowPair, str]:
    return {pair: str(answer.verdict) for pair, answer in rounds.answers.items()}


def test_all_rows_get_the_first_seeds_before_anything_is_decided() -> None:
    rounds = follow_rounds(QUESTION, ROWS, {})
    assert set(rounds.waits_for) == {(row, seed) for row in ROWS for seed in (0, 1, 2)}
    assert verdicts(rounds) == {TAUGHT: "open", LONGER: "open"}
    assert standing_lines(rounds)[-1] == (
        "  next: seeds 0, 1 and 2 of alone, taught, longer and aside"
    )


def test_further_seeds_go_to_both_rows_of_an_open_comparison_alone() -> None:
    rounds = run(QUESTION, values({"taught": 0.4, "longer": 0.03}, spread=2.0))
    taught, longer = rounds.answers[TAUGHT], rounds.answers[LONGER]
    assert taught.verdict is Verdict.BETTER
    assert taught.decision.seeds < longer.decision.seeds
    assert rounds.reached == {
        "alone": longer.decision.seeds,
        "longer": longer.decision.seeds,
        "taught": taught.decision.seeds,
        "aside": 3,
    }


def test_the_interval_is_that_of_the_paired_differences_at_half_the_error_rate() -> None:
    known = values({"taught": 0.4, "longer": 0.03}, spread=2.0)
    point = run(QUESTION, known).answers[TAUGHT].decision.path[-1]
    differences = [
        known["taught", seed].value - known["alone", seed].value  # type: ignore[operator]
        for seed in range(point.seeds)
    ]
    n = len(differences)
    half = TMixture(0.5).half_width(n, 0.025) * stdev(differences) / math.sqrt(n)
    assert point.interval.mean == pytest.approx(fmean(differences))
    assert point.interval.low == pytest.approx(fmean(differences) - half)


@pytest.mark.ci
def test_no_order_of_arrival_changes_a_decision_or_takes_one_back() -> None:
    rng = np.random.default_rng(4)
    for case in range(6):
        spread, gains = 1.0 + 2.0 * case, {"taught": 0.02 * case, "longer": 0.0}
        known = values(gains, spread)
        whole = run(QUESTION, known)
        ended: dict[tuple[str, int], SeedResult] = {}
        decided: dict[RowPair, tuple[str, int]] = {}
        # Any trial may come at any time, also from a study of more seeds in the same folder.
        for at in rng.permutation(np.array(list(known), dtype=object)):
            ended[at[0], int(at[1])] = known[at[0], int(at[1])]
            rounds = follow_rounds(QUESTION, ROWS, ended)
            for pair, answer in rounds.answers.items():
                here = str(answer.verdict), answer.decision.seeds
                if pair in decided:
                    assert here == decided[pair]
                elif answer.verdict.is_decided:
                    decided[pair] = here
        assert verdicts(rounds) == verdicts(whole)
        assert rounds.reached == whole.reached


def test_a_round_that_is_not_over_decides_nothing() -> None:
    known = values({"taught": 0.4})
    asked = follow_rounds(QUESTION, ROWS, {}).waits_for
    ended = {at: known[at] for at in asked if at != ("aside", 2)}
    rounds = follow_rounds(QUESTION, ROWS, ended)
    assert (rounds.waits_for, rounds.seeds_before) == ((("aside", 2),), 0)
    assert verdicts(rounds) == {TAUGHT: "open", LONGER: "open"}


def test_seeds_are_asked_for_in_steps_and_every_seed_is_looked_at() -> None:
    known = values({"taught": 0.03, "longer": 0.03}, spread=3.0)
    one, four = run(QUESTION, known), run(replace(QUESTION, step=4), known)
    assert four.reached["alone"] in (3, 7, 11, 12)
    assert verdicts(one) == verdicts(four)
    assert [a.decision.seeds for a in one.answers.values()] == [
        a.decision.seeds for a in four.answers.values()
    ]


def test_a_failed_trial_spends_its_seed_and_is_held_once_a_decision_has_passed_it() -> None:
    known = values({"taught": 0.4, "longer": 0.4}) | {("taught", 1): SeedResult(None, failed=True)}
    rounds = run(QUESTION, known)
    answer = rounds.answers[TAUGHT]
    assert answer.verdict is Verdict.BETTER
    assert answer.differences[1] is None
    assert rounds.held == {("taught", 1)}
    assert not run(QUESTION, values({"taught": 0.4})).held


def test_a_row_that_fails_as_often_as_not_gets_no_more_seeds() -> None:
    failed = {("longer", seed): SeedResult(None, failed=True) for seed in (0, 2)}
    rounds = run(QUESTION, values({"taught": 0.4}) | failed)
    answer = rounds.answers[LONGER]
    assert (answer.verdict, rounds.reached["longer"]) == (Verdict.OPEN, 3)
    assert answer.note == (
        "2 of 3 trials of longer failed; it gets no more seeds until they have been run again."
    )
    assert rounds.held == frozenset()  # so they are run again


def test_the_budget_of_seeds_is_spent_where_nothing_is_decided() -> None:
    question = replace(QUESTION, smallest=0.001)
    rounds = run(question, values({}, spread=8.0))
    assert set(verdicts(rounds).values()) == {"budget spent"}
    assert rounds.answers[TAUGHT].note == "All 12 seeds are spent."


def test_hours_of_processors_count_a_shared_training_run_once() -> None:
    question = replace(QUESTION, smallest=0.001, most_hours=14.0)
    known = {
        at: replace(result, work={f"run {at[1]}" if at[0] == "aside" else str(at): 3600.0})
        for at, result in values({}, spread=8.0).items()
    }
    rounds = run(question, known)
    # 12 hours for the first seeds of four rows, then 3 a seed: 15 after the fourth seed.
    assert (rounds.hours, rounds.seeds_before) == (15.0, 4)
    assert set(verdicts(rounds).values()) == {"budget spent"}
    shared = {at: replace(result, work={"one": 3600.0}) for at, result in known.items()}
    assert run(question, shared).hours == 1.0


def test_hours_of_wall_time_count_what_overlaps_once_and_pauses_not() -> None:
    question = replace(QUESTION, smallest=0.001, most_hours=5.5, hours="wall")
    known = {
        at: replace(result, spans=((36_000.0 * at[1], 36_000.0 * at[1] + 3600.0),))
        for at, result in values({}, spread=8.0).items()
    }
    rounds = run(question, known)
    assert (rounds.hours, rounds.seeds_before) == (6.0, 6)
    assert "5.5 hours of wall time are spent (6.0 were used)" in str(rounds.answers[TAUGHT].note)


def test_the_best_row_is_found_and_what_cannot_be_best_gets_no_seeds() -> None:
    rows = ("a", "b", "c")
    pairs = (RowPair("a", "b"), RowPair("a", "c"), RowPair("b", "c"))
    question = replace(QUESTION, comparisons=pairs, best=True, smallest=0.001)
    rng = np.random.default_rng(1)
    # b and c are alike and far below a, so nothing more is asked about the two.
    known = {
        (row, seed): SeedResult(mean + 0.01 * rng.standard_normal())
        for row, mean in (("a", 0.6), ("b", 0.2), ("c", 0.2))
        for seed in question.seeds
    }
    rounds = run(question, known, rows)
    assert verdicts(rounds) == {pairs[0]: "better", pairs[1]: "better", pairs[2]: "open"}
    assert rounds.answers[pairs[2]].note == "b is worse than a, so it is not best."
    assert max(rounds.reached.values()) < question.most_seeds


@pytest.mark.parametrize(("collapses", "n"), [("apart", 11), ("zero", 12)])
def test_collapses_are_counted_and_left_out_or_enter_with_0(collapses: str, n: int) -> None:
    question = replace(
        QUESTION, smallest=0.001, collapses=collapses, collapsed_below=0.2, comparisons=(LONGER,)
    )
    known = values({}, spread=8.0) | {("longer", 4): SeedResult(0.1)}
    answer = run(question, known).answers[LONGER]
    if collapses == "apart":
        assert answer.differences[4] is None
    else:
        assert answer.differences[4] == pytest.approx(-known["alone", 4].value)  # type: ignore[operator]
    assert answer.decision.path[-1].interval.n <= n
    assert answer.collapsed == (sum(
        v.value < 0.2 for (row, s), v in known.items()
        if row == "longer" and s < len(answer.differences)  # type: ignore[operator]
    ), 0)  # fmt: skip
    assert answer.collapses.positive == answer.collapsed[0]


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        ({("taught", s): SeedResult(0.5) for s in range(12)}, "are equal"),
        ({("taught", s): SeedResult(None) for s in range(12)}, "No pair is complete"),
        ({("taught", s): SeedResult(None) for s in range(1, 12)}, "One difference has no spread"),
    ],
)
def test_what_can_say_nothing_ends_in_a_sentence(
    spoilt: dict[tuple[str, int], SeedResult], said: str
) -> None:
    known = values({}) | {("alone", s): SeedResult(0.3) for s in range(12)} | spoilt
    rounds = run(replace(QUESTION, comparisons=(TAUGHT,)), known)
    answer = rounds.answers[TAUGHT]
    assert answer.verdict is Verdict.BUDGET_SPENT
    assert said in str(answer.decision.note)
    assert any(said in line for line in standing_lines(rounds))


def test_of_many_comparisons_those_that_go_on_are_written_out_and_the_rest_is_counted() -> None:
    rows = [f"row {n}" for n in range(30)]
    pairs = tuple(RowPair(row, "alone") for row in rows)
    question = replace(QUESTION, comparisons=pairs, first_seeds=10)
    clear, open_still = (0.4, 1.0), (0.02, 9.0)  # gain, spread
    known = {
        (row, seed): SeedResult(0.3 + gain + spread * SPREAD[(seed + place) % 12])
        for place, row in enumerate(["alone", *rows])
        for gain, spread in [clear if place <= 25 else open_still]
        for seed in range(10)
    }
    rounds = follow_rounds(question, ["alone", *rows], known)
    lines = standing_lines(rounds)
    open_rows = [str(answer.pair) for answer in rounds.open]
    assert open_rows
    assert all(any(pair in line for line in lines[1:21]) for pair in open_rows)
    counted = sum(int(part.split()[0]) for part in lines[21].removeprefix("  more: ").split(", "))
    assert counted == 10


def test_a_question_is_read_as_it_was_written_and_an_unknown_one_is_refused() -> None:
    assert read_question(QUESTION.as_json()) == QUESTION
    newer = json.dumps({**json.loads(QUESTION.as_json()), "of_tomorrow": 1})
    with pytest.raises(InputError, match="decide of the plan cannot be read"):
        read_question(newer)


CANCELLED = {"longer": "cancelled by you on 2026-11-28 17:00 UTC"}


def test_a_cancelled_row_is_not_waited_for_and_its_comparison_says_why() -> None:
    known = values({"taught": 0.0, "longer": 0.0}, spread=3.0)
    ended = {at: one for at, one in known.items() if at[0] != "longer" and at[1] < 3}
    assert ("longer", 0) in follow_rounds(QUESTION, ROWS, ended).waits_for
    rounds = follow_rounds(QUESTION, ROWS, ended, CANCELLED)
    assert all(row != "longer" for row, _ in rounds.waits_for)
    assert rounds.waits_for  # the other comparison goes on
    longer = rounds.answers[LONGER]
    assert (longer.verdict, longer.goes_on, longer.differences) == (Verdict.OPEN, False, ())
    assert longer.note == f"longer was {CANCELLED['longer']}; it gets no more seeds."
    assert f"  longer against alone: open. {longer.note}" in standing_lines(rounds)


def test_what_was_decided_before_a_row_was_cancelled_stays_decided() -> None:
    known = values({"taught": 0.0, "longer": 0.3}, spread=1.0)
    whole = run(QUESTION, known)
    decided = whole.answers[LONGER]
    assert decided.verdict is Verdict.BETTER
    ended = {at: known[at] for at in known if whole.asks_for(*at)}
    assert follow_rounds(QUESTION, ROWS, ended, CANCELLED).answers[LONGER] == decided


def test_a_comparison_that_is_cancelled_while_open_keeps_the_seeds_that_both_rows_have() -> None:
    known = values({"longer": 0.0}, spread=4.0)
    seeds = {"alone": 6, "taught": 6, "aside": 3, "longer": 4}
    ended = {(row, seed): one for (row, seed), one in known.items() if seed < seeds[row]}
    rounds = follow_rounds(QUESTION, ROWS, ended, CANCELLED)
    longer = rounds.answers[LONGER]
    assert len(longer.differences) == 4
    assert not longer.goes_on
    assert ("longer", 4) not in rounds.waits_for


def test_a_row_that_is_taken_back_is_asked_for_again() -> None:
    known = values({"longer": 0.0}, spread=4.0)
    ended = {at: one for at, one in known.items() if at[1] < 3}
    assert not follow_rounds(QUESTION, ROWS, {
        at: one for at, one in ended.items() if at != ("longer", 2)
    }, CANCELLED).answers[LONGER].goes_on  # fmt: skip
    assert follow_rounds(QUESTION, ROWS, ended).answers[LONGER].goes_on
