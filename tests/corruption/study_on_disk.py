"""A finished study of some hundred KB with every kind of file that the toolkit keeps.

It is made once. After each disturbance `restore` brings every file back as it was.
"""

import contextlib
import hashlib
import importlib.util
import io
import json
import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

import studies.store.manifest
from reports.ledger.parts import write_part
from studies.cli.main import main as wsss
from studies.planning.plan import Plan
from studies.planning.planner import make_plan
from studies.runner import RunResult, run_plan
from studies.spec.study import Study
from studies.store.artifacts import ArtifactStore
from wsss_core.backbones import build_network
from wsss_core.errors import InputError
from wsss_core.training import TrainingSettings, train
from wsss_core.transfer import Single

_CNN = {"channels": [4, 8, 16, 32]}
_VIT = {"patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 3}


def study_file(folder: Path) -> dict[str, Any]:
    """A study with refiners that learn (fits) and describe images (described), with segmenters,
    reasons and maps of a frozen encoder (features).

    Args:
        folder: holds the weights files that it names.

    """
    return {
        "study": "kept",
        "title": "Is what is kept what was written?",
        "data": {"source": "scenes", "size": 32, "train": 16, "tune": 6, "test": 6},
        "backbones": {
            "cnn": {
                "model": "resnet18",
                "output_stride": 8,
                "options": _CNN,
                "weights": str(folder / "cnn.safetensors"),
            },
            "vit": {"model": "vit_tiny_patch16_224", "options": _VIT},
            "head": {"model": "vit_tiny_patch16_224", "options": _VIT, "train": "head"},
        },
        "training": {"epochs": 1, "batch_size": 6, "learning_rate": 1e-3},
        "seeds": [0],
        "panels": 1,
        "reasons": {"sigmas": [0.5], "draws": 1, "steps": 2, "most_images": 2},
        "configurations": [
            {"paradigm": "single", "student": "cnn"},
            {"paradigm": "single", "student": "head"},
            {
                "paradigm": "teacher-student",
                "student": "vit",
                "teacher": "cnn",
                "metric": "cosine",
                "level": "global",
            },
        ],
        "chains": {
            "PAR": [{"par": {"iterations": 1, "dilations": [1]}}],
            "affinity": [{"affinity": {"epochs": 1}}],
            "CLIP": [{"clip": {"weights": str(folder / "clip"), "prompts": {"smoke": ["smoke"]}}}],
        },
        "segment": {
            "model": {
                "model": "unet",
                "encoder": "resnet18",
                "encoder_options": {"channels": [4, 4, 4, 4]},
                "options": {"decoder_channels": [4, 4, 4, 4, 4]},
            },
            "training": {"steps": 2, "batch_size": 2},
            "entries": {
                "pseudo masks": {"labels": {"configuration": "cnn alone", "rule": "otsu"}},
                "2 masks": {"labels": {"masks": 2}},
            },
        },
        "resources": {"memory_gb": 0.25},
    }


@dataclass
class StudyOnDisk:
    """A folder with a finished study, a checkpoint, and masks.

    Attributes:
        folder: all of it.
        said: what the toolkit logged since the last `restore`.
        parents: an artifact of raw maps -> its training run.

    """

    folder: Path
    said: list[str] = field(default_factory=list)
    parents: dict[str, str | None] = field(default_factory=dict)
    _kept: dict[str, tuple[bytes, int, int]] = field(default_factory=dict)

    @property
    def results(self) -> Path:
        """The results folder; the store lies in it."""
        return self.folder / "results"

    @property
    def store(self) -> ArtifactStore:
        """The store, as a new process opens it."""
        return ArtifactStore(self.results / "store")

    def plan(self) -> Plan:
        """The plan, as a new process makes it."""
        return make_plan(Study.model_validate(study_file(self.folder)))

    def run(self) -> RunResult:
        """Do what `wsss run` does, in this process."""
        return run_plan(self.plan(), self.results, self.store, in_process=True)

    def new_process(self) -> None:
        """Forget what a new process does not know."""
        studies.store.manifest._sound.clear()

    def make(self) -> None:
        """Run the study, and keep every file."""
        make_weights(self.folder)
        ended = self.run()
        unwell = {**ended.failed, **ended.unrefined, **ended.collapsed}
        assert unwell == {}, self.said
        row = {"study": "kept", "number": 0, "configuration": "a", "parameters": "{}"}
        row |= {"seed": 0, "objective": 0.5, "state": "complete"}
        write_part(self.results, "search", "kept-0", [row])
        self.train(epochs=1)
        put_images(self.folder / "pictures")
        self.make_masks()
        store = self.store
        self.parents = {key: store.manifest("cams", key).parent for key in store.finished("cams")}
        self.keep()

    def train(self, epochs: int = 2) -> str:
        """Train for some epochs with the checkpoint; return a digest of weights and losses."""
        network = _network()
        images = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)
        labels = np.array([[True], [False]] * 3)
        (self.folder / "scratch").mkdir(exist_ok=True)
        checkpoint = self.folder / "scratch" / "checkpoint.pt"
        settings = TrainingSettings(epochs=2, batch_size=3)

        class EnoughError(Exception):
            pass

        def after(record: Any) -> None:
            if record.epoch + 1 == epochs < settings.epochs:
                raise EnoughError

        history = []
        with contextlib.suppress(EnoughError):
            history = train(
                Single(network),
                images,
                labels,
                settings,
                seed=0,
                checkpoint=checkpoint,
                on_epoch=after,
            )
        content = io.BytesIO()
        torch.save([network.state_dict(), [record.loss for record in history]], content)
        return hashlib.blake2b(content.getvalue()).hexdigest()

    def make_masks(self) -> str:
        """Make the masks that are missing or changed, as `wsss masks` does; a digest of all."""
        command = ["masks", str(self.results), "--images", str(self.folder / "pictures")]
        command += ["--out", str(self.folder / "masks"), "--configuration", "cnn alone"]
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = wsss([*command, "--in-process"])
        self.said += said.getvalue().splitlines()
        if code:
            raise InputError(" ".join(said.getvalue().split()))
        masks = sorted((self.folder / "masks").glob("*.png"))
        record = json.loads((self.folder / "masks" / "masks.json").read_text())
        found = [np.asarray(Image.open(file)).tobytes() for file in masks]
        settings = [record["settings"], record["values"], len(masks)]
        return hashlib.blake2b(repr([found, settings]).encode()).hexdigest()

    def keep(self) -> None:
        """Remember every file as it is."""
        self._kept = {}
        for file in self._files():
            about = file.stat()
            name = file.relative_to(self.folder).as_posix()
            self._kept[name] = (file.read_bytes(), about.st_mtime_ns, about.st_ino)

    def restore(self) -> None:
        """Bring every file back as it was kept, and forget what the process knows."""
        there = {file.relative_to(self.folder).as_posix(): file for file in self._files()}
        for name in there.keys() - self._kept.keys():
            there[name].unlink()
        for name, (content, changed, inode) in self._kept.items():
            file = self.folder / name
            if name in there:
                about = file.stat()
                if (about.st_size, about.st_mtime_ns, about.st_ino) == (
                    len(content),
                    changed,
                    inode,
                ):
                    continue
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            about = file.stat()
            self._kept[name] = (content, about.st_mtime_ns, about.st_ino)
        for folder, _, _ in os.walk(self.results / "store" / "quarantined", topdown=False):
            shutil.rmtree(folder, ignore_errors=True)
        self.new_process()
        self.said.clear()

    def names(self) -> list[str]:
        """The names of the files that were kept."""
        return sorted(self._kept)

    def content(self, name: str) -> bytes:
        """The content of a file as it was kept."""
        return self._kept[name][0]

    def _files(self) -> Iterator[Path]:
        return (file for file in self.folder.rglob("*") if file.is_file())

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Collect what the toolkit logs."""
        listener = logging.Handler(logging.INFO)
        listener.emit = lambda record: self.said.append(record.getMessage())  # type: ignore[method-assign]
        loggers = [logging.getLogger(name) for name in ("studies", "reports", "wsss_core")]
        for logger in loggers:
            logger.addHandler(listener)
            logger.setLevel(logging.INFO)
            logger.propagate = False
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeHandler(listener)


def _network() -> Any:
    torch.manual_seed(0)
    options = {**_CNN, "zero_init_last": False}
    return build_network("resnet18", classes=1, image_size=16, output_stride=8, options=options)


def fixtures() -> Any:
    """Return the module of the fixtures of all tests."""
    file = Path(__file__).parents[1] / "conftest.py"
    spec = importlib.util.spec_from_file_location("fixtures_of_all_tests", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_weights(folder: Path) -> None:
    """Write the weights files that `study_file` names."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    start = timm.create_model("resnet18", **_CNN)
    save_file(
        {name: value.contiguous() for name, value in start.state_dict().items()},
        folder / "cnn.safetensors",
    )
    (folder / "clip").mkdir(exist_ok=True)
    fixtures()._SAVE["clip"](folder / "clip")


def put_images(folder: Path, count: int = 2) -> None:
    """Write images to make masks of."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for number in range(count):
        pixels = random.integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
