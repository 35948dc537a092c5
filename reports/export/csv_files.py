"""Tidy CSV files of studies: a row for each trial, score, epoch, setting and segmenter.

Numbers have full precision. A field is empty where there is no value; a loss that is not a number
is written `nan`, an infinite one `inf`. A text that begins like a formula gets an apostrophe in
front.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from reports.export.folders import ExportFolder
from reports.export.outcome import Exported, count_segmenters
from reports.export.runs import LOSSES, StudyExport, has_transfer, trial_settings
from reports.results.segments import SEGMENT_FIGURES, SegmentRecord, SegmentRun
from reports.results.study_record import StudyRecord, TrialRecord
from reports.tables.csv_text import frame_to_csv

_TRIAL_COLUMNS = (
    "error",
    "started_at",
    "ended_at",
    "seconds_training",
    "seconds_before",
    "seconds_scoring",
    "seconds",
    "images_per_second",
    "peak_memory_bytes",
    "epochs",
    "parameters",
    "micro_batch",
    "code_revision",
    "code_digest",
    "plugin_digests",
    "package_version",
    "packages",
    "train_fingerprint",
    "evaluation_fingerprint",
    "device",
    "processor",
    "threads",
    "cpus",
    "gpus",
    "host",
)
"""The columns of `trials.csv` from a trial's row, or a chain's, in the ledger."""

_PLANNED_COLUMNS = {
    "model": "model",
    "masks": "masks",
    "configuration": "configuration",
    "refinement": "chain",
    "rule": "rule",
    "overlap": "overlap",
    "prediction": "prediction",
    "published": "published",
    "published_from": "published_from",
}
"""What the plan knows of a segmenter: attribute of `SegmentRecord` -> column of `segments.csv`."""

_SEGMENTER_COLUMNS = (
    "error",
    "started_at",
    "seconds_training",
    "seconds_scoring",
    "steps",
    "loss",
    "level",
    "images",
    "masks_trained",
    "masks_spent",
    "peak_memory_bytes",
    "parameters",
    "micro_batch",
    "settings",
    "code_revision",
    "code_digest",
    "plugin_digests",
    "package_version",
    "packages",
    "device",
    "processor",
    "threads",
    "cpus",
    "gpus",
    "host",
)
"""The columns of `segments.csv` from a segmenter's row in the ledger."""


def export_to_csv(studies: Sequence[StudyExport], folder: ExportFolder) -> Exported:
    """Write the files; those of an earlier export are replaced, with all studies in them.

    Args:
        studies: those to write.
        folder: the folder of the files.

    Raises:
        InputError: the folder cannot be written.

    """
    records = [record for study in studies for record in study.records]
    frames = {
        "trials": _joined(records, _trials),
        "settings": _joined(records, _settings),
        "scores": _joined(records, lambda record: _with_chain(record, record.outcomes())),
        "diagnostics": _joined(records, lambda record: _with_chain(record, record.diagnostics())),
        "curves": _joined(records, _curves),
        "search": _joined(records, lambda record: record.search),
        "segments": _joined(records, _segments),
        "segment_scores": _joined(records, _segment_scores),
    }
    names = []
    for name, frame in frames.items():
        if not frame.empty:
            folder.write(f"{name}.csv", frame_to_csv(frame).encode())
            names.append(f"{name}.csv")
    now = [study.name for study in studies]
    # Those of this export first: their files must not go with those of the others.
    for name in [*now, *sorted(folder.studies - set(now))]:
        folder.replace(name, names if name in now else [])
    runs = [run for study in studies for run in study.runs]
    return Exported(str(folder.path), len(runs), segmenters=count_segmenters(runs))


def _joined(
    records: Sequence[StudyRecord], frame_of: Callable[[StudyRecord], pd.DataFrame]
) -> pd.DataFrame:
    frames = [frame for record in records if not (frame := frame_of(record)).empty]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _about(record: StudyRecord, trial: TrialRecord, chain: str | None = None) -> dict[str, Any]:
    return {
        "study": record.name,
        "configuration": trial.configuration,
        **({} if chain is None else {"chain": chain}),
        "seed": trial.seed,
        **({} if trial.fold is None else {"fold": trial.fold}),
        "trial_key": trial.key,
    }


def _trials(record: StudyRecord) -> pd.DataFrame:
    rows = []
    for chain, trial in record.every_trial():
        one = record.configuration(trial.configuration)
        assert one is not None
        known: Mapping[str, Any] = trial.row
        rows.append(
            {
                **_about(record, trial, chain),
                "status": trial.status,
                **one.what_varies,
                "sweep": record.sweep,
                "sweep_value": record.sweep_value,
                **{name: known.get(name) for name in _TRIAL_COLUMNS},
            }
        )
    return pd.DataFrame(rows)


def _settings(record: StudyRecord) -> pd.DataFrame:
    rows = []
    for trial in record.trials.values():
        one = record.configuration(trial.configuration)
        assert one is not None
        rows += [
            {**_about(record, trial), "setting": name, "value": None if v is None else str(v)}
            for name, v in trial_settings(record, one, trial).items()
        ]
    return pd.DataFrame(rows)


def _about_segmenter(record: StudyRecord, entry: SegmentRecord, run: SegmentRun) -> dict[str, Any]:
    return {
        "study": record.name,
        "segmenter": entry.entry,
        "seed": run.seed,
        **({} if run.fold is None else {"fold": run.fold}),
        "scores_key": run.key,
        "status": run.status,
        "sweep": record.sweep,
        "sweep_value": record.sweep_value,
    }


def _segments(record: StudyRecord) -> pd.DataFrame:
    rows = []
    for entry in record.segments:
        planned = {called: getattr(entry, name) for name, called in _PLANNED_COLUMNS.items()}
        for run in entry.runs:
            known = {name: run.row.get(name) for name in _SEGMENTER_COLUMNS}
            if run.row:
                known["started_at"] = pd.Timestamp(run.row["started_at"], unit="us", tz="UTC")
            about = _about_segmenter(record, entry, run)
            rows.append({**about, "segment_key": run.segment_key, **planned, **known})
    return pd.DataFrame(rows)


def _segment_scores(record: StudyRecord) -> pd.DataFrame:
    rows = [
        {
            **_about_segmenter(record, entry, run),
            "class_name": class_name,
            **{name: figures.get(name, math.nan) for name in SEGMENT_FIGURES},
        }
        for entry in record.segments
        for run in entry.runs
        for class_name, figures in run.scores.items()
    ]
    return pd.DataFrame(rows)


def _with_chain(record: StudyRecord, frame: pd.DataFrame) -> pd.DataFrame:
    return frame.rename(columns={"refinement": "chain"})


def _curves(record: StudyRecord) -> pd.DataFrame:
    frames = []
    for (name, pair), history in record.history.items():
        trial, one = record.trials[name, pair], record.configuration(name)
        assert one is not None
        numbers = {loss: _measured(history[loss]) for loss in LOSSES}
        if not has_transfer(history, one):
            numbers["transfer_loss"] = [None] * len(history)
        columns = {"epoch": history["epoch"], **numbers, "seconds": history["seconds"]}
        frames.append(pd.DataFrame({**_about(record, trial), **columns}))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _measured(values: pd.Series) -> list[object]:
    """Return numbers; one that is not a number is the text `nan`, as an empty field is no value."""
    return ["nan" if value != value else value for value in values.tolist()]
