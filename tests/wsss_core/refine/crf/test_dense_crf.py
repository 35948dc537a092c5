"""The dense CRF beside pydensecrf, and beside the update written out with dense matrices."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import wsss_core.refine.crf.dense_crf
from wsss_core.data.scenes.scene import SceneSettings, render_scene
from wsss_core.errors import InputError
from wsss_core.refine import CRF_PRESETS, CrfSettings, dense_crf, unary_probabilities
from wsss_core.refine.crf.mean_field import bilateral_kernel, gaussian_kernel, mean_field

CPU = torch.device("cpu")


def smooth_scores(classes: int, height: int, width: int, seed: int) -> np.ndarray:
    """Scores as a CAM gives them, float32 [K, H, W], 0 to 1: a coarse grid resized."""
    random = np.random.default_rng([seed, classes])
    maps = []
    for _ in range(classes):
        grid = Image.fromarray(random.random((6, 6)).astype(np.float32) ** 2)
        maps.append(np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC)).clip(0, 1))
    return np.stack(maps)


def picture(height: int = 24, width: int = 30, seed: int = 0) -> np.ndarray:
    """A noisy edge, uint8 [H, W, 3]."""
    random = np.random.default_rng(seed)
    image = random.integers(60, 80, (height, width, 3))
    image[:, width // 2 :] += 100
    return image.astype(np.uint8)


def compare(image: np.ndarray, name: str, classes: int, seed: int) -> tuple[float, float]:
    """Mean absolute difference of the backends' posteriors, and share of equal labels."""
    scores = smooth_scores(classes - 1, *image.shape[:2], seed)
    unary = unary_probabilities(scores, preset=name)
    own = dense_crf(image, unary, preset=name)
    theirs = dense_crf(image, unary, preset=name, backend="pydensecrf")
    agree = (own.argmax(0) == theirs.argmax(0)).float().mean()
    return float((own - theirs).abs().mean()), float(agree)


