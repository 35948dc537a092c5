"""A trial or segmenter as experiment trackers see it: settings, figures, curves, tags."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from reports.names import FIGURES, MEAN_OF_CLASSES, PLAIN
from reports.page.views import StudyView
from reports.results.segments import SegmentRecord, SegmentRun
from reports.results.study_record import ConfigurationRecord, StudyRecord, TrialRecord

Setting = str | int | float | bool | None
"""A setting of a trial; a list is JSON text."""

FigureName = tuple[str, ...]
"""The parts of a figure's name, such as `("test", "tuned", "dataset_iou")`."""

LOSSES = ("loss", "classification_loss", "transfer_loss")
_SCORES = (*FIGURES, "threshold", "price")
_MEASURED = (
    "seconds_training",
    "seconds_scoring",
    "images_per_second",
    "peak_memory_bytes",
    "epochs",
    "parameters",
    "seconds",
)
"""The numbers in a trial's row of the ledger; `seconds` is a chain's."""

_MEASURED_OF_SEGMENTER = (
    "seconds_training",
    "seconds_scoring",
    "peak_memory_bytes",
    "steps",
    "loss",
    "parameters",
    "images",
    "masks_trained",
    "masks_spent",
    "level",
)
"""The numbers in a segmenter's row of the ledger."""

TAGS = (
    "error",
    "code_digest",
    "code_revision",
    "plugin_digests",
    "package_version",
    "train_fingerprint",
    "evaluation_fingerprint",
    "device",
    "processor",
    "host",
)
"""The columns of a trial's row that name where its numbers come from."""


@dataclass(frozen=True)
class ExportRun:
    """A trial that ended, with its chains, or a segmenter, as a run of an experiment tracker.

    Attributes:
        key: names the planned trial: equal in every export of the same trial.
        name: its configuration, or its entry of `segment`, and its seed.
        status: `ok`, `failed`, `collapsed` or `missing`.
        settings: everything that decides its result, by dotted name.
        figures: scores in [0, 1], diagnostics, and measurements of the run; none is NaN.
        curves: by name, a value for each epoch, which may be infinite or NaN.
        tags: texts by name.
        started: seconds since 1970; 0 if the ledger does not know.
        seconds: how long it was trained and scored.
        undefined: the number of scores that are not defined, and left out of `figures`.
        kind: "trial" or "segmenter".

    """

    key: str
    name: str
    status: str
    settings: Mapping[str, Setting]
    figures: Mapping[FigureName, float]
    curves: Mapping[FigureName, Sequence[tuple[int, float]]]
    tags: Mapping[str, str]
    started: float = 0.0
    seconds: float = 0.0
    undefined: int = 0
    kind: str = "trial"

    @property
    def group(self) -> str:
        """What its seeds have in common: a configuration, or an entry of `segment`."""
        return self.tags["configuration" if self.kind == "trial" else self.kind]

    @property
    def last_epoch(self) -> int:
        """The last epoch of its curves; 0 without any."""
        return max((curve[-1][0] for curve in self.curves.values() if curve), default=0)

    @property
    def error(self) -> str | None:
        """The error of a trial that failed."""
        return self.tags.get("error")


