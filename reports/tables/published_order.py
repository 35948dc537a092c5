"""Does this study agree with a published ordering? By the intervals, and not by the means.

The published numbers are of another data set, so that only their order can be compared. For each
pair of configurations the sign of the published difference stands against the 95 % t interval of
the difference here, paired by seed: the order is confirmed or contradicted where that interval
excludes 0, and else it stays open, whatever the means. Kendall's tau-b (Biometrika 33, 1945) of
the means is given beside it.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from reports.results.study_record import StudyRecord
from reports.statistics import PairedDifference, holm, paired_difference, summarise
from reports.tables.cells import (
    ABSENT,
    MEASURE_NAMES,
    count_text,
    equals,
    interval,
    p_value,
    points,
    summary_cell,
)
from reports.tables.model import Cell, Column, Table
from reports.tables.strategies import RULE_NAMES

VERDICTS = ("agrees", "contradicts", "open")
NAMED = 10
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class PublishedPair:
    """Two configurations of which one is better in the published numbers.

    Attributes:
        better: Name of the one with the higher published number.
        worse: Name of the other.
        published: Published difference, better less worse, a positive share.
        difference: Better less worse here, paired by seed.
        corrected_p: By Holm over all pairs.
        verdict: ``agrees`` or ``contradicts`` where the interval here excludes 0, else ``open``.

    """

    better: str
    worse: str
    published: float
    difference: PairedDifference
    corrected_p: float | None
    verdict: str

    @property
    def withstands_correction(self) -> bool:
        """Whether the verdict is kept when all pairs are judged at 5 % together."""
        return self.corrected_p is not None and self.corrected_p < SIGNIFICANT


@dataclass(frozen=True)
class PublishedOrder:
    """A published ordering and this study's word on each of its pairs.

    Attributes:
        source: Where the numbers are from, e.g. ``thesis, IJmond``; empty if it is not said.
        published: Published share by configuration, in the plan's order.
        means: Mean here over healthy trials, a share, of those that have any.
        pairs: All pairs whose published numbers differ, in the plan's order.
        counts: How many pairs have which verdict.
        corrected_counts: Likewise of the verdicts that Holm's correction leaves standing.
        tau: Kendall's tau-b of published numbers and means; None where it is undefined.

    """

    source: str
    published: Mapping[str, float]
    means: Mapping[str, float]
    pairs: tuple[PublishedPair, ...]
    counts: Counter[str]
    corrected_counts: Counter[str]
    tau: float | None

    def of(self, configuration: str) -> Counter[str]:
        """Count the verdicts on the pairs that a configuration is one of."""
        return Counter(p.verdict for p in self.pairs if configuration in (p.better, p.worse))


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Rank correlation tau-b, which allows for ties.

    Args:
        first: Any number of values.
        second: As many.

    Returns:
        In [-1, 1]; None where one side has no two different values.

    Example:
        >>> kendall_tau([1, 2, 3], [1, 3, 2])
        0.3333333333333333

    """
    pairs = list(combinations(zip(first, second, strict=True), 2))
    # +1, 0 or -1 for each pair, on each side.
    signs = [((a > c) - (a < c), (b > d) - (b < d)) for (a, b), (c, d) in pairs]
    untied = sum(x != 0 for x, _ in signs) * sum(y != 0 for _, y in signs)
    return sum(x * y for x, y in signs) / math.sqrt(untied) if untied else None


def verdict(difference: PairedDifference) -> str:
    """Judge a difference that the published numbers hold to be positive.

    Without a p-value, for a single seed or differences that are all alike, nothing is judged.
    """
    if difference.p is None or difference.interval_includes_zero:
        return "open"
    return "agrees" if difference.summary.mean > 0 else "contradicts"


def published_order(record: StudyRecord) -> PublishedOrder:
    """Compare every pair of configurations with published numbers, for the main class."""
    published: dict[str, float] = {}
    sources: dict[str, None] = {}
    for one in record.configurations:
        if one.published is not None:
            published[one.name] = one.published
            sources[one.published_from or ""] = None
    by_seed = {name: record.by_seed(name, record.objective) for name in published}
    ordered = [
        (a, b) if published[a] > published[b] else (b, a)
        for a, b in combinations(published, 2)
        if published[a] != published[b]
    ]
    differences = [paired_difference(by_seed[a], by_seed[b]) for a, b in ordered]
    corrected = holm([difference.p for difference in differences])
    pairs = tuple(
        PublishedPair(a, b, published[a] - published[b], difference, p, verdict(difference))
        for (a, b), difference, p in zip(ordered, differences, corrected, strict=True)
    )
    means = {name: summarise(seeds.values()).mean for name, seeds in by_seed.items() if seeds}
    return PublishedOrder(
        source="; ".join(source for source in sources if source),
        published=published,
        means=means,
        pairs=pairs,
        counts=Counter(pair.verdict for pair in pairs),
        corrected_counts=Counter(pair.verdict for pair in pairs if pair.withstands_correction),
        tau=kendall_tau([published[name] for name in means], list(means.values())),
    )


