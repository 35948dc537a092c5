"""The post-processing table: what each refinement chain makes of the CAMs, under every seed.

The layout is the thesis's (arXiv 2507.21959): the worse and the best seed side by side, chosen by
the score before refinement. What the thesis lacks stands beside them: the mean over all seeds and
the difference to no refinement, paired by seed.
"""

from collections import Counter
from dataclasses import dataclass

from reports.results.study_record import (
    OPTIMAL,
    PLAIN,
    ConfigurationRecord,
    RefinementChain,
    StudyRecord,
)
from reports.statistics import PairedDifference, holm, paired_difference
from reports.tables.cells import (
    ABSENT,
    MEASURE_NAMES,
    difference_cell,
    p_value,
    points,
    state_text,
    summary_cell,
    worst_state,
)
from reports.tables.model import Cell, Column, Table, mark_best
from reports.tables.strategies import RULE_NAMES


@dataclass(frozen=True)
class ChainRow:
    """One row: a configuration, or one class of it, under one chain.

    Attributes:
        configuration: Whose CAMs.
        name: The chain, ``none``, or ``OPTIMAL``.
        class_name: Class, or the mean over classes.
        by_seed: The study's main figure by seed.
        fixed: The same at the fixed threshold.
        states: How its trials ended.
        difference: To no refinement, paired by seed; None for the rows without one.
        chain: The chain, or what was published of the row; None without either.

    """

    configuration: ConfigurationRecord
    name: str
    class_name: str
    by_seed: dict[int, float]
    fixed: dict[int, float]
    states: Counter[str]
    difference: PairedDifference | None
    chain: RefinementChain | None = None

    @property
    def is_oracle(self) -> bool:
        """Whether it has seen each mask: an upper bound, no result."""
        return self.name == OPTIMAL


def chain_rows(record: StudyRecord) -> list[ChainRow]:
    """Every row of the table: no refinement, each chain, the per-image oracle."""
    named = {chain.name: chain for chain in record.chains}
    rows = []
    for one in record.configurations:
        for class_name in record.classes or ("",):
            of_class = {"class_name": class_name}
            plain = record.by_seed(one.name, record.objective, **of_class)
            states = record.states(one.name)
            at_fixed = record.by_seed(one.name, record.objective, rule="fixed", **of_class)
            rows.append(
                ChainRow(one, PLAIN, class_name, plain, at_fixed, states, None, named.get(PLAIN))
            )
            for chain in record.chains:
                if chain.name in (PLAIN, OPTIMAL):
                    continue
                where = (one.name, chain.name, record.objective)
                by_seed = record.refined_by_seed(*where, **of_class)
                fixed = record.refined_by_seed(*where, rule="fixed", **of_class)
                ended = record.refined_states(one.name, chain.name)
                difference = paired_difference(by_seed, plain)
                rows.append(
                    ChainRow(one, chain.name, class_name, by_seed, fixed, ended, difference, chain)
                )
            oracle = record.by_seed(one.name, record.objective, rule="image_oracle", **of_class)
            rows.append(
                ChainRow(one, OPTIMAL, class_name, oracle, {}, states, None, named.get(OPTIMAL))
            )
    return rows


def chosen_seeds(by_seed: dict[int, float]) -> tuple[int, int] | None:
    """The worse and the best seed before refinement; None with fewer than two.

    Example:
        >>> chosen_seeds({0: 0.2, 1: 0.4, 2: 0.3})
        (0, 1)

    """
    if len(by_seed) < 2:
        return None
    ordered = sorted(by_seed, key=lambda seed: (by_seed[seed], seed))
    return ordered[0], ordered[-1]


