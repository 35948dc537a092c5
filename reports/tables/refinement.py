"""The refinement table: how each chain changes the CAMs, under every seed.

The layout is the thesis's (arXiv 2507.21959): the worst and the best seed side by side, chosen by
the score without refinement. Added are the mean over all seeds and the difference to no
refinement, paired by seed.
"""

from collections import Counter

from reports.names import (
    CHAIN_NAMES,
    MEASURE_NAMES,
    OPTIMAL,
    PLAIN,
    THRESHOLD_NAMES,
    TUNED_CHAIN,
)
from reports.pairing import Pair
from reports.results.comparisons import ChainResult, chain_results, worst_and_best_seed
from reports.results.study_record import StudyRecord
from reports.tables.cells import (
    ABSENT,
    Cell,
    Column,
    Table,
    absent_cell,
    count_cell,
    difference_cell,
    mark_best,
    p_cell,
    points,
    published_notes,
    share_cell,
    state_text,
    summary_cell,
    with_class_state,
)
from reports.tables.folds import interval_name, paired_by, spread_over


def refinement_table(record: StudyRecord) -> Table:
    """Build the table; the cells of a chain that lacks something read `not run`."""
    results = record.once(chain_results)
    several = len(record.classes) > 1
    configurations = len(record.configurations) > 1
    published = any(
        value is not None
        for chain in record.chains
        for value in (chain.published_worse, chain.published_best)
    )
    measure, rule = MEASURE_NAMES[record.objective], THRESHOLD_NAMES[record.rule]
    columns = _columns(record, several, configurations, published)
    plain = {(r.configuration.name, r.class_name): r.by_seed for r in results if r.name == PLAIN}
    rows = []
    for result in results:
        seeds = worst_and_best_seed(plain[result.configuration.name, result.class_name])
        rows.append(
            (
                *([Cell(result.configuration.name)] if configurations else []),
                Cell(CHAIN_NAMES.get(result.name, result.name)),
                *([Cell(result.class_name)] if several else []),
                _main_cell(record, result),
                *_difference_cells(result),
                _least_cell(result),
                _count_cell(result),
                *(_seed_cell(result, seed) for seed in seeds or (None, None)),
                *(_published_cells(result, record) if published else ()),
                absent_cell("mean")
                if result.name in (OPTIMAL, TUNED_CHAIN)
                else _figure_cell(result, result.fixed),
            )
        )
    notes = tuple(_notes(record, results, plain, published))
    caption = _caption(measure, rule, record)
    table = Table("refinement", "Refinement", columns, tuple(rows), caption, notes)
    return mark_best(table, within="configuration" if configurations else None)


def _columns(
    record: StudyRecord, several: bool, configurations: bool, published: bool
) -> tuple[Column, ...]:
    """Return the table's columns.

    Args:
        record: the study.
        several: it has several classes.
        configurations: it has several configurations.
        published: some chain has a published figure.

    """
    measure, rule = MEASURE_NAMES[record.objective], THRESHOLD_NAMES[record.rule]
    over = "folds" if record.folds else "seeds"
    return (
        *([Column("configuration", "configuration")] if configurations else []),
        Column("refinement", "chain"),
        *([Column("class", "class")] if several else []),
        Column(record.objective, measure, "%", True, True, f"Mean ± sd over {over} at {rule}."),
        Column(
            "delta",
            "Δ none [95 %]",
            "points",
            True,
            True,
            f"Difference to no refinement, paired by {paired_by(record)}: mean ± sd and its t "
            "interval.",
        ),
        Column(
            "holm_p",
            "Holm p",
            numeric=True,
            about="Two-sided paired t-test, corrected over the chains of the table.",
        ),
        Column(
            "least",
            "least Δ",
            "points",
            None,
            True,
            f"The smallest of the differences paired by {paired_by(record)}: above 0, the chain "
            "helped every time.",
        ),
        Column("n", "n", about="Healthy trials in the means, of all planned trials."),
        Column(
            "worse", "worst seed", "%", None, True, "The seed that is worst without refinement."
        ),
        Column("best", "best seed", "%", None, True, "The seed that is best without refinement."),
        *(
            [
                Column("published_worse", "published, worst seed", "%", None, True),
                Column("published_best", "published, best seed", "%", None, True),
            ]
            if published
            else []
        ),
        Column(
            "fixed",
            "at the fixed threshold",
            "%",
            True,
            True,
            "Mean ± sd over seeds of the same figure at the fixed threshold.",
        ),
    )


