"""The opening of the page: key figures, and sentences on what the numbers show and leave open."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from reports.names import MEAN_OF_CLASSES, MEASURE_NAMES, THRESHOLD_NAMES, measure_phrase
from reports.pairing import in_words
from reports.results.comparisons import (
    Comparison,
    at_chance,
    best_taught,
    control_comparisons,
)
from reports.results.study_record import StudyRecord
from reports.statistics import summarise_pairs
from reports.tables.cells import equals, p_value, percent, points, state_text
from reports.tables.folds import fold_headlines


@dataclass(frozen=True)
class KeyFigure:
    """A number in large type: role and name of a configuration, its IoU and accuracy in percent."""

    role: str
    name: str
    iou: str
    accuracy: str


def key_figures(record: StudyRecord) -> tuple[KeyFigure, ...]:
    """Return the figures of the student alone, the best taught and the teacher alone."""
    ranked = best_taught(record)
    if not ranked:
        return ()
    judged = _judged(record, ranked)
    best = (judged or ranked)[0].configuration
    roles = {
        "student alone": best.baseline,
        "best taught": best.name if judged else None,
        "teacher alone": best.reference,
    }
    found = []
    for role, name in roles.items():
        if name is None or record.configuration(name) is None:
            continue
        reached = summarise_pairs(record.by_seed(name, record.objective))
        accuracy = summarise_pairs(record.by_seed(name, "balanced_accuracy"))
        if reached.n:
            found.append(KeyFigure(role, name, points(reached.mean), points(accuracy.mean)))
    return tuple(found)


def headlines(record: StudyRecord) -> list[str]:
    """Say in a few sentences which transfer helps most, by how much, and how certain that is.

    No network at chance (`reports.results.comparisons`) is named the best.

    Returns:
        Sentences in reading order, plain text.

    """
    ranked = best_taught(record)
    judged = _judged(record, ranked)
    if not ranked:
        sentences = _without_baseline(record)
    else:
        sentences = _best(record, judged, ranked) if judged else [_no_winner(record)]
        sentences += _control(record, judged)
    sentences += _never_predicted(record) + fold_headlines(record)
    return sentences + left_out([record])


def _control(record: StudyRecord, judged: list[Comparison]) -> list[str]:
    """Put the best control beside the best taught row: the teaching, or two opinions."""
    best = judged[0].configuration.name if judged else None
    found = [
        one
        for one in control_comparisons(record)
        if one.configuration.name == best
        and one.class_name == record.main_class
        and one.difference.summary.n
    ]
    if not found:
        return []
    # The control that leaves the teaching least; more pairs come first.
    one = min(found, key=lambda one: (-one.difference.summary.n, one.difference.summary.mean))
    summary = one.difference.summary
    said = (
        f"Beside it stands {one.control.name}, which trains nothing: {best} differs from it by "
        f"{points(summary.mean, signed=True)} points ({_basis(one)})"
    )
    if summary.low is None or one.difference.interval_includes_zero:
        return [f"{said}, so it is open whether the teaching gives more than two opinions do."]
    more = "more" if summary.mean > 0 else "less"
    return [f"{said}, so the teaching gives {more} than these networks fused."]


def _never_predicted(record: StudyRecord) -> list[str]:
    """Say of each class how many configurations never predict it."""
    sentences = []
    for name in record.classes:
        count = sum(
            bool(seeds) and len(seeds) == len(record.healthy(one.name))
            for one in record.configurations
            for seeds in [record.never_predicted(one.name, name)]
        )
        if count and name != MEAN_OF_CLASSES:
            of = len(record.configurations)
            sentences.append(
                f"{count} of {of} configurations never predict {name} where it is, so gating "
                "leaves their maps of it empty."
            )
    return sentences


def _judged(record: StudyRecord, ranked: list[Comparison]) -> list[Comparison]:
    """Leave out the networks at chance."""
    return [one for one in ranked if not at_chance(record, one.configuration.name)]


def _no_winner(record: StudyRecord) -> str:
    what = measure_phrase(record.objective, record.rule)
    return (
        f"No network is named the best by {what}: each that could be classifies the test images "
        "no better than chance."
    )


def left_out(records: Sequence[StudyRecord]) -> list[str]:
    """Say how many trials of all records are not healthy; nothing if all are."""
    ended = sum(
        (record.states(one.name) for record in records for one in record.configurations),
        Counter[str](),
    )
    sentences = []
    if not any(record.classes for record in records):
        sentences.append("No trial of this study has scores yet.")
    if ended["ok"] < ended.total():
        rest = state_text(ended)
        if rest in ended:
            rest = f"{ended[rest]} {rest}"
        sentences.append(
            f"Of {ended.total()} planned trials {ended['ok']} are healthy ({rest}). Means include "
            "healthy trials only."
        )
    rows = {name: row for record in records for name, row in record.cancelled.items()}
    for name, row in rows.items():
        states = sum((record.states(name) for record in records), Counter[str]())
        sentences.append(
            f"{name} was {row}: {states['ok']} of its {states.total()} planned trials are healthy, "
            "and no further one is run."
        )
    return sentences


def _best(record: StudyRecord, judged: list[Comparison], ranked: list[Comparison]) -> list[str]:
    best = judged[0]
    name, summary = best.configuration.name, best.difference.summary
    baseline = str(best.configuration.baseline)
    taught = record.by_seed(name, record.objective)
    alone = record.by_seed(baseline, record.objective)
    pairs = list(best.difference.by_seed)
    before = percent(summarise_pairs({pair: alone[pair] for pair in pairs}).mean)
    after = percent(summarise_pairs({pair: taught[pair] for pair in pairs}).mean)
    what = measure_phrase(record.objective, record.rule)
    change = f"{points(summary.mean, signed=True)} points on average ({_basis(best)})"
    if summary.mean > 0:
        fewer = any(len(c.difference.by_seed) < len(pairs) for c in judged)
        many = f"{len(pairs)} paired {'trials' if record.folds else 'seeds'}"
        who = f"Of the transfers with {many}, the" if fewer else "The"
        sentences = [
            f"{who} student gains most from {name}: from {before} ({baseline}) to {after} "
            f"{what}, {change}."
        ]
    else:
        sentences = [
            f"No transfer raises the student: the best, {name}, takes its {what} from {before} "
            f"({baseline}) to {after}, {change}."
        ]
    if summary.low is not None and best.difference.interval_includes_zero:
        sentences.append(
            f"This interval includes 0: with {summary.n} {in_words(pairs)} it is open whether the "
            "student gains at all."
        )
    if len(ranked) > 1:
        sentences.append(_others(ranked))
    return [*sentences, *_reasons(record, name, baseline)]


def _basis(comparison: Comparison) -> str:
    """Say how many seeds or folds a difference is over, its interval and its corrected p."""
    summary = comparison.difference.summary
    words = in_words(comparison.difference.by_seed)
    if summary.low is None:
        return f"one {words.removesuffix('s')}, hence no interval"
    parts = [
        f"{equals('n', summary.n)} {words}, paired",
        f"95\u00a0% interval {points(summary.low, signed=True)} to "
        f"{points(summary.high, signed=True)}",
    ]
    if comparison.corrected_p is not None:
        parts.append(f"Holm-corrected {equals('p', p_value(comparison.corrected_p))}")
    return "; ".join(parts)


def _others(ranked: list[Comparison]) -> str:
    raised = [c for c in ranked if c.difference.summary.mean > 0]
    sure = [c for c in raised if not c.difference.interval_includes_zero]
    return (
        f"Of {len(ranked)} transfers, {len(raised)} raise the mean, and for {len(sure)} the "
        "interval excludes 0 before correction. The best was chosen on these test images; its lead "
        "over the next is not tested."
    )


def _reasons(record: StudyRecord, name: str, baseline: str) -> list[str]:
    """Put the accuracy beside the IoU: high and low together are right for the wrong reason."""
    means = [
        summarise_pairs(record.by_seed(who, figure)).mean
        for who in (baseline, name)
        for figure in ("balanced_accuracy", record.objective)
    ]
    if any(value != value for value in means):
        return []
    accuracy_alone, iou_alone, accuracy_taught, iou_taught = (percent(value) for value in means)
    return [
        f"{baseline} classifies images with {accuracy_alone} balanced accuracy, at an IoU of "
        f"{iou_alone}; {name} with {accuracy_taught}, at {iou_taught}."
    ]


def _without_baseline(record: StudyRecord) -> list[str]:
    means = {
        one.name: summarise_pairs(record.by_seed(one.name, record.objective))
        for one in record.configurations
    }
    reached = {name: summary for name, summary in means.items() if summary.n}
    if not reached:
        return []
    reached = {name: of for name, of in reached.items() if not at_chance(record, name)}
    if not reached:
        return [_no_winner(record)]
    name = max(reached, key=lambda name: reached[name].mean)
    return [
        f"{name} reaches the highest {MEASURE_NAMES[record.objective]}, "
        f"{percent(reached[name].mean)} at {THRESHOLD_NAMES[record.rule]} "
        f"({equals('n', reached[name].n)}); no taught configuration has a student alone "
        "to compare it with."
    ]