def refinement_table(record: StudyRecord) -> Table:
    """Build the table; a chain that could not be run says so in its cells."""
    rows = chain_rows(record)
    several = len(record.classes) > 1
    configurations = len(record.configurations) > 1
    published = any(
        value is not None
        for chain in record.chains
        for value in (chain.published_worse, chain.published_best)
    )
    measure, rule = MEASURE_NAMES[record.objective], RULE_NAMES[record.rule]
    columns = [
        *([Column("configuration", "configuration")] if configurations else []),
        Column("refinement", "refinement"),
        *([Column("class", "class")] if several else []),
        Column(record.objective, measure, "%", True, True, f"Mean ± sd over seeds at {rule}."),
        Column("delta", "Δ none [95 %]", "points", True, True,
               "Difference to no refinement, paired by seed: mean ± sd and its t interval."),
        Column("holm_p", "Holm p", numeric=True,
               about="Two-sided paired t-test, corrected over the whole table."),
        Column("n", "n", about="Trials that the means are over, of those planned."),
        Column("worse", "worse seed", "%", None, True,
               "Under the seed that is worst without refinement."),
        Column("best", "best seed", "%", None, True,
               "Under the seed that is best without refinement."),
        *([
            Column("published_worse", "published, worse seed", "%", None, True),
            Column("published_best", "published, best seed", "%", None, True),
        ] if published else []),
        Column("fixed", "at the fixed threshold", "%", True, True,
               "Mean ± sd over seeds of the same figure at the fixed threshold."),
    ]  # fmt: skip
    compared = [row for row in rows if row.difference is not None]
    corrected = dict(
        zip(
            map(id, compared),
            holm([row.difference.p for row in compared if row.difference]),
            strict=True,
        )
    )
    plain = {(r.configuration.name, r.class_name): r.by_seed for r in rows if r.name == PLAIN}
    cells = []
    for row in rows:
        seeds = chosen_seeds(plain[row.configuration.name, row.class_name])
        cells.append((
            *([Cell(row.configuration.name)] if configurations else []),
            Cell(_title(row)),
            *([Cell(row.class_name)] if several else []),
            _figure_cell(row, row.by_seed, spell_out=True),
            *_difference_cells(row, corrected.get(id(row))),
            _count_cell(row),
            *(_seed_cell(row, seeds[place] if seeds else None) for place in (0, 1)),
            *(_published_cells(row, record) if published else ()),
            Cell(ABSENT, data={"mean": None}) if row.is_oracle else _figure_cell(row, row.fixed),
        ))  # fmt: skip
    table = Table(
        "refinement", "Refinement", tuple(columns), tuple(cells),
        _caption(record, measure, rule), tuple(_notes(record, plain, published)),
    )  # fmt: skip
    return mark_best(table, within="configuration" if configurations else None)


def _title(row: ChainRow) -> str:
    return f"{OPTIMAL} (upper bound)" if row.is_oracle else row.name


def _not_run(row: ChainRow) -> bool:
    return row.chain is not None and row.chain.lacks is not None


def _figure_cell(row: ChainRow, by_seed: dict[int, float], *, spell_out: bool = False) -> Cell:
    if _not_run(row):
        return Cell("not run", data={"mean": None}, state="missing")
    cell = summary_cell(by_seed, row.states, spell_out=spell_out)
    # An upper bound is not the best of results.
    return Cell(cell.text, None, cell.data, cell.state) if row.is_oracle else cell


def _difference_cells(row: ChainRow, corrected: float | None) -> tuple[Cell, Cell]:
    if row.difference is None or _not_run(row):
        text = "baseline" if row.name == PLAIN else ABSENT
        return Cell(text, data={"mean": None}), Cell(ABSENT, data={"": None})
    return (
        difference_cell(row.difference, row.states),
        Cell(p_value(corrected), data={"": corrected}),
    )


def _count_cell(row: ChainRow) -> Cell:
    if _not_run(row):
        return Cell(ABSENT, data={"ok": 0, "planned": row.states.total()})
    data = {"ok": row.states["ok"], "planned": row.states.total()}
    return Cell(f"{data['ok']} of {data['planned']}", data=data, state=worst_state(row.states))


def _seed_cell(row: ChainRow, seed: int | None) -> Cell:
    if _not_run(row):
        return Cell("not run", data={"": None}, state="missing")
    if seed is None or seed not in row.by_seed:
        return Cell(state_text(row.states) or ABSENT, data={"": None})
    return Cell(points(row.by_seed[seed]), data={"": row.by_seed[seed]})


def _published_cells(row: ChainRow, record: StudyRecord) -> tuple[Cell, Cell]:
    known: tuple[float | None, float | None] = (None, None)
    if row.chain is not None and row.class_name == record.main_class:
        known = row.chain.published_worse, row.chain.published_best
    return Cell(points(known[0], 2), data={"": known[0]}), Cell(
        points(known[1], 2), data={"": known[1]}
    )


def _caption(record: StudyRecord, measure: str, rule: str) -> str:
    return (
        f"Test split, {measure} at {rule}, chosen anew for every chain and seed. Means are over "
        "healthy trials, mean ± sample standard deviation over seeds; differences are paired by "
        "seed, with 95 % Student-t intervals, and Holm-corrected over the table. The worse and the "
        "best seed are chosen by the score without refinement, so that no chain picks its own. The "
        f"{OPTIMAL} is the plain CAM cut where each image's own mask would have it: an upper "
        "bound, no result."
    )


def _notes(
    record: StudyRecord, plain: dict[tuple[str, str], dict[int, float]], published: bool
) -> list[str]:
    notes = []
    for one in record.configurations:
        seeds = chosen_seeds(plain.get((one.name, record.main_class), {}))
        if seeds is not None:
            notes.append(f"{one.name}: the worse seed is {seeds[0]}, the best {seeds[1]}.")
    notes += [f"{c.name} is not run: {c.lacks}." for c in record.chains if c.lacks is not None]
    if published:
        sources = sorted({c.published_from or "" for c in record.chains} - {""})
        notes += [
            f"Published: {source}. Another data set and other networks: compare orders, not levels."
            for source in sources
        ]
    return notes
