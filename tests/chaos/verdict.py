"""Is a study that was disturbed what it would have been undisturbed, and was nothing done twice?

Everything is read from the files themselves: ledgers are compared row for row, artifacts byte for
byte, trainings are counted in the diary that they keep, and whatever lies in the results beside
what the undisturbed study holds is left over.
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from study_folder import STAGES, StudyFolder

from reports.ledger.parts import read_table
from reports.ledger.schema import SCHEMAS
from reports.ledger.snapshot import DERIVED
from reports.storage.folder import MARK

OF_THE_MACHINE = {
    "code_revision", "packages", "device", "host", "started_at", "ended_at", "seconds",
    "seconds_training", "seconds_before", "seconds_scoring",
    "images_per_second", "peak_memory_bytes",
    "cpus", "gpus", "threads", "processor",
}  # fmt: skip
"""Columns that say when, where and how fast, not what."""

INTERMEDIATE = ("images", "features", "cams", "described", "fits", "refined")
"""Stages that serve others alone: what is made of them is a result, and so is a network."""


def ledger_differences(study: StudyFolder, undisturbed: StudyFolder) -> list[str]:
    """How the ledgers differ, a line a table."""
    found = []
    for table in SCHEMAS:
        one, other = (_rows(folder.results, table) for folder in (undisturbed, study))
        try:
            pd.testing.assert_frame_equal(one, other, check_exact=True)
        except AssertionError as difference:
            found.append(f"ledger {table}: {' '.join(str(difference).split())[:300]}")
    return found


def _rows(results: Path, table: str) -> pd.DataFrame:
    frame = read_table(results, table)
    frame = frame.drop(columns=[name for name in frame.columns if name in OF_THE_MACHINE])
    return frame.map(lambda value: value.tobytes() if isinstance(value, np.ndarray) else value)


def store_differences(study: StudyFolder, undisturbed: StudyFolder) -> list[str]:
    """How the artifacts differ: which there are, whom they refer to, their bytes but for times."""
    found = []
    for stage in STAGES:
        expected, there = undisturbed.keys(stage), study.keys(stage)
        found += [
            f"{stage}/{key} is missing"
            for key in sorted(expected - there)
            if not made_when_needed(study, stage, key)
        ]
        found += [f"{stage}/{key} is in no plan" for key in sorted(there - expected)]
        for key in sorted(expected & there):
            one, other = (_content(f.store / stage / key) for f in (undisturbed, study))
            found += [
                f"{stage}/{key}/{name} differs"
                for name in sorted(one.keys() | other.keys())
                if one.get(name) != other.get(name)
            ]
    for key in study.keys("scores"):
        parts = study.store / "scores" / key / "ledger"
        for part in parts.rglob("*.parquet"):
            copy = study.results / "ledger" / part.relative_to(parts)
            if not copy.is_file() or copy.read_bytes() != part.read_bytes():
                found.append(f"{copy.relative_to(study.results)} is not the store's")
    return found


def made_when_needed(study: StudyFolder, stage: str, key: str) -> bool:
    """Whether an artifact was cut after its last reader: it is quarantined, and not missed."""
    return stage in INTERMEDIATE and (stage, key) in study.tampered


def is_complete(study: StudyFolder, undisturbed: StudyFolder) -> bool:
    """Whether all is made, but for what nobody misses."""
    done, all_of = study.done(), undisturbed.done()
    cut = Counter(stage for stage, key in set(study.tampered) if stage in INTERMEDIATE)
    return all(done[s] <= all_of[s] <= done[s] + cut[s] for s in all_of)


def _content(artifact: Path) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for file in artifact.rglob("*"):
        name = file.relative_to(artifact).as_posix()
        if file.suffix == ".json":
            content[name] = _without_times(json.loads(file.read_text()))
        elif file.is_file() and file.suffix != ".parquet":  # the ledger's parts are compared there
            content[name] = file.read_bytes()
    return content


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        own = {"seconds", "written_at", "made_by", "cpus", "gpus", "threads", "processor"}
        own |= {"files", "bytes", "manifest_digest"}
        # What was trained before a network is compared, and not how long that took.
        value = {**value, "before": sorted(value.get("before") or ())}
        return {name: _without_times(one) for name, one in value.items() if name not in own}
    return [_without_times(one) for one in value] if isinstance(value, list) else value


def training_faults(study: StudyFolder, undisturbed: StudyFolder) -> tuple[list[str], str]:
    """What was trained more often than it had to be, and the counts in a line.

    An epoch whose checkpoint was written is not trained again, unless that checkpoint or what was
    made of it was cut by the chaos run itself. An epoch that was only begun is lost with its
    process: one a disturbance and training at the most.
    """
    expected = Counter(line["key"] for line in undisturbed.diary() if line["what"] == "kept")
    cut = Counter(key.removeprefix("train-") for _, key in study.tampered)
    lines = study.diary()
    began = Counter(line["key"] for line in lines if line["what"] == "began")
    kept = Counter((line["key"], line["epoch"]) for line in lines if line["what"] == "kept")
    found = []
    for key, epochs in expected.items():
        again = [epoch for (one, epoch), count in kept.items() if one == key and count > 1]
        if again and not cut[key]:
            found.append(f"train/{key}: epochs {sorted(again)} were trained again")
        allowed = epochs * (1 + cut[key]) + len(study.disturbed)
        if began[key] > allowed:
            found.append(f"train/{key}: {began[key]} epochs begun, at most {allowed} expected")
    found += [f"train/{key} was trained and is in no plan" for key in began.keys() - expected]
    ended = Counter(line["key"] for line in lines if line["what"] == "trained")
    return found, (
        f"{len(expected)} trainings ended {sum(ended.values())} times, of {sum(expected.values())}"
        f" epochs {sum(began.values())} begun and {sum(kept.values())} kept"
    )


def teacher_faults(study: StudyFolder) -> list[str]:
    """Students whose record refers to no teacher of the store."""
    trained = study.keys("train")
    return [
        f"train/{key}: its teacher {parent} is not in the store"
        for key in sorted(trained)
        if (parent := _manifest(study, key)["parent"]) is not None and parent not in trained
    ]


def teachers(study: StudyFolder) -> dict[str, int]:
    """The trained teachers, with the number of students that refer to each."""
    parents = (_manifest(study, key)["parent"] for key in study.keys("train"))
    return dict(Counter(parent for parent in parents if parent is not None))


def _manifest(study: StudyFolder, key: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        (study.store / "train" / key / "manifest.json").read_text()
    )
    return content


def leftovers(study: StudyFolder, undisturbed: StudyFolder) -> list[str]:
    """The files that lie in the results and would not without disturbances."""
    expected = set(files(undisturbed))
    return [file for file in files(study) if file not in expected]


def files(study: StudyFolder) -> list[str]:
    """All files of the results, in order; but for what is made again when it is not there.

    Which networks passed the preflight is remembered by code, settings and machine alone.
    """
    found = (file.relative_to(study.results).as_posix() for file in study.results.rglob("*")
             if not file.is_dir())  # fmt: skip
    return sorted(name for name in found if not name.startswith((f"{DERIVED}/", "store/tried/")))


def strange_folders(study: StudyFolder) -> list[str]:
    """Folders of the results without a file below, but for those that are there for a purpose."""
    return [
        name
        for folder in sorted(study.results.rglob("*"))
        if folder.is_dir() and not any(entry.is_file() for entry in folder.rglob("*"))
        if (name := folder.relative_to(study.results).as_posix())
        not in (
            *("store/files", "store/leases", "store/unfinished", "store/quarantined"),
            "ledger/quarantined",
        )
    ]


def unexplained(study: StudyFolder) -> list[str]:
    """What lies in the results of an undisturbed study and is neither mark, ledger nor artifact."""
    return [
        file
        for file in files(study)
        if (parts := file.split("/"))[-1] != MARK
        and not (parts[0] == "ledger" and parts[1] in SCHEMAS and parts[2].endswith(".parquet"))
        and not (parts[0] == "store" and parts[1] in STAGES and parts[2].isalnum())
    ]


def named_by_gc(study: StudyFolder, *options: str) -> set[str]:
    """What `wsss store gc` names, relative to the results."""
    said = study.wsss("store", "gc", str(study.store), "--older-than", "0", *options)
    found = {line.partition("  (")[0] for line in said.stdout.splitlines() if "  (" in line}
    return {Path(name).relative_to(study.results).as_posix() for name in found}


def garbage_faults(study: StudyFolder, undisturbed: StudyFolder) -> tuple[list[str], str]:
    """Leftovers that gc does not name, what it names and should not, and what it leaves behind."""
    left = leftovers(study, undisturbed)
    kept = set(files(study)) & set(files(undisturbed))
    named = named_by_gc(study, "--delete")
    found = [
        f"{file} is left over, and gc does not name it"
        for file in left
        if not any(f"{file}/".startswith(f"{name}/") for name in named)
    ]
    found += [f"{file} is gone after gc" for file in sorted(kept - set(files(study)))]
    if not found:
        found += [f"gc named {file} and left it" for file in leftovers(study, undisturbed)]
    found += [f"folder {name} is left over" for name in strange_folders(study)]
    kinds = Counter(re.sub(r"[0-9a-f]{8,}", "*", name) for name in named)
    return found, ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