class TestBesidePydensecrf:
    @pytest.fixture(autouse=True)
    def needs_it(self) -> None:
        pytest.importorskip("pydensecrf.densecrf")

    @pytest.mark.parametrize("classes", [2, 4])
    @pytest.mark.parametrize("name", CRF_PRESETS)
    def test_scenes_get_the_same_posteriors(self, name: str, classes: int) -> None:
        for index in range(20):
            scene = render_scene(SceneSettings(size=128, seed=3), index, smoke=index % 4 > 0)
            difference, agree = compare(scene.image, name, classes, index)
            assert difference < 1e-4
            assert agree > 0.999

    @pytest.mark.data
    @pytest.mark.skipif(
        "WSSS_DATA" not in os.environ, reason="WSSS_DATA names no folder of real images"
    )
    @pytest.mark.parametrize("classes", [2, 4])
    @pytest.mark.parametrize("name", CRF_PRESETS)
    def test_real_crops_get_the_same_posteriors(self, name: str, classes: int) -> None:
        folder = Path(os.environ["WSSS_DATA"]) / "smoke_crops/test/images"
        files = sorted(folder.glob("*.jpg"))
        for index, file in enumerate(files[:: len(files) // 20][:20]):
            with Image.open(file) as opened:
                image = np.asarray(opened.convert("RGB"))[40:180, 30:170]
            difference, agree = compare(image, name, classes, index)
            assert difference < 1e-4
            assert agree > 0.999

    @pytest.mark.parametrize("shape", [(1, 1), (1, 37), (41, 1), (3, 5), (19, 23)])
    def test_sizes_that_leave_its_groups_of_four_unfilled_too(self, shape: tuple) -> None:
        # It fills them up with black at the corner, which shows where the picture is dark.
        image = np.random.default_rng(0).integers(0, 20, (*shape, 3)).astype(np.uint8)
        for name in CRF_PRESETS:
            assert compare(image, name, 3, 1)[0] < 1e-4

    def test_a_constant_image_and_a_one_hot_unary(self) -> None:
        unary = np.zeros((2, 20, 20), np.float32)
        unary[0, :, :9] = unary[1, :, 9:] = 1
        image = np.full((20, 20, 3), 128, np.uint8)
        for name in CRF_PRESETS:
            own = dense_crf(image, unary, preset=name)
            theirs = dense_crf(image, unary, preset=name, backend="pydensecrf")
            torch.testing.assert_close(own, theirs, atol=1e-4, rtol=0)


class TestMeanField:
    def test_an_update_is_the_one_of_the_paper_with_every_class_filtered(self) -> None:
        image = torch.from_numpy(picture(5, 6))
        kernels = [
            (gaussian_kernel(5, 6, 2.0, CPU), 3.0),
            (bilateral_kernel(image[None], 4.0, 9.0), 5.0),
        ]
        generator = torch.Generator().manual_seed(0)
        log_unary = torch.randn(3, 1, 30, generator=generator)
        matrices = [kernel.filter(torch.eye(30)[:, None])[:, 0].T for kernel, _ in kernels]
        expected = log_unary[:, 0].exp() / log_unary[:, 0].exp().sum(0)
        for _ in range(4):
            energy = torch.zeros(3, 30)
            for (_, weight), matrix in zip(kernels, matrices, strict=True):
                for label in range(3):
                    for other in range(3):
                        if other != label:
                            energy[label] += weight * (matrix @ expected[other])
            unnormalised = (log_unary[:, 0] - energy).exp()
            expected = unnormalised / unnormalised.sum(0)
        found = mean_field(log_unary, kernels, 4)[:, 0]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)

    def test_no_iterations_leave_the_probabilities(self) -> None:
        unary = unary_probabilities(smooth_scores(2, 8, 9, 0), preset="afa")
        settings = replace(CRF_PRESETS["afa"], iterations=0)
        torch.testing.assert_close(dense_crf(picture(8, 9), unary, preset=settings), unary)

    def test_the_kernel_of_positions_is_built_once_a_size_and_few_are_kept(self) -> None:
        gaussian_kernel.cache_clear()
        for width in (7, 7, 8, 9, 10, 11, 12):
            unary = unary_probabilities(smooth_scores(1, 6, width, 0))
            dense_crf(picture(6, width), unary)
        assert gaussian_kernel.cache_info().hits == 1
        assert gaussian_kernel.cache_info().currsize == 4


class TestPosteriors:
    @pytest.mark.parametrize("name", CRF_PRESETS)
    def test_they_sum_to_one_and_are_float32(self, name: str) -> None:
        unary = unary_probabilities(smooth_scores(3, 24, 30, 0), preset=name).double()
        posteriors = dense_crf(picture(), unary, preset=name)
        assert posteriors.dtype == torch.float32
        assert posteriors.shape == (4, 24, 30)
        torch.testing.assert_close(posteriors.sum(0), torch.ones(24, 30))

    @pytest.mark.parametrize("name", CRF_PRESETS)
    def test_a_batch_gives_what_its_images_give_one_by_one(self, name: str) -> None:
        images = np.stack([picture(seed=seed) for seed in range(3)])
        unary = torch.stack(
            [unary_probabilities(smooth_scores(2, 24, 30, s), preset=name) for s in range(3)]
        )
        together = dense_crf(images, unary, preset=name)
        for index in range(3):
            alone = dense_crf(images[index], unary[index], preset=name)
            torch.testing.assert_close(together[index], alone, rtol=0, atol=1e-5)

    def test_images_on_one_lattice_give_what_they_give_alone(self) -> None:
        images = torch.from_numpy(np.stack([picture(seed=seed) for seed in range(3)]))
        log_unary = unary_probabilities(smooth_scores(3, 24, 30, 0)).clamp_min(1e-5).log()
        log_unary = log_unary.view(4, 1, -1).repeat(1, 3, 1)
        log_unary[:, 1] = log_unary[:, 1].flip(-1)
        gaussian = gaussian_kernel(24, 30, 3.0, CPU)
        kernels = [(gaussian, 3.0), (bilateral_kernel(images, 30.0, 5.0), 10.0)]
        together = mean_field(log_unary, kernels, 5)
        for index in range(3):
            kernels[1] = (bilateral_kernel(images[index : index + 1], 30.0, 5.0), 10.0)
            alone = mean_field(log_unary[:, index : index + 1], kernels, 5)
            torch.testing.assert_close(together[:, index : index + 1], alone, rtol=0, atol=1e-4)

    def test_arrays_that_are_read_only_or_strided_and_tensors_give_the_same(self) -> None:
        image, unary = picture(), unary_probabilities(smooth_scores(1, 24, 30, 0)).numpy()
        expected = dense_crf(torch.from_numpy(image), torch.from_numpy(unary))
        image.setflags(write=False)
        unary.setflags(write=False)
        assert torch.equal(dense_crf(image, unary), expected)
        turned = np.ascontiguousarray(image[::-1])[::-1]
        assert torch.equal(dense_crf(turned, np.asfortranarray(unary)), expected)

    def test_inference_mode_and_autocast_change_nothing(self) -> None:
        image, unary = picture(), unary_probabilities(smooth_scores(3, 24, 30, 0))
        gaussian_kernel.cache_clear()
        with torch.inference_mode():
            first = dense_crf(image, unary)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(dense_crf(image, unary), first)
        assert torch.equal(dense_crf(image, unary.requires_grad_()), first)

    def test_under_labels_only_the_largest_class_counts(self) -> None:
        image, unary = picture(), unary_probabilities(smooth_scores(2, 24, 30, 0), preset="afa")
        expected = dense_crf(image, unary, preset="irn")
        assert torch.equal(dense_crf(image, unary**3, preset="irn"), expected)
        believed = torch.full_like(unary, 0.15).scatter_(0, unary.argmax(0, keepdim=True), 0.7)
        soft = replace(CRF_PRESETS["irn"], unary="softmax")
        torch.testing.assert_close(dense_crf(image, believed, preset=soft), expected)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
    @pytest.mark.parametrize("name", CRF_PRESETS)
    def test_a_gpu_gives_what_the_cpu_gives(self, name: str) -> None:
        images = np.stack([picture(seed=seed) for seed in range(3)])
        scores = np.stack([smooth_scores(3, 24, 30, s) for s in range(3)])
        unary = unary_probabilities(scores, preset=name)
        on_gpu = dense_crf(images, unary.cuda(), preset=name)
        assert on_gpu.is_cuda
        expected = dense_crf(images, unary, preset=name)
        torch.testing.assert_close(on_gpu.cpu(), expected, rtol=0, atol=1e-3)


class TestUnaries:
    SCORES = torch.tensor([[0.0, 0.2, 0.5, 1.0], [0.0, 0.1, 0.6, 0.3]])[:, None]

    def found(self, **changes: Any) -> Tensor:
        settings = replace(CRF_PRESETS["thesis"], **changes)
        return unary_probabilities(self.SCORES, preset=settings)[:, 0]

    def test_power(self) -> None:
        rows = torch.tensor(
            [
                [1, 0, 0],
                [0.64 / 0.94, 0.2 / 0.94, 0.1 / 0.94],
                [0.16 / 1.26, 0.5 / 1.26, 0.6 / 1.26],
                [0, 1 / 1.3, 0.3 / 1.3],
            ]
        )
        torch.testing.assert_close(self.found(background=2), rows.T)

    def test_labels(self) -> None:
        found = self.found(unary="labels", background=0.3, gt_prob=0.8)
        rows = [[0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.1, 0.8, 0.1]]
        torch.testing.assert_close(found, torch.tensor(rows).T)

    def test_a_score_at_the_threshold_is_background(self) -> None:
        found = self.found(unary="labels", background=0.2)
        assert found.argmax(0).tolist() == [0, 0, 2, 1]

    def test_softmax(self) -> None:
        found = self.found(unary="softmax", background=0.45)
        weights = [[0.45, 0, 0], [0.45, 0.2, 0.1], [0.45, 0.5, 0.6], [0.45, 1, 0.3]]
        expected = [[np.exp(x) / np.exp(row).sum() for x in row] for row in weights]
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32).T)

    def test_one_class_under_the_thesis_is_cam_over_cam_and_background(self) -> None:
        cam = np.linspace(0, 1, 50, dtype=np.float32).reshape(1, 5, 10)
        found = unary_probabilities(cam, preset="thesis")[1].numpy()
        np.testing.assert_allclose(found, (cam / (cam + (1 - cam) ** 48))[0], rtol=1e-5)

    @pytest.mark.parametrize("name", CRF_PRESETS)
    def test_a_batch_is_its_images(self, name: str) -> None:
        scores = np.stack([smooth_scores(2, 8, 9, seed) for seed in range(3)])
        for index, found in enumerate(unary_probabilities(scores, preset=name)):
            torch.testing.assert_close(found, unary_probabilities(scores[index], preset=name))


