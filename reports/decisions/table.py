"""The tables of a study that decides: how each comparison ended, and every look at it."""

import math

from reports.deciding import SequentialInterval, Verdict, fixed_design_seeds, seeds_that_tell
from reports.decisions.question import Question
from reports.decisions.reading import rounds_of
from reports.decisions.rounds import Answer, Rounds
from reports.names import MEASURE_NAMES, RULE_NAMES
from reports.results.study_record import StudyRecord
from reports.tables.cells import ABSENT, Cell, CellValue, Column, Table, bounds, points, share_cell

POWER = 0.8
"""The power of the fixed design that a page compares with."""

_STATES = {Verdict.OPEN: "partial", Verdict.BUDGET_SPENT: "partial"}


def decisions_table(record: StudyRecord) -> Table:
    """Build the table of a study that decides: a row for each comparison."""
    rounds = rounds_of(record)
    assert rounds is not None
    question = rounds.question
    columns = (
        Column("configuration", "row"),
        Column("against", "against"),
        Column("verdict", "verdict"),
        Column("seeds", "seeds", numeric=True, about="Seeds that were looked at."),
        Column(
            "difference",
            "difference, interval",
            "points",
            numeric=True,
            about="Mean paired difference, with an interval that holds at all looks together.",
        ),
        Column("sd", "sd", "points", numeric=True, about="Of the paired differences."),
        Column(
            "signs",
            "above : below",
            numeric=True,
            about="Seeds in which the row lies above, and below; the e-value of a fair coin.",
        ),
        Column(
            "collapsed",
            "collapsed",
            numeric=True,
            about="Trials that collapsed: of the row, of the other.",
        ),
        Column(
            "fixed_seeds",
            "fixed design",
            "seeds",
            numeric=True,
            about="Seeds of the t-test that finds the smallest difference at this sd.",
        ),
        Column("note", "note"),
    )
    rows = tuple(_row(answer, question) for answer in rounds.answers.values())
    return Table("decisions", "Decisions", columns, rows, _caption(rounds, record), _notes(rounds))


def fixed_seeds(answer: Answer, question: Question) -> int | None:
    """Return the seeds of a fixed design for a comparison; None where no spread is known.

    It finds the smallest difference with a power of 0.8, at the spread that was seen. Its error
    rate is that of one of as many comparisons.
    """
    if not answer.decision.path:
        return None
    sd = answer.decision.path[-1].interval.sd
    if sd is None:
        return None
    return fixed_design_seeds(
        question.smallest / sd, question.error / len(question.comparisons), POWER
    )


def more_seeds(answer: Answer, question: Question) -> str:
    """Say how many seeds would decide a comparison whose budget is spent; "" where nobody knows."""
    found = answer.interval
    if answer.verdict is not Verdict.BUDGET_SPENT or found is None:
        return ""
    fixed = fixed_seeds(answer, question)
    if fixed is None:
        return ""
    spent, smallest = answer.decision.seeds, points(question.smallest)
    if fixed > spent:
        return (
            f"at this spread a study of {fixed} seeds, {fixed - spent} more, would find {smallest} "
            f"points with a power of {POWER:g}"
        )
    level = question.error / len(question.comparisons)
    told = seeds_that_tell(found.mean, found.sd or 0.0, question.smallest, level)
    if told is None:
        return ""
    return f"at this mean and spread a new study of {told} seeds, looked at once, would decide it"


def _row(answer: Answer, question: Question) -> tuple[Cell, ...]:
    decision = answer.decision
    interval, fixed = answer.interval, fixed_seeds(answer, question)
    notes = answer.notes
    if said := more_seeds(answer, question):
        notes.append(f"{said[0].upper()}{said[1:]}.")
    sd = interval.sd if interval else None
    return (
        Cell(answer.pair.row),
        Cell(answer.pair.other),
        Cell(str(answer.verdict), state=_STATES.get(answer.verdict, "")),
        Cell(str(decision.seeds), data={"": decision.seeds}),
        _difference_cell(interval),
        share_cell(sd),
        _signs_cell(answer),
        _collapses_cell(answer),
        Cell(ABSENT if fixed is None else str(fixed), data={"": fixed}),
        Cell(" ".join(notes)),
    )


def _difference_cell(interval: SequentialInterval | None) -> Cell:
    if interval is None:
        return Cell(ABSENT, data={"mean": None})
    known = not math.isnan(interval.mean)
    text = f"{points(interval.mean, signed=True)} {bounds(interval.low, interval.high)}".rstrip()
    data: dict[str, CellValue] = {
        "mean": interval.mean if known else None,
        "low": interval.low,
        "high": interval.high,
        "n": interval.n,
        "missing": interval.missing,
    }
    return Cell(text if known else ABSENT, data=data)


