"""The order of a published ablation against this study, judged by intervals.

The published numbers are of another data set, so only their order can be compared. For each pair of
configurations the sign of the published difference is compared with the 95 % t interval of the
difference here, paired by seed. If that interval excludes 0, the order is confirmed or
contradicted; otherwise the pair stays open. Kendall's tau-b (Biometrika 33, 1945) of the means is
given beside it.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from reports.names import measure_phrase
from reports.results.study_record import StudyRecord
from reports.statistics import PairedDifference, holm, paired_difference, summarise_pairs
from reports.tables.cells import (
    Cell,
    Column,
    Table,
    absent_cell,
    bounds,
    count_text,
    equals,
    p_value,
    points,
    share_cell,
    summary_cell,
)
from reports.tables.folds import interval_name, paired_by

VERDICTS = ("agrees", "contradicts", "open")
NAMED = 10
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class PublishedPair:
    """Two configurations, ordered by their published numbers.

    Attributes:
        better: the configuration with the higher published number.
        worse: the other configuration.
        published: published difference, better minus worse, a positive share.
        difference: better minus worse here, paired by seed.
        corrected_p: corrected by Holm over all pairs.
        verdict: `agrees` or `contradicts` if the interval here excludes 0, else `open`.

    """

    better: str
    worse: str
    published: float
    difference: PairedDifference
    corrected_p: float | None
    verdict: str

    @property
    def withstands_correction(self) -> bool:
        """Whether the verdict holds at 5 % after the correction over all pairs."""
        return self.corrected_p is not None and self.corrected_p < SIGNIFICANT


@dataclass(frozen=True)
class PublishedOrder:
    """A published order and this study's verdict on each of its pairs.

    Attributes:
        source: the published work, e.g. `thesis, IJmond`; empty if the study names none.
        published: published share by configuration, in the plan's order.
        means: mean share here over healthy trials, of configurations that have any.
        pairs: all pairs whose published numbers differ, in the plan's order.
        counts: the number of pairs by verdict.
        corrected_counts: the number of pairs by verdict that hold after Holm's correction.
        tau: Kendall's tau-b of published numbers and means; None if it is undefined.

    """

    source: str
    published: Mapping[str, float]
    means: Mapping[str, float]
    pairs: tuple[PublishedPair, ...]
    counts: Counter[str]
    corrected_counts: Counter[str]
    tau: float | None

    def of(self, configuration: str) -> Counter[str]:
        """Count the verdicts on the pairs of a configuration."""
        return Counter(p.verdict for p in self.pairs if configuration in (p.better, p.worse))


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return the rank correlation tau-b, which allows for ties.

    Args:
        first: any number of values.
        second: as many values.

    Returns:
        In [-1, 1]; None if all values of one side are equal.

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
    """Judge a difference whose published counterpart is positive.

    A difference without a p-value, over a single seed or without any spread, is `open`.
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
    means = {name: summarise_pairs(seeds).mean for name, seeds in by_seed.items() if seeds}
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
    """Rank from 1, the highest, down; equal values share the better rank."""
    if name not in values:
        return absent_cell()
    rank = 1 + sum(value > values[name] for value in values.values())
    return Cell(str(rank), data={"": rank})


def _pair_text(pair: PublishedPair) -> str:
    here = pair.difference.summary
    p = f"Holm {equals('p', p_value(pair.corrected_p))}"
    return (
        f"{pair.better} over {pair.worse} (published {points(pair.published, signed=True)}, here "
        f"{points(here.mean, signed=True)} {bounds(here.low, here.high)}, {p})"
    )


def _notes(record: StudyRecord, order: PublishedOrder) -> tuple[str, ...]:
    """Name the decided pairs, smallest p first, and the configurations that cannot be judged."""
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
        notes.append(f"Fewer than two healthy trials, so all their pairs are open: {named}.")
    return tuple(notes)


def has_published_order(record: StudyRecord) -> bool:
    """Return whether a study has scores and at least two published figures."""
    published = sum(one.published is not None for one in record.configurations)
    return published > 1 and bool(record.classes)


def published_order_table(record: StudyRecord) -> Table:
    """Build the table: a row per configuration with a published number, in the plan's order."""
    order = published_order(record)
    measure = measure_phrase(record.objective, record.rule)
    columns = (
        Column("configuration", "configuration"),
        Column(
            "published", "published", "%", None, True, f"From {order.source or 'another work'}."
        ),
        Column("iou", "here", "%", None, True, f"{measure}, mean ± sd."),
        Column("rank_published", "rank published", numeric=True),
        Column("rank", "rank here", numeric=True, about="By the mean, if there is one."),
        Column(
            "agrees",
            "pairs confirmed",
            numeric=True,
            about="Its pairs whose interval here excludes 0, with the published sign.",
        ),
        Column(
            "contradicts",
            "contradicted",
            numeric=True,
            about="Its pairs whose interval here excludes 0, with the other sign.",
        ),
        Column("open", "open", numeric=True, about="Its pairs whose interval includes 0."),
    )
    rows = []
    for name, share in order.published.items():
        verdicts = order.of(name)
        rows.append(
            (
                Cell(name),
                share_cell(share, 2),
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
        f"only their order is compared. The {interval_name(record)} of the difference here, paired "
        f"by {paired_by(record)} and uncorrected, judges each pair of rows: confirmed or "
        "contradicted if it excludes 0, else open. Published ties are no pair. Every pair counts "
        "in both its rows. "
        f"Here: {measure} on the test split, mean ± sample standard deviation over healthy trials."
    )
    title = "The published order"
    return Table("published_order", title, columns, tuple(rows), caption, _notes(record, order))


def published_headline(record: StudyRecord) -> str | None:
    """Say how many pairs of the published order are confirmed, contradicted and left open.

    Returns:
        One or two sentences, plain text; None if no two published numbers differ.

    """
    order = published_order(record)
    if not order.pairs:
        return None
    total, counts, corrected = len(order.pairs), order.counts, order.corrected_counts
    source = f" ({order.source})" if order.source else ""
    text = (
        f"Of {total} pairs in the published order{source}, the 95\u00a0% intervals here confirm "
        f"{counts['agrees']}, contradict {counts['contradicts']} and leave {counts['open']} open"
    )
    if counts["open"] < total:
        text += (
            f"; Holm-corrected over all pairs, {corrected['agrees']} stay confirmed and "
            f"{corrected['contradicts']} contradicted"
        )
    if order.tau is not None:
        tau = f"{order.tau:.2f}".replace("-", "−")
        text += f". Kendall's tau-b of the means is {tau}"
    return text + "."
