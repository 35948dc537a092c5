"""Paired comparisons: of transfers with the student alone, and of chains with the plain CAM.

No comparison is won by a network at chance: its maps follow no class. It is at chance for a class
unless the 95 % interval of its balanced accuracy lies above 50 %. Images are the sample, or their
groups (frames, clips, patients) where images share them, because images of a group are alike: the
interval is Newcombe's hybrid score interval (Statistics in Medicine 17, 1998, method 10), as
balanced accuracy is half of one plus a difference of two proportions. It keeps its width where a
rate is 0 or 1, so few images do not pass for certainty. Rates are means over healthy seeds, which
share images.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from reports.names import MEAN_OF_CLASSES, OPTIMAL, OWN_CHAIN_ROWS, PLAIN, TUNED_CHAIN
from reports.pairing import Pair
from reports.results.study_record import ChainRecord, ConfigurationRecord, StudyRecord
from reports.statistics import PairedDifference, holm, paired_difference, summarise_pairs
from wsss_core.evaluate.reasons import score_interval


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
        for one in record.once(comparisons)
        if one.class_name == record.main_class
        and one.difference.summary.n
        and one.configuration.fusion is None
    ]
    return sorted(
        found, key=lambda one: (-len(one.difference.by_seed), -one.difference.summary.mean)
    )


@dataclass(frozen=True)
class ControlComparison(Comparison):
    """A taught or co-trained configuration against a row that is fused without training.

    Attributes:
        control: the fused configuration.

    """

    control: ConfigurationRecord


def control_comparisons(record: StudyRecord) -> list[ControlComparison]:
    """Compare every aligned configuration with each fused one that holds its student's network.

    An ensemble over seeds has a result under the first seed of each block of seeds, and is paired
    by it. P-values are corrected by Holm over these comparisons.
    """
    found = [
        (one, control, name)
        for one in record.configurations
        if one.teacher is not None
        for control in record.configurations
        if control.fusion is not None and one.student in control.fusion.labels
        for name in record.classes
    ]
    differences = [
        paired_difference(
            record.by_seed(one.name, record.objective, class_name=name),
            record.by_seed(control.name, record.objective, class_name=name),
        )
        for one, control, name in found
    ]
    corrected = holm([difference.p for difference in differences])
    return [
        ControlComparison(one, name, difference, p, control)
        for (one, control, name), difference, p in zip(found, differences, corrected, strict=True)
    ]


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
        In the plan's order: configurations, their classes, then chains, after them `TUNED_CHAIN`
        where any seed has one, and `OPTIMAL`.

    """
    named = {name: ChainRecord(name) for name in OWN_CHAIN_ROWS}
    named |= {chain.name: chain for chain in record.chains}
    tuned, oracle = named.pop(TUNED_CHAIN), named.pop(OPTIMAL)
    found = []
    for one in record.configurations:
        for class_name in record.classes or ("",):
            of_chains = [_chain_result(record, one, class_name, chain) for chain in named.values()]
            found += of_chains
            if chosen := tuned_chains(record, one.name, class_name):
                found.append(_tuned_result(of_chains, tuned, chosen))
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


def _tuned_result(
    of_chains: Sequence[ChainResult], tuned: ChainRecord, chosen: Mapping[Pair, str]
) -> ChainResult:
    """Put the result together that each seed has under its own chain."""
    of_name = {one.name: one for one in of_chains}
    plain = of_name[PLAIN]
    by_seed = {
        pair: of_name[name].by_seed[pair]
        for pair, name in chosen.items()
        if pair in of_name[name].by_seed
    }
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


CHANCE = 0.5


@dataclass(frozen=True)
class BalancedAccuracy:
    """The balanced accuracy of a configuration's student for one class, shares in [0, 1].

    Attributes:
        mean: over healthy seeds.
        low: the lower end of its 95 % interval over images, or over groups where they are fewer.
        high: the upper end.

    """

    mean: float
    low: float
    high: float

    @property
    def at_chance(self) -> bool:
        """Whether the interval does not lie above 50 %."""
        return self.low <= CHANCE


def balanced_accuracy_interval(
    sensitivity: float, specificity: float, labelled: int, others: int
) -> tuple[float, float]:
    """Return the 95 % interval of balanced accuracy over images.

    Args:
        sensitivity: the share of labelled images that are predicted, in [0, 1].
        specificity: the share of the others that are not.
        labelled: the number of labelled images, at least 1.
        others: the number of the others, at least 1.

    Example:
        >>> low, high = balanced_accuracy_interval(0.9, 0.8, 50, 50)
        >>> round(low, 3), round(high, 3)
        (0.764, 0.902)
        >>> balanced_accuracy_interval(0.0, 1.0, 3, 97)[0] < 0.5
        True

    """
    below = above = 0.0
    for rate, count in ((sensitivity, labelled), (specificity, others)):
        low, high = score_interval(rate, count)
        below, above = below + (rate - low) ** 2, above + (high - rate) ** 2
    mean = (sensitivity + specificity) / 2
    return mean - math.sqrt(below) / 2, mean + math.sqrt(above) / 2


def balanced_accuracy(
    record: StudyRecord, configuration: str, class_name: str
) -> BalancedAccuracy | None:
    """Return the balanced accuracy of a configuration for a class; None where it is undefined."""
    sensitivity, specificity, labelled, images = (
        summarise_pairs(record.by_seed(configuration, figure, class_name=class_name)).mean
        for figure in ("sensitivity", "specificity", "images_labelled", "images")
    )
    if math.isnan(sensitivity) or math.isnan(specificity):
        return None
    counts = round(labelled), round(images - labelled)
    if record.extent.dependent or record.folds:
        counts = record.extent.of_class.get(class_name, counts)
    low, high = balanced_accuracy_interval(sensitivity, specificity, *counts)
    return BalancedAccuracy((sensitivity + specificity) / 2, low, high)


def at_chance(record: StudyRecord, configuration: str) -> bool:
    """Return whether a configuration's student is at chance for every class that can be judged."""
    known = record.once(_known_chances)
    if configuration not in known:
        known[configuration] = _at_chance(record, configuration)
    return known[configuration]


def _known_chances(record: StudyRecord) -> dict[str, bool]:
    return {}


def _at_chance(record: StudyRecord, configuration: str) -> bool:
    found = [
        balanced_accuracy(record, configuration, name)
        for name in record.classes
        if name != MEAN_OF_CLASSES
    ]
    judged = [one for one in found if one is not None]
    return bool(judged) and all(one.at_chance for one in judged)