@dataclass(frozen=True)
class StudyExport:
    """A study with its runs; a study with a sweep has the runs of all its values.

    Attributes:
        name: the study's name.
        records: one for each value of its sweep.
        view: the tables and figures of its page; None where the tool takes none.

    """

    name: str
    records: Sequence[StudyRecord]
    view: StudyView | None = None

    @cached_property
    def runs(self) -> tuple[ExportRun, ...]:
        """The planned trials that ended, then the planned segmenters that did."""
        trials = (
            _run(self.name, record, trial)
            for record in self.records
            for trial in record.trials.values()
            if trial.row
        )
        segmenters = (
            _segmenter_run(self.name, record, entry, run)
            for record in self.records
            for entry in record.segments
            for run in entry.runs
            if run.row
        )
        return (*trials, *segmenters)

    @property
    def waiting(self) -> int:
        """The number of planned trials that have not ended and are no runs."""
        return sum(not trial.row for one in self.records for trial in one.trials.values())

    @property
    def waiting_segmenters(self) -> int:
        """The number of planned segmenters that have not ended and are no runs."""
        entries = [entry for record in self.records for entry in record.segments]
        return sum(not run.row for entry in entries for run in entry.runs)

    @property
    def key(self) -> str:
        """Names the study itself among its runs."""
        return short_digest(["study", self.name])

    @cached_property
    def figure_names(self) -> dict[FigureName, str]:
        """Every name of a figure or curve in the study, in order, joined by slashes."""
        names: dict[FigureName, str] = {}
        for run in self.runs:
            for name in (*run.curves, *run.figures):
                names.setdefault(name, "/".join(name))
        return names

    @cached_property
    def main_figures(self) -> list[FigureName]:
        """The study's main figure under each rule: on the test split, under its own rule first."""
        objective, rule = self.records[0].objective, self.records[0].rule
        found = [
            name
            for name in self.figure_names
            if len(name) == 3 and name[0] in ("test", "tune") and name[2] == objective
        ]
        return sorted(found, key=lambda name: (name[0] != "test", name[1] != rule))


