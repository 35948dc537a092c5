"""Paired comparisons of refinement chains with the plain CAM, and the chain tuned for each seed."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from reports.names import OPTIMAL, OWN_CHAIN_ROWS, PLAIN, TUNED_CHAIN
from reports.pairing import Pair
from reports.results.study_record import ChainRecord, ConfigurationRecord, StudyRecord
from reports.statistics import PairedDifference, holm, paired_difference


@dataclass(frozen=True)
class ChainResult:
    """One configuration under one chain, for one class.

    Attributes:
        configuration: the configuration whose CAMs are refined.
        chain: a chain of the study, or one of `OWN_CHAIN_ROWS`.
        class_name: a class, or the mean over classes.
        by_seed: the study's objective at its threshold rule by seed, shares.
        fixed: the same at the fixed threshold.
        states: how the trials ended.
        difference: to the plain CAM, paired by seed; None for `PLAIN` and `OPTIMAL`.
        corrected_p: corrected by Holm over the differences of all chains of the study; None of
            `TUNED_CHAIN`, which is made of them.
        chosen: of `TUNED_CHAIN`, the chain of each seed; else empty.

    """

    configuration: ConfigurationRecord
    chain: ChainRecord
    class_name: str
    by_seed: dict[Pair, float]
    fixed: dict[Pair, float]
    states: Counter[str]
    difference: PairedDifference | None = None
    corrected_p: float | None = None
    chosen: Mapping[Pair, str] = field(default_factory=dict)

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
    """Collect the result of the plain CAM, of each chain, of the tuned one and of the oracle.

    Returns:
        In the plan's order: configurations, their classes, then the chains of each, after them
        `TUNED_CHAIN` where any seed has one, and `OPTIMAL`.

    """
    named = {name: ChainRecord(name) for name in OWN_CHAIN_ROWS}
    named |= {chain.name: chain for chain in record.chains}
    tuned, oracle = named.pop(TUNED_CHAIN), named.pop(OPTIMAL)
    found: list[ChainResult] = []
    for one in record.configurations:
        for class_name in record.classes or ("",):
            of_chains = {
                name: _chain_result(record, one, class_name, chain)
                for name, chain in named.items()
                if name == PLAIN or record.of(one.name, name)
            }
            found += of_chains.values()
            if chosen := tuned_chains(record, one.name, class_name):
                found.append(_tuned_result(record, of_chains[PLAIN], tuned, chosen))
            found.append(_chain_result(record, one, class_name, oracle))
    compared = [one.difference for one in found if _is_chain_of_study(one)]
    corrected = iter(holm([difference.p for difference in compared if difference is not None]))
    return [
        replace(one, corrected_p=next(corrected)) if _is_chain_of_study(one) else one
        for one in found
    ]


def _is_chain_of_study(result: ChainResult) -> bool:
    return result.difference is not None and result.name != TUNED_CHAIN


def tuned_chains(record: StudyRecord, configuration: str, class_name: str) -> dict[Pair, str]:
    """Return the chain of each seed that is best on the tune split, the plain CAM among them.

    Each is cut at its own threshold by the study's rule, so a choice sees masks of the tune split
    alone. Of equals the plain CAM is taken, then the first in the study's order.

    Args:
        record: the study.
        configuration: the configuration whose CAMs are refined.
        class_name: a class, or the mean over classes.

    Returns:
        By seed (and fold). A seed has none while a chain of it is to do, where its plain trial did
        not end well, and without figures of the tune split. Empty where nothing is refined.

    """
    refined = [
        one.name for one in record.chains if one.lacks is None and one.name not in OWN_CHAIN_ROWS
    ]
    reached = {
        name: record.by_seed(
            configuration, record.objective, chain=name, class_name=class_name, split="tune"
        )
        for name in (PLAIN, *refined)
    }
    to_do = {
        trial.pair
        for name in refined
        for trial in record.of(configuration, name)
        if trial.status == "missing"
    }
    of_seed = {
        pair: {name: figures[pair] for name, figures in reached.items() if pair in figures}
        for pair in reached[PLAIN]
        if pair not in to_do
    }
    return {
        pair: max(figures, key=figures.__getitem__)
        for pair, figures in of_seed.items()
        if len(figures) > 1
    }


def tuned_by_seed(
    record: StudyRecord, configuration: str, class_name: str, chosen: Mapping[Pair, str]
) -> dict[Pair, float]:
    """Return the objective by seed, each seed under its own tuned chain.

    Args:
        record: the study.
        configuration: the configuration whose CAMs are refined.
        class_name: a class, or the mean over classes.
        chosen: the chain of each seed, see `tuned_chains`.

    """
    reached = {
        name: record.by_seed(configuration, record.objective, chain=name, class_name=class_name)
        for name in set(chosen.values())
    }
    return {pair: reached[name][pair] for pair, name in chosen.items() if pair in reached[name]}


def _tuned_result(
    record: StudyRecord, plain: ChainResult, tuned: ChainRecord, chosen: Mapping[Pair, str]
) -> ChainResult:
    """Put the result together that each seed has under its own chain."""
    by_seed = tuned_by_seed(record, plain.configuration.name, plain.class_name, chosen)
    states = Counter(plain.states)
    states["missing"] += states["ok"] - len(by_seed)
    states["ok"] = len(by_seed)
    return ChainResult(
        plain.configuration,
        tuned,
        plain.class_name,
        by_seed,
        {},
        +states,
        paired_difference(by_seed, plain.by_seed),
        chosen={pair: chosen[pair] for pair in by_seed},
    )


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