def _signs_cell(answer: Answer) -> Cell:
    signs = answer.decision.signs
    data: dict[str, CellValue] = {
        "above": signs.positive,
        "below": signs.negative,
        "ties": signs.ties,
        "log_e": signs.log_e,
    }
    e = math.exp(min(signs.log_e, 700.0))
    return Cell(f"{signs.positive} : {signs.negative}, e = {e:.3g}", data=data)


def _collapses_cell(answer: Answer) -> Cell:
    one, other = answer.collapsed
    alone = answer.collapses
    data: dict[str, CellValue] = {
        "row": one,
        "other": other,
        "row_alone": alone.positive,
        "other_alone": alone.negative,
        "log_e": alone.log_e,
    }
    if not one and not other:
        return Cell("none", data=data)
    e = math.exp(min(alone.log_e, 700.0))
    return Cell(f"{one} and {other}, e = {e:.3g}", data=data)


def looks_table(record: StudyRecord) -> Table:
    """Build the table of every look: a row for each comparison and number of seeds."""
    rounds = rounds_of(record)
    assert rounds is not None
    columns = (
        Column("configuration", "row"),
        Column("against", "against"),
        Column("seeds", "seeds", numeric=True),
        Column("difference", "difference, interval", "points", numeric=True),
        Column(
            "equivalence",
            "interval for no difference",
            "points",
            numeric=True,
            about="It has to lie within the smallest difference on both sides.",
        ),
        Column("said", "verdict"),
    )
    rows = []
    for answer in rounds.answers.values():
        for point in answer.decision.path:
            last = point is answer.decision.path[-1]
            rows.append(
                (
                    Cell(answer.pair.row),
                    Cell(answer.pair.other),
                    Cell(str(point.seeds), data={"": point.seeds}),
                    _difference_cell(point.interval),
                    _difference_cell(point.equivalence),
                    Cell(str(answer.verdict if last else Verdict.OPEN)),
                )
            )
    caption = (
        "Each comparison after each seed, until it was decided. An interval is absent where so "
        "few differences can exclude nothing."
    )
    return Table("decision_looks", "Every look", columns, tuple(rows), caption)


def figure_words(question: Question, record: StudyRecord) -> str:
    """Return in words which figure is compared, over which images, at which threshold."""
    rule = question.rule or record.rule
    name = MEASURE_NAMES.get(question.figure, question.figure.replace("_", " "))
    return f"{name}, {question.split} split, {RULE_NAMES.get(rule, rule)} threshold"


def _caption(rounds: Rounds, record: StudyRecord) -> str:
    question = rounds.question
    count = len(question.comparisons)
    holm = " by Holm's rule" if count > 1 else ""
    collapsed = "a training that collapsed"
    if question.collapsed_below is not None:
        collapsed += f" or a figure below {points(question.collapsed_below)} %"
    collapses = (
        "are left out of the mean, and counted beside it"
        if question.collapses == "apart"
        else "enter the mean with 0"
    )
    test = {
        "t-mixture": f"t-mixture of precision {question.precision:g}",
        "pocock": "group-sequential t-test, Pocock's boundary",
        "obrien-fleming": "group-sequential t-test, O'Brien and Fleming's boundary",
        "early": "group-sequential t-test, a boundary that is lenient early",
    }[question.test]
    folds = " A seed's figure is its mean over all folds." if record.folds else ""
    return (
        f"{count} comparisons of {figure_words(question, record)}, paired by seed, looked at after "
        f"every seed from {question.first_seeds} to {question.most_seeds}. Smallest difference "
        f"that matters: {points(question.smallest)} points. Test: {test}; the chance that any "
        f"better or worse is wrong is at most {100 * question.error:g} %{holm}, and so is the "
        "chance that any 'no difference that matters' is. "
        f"Pairs with a collapse ({collapsed}) {collapses}.{folds} The mean is of few seeds and "
        "skewed where a row collapses now and then; beside it stand the signs, which hold whatever "
        "the tails and the skew: their e-value reaches 20 with a chance of at most 5 % where rows "
        "are alike. Means of rows that stopped early are a little too far from 0. Fixed design: "
        f"seeds of the t-test that finds the smallest difference with a power of {POWER:g} at the "
        "spread seen, at the error rate over the number of comparisons."
    )


def _notes(rounds: Rounds) -> tuple[str, ...]:
    found = []
    for answer in rounds.answers.values():
        signs = answer.decision.signs
        sides = {Verdict.BETTER: signs.positive, Verdict.WORSE: signs.negative}
        own = sides.get(answer.verdict)
        if own is not None and 2 * own <= signs.positive + signs.negative:
            found.append(
                f"{answer.pair}: the signs do not say the same as the mean; a few seeds with a "
                "large difference decide it."
            )
    return tuple(found)
