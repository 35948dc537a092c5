"""Paired comparisons of rows: with the student alone, and with rows that are fused."""

from dataclasses import dataclass

from reports.results.study_record import ConfigurationRecord, StudyRecord
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
