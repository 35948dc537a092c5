"""A study of seconds, its finished run, a folder data set, the command line and a small Ray."""

import contextlib
import copy
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.cluster.session_folder import ray_session_folder

# Set before Ray and torch are loaded: no token file, workers of the priority of the tests beside
# them, one thread as a trial's worker has, and a folder whose path is short whatever TMPDIR is.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_worker_niceness", "0")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_TMPDIR", str(Path(ray_session_folder()).parent))

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from studies.cli.main import main
from studies.planning.plan import Plan
from studies.planning.planner import make_plan
from studies.runner import RunResult, run_plan
from studies.spec.study import Study
from studies.store.artifacts import ArtifactStore

TINY: dict[str, Any] = {
    "study": "tiny",
    "title": "Does it hold together?",
    "data": {"source": "scenes", "size": 32, "train": 24, "tune": 8, "test": 8},
    "backbones": {
        "cnn": {
            "model": "resnet18",
            "label": "CNN",
            "output_stride": 8,
            "options": {"channels": [4, 8, 16, 32]},
        },
        "vit": {
            "model": "vit_tiny_patch16_224",
            "label": "ViT",
            "options": {"patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 3},
        },
    },
    "training": {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3},
    "seeds": [0],
    "panels": 2,
    "configurations": [
        {"paradigm": "single", "student": "cnn"},
        {"paradigm": "single", "student": "vit"},
        {
            "paradigm": "teacher-student",
            "student": "vit",
            "teacher": "cnn",
            "metric": "cosine",
            "level": "global",
        },
        {
            "paradigm": "co-training",
            "student": "vit",
            "teacher": "cnn",
            "metric": "cosine",
            "level": "global",
        },
    ],
    "resources": {"memory_gb": 0.25},
}


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def shared_tiny() -> dict[str, Any]:
    """A study as its file would hold it; not to be changed."""
    return TINY


@pytest.fixture
def tiny() -> dict[str, Any]:
    """A study as its file would hold it; change it as you like."""
    return copy.deepcopy(TINY)


@pytest.fixture
def taught() -> dict[str, Any]:
    """The tiny study with the taught ViT alone: its teacher is a training run no row reports."""
    study = copy.deepcopy(TINY)
    study["configurations"] = [study["configurations"][2]]
    return study


@pytest.fixture
def write_study(tmp_path: Path) -> Callable[[dict[str, Any]], str]:
    """Write a study to a file and return its path."""

    def write(study: dict[str, Any]) -> str:
        file = tmp_path / f"{study['study']}.yaml"
        file.write_text(yaml.safe_dump(study), encoding="utf-8")
        return str(file)

    return write


@dataclass(frozen=True)
class Ran:
    """An in-process run of a study: what it returned, said and left behind."""

    plan: Plan
    result: RunResult
    said: list[str]
    results: Path
    store: ArtifactStore


class Listener(logging.Handler):
    """Hands each line that studies log to a function."""

    def __init__(self, hear: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self.hear = hear

    def emit(self, record: logging.LogRecord) -> None:
        self.hear(self.format(record))


@contextlib.contextmanager
def heard(hear: Callable[[str], None]) -> Iterator[None]:
    logger, listener = logging.getLogger("studies"), Listener(hear)
    level = logger.level
    logger.addHandler(listener)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)


@pytest.fixture(scope="session")
def listening() -> Callable[..., contextlib.AbstractContextManager[None]]:
    """Hear what studies log: with listening(lines.append): ..."""
    return heard


def run_in_process(study: dict[str, Any], results: Any, store: Any = None) -> Ran:
    plan = make_plan(Study.model_validate(study))
    artifacts = ArtifactStore(store or results / "store")
    said: list[str] = []
    with heard(said.append):
        result = run_plan(plan, results, artifacts, in_process=True)
    return Ran(plan, result, said, results, artifacts)


@pytest.fixture(scope="session")
def run() -> Callable[..., Ran]:
    """Run a study in this process: run(study, results, store=None)."""
    return run_in_process


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The tiny study, finished. Tests read it; one that changes something copies it first."""
    return run_in_process(copy.deepcopy(TINY), tmp_path_factory.mktemp("finished"))


@dataclass(frozen=True)
class Said:
    """The end of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def wsss(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run the command line: wsss("plan", file)."""

    def command(*arguments: object) -> Said:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return command


def put_image(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def smoke_folder(tmp_path: Path) -> Path:
    """A folder data set of 40x40 pixels: 2 + 2 to train on, 2 masked and a clear one a split."""
    root = tmp_path / "crops"
    random = np.random.default_rng(0)

    def pixels() -> np.ndarray:
        return random.integers(0, 256, (40, 40, 3), dtype=np.uint8)

    mask = np.zeros((40, 40), np.uint8)
    mask[10:20, 5:30] = 255
    for name in ("a", "b"):
        put_image(root / "train" / "smoke" / f"{name}.png", pixels())
        put_image(root / "train" / "clear" / f"{name}.png", pixels())
        for split in ("tune", "test"):
            put_image(root / split / "images" / f"{name}.png", pixels())
            put_image(root / split / "masks" / f"{name}.png", mask)
    for split in ("tune", "test"):
        put_image(root / split / "clear" / "c.png", pixels())
    return root


@pytest.fixture
def folder_study(tiny: dict[str, Any], smoke_folder: Path) -> dict[str, Any]:
    """The tiny study over the folder data set."""
    tiny["data"] = {"source": "folder", "root": str(smoke_folder), "size": 32}
    return tiny


@pytest.fixture
def fresh_python() -> Callable[[str, Path], subprocess.CompletedProcess[str]]:
    """Run code that must not fail in a new interpreter, with the packages of this checkout."""
    root = Path(__file__).parents[2]

    def run(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=True,
        )

    return run


@pytest.fixture(scope="module")
def ray_here() -> None:
    """A Ray of two cores on this machine, for all tests that need one; it ends with their group."""
    # Before Ray, which reads when it is imported what this module sets.
    from studies.cluster.ray_start import ray

    if ray.is_initialized():
        return
    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=0,
        object_store_memory=80 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
    )
