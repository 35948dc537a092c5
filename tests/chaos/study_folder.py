"""A study of seconds in a folder of its own: its file, its diary, its driver, what is done."""

import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

END_STALLED = "30s"

STAGES = ("images", "features", "train", "cams", "described", "fits", "refined", "scores")

_PAR = {"par": {"iterations": 2, "dilations": [1, 2]}}
_TAUGHT = {"student": "vit", "teacher": "cnn", "metric": "cosine"}
STUDY: dict[str, Any] = {
    "study": "chaos",
    "title": "Does a study that is disturbed end as one that is not?",
    "data": {"source": "scenes", "size": 32, "train": 120, "tune": 8, "test": 8},
    "backbones": {
        "cnn": {"model": "diary:cnn", "label": "CNN"},
        "vit": {"model": "diary:vit", "label": "ViT"},
    },
    "training": {"epochs": 8, "batch_size": 8, "learning_rate": 1e-3},
    "seeds": [0, 1],
    "panels": 1,
    "configurations": [
        {"paradigm": "single", "student": "vit"},
        {"paradigm": "teacher-student", **_TAUGHT, "level": ["global", "spatial"]},
        {"paradigm": "co-training", **_TAUGHT, "level": "global"},
    ],
    "refine": {"PAR": [_PAR], "PAR twice": [_PAR, _PAR]},
    "resources": {"memory_gb": 0.25},
}


@dataclass(frozen=True)
class Driver:
    """A `wsss run`.

    Attributes:
        process: it.
        log: all that it says.
        joined: whether it joined the cluster; else it has started a Ray of its own.

    """

    process: subprocess.Popen[bytes]
    log: Path
    joined: bool

    @property
    def lives(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    @property
    def has_begun(self) -> bool:
        """Whether it has opened its folders: it says what there is to do."""
        return any(line.startswith("chaos: ") for line in self.said().splitlines())

    def said(self) -> str:
        """Its output so far."""
        return self.log.read_text(errors="replace")

    def last_said(self, lines: int) -> list[str]:
        """The end of its output, without what Ray's daemons say."""
        rays = ("    -", "    [", "    0 pending", "\t")
        own = [
            line
            for line in self.said().splitlines()
            if line.strip() and "(raylet)" not in line and not line.startswith(rays)
        ]
        return own[-lines:]

    def abort(self) -> None:
        """End it; the stacks of its threads go to its log."""
        self.process.send_signal(signal.SIGABRT)
        self.process.wait()


class StudyFolder:
    """One study: FOLDER/{chaos.yaml, diary.py, diary.jsonl, results/, driver-<n>.log}.

    Args:
        folder: made.
        short: a teacher and its student, and no refinement.

    """

    def __init__(self, folder: Path, *, short: bool = False) -> None:
        self.folder = folder
        self.results = folder / "results"
        self.store = self.results / "store"
        self.drivers: list[Driver] = []
        self.disturbed: list[str] = []
        self.tampered: list[tuple[str, str]] = []
        """Files that were cut, as (stage, key); of a checkpoint ("unfinished", "train-KEY")."""
        self.ledger_is_cut = False
        """Whether a part of the ledger was: a run that has compared it by then leaves it."""
        self.hang = folder / "hang"
        """While it is there, the next training that begins an epoch hangs, see `diary.py`."""
        folder.mkdir(parents=True)
        study = STUDY
        if short:
            study = {key: value for key, value in STUDY.items() if key != "refine"}
            taught = STUDY["configurations"][1] | {"level": "global"}
            training = STUDY["training"] | {"epochs": 16}
            study |= {"seeds": [0], "configurations": [taught], "training": training}
        (folder / "chaos.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
        shutil.copy(Path(__file__).with_name("diary.py"), folder)

    def start(self, *options: str) -> Driver:
        """Start a driver: the same command at every time."""
        log = self.folder / f"driver-{len(self.drivers) + 1}.log"
        command = [
            sys.executable, "-X", "faulthandler", "-m", "studies.cli.main", "run", "chaos.yaml",
            "--results", str(self.results), *options,
            *([] if "--in-process" in options else ["--end-stalled", END_STALLED]),
        ]  # fmt: skip
        with log.open("wb") as opened:
            process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=opened, stderr=opened,
                start_new_session=True,
            )  # fmt: skip
        self.drivers.append(Driver(process, log, joined="--address" in options))
        return self.drivers[-1]

    def wsss(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command of wsss to its end."""
        return subprocess.run(
            [sys.executable, "-m", "studies.cli.main", *arguments],
            cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    def diary(self) -> list[dict[str, Any]]:
        """All that was noted so far."""
        file = self.folder / "diary.jsonl"
        if not file.is_file():
            return []
        return [json.loads(line) for line in file.read_text().splitlines()]

    def hung(self) -> list[int]:
        """The processes whose trainings began to sleep for ever, in their order."""
        return [line["pid"] for line in self.diary() if line["what"] == "hangs"]

    def keys(self, stage: str) -> set[str]:
        """The finished artifacts of a stage, as a look into the folder shows them."""
        return {file.parent.name for file in (self.store / stage).glob("[!.]*/manifest.json")}

    def done(self) -> Counter[str]:
        """How many artifacts of each stage there are."""
        return Counter({stage: len(self.keys(stage)) for stage in STAGES})

    def activity(self) -> int:
        """A number that grows with all that workers do in the study."""
        done = self.done()
        return done.total() - done["images"] + len(self.diary())
