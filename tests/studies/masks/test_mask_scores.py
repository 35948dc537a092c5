"""Masks equal what the study scored: the IoU of every image, soft maps, undecided pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reports.names import PLAIN
from reports.results.reading import read_studies
from studies.masks.folder import find_images, make_missing_masks
from studies.masks.recipe import MaskSelection, choose_recipe
from studies.masks.worker import MaskJob
from studies.stages.training import load_network


def values(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image)


def iou(mask: np.ndarray, truth: np.ndarray) -> float:
    return float((mask & truth).sum() / (mask | truth).sum())


def put(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize("refinement", [None, "PAR twice", "own"])
@pytest.mark.parametrize("rule", ["tuned", "fixed", "otsu"])
def test_masks_have_the_iou_that_was_scored_image_by_image(crops, tmp_path, refinement, rule):
    wish = MaskSelection(configuration="ViT alone", seed=1, chain=refinement, rule=rule)
    job = crops.job(tmp_path / "masks", wish)
    assert make_missing_masks(job, in_process=True).failed == {}
    (record,) = read_studies(crops.ran.results)
    trial = record.trials["ViT alone", 1]
    if refinement is not None:
        trial = record.all_trials["ViT alone", 1, refinement]
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
        make_missing_masks(job, in_process=True)
        trial = record.all_trials["CNN alone", 0, chain or PLAIN]
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


def test_soft_maps_are_the_stretched_cam_at_the_image_s_size_and_what_the_mask_was_cut_from(
    crops, tmp_path
):
    job = crops.job(tmp_path / "masks", soft=True)
    make_missing_masks(job, in_process=True)
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
    make_missing_masks(job, in_process=True)
    for name in find_images(crops.images):
        soft = values(job.soft_file(name, "smoke")).astype(int)
        near = abs(soft - job.recipe.level) / 255 < 0.1
        np.testing.assert_array_equal(values(job.mask_file(name)) == 255, near)
