"""A finished study over a folder of images of many sizes, from which masks are made."""

import copy
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from studies.masks.recipe import MaskSelection, choose_recipe
from studies.masks.worker import MaskJob

Raw = dict[str, Any]

OWN_STEP = """
VERSION = 1

def fade(images, scores, strength):
    return scores * (1 - strength * images.mean(axis=(1, 2, 3))[:, None, None, None] / 255)
"""
REFINE = {
    "PAR": [{"par": {"iterations": 2, "dilations": [1, 2]}}],
    "PAR twice": [
        {"par": {"iterations": 2, "dilations": [1, 2]}},
        {"par": {"iterations": 1, "dilations": [1]}},
    ],
    "own": ["multi_scale", {"fading_step:fade": {"strength": 0.5}}],
    "SAM": ["sam"],
}


def put(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_crops(root: Path) -> None:
    """A folder data set whose tune and test images are of many sizes, none the network's 32."""
    random = np.random.default_rng(3)
    for number in range(4):
        for kind in ("smoke", "clear"):
            image = random.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            put(root / "train" / kind / f"{number}.png", image)
    for split in ("tune", "test"):
        for number in range(6):
            height, width = 36 + 7 * number, 60 - 5 * number
            image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
            mask = np.zeros((height, width), np.uint8)
            mask[number : number + 20, 5:25] = 255
            put(root / split / "images" / f"{number}.png", image)
            put(root / split / "masks" / f"{number}.png", mask)


@dataclasses.dataclass(frozen=True)
class Crops:
    """A finished study over a folder, its data and the folder its plug-in lies in."""

    ran: Any
    root: Path
    plugin: Path

    @property
    def images(self) -> Path:
        return self.root / "test" / "images"

    def job(self, out: Path, wish: MaskSelection | None = None, **changes: Any) -> MaskJob:
        wish = wish or MaskSelection(configuration="CNN alone", seed=0)
        recipe, _ = choose_recipe(self.ran.results, self.ran.store, wish)
        return MaskJob(recipe, str(self.images), str(out), **changes)


@pytest.fixture(scope="session")
def finished_crops(
    run: Callable[..., Any], shared_tiny: Raw, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Crops]:
    folder = tmp_path_factory.mktemp("crops")
    write_crops(folder / "data")
    (folder / "fading_step.py").write_text(OWN_STEP)
    study = copy.deepcopy(shared_tiny)
    study |= {
        "study": "crops",
        "data": {"source": "folder", "root": str(folder / "data"), "size": 32},
        "configurations": study["configurations"][:2],
        "seeds": [0, 1],
        "refine": REFINE,
    }
    before = Path.cwd()
    os.chdir(folder)
    try:
        ran = run(study, folder / "results")
    finally:
        os.chdir(before)
    yield Crops(ran, folder / "data", folder)
    sys.modules.pop("fading_step", None)


@pytest.fixture
def crops(finished_crops: Crops, monkeypatch: pytest.MonkeyPatch) -> Crops:
    """The finished study, in the folder of its plug-in, where a command is run."""
    monkeypatch.chdir(finished_crops.plugin)
    return finished_crops
