"""The origins of trials: whether those of one row were made by the same code on the same machine.

Trials of one configuration that differ in more than their seed are no sample of one method.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reports.names import DECISIVE_PACKAGES
from reports.results.study_record import StudyRecord, TrialRecord

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


def _origin(row: Mapping[str, Any]) -> dict[str, str | None]:
    device = row.get("device")
    on_cpu = device is not None and " CPU, " in device
    packages = json.loads(row.get("packages") or "{}")
    return {
        "code": row.get("code_digest"),
        "code of plug-ins": row.get("plugin_digests"),
        "package versions": ", ".join(
            f"{n} {packages[n]}" for n in DECISIVE_PACKAGES if n in packages
        )
        or None,
        "device": _THREADS.sub("", device) if device is not None else None,
        "processor": row.get("processor") if on_cpu else None,
    }
