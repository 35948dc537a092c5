"""Paired comparisons: of transfers with the student alone, and of chains with the plain CAM."""

from collections import Counter
from dataclasses import dataclass, replace

from reports.names import OPTIMAL, PLAIN
from reports.pairing import Pair
from reports.results.study_record import ChainRecord, ConfigurationRecord, StudyRecord
from reports.statistics import PairedDifference, holm, paired_difference


@dataclass(frozen=True)
class Comparison:
    """One configuration against the student alone, for one class.

    Attributes:
        configuration: the taught configuration.
        class_name: a class, or the mean over classes.
        difference: paired by seed, in the study's objective at its threshold rule.
        corrected_p: corrected by Holm over all comparisons of the study.

    """

    configuration: ConfigurationRecord
    class_name: str
    difference: PairedDifference
    corrected_p: float | None


def comparisons(record: StudyRecord) -> list[Comparison]:
    """Compare every configuration that names a baseline with it, class by class."""
    pairs = [
        (one, name)
        for one in record.configurations
        for name in record.classes
        if one.baseline not in (None, one.name) and record.configuration(one.baseline)
    ]
    differences = [
        paired_difference(
            record.by_seed(one.name, record.objective, class_name=name),
            record.by_seed(str(one.baseline), record.objective, class_name=name),
        )
        for one, name in pairs
    ]
    corrected = holm([difference.p for difference in differences])
    return [
        Comparison(one, name, difference, p)
        for (one, name), difference, p in zip(pairs, differences, corrected, strict=True)
    ]


def best_taught(record: StudyRecord) -> list[Comparison]:
    """Rank the comparisons of the main class: most paired trials first, then the largest mean.

    A difference over fewer seeds than the others may owe its size to a lucky seed.
    """
    found = [
        one
        for one in comparisons(record)
        if one.class_name == record.main_class and one.difference.summary.n
    ]
    return sorted(
        found, key=lambda one: (-len(one.difference.by_seed), -one.difference.summary.mean)
    )


@dataclass(frozen=True)
class ChainResult:
    """One configuration under one chain, for one class.

    Attributes:
        configuration: the configuration whose CAMs are refined.
        chain: a chain of the study, or that of the name `PLAIN` or `OPTIMAL`.
        class_name: a class, or the mean over classes.
        by_seed: the study's objective at its threshold rule by seed, shares.
        fixed: the same at the fixed threshold.
        states: how the trials ended.
        difference: to the plain CAM, paired by seed; None for `PLAIN` and `OPTIMAL`.
        corrected_p: corrected by Holm over all differences of the study.

    """

    configuration: ConfigurationRecord
    chain: ChainRecord
    class_name: str
    by_seed: dict[Pair, float]
    fixed: dict[Pair, float]
    states: Counter[str]
    difference: PairedDifference | None = None
    corrected_p: float | None = None

    @property
    def name(self) -> str:
        """The chain's name."""
        return self.chain.name

    @property
    def is_oracle(self) -> bool:
        """Whether the result is an upper bound that uses each image's mask."""
        return self.name == OPTIMAL

    @property
    def not_run(self) -> bool:
        """Whether the chain lacks something and was therefore not run."""
        return self.chain.lacks is not None


def chain_results(record: StudyRecord) -> list[ChainResult]:
    """Collect the result of the plain CAM, of each chain and of the per-image oracle.

    Returns:
        In the plan's order: configurations, their classes, then chains.

    """
    named = {name: ChainRecord(name) for name in (PLAIN, OPTIMAL)}
    named |= {chain.name: chain for chain in record.chains}
    oracle = named.pop(OPTIMAL)
    found = [
        _chain_result(record, one, class_name, chain)
        for one in record.configurations
        for class_name in record.classes or ("",)
        for chain in (*named.values(), oracle)
    ]
    compared = [one.difference for one in found if one.difference is not None]
    corrected = iter(holm([difference.p for difference in compared]))
    return [
        one if one.difference is None else replace(one, corrected_p=next(corrected))
        for one in found
    ]


def _chain_result(
    record: StudyRecord,
    configuration: ConfigurationRecord,
    class_name: str,
    chain: ChainRecord,
) -> ChainResult:
    def by_seed(chain: str, rule: str | None) -> dict[Pair, float]:
        return record.by_seed(
            configuration.name, record.objective, chain=chain, rule=rule, class_name=class_name
        )

    is_oracle = chain.name == OPTIMAL
    refined = PLAIN if is_oracle else chain.name
    reached = by_seed(refined, "image_oracle" if is_oracle else None)
    return ChainResult(
        configuration,
        chain,
        class_name,
        reached,
        {} if is_oracle else by_seed(refined, "fixed"),
        record.states(configuration.name, refined),
        None if refined == PLAIN else paired_difference(reached, by_seed(PLAIN, None)),
    )


def worst_and_best_seed(by_seed: dict[Pair, float]) -> tuple[Pair, Pair] | None:
    """Return the worst and the best seed, or seed on a fold; None for fewer than two.

    Example:
        >>> worst_and_best_seed({0: 0.2, 1: 0.4, 2: 0.3})
        (0, 1)

    """
    if len(by_seed) < 2:
        return None
    ordered = sorted(by_seed, key=lambda seed: (by_seed[seed], seed))
    return ordered[0], ordered[-1]
