"""The sentences on decisions that open a study's page."""

from collections import Counter

from reports.deciding import Verdict
from reports.decisions.reading import rounds_of
from reports.decisions.rounds import Answer, Rounds
from reports.decisions.sentences import enumerated, number_of
from reports.decisions.table import POWER, fixed_seeds
from reports.results.study_record import StudyRecord
from reports.tables.cells import points


def decision_headlines(record: StudyRecord) -> list[str]:
    """Say what was decided, and what that saved against a fixed number of seeds."""
    rounds = rounds_of(record)
    if rounds is None:
        return []
    answers = list(rounds.answers.values())
    ended = Counter(answer.verdict for answer in answers)
    decided = [
        f"{ended[verdict]} {verdict}"
        for verdict in Verdict
        if verdict.is_decided and ended[verdict]
    ]
    smallest = points(rounds.question.smallest)
    sentences = [
        f"{sum(verdict.is_decided for verdict in ended.elements())} of "
        f"{number_of(len(answers), 'comparison')} are decided"
        + (f" ({', '.join(decided)})" if decided else "")
        + f"; a difference of less than {smallest} points does not matter."
    ]
    for verdict, said in (
        (Verdict.BUDGET_SPENT, "The budget was spent before these were decided"),
        (Verdict.OPEN, "Open"),
    ):
        if names := [str(answer.pair) for answer in answers if answer.verdict is verdict]:
            sentences.append(f"{said}: {enumerated(names)}.")
    if rounds.question.best:
        sentences += _best(answers)
    return sentences + _saved(rounds, answers)


def _best(answers: list[Answer]) -> list[str]:
    worse = {
        answer.pair.row if answer.verdict is Verdict.WORSE else answer.pair.other
        for answer in answers
        if answer.verdict in (Verdict.WORSE, Verdict.BETTER)
    }
    rows = dict.fromkeys(row for answer in answers for row in answer.pair)
    left = [row for row in rows if row not in worse]
    if len(left) == 1:
        return [f"{left[0]} is the best row: each other one is worse than a row."]
    return [f"{number_of(len(left), 'row')} may be the best: {enumerated(left)}."] if left else []


def _saved(rounds: Rounds, answers: list[Answer]) -> list[str]:
    """Compare the trainings with those of a fixed design, planned for the spreads seen."""
    fixed = [fixed_seeds(answer, rounds.question) for answer in answers]
    rows = {row for answer in answers for row in answer.pair}
    if rounds.waits_for or not all(fixed):
        return []
    seeds = max(n for n in fixed if n is not None)
    used, planned = sum(rounds.reached[row] for row in rows), seeds * len(rows)
    than = "fewer than" if used < planned else "more than" if used > planned else "as many as"
    return [
        f"The rows that are compared have {number_of(used, 'training')}, {than} the {planned} of a "
        f"fixed design ({seeds} seeds of {number_of(len(rows), 'row')}) that finds "
        f"{points(rounds.question.smallest)} points with a power of {POWER:g} at the largest "
        "spread seen."
    ]
