"""The origin of the numbers: code, packages, data, machines, and the settings."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.ledger.schema import SCHEMA_VERSION
from reports.results.failure_causes import Cause, Failure, causes
from reports.results.origins import counted, differing
from reports.results.study_record import StudyRecord, TrialRecord


@dataclass(frozen=True)
class Provenance:
    """The origin of a study's numbers.

    Attributes:
        facts: name and value; the value with counts if trials differ.
        warnings: one sentence for each difference between trials that should agree.
        settings: configurations and their settings as indented JSON.
        errors: the errors of all trials, by cause.
        settings_left_out: the number of configurations whose settings are left out.

    """

    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]
    errors: tuple[Cause, ...]
    settings_left_out: int = 0


_FACTS = (
    ("package", "package_version"),
    ("code revision", "code_revision"),
    ("code", "code_digest"),
    ("code of plug-ins", "plugin_digests"),
    ("training data", "train_fingerprint"),
    ("evaluation data", "evaluation_fingerprint"),
    ("device", "device"),
    ("processor", "processor"),
    ("host", "host"),
)
_OF_THE_DATA = "evaluation_fingerprint"
_CHANGES = "+changes"
"""How a code revision ends that differs from its commit."""


def _counted(values: Counter[str]) -> str:
    if len(values) == 1:
        return next(iter(values))
    return counted(values)


def _column(trials: list[TrialRecord], name: str) -> Counter[str]:
    return Counter(str(t.row[name]) for t in trials if t.row.get(name) is not None)


def _packages(trials: list[TrialRecord]) -> Counter[str]:
    found: Counter[str] = Counter()
    for text, count in Counter(trial.row.get("packages") for trial in trials).items():
        listed = _json(text)
        if isinstance(listed, dict):
            found[", ".join(f"{name} {listed[name]}" for name in sorted(listed))] += count
    return found


def _json(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return text


def _indented(text: str) -> str:
    value = _json(text)
    return text if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def _ended(records: Sequence[StudyRecord]) -> list[TrialRecord]:
    return [trial for record in records for trial in record.trials.values() if trial.row]


def _warnings(records: Sequence[StudyRecord]) -> list[str]:
    """Name the differences; the data may differ between values of a sweep and between folds."""
    ended = _ended(records)
    values = {"package version": _column(ended, "package_version")}
    if any(trial.row.get("code_digest") is None for trial in ended):
        # The digest says more than the revision, where every trial has one.
        values["code revision"] = _column(ended, "code_revision")
    differences = {words: each for words, each in values.items() if len(each) > 1}
    found = [
        f"Trials differ in their {words}: {counted(each)}."
        for words, each in {**differences, **differing(ended)}.items()
    ]
    changed = Counter(
        revision
        for trial in ended
        if (revision := str(trial.row.get("code_revision") or "")).endswith(_CHANGES)
    )
    if changed:
        found.append(
            f"Code with uncommitted changes made trials: {counted(changed)}. No commit holds it."
        )
    for record in records:
        ended = _ended([record])
        for fold in sorted({trial.fold for trial in ended}, key=lambda fold: fold or 0):
            data = _column([trial for trial in ended if trial.fold == fold], _OF_THE_DATA)
            if len(data) > 1:
                said = f"differ in their fingerprint of the evaluation data: {counted(data)}"
                of = "" if fold is None else f" of fold {fold}"
                found.append(f"Trials{_at(record)}{of} {said}.")
    return found


def _at(record: StudyRecord) -> str:
    return "" if record.sweep_value is None else f" at {record.sweep_value:g}"


def provenance(
    records: Sequence[StudyRecord], few: Sequence[StudyRecord] | None = None
) -> Provenance:
    """Collect the origins of all trials of a study that have ended.

    Args:
        records: of one study: one, or one for each value of its sweep.
        few: the same with the configurations whose settings are shown; None: all.

    """
    ended = _ended(records)
    facts = [(name, _column(ended, column)) for name, column in _FACTS]
    facts.insert(2, ("packages", _packages(ended)))
    shown = [(name, _counted(values)) for name, values in facts if values]
    starts = [pd.Timestamp(t.row["started_at"]) for t in ended if t.row.get("started_at")]
    if starts:
        first, last = (f"{moment:%Y-%m-%d %H:%M}" for moment in (min(starts), max(starts)))
        shown.append(("started", f"{first} to {last} UTC" if first != last else f"{first} UTC"))
    seconds = sum(
        float(trial.row.get(name) or 0.0)
        for trial in ended
        for name in ("seconds_training", "seconds_scoring")
    )
    if ended:
        shown.append(("time", f"{seconds / 60:.1f} minutes of training and scoring, all trials"))
    shown.append(("ledger", f"schema version {SCHEMA_VERSION}"))
    return Provenance(
        tuple(shown),
        tuple(_warnings(records)),
        tuple(
            (f"{one.name}{_at(record)}", _indented(one.settings))
            for record in few or records
            for one in record.configurations
        ),
        tuple(
            causes(
                Failure(
                    f"{trial.configuration}{_at(record)}, seed {trial.pair}, {trial.status}",
                    trial.row.get("error") or "no message",
                    trial.row.get("traceback"),
                )
                for record in records
                for one in record.configurations
                for trial in record.of(one.name)
                if trial.row.get("error") or trial.row.get("traceback")
            )
        ),
        sum(len(r.configurations) for r in records)
        - sum(len(r.configurations) for r in few or records),
    )
