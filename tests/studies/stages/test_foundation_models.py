"""SAM and CLIP through a study and through masks: real models, tiny and randomly initialised."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import wsss_core.refine.steps.foundation
from reports.ledger.parts import read_table
from studies.masks.folder import make_missing_masks
from studies.masks.recipe import MaskSelection, choose_recipe
from studies.masks.worker import MaskJob
from studies.planning.chains import MapScaling, shards
from studies.stages.cams import base_scores, network_maps
from wsss_core.evaluate import ScoreHistogram, quantise, resize
from wsss_core.refine.foundation.models import load_foundation
from wsss_core.refine.steps.registry import make_refiner

Raw = dict[str, Any]


@pytest.fixture(scope="module")
def steps(checkpoint: Callable[[str], Path]) -> dict[str, Raw]:
    grid = {"points_per_side": 3, "pred_iou": 0.0, "stability": 0.0}
    return {
        "SAM": {"sam": {"weights": str(checkpoint("sam")), **grid}},
        "SAM 2": {"sam": {"weights": str(checkpoint("sam2")), "rule": "sam_wsss", **grid}},
        "CLIP": {"clip": {"weights": str(checkpoint("clip")), "prompts": {"smoke": ["smoke"]}}},
    }


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of models that are loaded, one after the other."""
    kinds: list[str] = []

    def load(kind: Any, weights: Any, device: str = "cpu") -> Any:
        kinds.append(kind)
        return load_foundation(kind, weights, device)

    monkeypatch.setattr(wsss_core.refine.steps.foundation, "load_foundation", load)
    return kinds


@pytest.fixture(scope="module")
def refined(run: Any, shared_tiny: Raw, steps: dict[str, Raw], tmp_path_factory: Any) -> Any:
    """Two trials under every model, and under CLIP's weights before SAM's masks."""
    study = {
        **shared_tiny,
        "configurations": shared_tiny["configurations"][:2],
        "refine": {
            **{name: [step] for name, step in steps.items()},
            "CLIP, SAM": [steps["CLIP"], steps["SAM"]],
        },
    }
    return run(study, tmp_path_factory.mktemp("foundation"))


def test_all_images_are_scored_under_every_model(refined: Any) -> None:
    scores = read_table(refined.results, "scores")
    counts = scores.groupby(scores["refinement"].fillna("none"))["image"].count()
    assert counts.to_dict() == dict.fromkeys(("none", "SAM", "SAM 2", "CLIP", "CLIP, SAM"), 32)
    assert refined.result.unrefined == {}


def test_each_image_is_shown_to_a_model_once_for_all_trials_and_chains(
    run: Any, taught: Raw, steps: dict[str, Raw], tmp_path: Path, loaded: list[str]
) -> None:
    taught["seeds"] = [0, 1]
    taught["refine"] = {"SAM": [steps["SAM"]], "twice": [steps["CLIP"], steps["SAM"]]}
    assert run(taught, tmp_path).result.unrefined == {}
    shown = len(shards(8)) * 2  # of tune and of test
    assert sorted(loaded) == ["clip"] * shown + ["sam"] * shown


def test_scores_under_a_chain_of_models_are_those_of_the_steps_called_by_hand(
    refined: Any, steps: dict[str, Raw], tmp_path: Path
) -> None:
    trial = refined.plan.trials[1]
    job = next(job for job in refined.plan.jobs.values() if trial in job.trials)
    images = job.images.load(refined.store, "test")
    raw = network_maps(job, "student", "test", images, refined.store, "cpu")
    chain = refined.plan.chains[3]
    maps = base_scores(raw, chain.cam, MapScaling("min_max", "none"))
    for name in ("CLIP", "SAM"):
        ((kind, settings),) = steps[name].items()
        refiner, folder = make_refiner(kind, settings), tmp_path / name
        folder.mkdir()
        refiner.compute_image_features(np.asarray(images.images), images.classes, folder)
        found = refiner(np.asarray(images.images), maps, image_features=folder)
        maps = found.astype(np.float16).astype(np.float32)  # as the store keeps them
    rows = read_table(refined.results, "scores", keys=[trial.chains[chain.name]])
    rows = rows[rows["split"] == "test"].set_index("image")
    for index, name in enumerate(images.identifiers):
        mask = images.mask(index)
        expected = ScoreHistogram.from_scores(
            quantise(resize(maps[index], mask.shape))[0], mask == 1
        )
        np.testing.assert_array_equal(rows.loc[name, "foreground"], expected.foreground)
        np.testing.assert_array_equal(rows.loc[name, "background"], expected.background)


@pytest.fixture
def job(refined: Any, tmp_path: Path) -> Callable[[str], MaskJob]:
    """Masks of seven images by CLIP's weights and SAM's masks, in a folder of a name."""
    random = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(7):
        pixels = random.integers(0, 256, (40 + number, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
    wish = MaskSelection(configuration="ViT alone", chain="CLIP, SAM")
    recipe, _ = choose_recipe(refined.results, refined.store, wish)

    def named(out: str) -> MaskJob:
        return MaskJob(recipe, str(tmp_path / "images"), str(tmp_path / out), soft=True)

    return named


def pngs(folder: str) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in Path(folder).rglob("*.png")}


def test_masks_load_each_model_once_however_many_batches_there_are(
    job: Callable[[str], MaskJob], loaded: list[str]
) -> None:
    one, other = job("batches"), job("whole")
    assert make_missing_masks(one, in_process=True, batch=2).failed == {}
    assert sorted(loaded) == ["clip", "sam"]
    make_missing_masks(other, in_process=True, batch=16)
    assert pngs(one.out) == pngs(other.out)
    assert len(pngs(one.out)) == 14


@pytest.mark.ci
@pytest.mark.parametrize("apart", [False, True])
def test_workers_of_ray_data_make_the_same_masks(
    job: Callable[[str], MaskJob], ray_here: None, monkeypatch: pytest.MonkeyPatch, apart: bool
) -> None:
    from studies.masks import (
        stream as masks_pipeline,  # Ray, which reads what conftest sets when it is imported
    )

    stream = functools.partial(masks_pipeline.stream_masks, apart=apart)
    monkeypatch.setattr(masks_pipeline, "stream_masks", stream)
    alone, spread = job("alone"), job("spread")
    make_missing_masks(alone, in_process=True)
    assert make_missing_masks(spread, batch=2).failed == {}
    assert pngs(spread.out) == pngs(alone.out)