def short_digest(content: Any) -> str:
    """Return 16 hexadecimal digits that name a JSON-able content."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def flattened(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Setting]]:
    """Yield the settings of a nested mapping by dotted name; lists as JSON text.

    >>> dict(flattened({"training": {"epochs": 8}, "classes": ["smoke"], "stage": None}))
    {'training.epochs': 8, 'classes': '["smoke"]', 'stage': None}
    """
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{before}{name}.")
        elif value is None or isinstance(value, str | int | float):
            yield f"{before}{name}", value
        else:
            yield f"{before}{name}", json.dumps(value, ensure_ascii=False)


def trial_settings(
    record: StudyRecord, one: ConfigurationRecord, trial: TrialRecord
) -> dict[str, Setting]:
    """Return the settings of a trial: its place in the study, then all that decides its result."""
    place: dict[str, Setting] = {
        "configuration": one.name,
        "seed": trial.seed,
        **({} if trial.fold is None else {"fold": trial.fold}),
        **one.what_varies,
    }
    if record.sweep is not None:
        place[record.sweep] = record.sweep_value
    return place | {
        name: value
        for name, value in flattened(json.loads(trial.row.get("settings") or one.settings))
        if name not in place
    }


def _run(study: str, record: StudyRecord, trial: TrialRecord) -> ExportRun:
    one = record.configuration(trial.configuration)
    assert one is not None
    row = trial.row
    figures, undefined = _figures(record, trial)
    started = row.get("started_at")
    tags = {
        "study": study,
        "configuration": trial.configuration,
        "seed": str(trial.seed),
        **({} if trial.fold is None else {"fold": str(trial.fold)}),
        "status": trial.status,
        "trial_key": trial.key,
        **_tags(row),
    }
    for chain, at in _chains(record, trial):
        tags[f"chain {chain} status"] = at.status
    return ExportRun(
        key=short_digest([study, record.sweep_value, trial.configuration, trial.seed, trial.key]),
        name=f"{trial.configuration}{_at_value(record)}, seed {trial.pair}",
        status=trial.status,
        settings=trial_settings(record, one, trial),
        figures=figures,
        curves=_curves(record.history.get((one.name, trial.pair)), one),
        tags=tags,
        started=0.0 if started is None else pd.Timestamp(started).timestamp(),
        seconds=_seconds(row),
        undefined=undefined,
    )


def _at_value(record: StudyRecord) -> str:
    return "" if record.sweep is None else f", {record.sweep} {record.sweep_value:g}"


def _tags(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(row[name]) for name in TAGS if row.get(name) is not None}


def _seconds(row: Mapping[str, Any]) -> float:
    return sum(row.get(name) or 0.0 for name in ("seconds_training", "seconds_scoring"))


def _segmenter_run(
    study: str, record: StudyRecord, entry: SegmentRecord, run: SegmentRun
) -> ExportRun:
    fold = {} if run.fold is None else {"fold": run.fold}
    place: dict[str, Setting] = {"segmenter": entry.entry, "seed": run.seed, **fold}
    if record.sweep is not None:
        place[record.sweep] = record.sweep_value
    place["trained_on"] = entry.trained_on({})
    settings = dict(flattened(json.loads(run.row["settings"])))
    measured = {("run", name): run.row[name] for name in _MEASURED_OF_SEGMENTER}
    before = {name: (f"class {name}",) for name in run.scores if name != MEAN_OF_CLASSES}
    if len(before) == 1:
        before = {}
    scores = {
        (*before.get(class_name, ()), "test", "segmenter", name): value
        for class_name, of_class in run.scores.items()
        for name, value in of_class.items()
    }
    found = {name: float(v) for name, v in measured.items() if v is not None} | scores
    figures = {name: value for name, value in found.items() if not math.isnan(value)}
    return ExportRun(
        key=short_digest([study, record.sweep_value, "segmenter", entry.entry, run.seed, run.key]),
        name=f"{entry.entry}{_at_value(record)}, seed {run.pair}",
        status=run.status,
        settings=place | {name: value for name, value in settings.items() if name not in place},
        figures=figures,
        curves={},
        tags={
            "study": study,
            "segmenter": entry.entry,
            "seed": str(run.seed),
            **{name: str(value) for name, value in fold.items()},
            "status": run.status,
            "scores_key": run.key,
            "segment_key": run.segment_key,
            **_tags(run.row),
        },
        started=run.row["started_at"] / 1e6,
        seconds=_seconds(run.row),
        undefined=len(found) - len(figures),
        kind="segmenter",
    )


def _chains(record: StudyRecord, trial: TrialRecord) -> Iterator[tuple[str, TrialRecord]]:
    for chain in record.chains:
        at = record.all_trials.get((trial.configuration, trial.pair, chain.name))
        if at is not None and chain.name != PLAIN:
            yield chain.name, at


def _figures(record: StudyRecord, trial: TrialRecord) -> tuple[dict[FigureName, float], int]:
    """Return the figures of a trial, plain and under chains, and how many are not defined."""
    found: dict[FigureName, float] = {}
    for chain, at in [(PLAIN, trial), *_chains(record, trial)]:
        before = () if chain == PLAIN else (f"chain {chain}",)
        for name in _MEASURED:
            if at.row.get(name) is not None:
                found[(*before, "run", name)] = float(at.row[name])
        if at.figures is None:
            continue
        for row in at.figures.outcomes.to_dict("records"):
            of_row = (*before, *_which(record, row), row["split"], row["rule"])
            found |= {(*of_row, name): float(row[name]) for name in _SCORES}
        for row in at.diagnostics.to_dict("records") if at.diagnostics is not None else ():
            of_row = (*before, *_which(record, row), "diagnostics")
            numbers = {str(name): value for name, value in row.items()}
            found |= {
                (*of_row, name): float(value)
                for name, value in numbers.items()
                if name not in ("network", "class_name")
            }
    defined = {name: value for name, value in found.items() if not math.isnan(value)}
    return defined, len(found) - len(defined)


def _which(record: StudyRecord, row: Mapping[Any, Any]) -> Iterator[str]:
    """Yield what tells a row from those of the student and the main class."""
    if row["network"] != "student":
        yield f"network {row['network']}"
    if row["class_name"] != record.main_class:
        yield f"class {row['class_name']}"


def _curves(
    history: pd.DataFrame | None, one: ConfigurationRecord
) -> dict[FigureName, list[tuple[int, float]]]:
    if history is None:
        return {}
    history = history.sort_values("epoch")
    epochs = [int(epoch) for epoch in history["epoch"]]
    found: dict[FigureName, list[tuple[int, float]]] = {
        ("train", name): list(zip(epochs, map(float, history[name]), strict=True))
        for name in (*LOSSES, "seconds")
    }
    if not has_transfer(history, one):
        del found["train", "transfer_loss"]
    return found


def has_transfer(history: pd.DataFrame, one: ConfigurationRecord) -> bool:
    """Return whether a trial has a transfer loss; a loss that is NaN may be one that diverged."""
    absent = history["transfer_loss"].isna() & history["loss"].notna()
    return one.paradigm != "single" and not absent.all()