def _rank_cell(values: Mapping[str, float], name: str) -> Cell:
    """Rank from the highest, 1, down; equals share the better rank."""
    if name not in values:
        return Cell(ABSENT, data={"": None})
    rank = 1 + sum(value > values[name] for value in values.values())
    return Cell(str(rank), data={"": rank})


def _pair_text(pair: PublishedPair) -> str:
    p = f"Holm {equals('p', p_value(pair.corrected_p))}"
    return (
        f"{pair.better} over {pair.worse} (published {points(pair.published, signed=True)}, here "
        f"{points(pair.difference.summary.mean, signed=True)} "
        f"{interval(pair.difference.summary)}, {p})"
    )


def _notes(record: StudyRecord, order: PublishedOrder) -> tuple[str, ...]:
    """Name the pairs that are decided, the surest first, and who cannot be judged at all."""
    notes = []
    for which, opening in (("contradicts", "Contradicted"), ("agrees", "Confirmed")):
        found = [pair for pair in order.pairs if pair.verdict == which]
        found.sort(key=lambda pair: 1.0 if pair.difference.p is None else pair.difference.p)
        if found:
            rest = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
            named = "; ".join(_pair_text(pair) for pair in found[:NAMED])
            notes.append(f"{opening}: {named}{rest}.")
    unjudged = [name for name in order.published if len(record.healthy(name)) < 2]
    if unjudged:
        named = "; ".join(f"{name} ({count_text(record.states(name))})" for name in unjudged)
        notes.append(f"With fewer than two healthy trials, hence open in all pairs: {named}.")
    return tuple(notes)


def published_order_table(record: StudyRecord) -> Table:
    """Build the table: a row per configuration with a published number, in the plan's order."""
    order = published_order(record)
    columns = (
        Column("configuration", "configuration"),
        Column("published", "published", "%", None, True, f"Of {order.source or 'another work'}."),
        Column("iou", "here", "%", None, True,
               f"{MEASURE_NAMES[record.objective]} at {RULE_NAMES[record.rule]}, mean ± sd."),
        Column("rank_published", "rank published", numeric=True),
        Column("rank", "rank here", numeric=True, about="By the mean, among those that have one."),
        Column("agrees", "pairs confirmed", numeric=True,
               about="Its pairs whose interval here excludes 0 on the published side."),
        Column("contradicts", "contradicted", numeric=True,
               about="Its pairs whose interval here excludes 0 on the other side."),
        Column("open", "open", numeric=True, about="Its pairs whose interval includes 0."),
    )  # fmt: skip
    rows = []
    for name, share in order.published.items():
        verdicts = order.of(name)
        rows.append(
            (
                Cell(name),
                Cell(points(share, 2), data={"": share}),
                summary_cell(
                    record.by_seed(name, record.objective), record.states(name), spell_out=True
                ),
                _rank_cell(order.published, name),
                _rank_cell(order.means, name),
                *(Cell(str(verdicts[v]), data={"": verdicts[v]}) for v in VERDICTS),
            )
        )
    caption = (
        f"Published numbers{f' ({order.source})' if order.source else ''} are of another data set: "
        "only their order is compared. Each pair of rows is judged by the 95 % Student-t interval "
        "of its difference here, paired by seed, uncorrected: confirmed or contradicted where it "
        "excludes 0, else open; published ties are no pair. Every pair counts in both its rows. "
        f"Here: {MEASURE_NAMES[record.objective]} at {RULE_NAMES[record.rule]} on the test split, "
        "mean ± sample standard deviation over healthy trials."
    )
    title = "The published order"
    return Table("published_order", title, columns, tuple(rows), caption, _notes(record, order))


def published_headline(record: StudyRecord) -> str | None:
    """Say how many pairs of the published order are confirmed, contradicted and left open.

    Returns:
        One or two sentences, plain text; None where no two published numbers differ.

    """
    order = published_order(record)
    if not order.pairs:
        return None
    total, counts, corrected = len(order.pairs), order.counts, order.corrected_counts
    source = f" ({order.source})" if order.source else ""
    text = (
        f"Of the {total} pairs that the published numbers{source} put in order, the 95\u00a0% "
        f"intervals here confirm {counts['agrees']}, contradict {counts['contradicts']} and leave "
        f"{counts['open']} open"
    )
    if counts["open"] < total:
        text += (
            f"; Holm-corrected over all pairs, {corrected['agrees']} stay confirmed and "
            f"{corrected['contradicts']} contradicted"
        )
    if order.tau is not None:
        tau = f"{order.tau:.2f}".replace("-", "−")
        text += f". Of the means alone, Kendall's tau-b is {tau}"
    return text + "."