class TestBadInput:
    IMAGE = np.zeros((4, 5, 3), np.uint8)
    EVEN = np.full((2, 4, 5), 0.5, np.float32)

    @pytest.mark.parametrize(
        ("image", "probabilities", "said"),
        [
            (IMAGE, EVEN[:, :3], r"\(4, 5, 3\) and probabilities \(2, 3, 5\)"),
            (IMAGE, EVEN[None], r"\(4, 5, 3\) and probabilities \(1, 2, 4, 5\)"),
            (IMAGE[None].repeat(2, 0), EVEN[None], r"\(2, 4, 5, 3\)"),
            (IMAGE[..., :1], EVEN, r"\(4, 5, 1\)"),
            (IMAGE[:0], EVEN[:, :0], r"\(0, 5, 3\)"),
            (IMAGE, EVEN[:1], r"\(1, 4, 5\) have 1 class"),
            (IMAGE.astype(np.float32), EVEN, "image has type torch.float32"),
            (IMAGE, EVEN.astype(np.int64), "probabilities have type torch.int64"),
            (IMAGE, -EVEN, "from -0.5 to -0.5"),
            (IMAGE, EVEN * 3, "from 1.5 to 1.5"),
            (IMAGE, EVEN * np.float32("nan"), "nan"),
        ],
    )
    def test_is_named(self, image: np.ndarray, probabilities: np.ndarray, said: str) -> None:
        with pytest.raises(InputError, match=said):
            dense_crf(image, probabilities)

    def test_an_unknown_preset_or_backend_lists_the_known_ones(self) -> None:
        with pytest.raises(InputError, match="'voc', expected one of thesis, psa, irn, afa"):
            dense_crf(self.IMAGE, self.EVEN, preset="voc")
        with pytest.raises(InputError, match="'cpp', expected one of"):
            dense_crf(self.IMAGE, self.EVEN, backend="cpp")

    def test_scores_of_another_shape_or_range(self) -> None:
        with pytest.raises(InputError, match=r"\(4, 5\), expected \[K, H, W\]"):
            unary_probabilities(self.EVEN[0])
        with pytest.raises(InputError, match="scores go from 5 to 5"):
            unary_probabilities(self.EVEN * 10)

    def test_without_the_extra_the_error_names_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
        with pytest.raises(InputError, match=r"wsss-studies\[crf\]"):
            dense_crf(self.IMAGE, self.EVEN, backend="pydensecrf")

    @pytest.mark.parametrize(
        "change",
        [
            {"gaussian_sxy": 0},
            {"bilateral_srgb": float("nan")},
            {"bilateral_compat": -1},
            {"iterations": 2.5},
            {"iterations": -1},
            {"unary": "logits"},
            {"gt_prob": 1},
            {"clip": 0},
            {"background": 0},
        ],
    )
    def test_settings_out_of_range_are_named(self, change: dict[str, Any]) -> None:
        (name,) = change
        with pytest.raises(InputError, match=name):
            replace(CRF_PRESETS["thesis"], **change)

    def test_deviations_too_small_for_the_picture_are_refused(self) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype(np.uint8)
        settings = CrfSettings(3, 3, 0.01, 0.01, 10, 1, "softmax", 0.45)
        with pytest.raises(InputError, match="larger standard deviations"):
            dense_crf(noise, self.EVEN, preset=settings)


def test_two_unaries_of_one_image_share_its_lattice_and_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []

    def counted(images: Tensor, sxy: float, srgb: float) -> Any:
        made.append(len(images))
        return bilateral_kernel(images, sxy, srgb)

    monkeypatch.setattr(wsss_core.refine.crf.dense_crf, "bilateral_kernel", counted)
    one, other = picture(seed=0), picture(seed=1)
    scores = [np.stack([1 - s, s])[:, 0] for s in (smooth_scores(1, 24, 30, k) for k in range(4))]
    images = [one, one, other, one]
    together = dense_crf(np.stack(images), np.stack(scores))
    assert made == [1, 1, 1]
    for found, image, score in zip(together, images, scores, strict=True):
        assert torch.equal(found, dense_crf(image, score))
