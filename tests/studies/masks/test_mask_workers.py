"""Masks made by Ray Data, by workers that fail, and by steps with large models."""

import dataclasses
import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studies.masks.folder import find_images, make_missing_masks
from studies.masks.recipe import MaskSelection
from studies.masks.worker import Cams, MaskWriter, failure_text
from studies.planning.chains import Step
from wsss_core.errors import InputError
from wsss_core.refine.steps.registry import STEP_KINDS, Refiner, StepKind


def put(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def pngs(folder: Path) -> dict[str, bytes]:
    """Every PNG below a folder, by relative path."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*.png")
    }


def values(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image)


@pytest.mark.ci
@pytest.mark.parametrize("apart", [False, True])
def test_ray_data_makes_the_same_files_as_one_process_and_names_a_bad_image(
    crops, tmp_path, ray_here, monkeypatch, apart
):
    from studies.masks import (
        stream as masks_pipeline,  # Ray, which reads what conftest sets when it is imported
    )

    stream = functools.partial(masks_pipeline.stream_masks, apart=apart)
    monkeypatch.setattr(masks_pipeline, "stream_masks", stream)
    alone = crops.job(tmp_path / "alone", MaskSelection(chain="own"), soft=True, uncertain=0.1)
    make_missing_masks(alone, in_process=True, batch=4)
    spread = dataclasses.replace(alone, out=str(tmp_path / "spread"))
    (tmp_path / "images").mkdir()
    for name, content in {**pngs(crops.images), "6.png": b"no image"}.items():
        (tmp_path / "images" / name).write_bytes(content)
    spread = dataclasses.replace(spread, images=str(tmp_path / "images"))
    made = make_missing_masks(spread, batch=4)
    assert made.written == 6
    assert list(made.failed) == ["6.png"]
    assert "not an image" in made.failed["6.png"]
    assert pngs(tmp_path / "spread") == pngs(tmp_path / "alone")
    assert len(pngs(tmp_path / "spread")) == 12


@pytest.mark.ci
@pytest.mark.parametrize("apart", [False, True])
def test_a_worker_that_cannot_begin_ends_the_run_with_one_line(crops, tmp_path, ray_here, apart):
    from studies.masks import stream as masks_pipeline

    store = shutil.copytree(crops.ran.store.root, tmp_path / "store")
    job = crops.job(tmp_path / "masks")
    (store / "train" / job.recipe.training.key / "student.safetensors").write_bytes(b"cut")
    job = dataclasses.replace(job, recipe=dataclasses.replace(job.recipe, store=str(store)))
    (tmp_path / "masks").mkdir()
    names = find_images(crops.images)
    made = masks_pipeline.stream_masks(job, names, batch=2, address=None, apart=apart)
    with pytest.raises(InputError) as raised:
        list(made)
    said = str(raised.value)
    assert f"train/{job.recipe.training.key}" in said
    assert said.endswith("; masks that are there stay: run again to go on")
    assert "\n" not in said


def test_what_went_wrong_in_a_worker_is_said_in_a_line_and_of_a_gpu_which(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert failure_text(InputError("no such layer")) == "no such layer"
    assert failure_text(KeyError("a")) == "KeyError: 'a'"
    ecc = RuntimeError("CUDA error: uncorrectable ECC error encountered\nCompile with")
    assert failure_text(ecc).startswith("GPU 3 of ")


class Describing(Refiner):
    """Sees images first, and fails on white ones; its scores say what it has seen of each."""

    batches: list[int] = []  # noqa: RUF012
    devices: set[str] = set()  # noqa: RUF012

    def compute_image_features(self, images, classes, folder, *, device="cpu"):
        self.batches.append(len(images))
        self.devices.add(device)
        if (images == 255).all(axis=(1, 2, 3)).any():
            raise ValueError("dazzled")
        np.save(folder / "seen.npy", images.mean(axis=(1, 2, 3)) / 255)

    def __call__(self, images, scores, *, image_features=None, fitted_state=None, network=None):
        seen = np.load(image_features / "seen.npy")
        return np.ones_like(scores) * seen[:, None, None, None]


def test_a_step_that_sees_images_first_gets_a_batch_and_one_bad_image_harms_no_other(
    crops, tmp_path, monkeypatch
):
    kind = StepKind(__name__, "Describing", image_features=True)
    monkeypatch.setitem(STEP_KINDS, "describing", kind)
    monkeypatch.setattr(Describing, "batches", [])
    monkeypatch.setattr(Describing, "devices", set())
    step = Step("describing", {}, {})
    job = crops.job(tmp_path / "masks", soft=True)
    recipe = dataclasses.replace(
        job.recipe,
        chain=dataclasses.replace(job.recipe.chain, steps=(step,)),
        fitted_states=(None,),
    )
    job = dataclasses.replace(job, recipe=recipe, images=str(tmp_path / "images"))
    for number, grey in enumerate((51, 102, 255, 204)):
        put(tmp_path / "images" / f"{number}.png", np.full((40, 40, 3), grey, np.uint8))
    maps, logits = np.zeros((1, 4, 4), np.float16), np.zeros(1, np.float32)
    factors = np.ones(1, np.float32)
    batch = [Cams(f"{number}.png", None, maps, logits, factors) for number in range(4)]
    done = dict(MaskWriter(job, device="meta")(batch))
    assert done == {"0.png": None, "1.png": None, "2.png": "ValueError: dazzled", "3.png": None}
    assert Describing.batches == [4, 1, 1, 1, 1]
    assert Describing.devices == {"meta"}
    for name, grey in (("0.png", 51), ("1.png", 102), ("3.png", 204)):
        assert (values(job.soft_file(name, "smoke")) == grey).all()


@pytest.mark.slow
def test_killed_and_run_again_loses_and_repeats_nothing(crops, tmp_path):
    random = np.random.default_rng(0)
    for number in range(60):
        pixels = random.integers(0, 256, (200, 200, 3), dtype=np.uint8)
        put(tmp_path / "images" / f"{number:02}.png", pixels)
    out = tmp_path / "masks"
    command = [
        sys.executable, "-m", "studies.cli.main", "masks", str(crops.ran.results), "--images",
        str(tmp_path / "images"), "--out", str(out), "--chain", "PAR twice", "--batch", "2",
    ]  # fmt: skip
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[3]), os.getenv("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(command, cwd=crops.plugin, env=environment) as running:
        deadline = time.monotonic() + 120
        while len(pngs(out)) < 5 and time.monotonic() < deadline:
            time.sleep(0.05)
        running.send_signal(signal.SIGKILL)
    time.sleep(5)  # its workers notice that it is gone
    there = {name: (out / name).stat().st_mtime_ns for name in pngs(out) if name[0] != "."}
    assert 5 <= len(there) < 60
    ended = subprocess.run(
        command, cwd=crops.plugin, env=environment, capture_output=True, text=True, check=True
    )
    assert f"60 images, {len(there)} have their mask" in ended.stdout
    # Ray itself says on standard error that it can restart an actor; all else would be ours.
    assert [line for line in ended.stderr.splitlines() if "core_worker.cc" not in line] == []
    for name, written_at in there.items():
        assert (out / name).stat().st_mtime_ns == written_at
    job = crops.job(tmp_path / "whole", MaskSelection(chain="PAR twice"))
    make_missing_masks(dataclasses.replace(job, images=str(tmp_path / "images")), in_process=True)
    assert pngs(out) == pngs(tmp_path / "whole")
