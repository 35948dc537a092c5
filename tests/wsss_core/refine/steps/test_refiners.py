"""The steps behind one interface: each does what its own functions do, on maps of any grid."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from wsss_core.backbones import build_network
from wsss_core.data.file_hashes import file_hashes
from wsss_core.errors import InputError
from wsss_core.evaluate import resize
from wsss_core.refine.affinity.heads import AffinityNet
from wsss_core.refine.crf.dense_crf import dense_crf, unary_probabilities
from wsss_core.refine.crf.settings import CRF_PRESETS
from wsss_core.refine.foundation.mask_proposals import load_proposals
from wsss_core.refine.foundation.sam_merging import merge_thesis
from wsss_core.refine.pixel_adaptive import par
from wsss_core.refine.steps.registry import STEP_KINDS, check_step, make_refiner
from wsss_core.refine.steps.walk import AffinityWalk

SIDE = 32


@pytest.fixture
def images():
    """Four images of a bright disc on a dark ground, uint8 [4, 32, 32, 3]."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    pictures = []
    for row, column in ((10, 10), (20, 12), (14, 22), (22, 22)):
        disc = (rows - row) ** 2 + (columns - column) ** 2 < 49
        pictures.append(np.where(disc[..., None], (230, 220, 210), (40, 60, 50)))
    noise = random.normal(0, 6, (4, SIDE, SIDE, 3))
    return np.clip(np.stack(pictures) + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def scores(images):
    """What a coarse CAM says of them, float32 [4, 1, 8, 8]: the disc, blurred to its grid."""
    bright = (images[..., 0] > 128).astype(np.float32)
    return bright.reshape(4, 1, 8, 4, 8, 4).mean(axis=(3, 5))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    options = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
    return build_network("vit_tiny_patch16_224", classes=1, image_size=SIDE, options=options)


@pytest.mark.parametrize("preset", ["thesis", "psa", "irn", "afa"])
def test_dense_crf_gives_the_posteriors_of_the_foreground_at_the_images_size(
    images, scores, preset
):
    refined = make_refiner("crf", {"preset": preset})(images, scores)
    assert refined.shape == (4, 1, SIDE, SIDE)
    unary = unary_probabilities(resize(scores[2], (SIDE, SIDE)), preset=preset)
    expected = dense_crf(images[2], unary, preset=preset)
    np.testing.assert_array_equal(refined[2], expected[1:].numpy())


def test_a_background_of_ones_own_takes_the_place_of_the_presets(images, scores):
    refined = make_refiner("crf", {"preset": "psa", "background": 1.0})(images, scores)
    crf = replace(CRF_PRESETS["psa"], background=1.0)
    unary = unary_probabilities(resize(scores[1], (SIDE, SIDE)), preset=crf)
    np.testing.assert_array_equal(refined[1], dense_crf(images[1], unary, preset=crf)[1:].numpy())


def test_par_keeps_a_constant_map_as_it_is(images):
    flat = np.full((4, 1, 8, 8), 0.5, np.float32)
    np.testing.assert_allclose(make_refiner("par", {})(images, flat), 0.5, atol=1e-5)


def test_par_is_par_over_what_it_makes_of_a_constant(images, scores):
    refined = make_refiner("par", {"iterations": 3, "dilations": [1, 2]})(images, scores)
    pictures = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    maps = torch.from_numpy(resize(scores, (SIDE, SIDE)))
    ones = torch.ones_like(maps)
    how = {"iterations": 3, "dilations": (1, 2)}
    expected = par(pictures, maps, **how) / par(pictures, ones, **how)
    np.testing.assert_allclose(refined, expected.numpy(), atol=1e-5)


def held(count):
    return np.ones((count, 1), bool)


def test_sure_pixels_are_the_disc_and_the_ground_and_nothing_without_the_label(images, scores):
    sure = AffinityWalk(preset="psa")._sure_pixels(images, scores, held(4), "cpu")
    assert sure.shape == (4, 4, 4)
    of_cells = scores.reshape(4, 4, 2, 4, 2).mean(axis=(2, 4))  # how much of a cell is the disc
    assert (sure[of_cells == 1] == 1).all()
    assert (sure[of_cells == 0] == 0).all()
    assert (AffinityWalk()._sure_pixels(images, scores, ~held(4), "cpu") == 0).all()


@pytest.mark.parametrize("kind", ["affinity", "boundary"])
def test_a_walk_learns_once_and_says_the_same_from_what_it_kept(
    kind, images, scores, network, tmp_path
):
    settings = {"preset": "psa" if kind == "affinity" else "irn", "epochs": 1}
    before = {name: value.clone() for name, value in network.state_dict().items()}
    refined = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        refiner = make_refiner(kind, settings)
        refiner.fit(network, images, scores, held(4), tmp_path / name, seed=3)
        refined.append(
            make_refiner(kind, settings)(
                images, scores, fitted_state=tmp_path / name, network=network
            )
        )
    np.testing.assert_array_equal(*refined)
    stride = refiner.settings.stride
    assert refined[0].shape == (4, 1, SIDE // stride, SIDE // stride)
    np.testing.assert_allclose(refined[0].max(axis=(2, 3)), 1)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_walk_of_nothing_is_nothing(images, scores, network, tmp_path):
    refiner = make_refiner("affinity", {"preset": "psa", "epochs": 1})
    refiner.fit(network, images, scores, held(4), tmp_path, seed=0)
    nothing = np.zeros_like(scores)
    assert not refiner(images, nothing, fitted_state=tmp_path, network=network).any()


def test_settings_of_an_affinity_step_change_its_preset():
    assert make_refiner("affinity", {"preset": "thesis", "epochs": 2}).settings.epochs == 2
    assert make_refiner("affinity", {"preset": "thesis"}).settings.beta == 16
    assert AffinityNet  # what the head is


@pytest.mark.parametrize("name", ["sam", "sam2"])
def test_sam_merges_the_proposals_it_kept(name, checkpoint, images, scores, tmp_path):
    settings = {"weights": str(checkpoint(name)), "points_per_side": 3, "pred_iou": 0.0,
                "stability": 0.0}  # fmt: skip
    refiner = make_refiner("sam", settings)
    check_step("sam", settings)
    refiner.compute_image_features(images, ("disc",), tmp_path)
    refined = refiner(images, scores, image_features=tmp_path)
    assert refined.shape == (4, 1, SIDE, SIDE)
    assert set(np.unique(refined)) <= {0.0, 1.0}
    proposals = load_proposals(tmp_path)
    maps = torch.from_numpy(resize(scores, (SIDE, SIDE)))
    for index in range(4):
        expected = merge_thesis(maps[index, 0], torch.from_numpy(proposals[index].masks()))
        np.testing.assert_array_equal(refined[index, 0], expected.numpy())


def test_clip_weighs_each_class_by_its_own_prompts(checkpoint, images, scores, tmp_path):
    settings = {"weights": str(checkpoint("clip")), "prompts": {"disc": ["a disc", "disc"]},
                "background": ["ground"]}  # fmt: skip
    refiner = make_refiner("clip", settings)
    refiner.compute_image_features(images, ("disc",), tmp_path)
    refined = refiner(images, scores, image_features=tmp_path)
    similarity = np.load(tmp_path / "similarity.npy").astype(np.float32)
    assert similarity.shape == (4, 1, 4, 4)
    np.testing.assert_allclose(refined, scores * resize(similarity, (8, 8)), atol=1e-6)


@pytest.mark.parametrize("change", ["replaced", "removed", "added"])
def test_files_of_a_large_model_are_compared_with_the_digests_of_the_plan(
    checkpoint, images, tmp_path, change
):
    folder = shutil.copytree(checkpoint("clip"), tmp_path / "clip")
    digests = file_hashes(sorted(folder.iterdir()))
    settings = {"weights": str(folder), "prompts": {"disc": ["a disc"]}}
    make_refiner("clip", settings, digests).model("cpu")
    if change == "removed":
        (folder / "README.md").write_text("a note")
        digests = file_hashes(sorted(folder.iterdir()))
        (folder / "README.md").unlink()
    elif change == "added":
        (folder / "zeros").write_text("0")
    else:
        weights = load_file(folder / "model.safetensors")
        key = next(iter(weights))
        save_file(
            {**weights, key: weights[key] + 1}, folder / "model.safetensors", {"format": "pt"}
        )
    with pytest.raises(InputError, match=r"refiner clip: weights .* changed since the plan"):
        make_refiner("clip", settings, digests).compute_image_features(images, ("disc",), tmp_path)


@pytest.mark.parametrize("kind", ["sam", "clip"])
def test_a_large_model_that_is_not_there_is_an_error_that_names_it(kind, tmp_path):
    with pytest.raises(InputError, match="needs weights"):
        check_step(kind, {})
    with pytest.raises(InputError, match=str(tmp_path)):
        check_step(kind, {"weights": str(tmp_path)})


def test_what_a_step_needs_first_is_known_without_making_it():
    assert {kind for kind, step in STEP_KINDS.items() if step.image_features} == {
        "sam",
        "clip",
        "saliency",
    }
    assert {kind for kind, step in STEP_KINDS.items() if step.fitted_state} == {
        "affinity",
        "boundary",
    }