def _figure_cell(
    result: ChainResult, by_seed: dict[Pair, float], *, spell_out: bool = False
) -> Cell:
    if result.not_run:
        return Cell("not run", data={"mean": None}, state="missing")
    cell = summary_cell(by_seed, result.states, spell_out=spell_out)
    # An upper bound cannot be the best result.
    return Cell(cell.text, None, cell.data, cell.state) if result.is_oracle else cell


def _main_cell(record: StudyRecord, result: ChainResult) -> Cell:
    cell = _figure_cell(result, result.by_seed, spell_out=True)
    if result.is_oracle or result.not_run:
        return cell
    return with_class_state(
        cell,
        record,
        result.configuration.name,
        result.class_name,
        record.objective,
        chain=result.name,
    )


def _difference_cells(result: ChainResult) -> tuple[Cell, Cell]:
    if result.difference is None or result.not_run:
        first = Cell("baseline" if result.name == PLAIN else ABSENT, data={"mean": None})
        return first, absent_cell()
    return (
        difference_cell(result.difference, result.states),
        p_cell(result.corrected_p),
    )


def _least_cell(result: ChainResult) -> Cell:
    """Make the cell of the smallest difference to no refinement."""
    if result.difference is None or result.not_run or not result.difference.by_seed:
        return absent_cell()
    least = min(result.difference.by_seed.values())
    return Cell(points(least, signed=True), data={"": least})


def _count_cell(result: ChainResult) -> Cell:
    if result.not_run:
        return Cell(ABSENT, data={"ok": 0, "planned": result.states.total()})
    return count_cell(result.states)


def _seed_cell(result: ChainResult, seed: Pair | None) -> Cell:
    if result.not_run:
        return Cell("not run", data={"": None}, state="missing")
    if seed is None or seed not in result.by_seed:
        return Cell(state_text(result.states) or ABSENT, data={"": None})
    return share_cell(result.by_seed[seed])


def _published_cells(result: ChainResult, record: StudyRecord) -> tuple[Cell, Cell]:
    others = result.chain.published_of not in (None, result.configuration.name)
    if result.class_name != record.main_class or others:
        return share_cell(None), share_cell(None)
    return share_cell(result.chain.published_worse, 2), share_cell(result.chain.published_best, 2)


def _caption(measure: str, rule: str, record: StudyRecord) -> str:
    return (
        f"Test split, {measure} at {rule}, chosen anew for every chain and seed. Cells are mean ± "
        f"sample standard deviation over {spread_over(record)}. Differences are paired by "
        f"{paired_by(record)}, with {interval_name(record)}s, and Holm-corrected over the chains. "
        "The worst and the best seed are chosen by the score without refinement, the same for all "
        f"chains. The {TUNED_CHAIN} is of each seed the chain, or none, that is best on the tune "
        f"split; it sees no test mask. The {OPTIMAL} cuts the plain CAM where each image's own "
        "mask is met best: an upper bound, no result."
    )


def _notes(
    record: StudyRecord,
    results: list[ChainResult],
    plain: dict[tuple[str, str], dict[Pair, float]],
    published: bool,
) -> list[str]:
    notes = []
    for one in record.configurations:
        seeds = worst_and_best_seed(plain.get((one.name, record.main_class), {}))
        if seeds is not None:
            notes.append(f"{one.name}: the worst seed is {seeds[0]}, the best {seeds[1]}.")
    notes += [
        f"{one.configuration.name}, {TUNED_CHAIN}: {_choices_text(one)}."
        for one in results
        if one.chosen and one.class_name == record.main_class
    ]
    notes += [f"{c.name} is not run: {c.lacks}." for c in record.chains if c.lacks is not None]
    if published:
        notes += published_notes(chain.published_from for chain in record.chains)
    return notes


def _choices_text(result: ChainResult) -> str:
    """Return the chains that were chosen, the most frequent first, and under how many seeds."""
    counts = Counter(result.chosen.values()).most_common()
    return ", ".join(f"{name} {count} of {len(result.chosen)}" for name, count in counts)
