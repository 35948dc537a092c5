"""Masks of a folder of images: equal to what was scored, chosen fairly, resumable, by Ray Data."""

import copy
import dataclasses
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import studies.masks.worker
from reports.ledger.parts import read_table, write_part
from reports.results.reading import read_studies
from studies.masks.folder import find_images, make_masks
from studies.masks.recipe import MaskSelection, choose_recipe
from studies.masks.worker import Cams, MaskJob, MaskWriter
from studies.planning.chains import Step
from studies.stages.training import load_network
from wsss_core.errors import InputError
from wsss_core.refine.steps.registry import STEP_KINDS, Refiner, StepKind

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


@pytest.fixture(scope="module")
def crops(run: Callable[..., Any], shared_tiny: Raw, tmp_path_factory: Any) -> Any:
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
    os.chdir(folder)  # plug-ins are looked for in the folder a command is run in
    try:
        yield Crops(run(study, folder / "results"), folder / "data", folder)
    finally:
        os.chdir(before)
        sys.modules.pop("fading_step", None)


def pngs(folder: Path) -> dict[str, bytes]:
    """Every PNG below a folder, by relative path."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*.png")
    }


def quiet(line: str) -> None:
    pass


def values(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image)


def iou(mask: np.ndarray, truth: np.ndarray) -> float:
    return float((mask & truth).sum() / (mask | truth).sum())


@pytest.mark.parametrize("refinement", [None, "PAR twice", "own"])
@pytest.mark.parametrize("rule", ["tuned", "fixed", "otsu"])
def test_masks_have_the_iou_that_was_scored_image_by_image(crops, tmp_path, refinement, rule):
    wish = MaskSelection(configuration="ViT alone", seed=1, chain=refinement, rule=rule)
    job = crops.job(tmp_path / "masks", wish)
    assert make_masks(job, in_process=True, say=quiet).failed == {}
    (record,) = read_studies(crops.ran.results)
    trial = record.trials["ViT alone", 1]
    if refinement is not None:
        trial = record.chain_trials["ViT alone", 1, refinement]
    assert job.recipe.level == trial.figure("level", rule=rule, class_name="smoke")
    scored = trial.figures.image_iou["student", "smoke"][:, job.recipe.level]
    for name, expected in zip(trial.figures.images["student", "smoke"], scored, strict=True):
        stem = Path(name).stem
        truth = values(crops.root / "test" / "masks" / f"{stem}.png") > 0
        mask = values(tmp_path / "masks" / f"{stem}.png")
        assert mask.shape == truth.shape
        assert iou(mask == 1, truth) == expected


def test_masks_of_competing_gated_classes_have_the_iou_that_was_scored(run, shared_tiny, tmp_path):
    data = {**shared_tiny["data"], "steam": 0.5, "train": 32, "tune": 16, "test": 16}
    study = {**shared_tiny, "data": data, "configurations": shared_tiny["configurations"][:1]}
    study["refine"] = {"PAR": [{"par": {"iterations": 2, "dilations": [1, 2]}}]}
    ran = run(study, tmp_path / "results")
    images = next(iter(ran.plan.jobs.values())).images.load(ran.store, "test")
    for name, pixels in zip(images.identifiers, images.images, strict=True):
        put(tmp_path / "images" / f"{name}.png", np.asarray(pixels))
    (record,) = read_studies(ran.results)
    found = set()
    for chain in (None, "PAR"):
        wish = MaskSelection(chain=chain, threshold=0.2)
        recipe, _ = choose_recipe(ran.results, ran.store, wish)
        job = MaskJob(recipe, str(tmp_path / "images"), str(tmp_path / f"masks {chain}"))
        make_masks(job, in_process=True, say=quiet)
        trial = record.trials["CNN alone", 0]
        trial = record.chain_trials["CNN alone", 0, chain] if chain else trial
        for number, class_name in enumerate(images.classes, 1):
            curves = trial.figures.image_iou["student", class_name]
            names = trial.figures.images["student", class_name]
            for name, curve in zip(names, curves, strict=True):
                truth = images.mask(images.identifiers.index(name)) == number
                mask = values(job.mask_file(f"{name}.png"))
                found |= set(np.unique(mask).tolist())
                if truth.any():
                    assert iou(mask == number, truth) == curve[recipe.level]
    assert found == {0, 1, 2}


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
    make_masks(alone, in_process=True, batch=4, say=quiet)
    spread = dataclasses.replace(alone, out=str(tmp_path / "spread"))
    (tmp_path / "images").mkdir()
    for name, content in {**pngs(crops.images), "6.png": b"no image"}.items():
        (tmp_path / "images" / name).write_bytes(content)
    spread = dataclasses.replace(spread, images=str(tmp_path / "images"))
    made = make_masks(spread, batch=4, say=quiet)
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
    from studies.masks.stream import _in_words

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert _in_words(InputError("no such layer")) == "no such layer"
    assert _in_words(KeyError("a")) == "KeyError: 'a'"
    ecc = RuntimeError("CUDA error: uncorrectable ECC error encountered\nCompile with")
    assert _in_words(ecc).startswith("GPU 3 of ")


def test_soft_maps_are_the_stretched_cam_at_the_image_s_size_and_what_the_mask_was_cut_from(
    crops, tmp_path
):
    job = crops.job(tmp_path / "masks", soft=True)
    make_masks(job, in_process=True, say=quiet)
    recipe = job.recipe
    network = load_network(crops.ran.store, recipe.training, "student")
    for name in find_images(crops.images):
        image = Image.open(crops.images / name).convert("RGB")
        pixels = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR))
        with torch.no_grad():
            cam = network(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255)
        maps = cam.activation_maps
        maps = (maps - maps.min()) / (maps.max() - maps.min())
        expected = torch.nn.functional.interpolate(maps, image.size[::-1], mode="bilinear")
        soft = values(job.soft_file(name, "smoke"))
        assert abs(soft - 255 * expected[0, 0].numpy()).max() < 1  # half a level, and float16
        np.testing.assert_array_equal(values(job.mask_file(name)) == 1, soft >= recipe.level)


def test_undecided_are_the_pixels_within_the_margin_and_no_others(crops, tmp_path):
    job = crops.job(tmp_path / "masks", soft=True, uncertain=0.1)
    make_masks(job, in_process=True, say=quiet)
    for name in find_images(crops.images):
        soft = values(job.soft_file(name, "smoke")).astype(int)
        near = abs(soft - job.recipe.level) / 255 < 0.1
        np.testing.assert_array_equal(values(job.mask_file(name)) == 255, near)


def test_configuration_and_seed_are_chosen_by_the_tune_split_and_never_by_the_test_split(
    crops, tmp_path
):
    shutil.copytree(crops.ran.results / "ledger", tmp_path / "ledger")

    def tell(split: str, good: str) -> None:
        """Rewrite scores: `good` is perfect on a split, the others are wrong everywhere."""
        for key in read_table(tmp_path, "trials")["trial_key"]:
            rows = read_table(tmp_path, "scores", keys=[key]).to_dict("records")
            for row in rows:
                if row["split"] == split:
                    area = [row["foreground"].sum(), row["background"].sum()]
                    first = 200 if key == good else 0
                    row["foreground"], row["background"] = np.zeros((2, 256), int)
                    row["context"] = row["ring"] = None
                    row["foreground"][first], row["background"][200 - first] = area
            write_part(tmp_path, "scores", key, [_without_nan(row) for row in rows])

    keys = {(t.configuration, t.seed): t.key for t in crops.ran.plan.trials}
    tell("tune", keys["CNN alone", 1])
    for misleading in keys.values():
        tell("test", misleading)
        recipe, said = choose_recipe(tmp_path, crops.ran.store, MaskSelection())
        assert (recipe.configuration, recipe.seed) == ("CNN alone", 1)
    assert said[0].startswith("configuration CNN alone (of 2 the best by per_image_iou on the tune")
    assert said[1] == "seed 1 (of 2 the best by per_image_iou on the tune split)"


def test_only_trials_that_ended_well_are_chosen(crops, tmp_path):
    shutil.copytree(crops.ran.results / "ledger", tmp_path / "ledger")
    trials = {(t.configuration, t.seed): t.key for t in crops.ran.plan.trials}

    def refused(**selection: Any) -> str:
        with pytest.raises(InputError) as raised:
            choose_recipe(tmp_path, crops.ran.store, MaskSelection(**selection))
        return str(raised.value)

    def fail(*place: Any) -> None:
        (row,) = read_table(tmp_path, "trials", keys=[trials[place]]).to_dict("records")
        write_part(
            tmp_path, "trials", row["trial_key"], [_without_nan({**row, "status": "failed"})]
        )

    fail("CNN alone", 0)
    recipe, said = choose_recipe(
        tmp_path, crops.ran.store, MaskSelection(configuration="CNN alone", chain="PAR")
    )
    assert recipe.seed == 1
    assert said[:2] == [
        "configuration CNN alone (as asked)", "seed 1 (the only one that ended well)"
    ]  # fmt: skip
    of_seed = {"configuration": "CNN alone", "seed": 0}
    assert refused(**of_seed) == "--seed 0 did not end well: expected one of 1"
    fail("CNN alone", 1)
    begins = "--configuration 'CNN alone' did not end well: expected one of ViT alone"
    assert refused(**of_seed) == begins
    fail("ViT alone", 0)
    fail("ViT alone", 1)
    assert "no trial ended well" in refused()


def _without_nan(row: Raw) -> Raw:
    return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in row.items()}


def test_a_given_threshold_is_the_smallest_level_that_reaches_it(crops, tmp_path):
    recipe = crops.job(tmp_path, MaskSelection(seed=0, threshold=0.3)).recipe
    assert (recipe.level, recipe.rule) == (77, "given")  # 76 / 255 < 0.3 <= 77 / 255


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"configuration": "CNN alon"}, "--configuration 'CNN alon': nearest: 'CNN alone'; exp"),
        ({"seed": 7}, "--seed 7: expected one of 0, 1"),
        ({"chain": "PAX"}, "--chain 'PAX': nearest: 'PAR'; expected one of none, PAR, "),
        ({"chain": "SAM"}, "--chain 'SAM': was not run: no weights were given"),
        ({"rule": "tunned"}, "--rule 'tunned': chose no level here; nearest: 'tuned'"),
        ({"rule": "image_oracle"}, "--rule 'image_oracle': chose no level here"),
        ({"study": "crop"}, "--study 'crop': nearest: 'crops'"),
        ({"threshold": 1.5}, "--threshold 1.5: expected a value from 0 to 1"),
        ({"threshold": 0.5, "rule": "fixed"}, "--threshold and --rule: expected one of them"),
    ],
)
def test_a_slip_names_what_there_is(crops, tmp_path, wish, said):
    with pytest.raises(InputError, match=said):
        crops.job(tmp_path, MaskSelection(**wish))


def test_refinement_is_the_old_spelling_of_chain(crops, wsss, tmp_path):
    for option in ("--chain", "--refinement"):
        ended = wsss(
            "masks", crops.ran.results, "--images", crops.images, "--out", tmp_path / "masks",
            option, "PAX",
        )  # fmt: skip
        assert ended.code == 2
        assert "--chain 'PAX': nearest: 'PAR'" in ended.err


def test_another_store_is_refused(crops, wsss, tmp_path):
    ended = wsss(
        "masks", crops.ran.results, "--store", tmp_path / "other", "--images", crops.images,
        "--out", tmp_path / "masks",
    )  # fmt: skip
    assert ended.code == 2
    assert "expected, as --store, the store that the study was run with" in ended.err


def test_a_step_whose_version_was_raised_since_is_refused(crops, tmp_path, monkeypatch):
    monkeypatch.setitem(STEP_KINDS, "par", dataclasses.replace(STEP_KINDS["par"], version=99))
    with pytest.raises(InputError, match="refiner par: the study was run with its version 1, here"):
        crops.job(tmp_path, MaskSelection(chain="PAR twice"))


def test_bad_images_are_named_fail_the_command_and_keep_no_other_from_its_mask(
    crops, wsss, tmp_path
):
    shutil.copytree(crops.images, tmp_path / "images" / "deep" / "er")
    (tmp_path / "images" / "deep" / "broken.jpg").write_bytes(b"no image")
    (tmp_path / "images" / "notes.txt").write_text("none either")
    command = (
        "masks", crops.ran.results, "--images", tmp_path / "images", "--out", tmp_path / "masks",
        "--configuration", "ViT alone", "--in-process", "--batch", 3,
    )  # fmt: skip
    ended = wsss(*command)
    broken = tmp_path / "images" / "deep" / "broken.jpg"
    assert ended.code == 1
    assert ended.err.startswith(f"failed: deep/broken.jpg: {broken}: not an image, expected")
    assert set(pngs(tmp_path / "masks")) == {f"deep/er/{number}.png" for number in range(6)}
    record = json.loads((tmp_path / "masks" / "masks.json").read_text())
    assert record["counts"] == {"images": 7, "masks": 6, "failed": 1}
    assert list(record["failed"]) == ["deep/broken.jpg"]
    broken.unlink()
    again = wsss(*command)
    assert (again.code, again.err) == (0, "")
    assert "6 images, 6 have their mask" in again.out


@pytest.mark.ci
def test_a_mask_that_cannot_be_written_ends_the_run_with_one_line(crops, tmp_path, ray_here):
    put(tmp_path / "images" / "0.png", np.zeros((40, 40, 3), np.uint8))
    job = dataclasses.replace(crops.job(tmp_path / "masks"), images=str(tmp_path / "images"))
    make_masks(job, in_process=True, say=quiet)
    (tmp_path / "masks" / "deep").write_text("a file where a folder has to be")
    put(tmp_path / "images" / "deep" / "1.png", np.zeros((40, 40, 3), np.uint8))
    for in_process in (True, False):
        with pytest.raises(InputError, match=r"deep/1\.png: cannot be written: "):
            make_masks(job, in_process=in_process, say=quiet)


def test_the_record_says_what_the_masks_are(crops, tmp_path):
    job = crops.job(tmp_path / "masks", MaskSelection(chain="PAR twice", seed=0))
    make_masks(job, in_process=True, say=quiet)
    record = json.loads((tmp_path / "masks" / "masks.json").read_text())
    settings = record["settings"]
    assert (settings["study"], settings["seed"], settings["rule"]) == ("crops", 0, "tuned")
    assert [step["kind"] for step in settings["chain"]["steps"]] == ["par", "par"]
    assert record["values"][1] == {"value": 1, "name": "smoke", "colour": [128, 0, 0]}
    assert [one["value"] for one in record["values"]] == [0, 1, 255]
    assert record["ended_at"] is not None


@pytest.mark.parametrize(
    ("wish", "changes", "said"),
    [
        ({"seed": 1}, {}, "the masks there were made with seed 0, asked for is 1"),
        ({"seed": 0, "threshold": 0.9}, {}, "made with rule 'tuned', asked for is 'given'"),
        ({"seed": 0}, {"soft": True}, "made with soft False, asked for is True"),
    ],
)
def test_masks_of_other_settings_are_not_mixed_in(crops, tmp_path, wish, changes, said):
    name = "CNN alone"
    make_masks(crops.job(tmp_path / "masks"), in_process=True, say=quiet)
    before = pngs(tmp_path / "masks")
    with pytest.raises(InputError, match=said):
        make_masks(
            crops.job(tmp_path / "masks", MaskSelection(configuration=name, **wish), **changes),
            in_process=True,
            say=quiet,
        )
    assert pngs(tmp_path / "masks") == before


def test_a_folder_with_other_things_in_it_is_refused(crops, tmp_path):
    put(tmp_path / "0.png", np.zeros((3, 3), np.uint8))
    with pytest.raises(InputError, match=r"holds '0\.png' and no masks\.json"):
        make_masks(crops.job(tmp_path), in_process=True, say=quiet)


@pytest.mark.parametrize("inside", [".", "masks"])
def test_masks_do_not_go_where_the_images_are(crops, inside):
    with pytest.raises(InputError, match="lies in the folder of the images"):
        make_masks(crops.job(crops.images / inside), in_process=True, say=quiet)


def test_two_images_of_one_mask_are_refused(crops, tmp_path):
    shutil.copytree(crops.images, tmp_path / "images")
    put(tmp_path / "images" / "0.jpg", np.zeros((9, 9, 3), np.uint8))
    job = dataclasses.replace(crops.job(tmp_path / "masks"), images=str(tmp_path / "images"))
    with pytest.raises(InputError, match=r"0\.png: same stem as 0\.jpg"):
        make_masks(job, in_process=True, say=quiet)


def test_a_margin_that_cannot_be_is_refused_before_anything_is_made(crops, tmp_path):
    with pytest.raises(InputError, match="uncertain 2"):
        make_masks(crops.job(tmp_path / "masks", uncertain=2.0), in_process=True, say=quiet)
    assert not (tmp_path / "masks").exists()


@pytest.mark.parametrize("finished", [1, 3, 5])
def test_broken_off_and_run_again_loses_and_repeats_nothing(crops, tmp_path, monkeypatch, finished):
    whole = crops.job(tmp_path / "whole", soft=True)
    make_masks(whole, in_process=True, say=quiet)
    job = dataclasses.replace(whole, out=str(tmp_path / "masks"))
    write, written = studies.masks.worker.write_mask, []

    def break_off(mask: np.ndarray, target: Path, unfinished: Path) -> None:
        if len(written) == finished:
            (unfinished / "half.png").write_bytes(b"half a file")
            raise KeyboardInterrupt
        written.append(target.name)
        write(mask, target, unfinished)

    monkeypatch.setattr(studies.masks.worker, "write_mask", break_off)
    with pytest.raises(KeyboardInterrupt):
        make_masks(job, in_process=True, batch=2, say=quiet)
    record = json.loads((tmp_path / "masks" / "masks.json").read_text())
    assert record["ended_at"] is None
    assert len(written) == finished

    def go_on(mask: np.ndarray, target: Path, unfinished: Path) -> None:
        written.append(target.name)
        write(mask, target, unfinished)

    monkeypatch.setattr(studies.masks.worker, "write_mask", go_on)
    made = make_masks(job, in_process=True, batch=2, say=quiet)
    assert (made.there_before, made.written) == (finished, 6 - finished)
    assert sorted(written) == [f"{number}.png" for number in range(6)]
    assert pngs(tmp_path / "masks") == pngs(tmp_path / "whole")


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
    batch = [Cams(f"{number}.png", None, maps, logits) for number in range(4)]
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
    make_masks(
        dataclasses.replace(job, images=str(tmp_path / "images")), in_process=True, say=quiet
    )
    assert pngs(out) == pngs(tmp_path / "whole")
