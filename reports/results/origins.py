"""The origins of trials: what made those of one row, and which rows agree though they should not.

Trials of one configuration that differ in more than their seed are no sample of one method. Rows of
other settings whose figures all agree are one method under two names.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, combinations
from typing import Any

from reports.names import DECISIVE_PACKAGES
from reports.results.outcomes import TrialFigures
from reports.results.stored import KeptFigures
from reports.results.study_record import ConfigurationRecord, StudyRecord, TrialRecord

_THREADS = re.compile(r", \d+ thread\(s\)$")


def differing(trials: Iterable[TrialRecord]) -> dict[str, Counter[str]]:
    """Return what trials should agree in and do not: words -> each value and its trials.

    Threads are a resource, and change no more than the last bits. The kind of processor counts for
    trials that ran on it. A value that a trial did not record counts as one that agrees.

    Args:
        trials: those that ended.

    """
    found: dict[str, Counter[str]] = {}
    for trial in trials:
        for words, value in _origin(trial.row).items():
            if value is not None:
                found.setdefault(words, Counter())[value] += 1
    return {words: values for words, values in found.items() if len(values) > 1}


def counted(values: Counter[str]) -> str:
    """Return values with their numbers of trials, in order of the values.

    >>> counted(Counter(["b", "a", "b"]))
    'a (1 trials), b (2 trials)'
    """
    return ", ".join(f"{value} ({count} trials)" for value, count in sorted(values.items()))


def mixed(records: Sequence[StudyRecord]) -> dict[str, str]:
    """Return the configurations whose trials differ in their origin, each with a sentence.

    Args:
        records: of one study: one, or one for each value of its sweep.

    """
    found = {}
    for record in records:
        chains = {chain for _, _, chain in record.all_trials}
        for one in record.configurations:
            ways = [differing(record.healthy(one.name, chain)) for chain in sorted(chains)]
            if any(ways):
                differences = {words: values for way in ways for words, values in way.items()}
                said = "; ".join(f"{words}: {counted(v)}" for words, v in differences.items())
                found[one.name] = f"The trials of {one.name} differ in their {said}."
    return found


@lru_cache(maxsize=64)
def _decisive_versions(packages: str) -> str | None:
    known = json.loads(packages)
    return ", ".join(f"{name} {known[name]}" for name in DECISIVE_PACKAGES if name in known) or None


def _origin(row: Mapping[str, Any]) -> dict[str, str | None]:
    device = row.get("device")
    on_cpu = device is not None and " CPU, " in device
    return {
        "code": row.get("code_digest"),
        "code of plug-ins": row.get("plugin_digests"),
        "package versions": _decisive_versions(row.get("packages") or "{}"),
        "device": _THREADS.sub("", device) if device is not None else None,
        "processor": row.get("processor") if on_cpu else None,
    }


Settings = Mapping[str, Any]
"""The settings of a row by dotted key, without the seed."""

_MOST_SETTINGS = 8
"""The most settings of a pair of rows that are spelt out."""


def equal_rows(record: StudyRecord) -> Iterator[str]:
    """Yield a sentence for each two rows of a study that agree to the bit under every seed.

    Rows of equal settings are one row under two names, and pass. A weight of 0 equals no transfer.
    """
    of_iou: dict[float, list[ConfigurationRecord]] = {}
    for one in record.configurations:
        for value in list(record.by_seed(one.name, record.objective).values())[:1]:
            of_iou.setdefault(value, []).append(one)
    for a, b in chain.from_iterable(_candidates(record, alike) for alike in of_iou.values()):
        shared, equal = equal_seeds(record.healthy(a.name), record.healthy(b.name))
        if shared != equal or not shared:
            continue
        settings = differing_settings(row_settings(record, a), row_settings(record, b))
        if settings:
            yield (
                f"{a.name} and {b.name} differ in {spelt_settings(settings)}, and every "
                f"figure of {seeds_text(equal)} agrees to the bit."
            )


def _candidates(
    record: StudyRecord, alike: list[ConfigurationRecord]
) -> Iterator[tuple[ConfigurationRecord, ConfigurationRecord]]:
    """Yield the pairs of rows that may agree: thousands may have an IoU of 0."""
    if len(alike) > 1:
        prints = [{t.pair: t.fingerprint for t in record.healthy(one.name)} for one in alike]
        for (a, one), (b, other) in combinations(zip(alike, prints, strict=True), 2):
            if all(other.get(pair, value) in (value, None) for pair, value in one.items() if value):
                yield a, b


def equal_seeds(one: Iterable[TrialRecord], other: Iterable[TrialRecord]) -> tuple[int, int]:
    """Return how many seeds both have, and in how many of them every figure agrees to the bit."""
    others = {trial.pair: trial for trial in other}
    pairs = [(trial, others[trial.pair]) for trial in one if trial.pair in others]
    figures = [(a.figures, b.figures) for a, b in pairs]
    return len(pairs), sum(a is not None and b is not None and _agree(a, b) for a, b in figures)


def _agree(one: TrialFigures, other: TrialFigures) -> bool:
    if isinstance(one, KeptFigures) and isinstance(other, KeptFigures):
        return one.agrees(other)
    return one.outcomes.equals(other.outcomes)


def row_settings(record: StudyRecord, one: ConfigurationRecord) -> Settings:
    """Return the settings of a row by dotted key, without seed; empty if no trial ended."""
    texts = [trial.row.get("settings") for trial in record.of(one.name) if trial.row]
    found = dict(_flat(json.loads(texts[0]))) if texts and texts[0] else {}
    found.pop("seed", None)
    return found


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def differing_settings(one: Settings, other: Settings) -> dict[str, tuple[str, str]]:
    """Return dotted key -> both values where two rows differ; "(none)" for an absent key."""
    return {
        key: (_written(one, key), _written(other, key))
        for key in sorted({*one, *other})
        if one.get(key) != other.get(key) or (key in one) != (key in other)
    }


def _written(settings: Settings, key: str) -> str:
    return json.dumps(settings[key]).strip('"') if key in settings else "(none)"


def spelt_settings(settings: Mapping[str, tuple[str, str]]) -> str:
    """Write differing settings; beyond `_MOST_SETTINGS` they are counted."""
    shown = [f"{key} {a} → {b}" for key, (a, b) in list(settings.items())[:_MOST_SETTINGS]]
    rest = len(settings) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


def seeds_text(count: int) -> str:
    """Write a number of seeds."""
    return "1 seed" if count == 1 else f"{count} seeds"
