"""The steps of a refinement chain behind one interface: score maps in, better score maps out.

A step that has to see the images alone first (a large model, once for all trials) or has to learn
from the training images' CAMs (once a trained network) says so; what that gives lies in a folder.
A step of one's own is a plug-in, called as f(images, scores, **settings).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from wsss_core.backbones import Network
from wsss_core.errors import InputError
from wsss_core.evaluate import resize
from wsss_core.plugins import is_plugin, load_plugin

Images = NDArray[np.uint8]
Scores = NDArray[np.float32]


class Refiner:
    """One step.

    Attributes:
        version: raised by hand when its code changes its result.
        describes_images: whether `describe_images` has to be called first.
        fits: whether `fit` has to be called first.

    """

    version: ClassVar[int] = 1
    describes_images: ClassVar[bool] = False
    fits: ClassVar[bool] = False

    def check(self) -> None:
        """Find out quickly whether it can run here; InputError names what is missing."""

    def describe_images(
        self, images: Images, classes: Sequence[str], folder: Path, *, device: str = "cpu"
    ) -> None:
        """Write to a folder what the step needs to know of images uint8 [n, H, W, 3] alone."""
        raise NotImplementedError

    def fit(
        self,
        network: Network,
        images: Images,
        scores: Scores,
        labels: NDArray[np.bool_],
        folder: Path,
        *,
        seed: int,
        device: str = "cpu",
    ) -> None:
        """Learn from the training images' CAMs and write what was learnt to a folder.

        Args:
            network: the trained one, on the device.
            images: uint8 [N, S, S, 3].
            scores: float32 [N, K, h, w], 0..1.
            labels: bool [N, K], image-level.
            folder: empty.
            seed: of all that is random.
            device: where to.

        """
        raise NotImplementedError

    def __call__(
        self,
        images: Images,
        scores: Scores,
        *,
        described: Path | None = None,
        fitted: Path | None = None,
        network: Network | None = None,
    ) -> Scores:
        """Refine maps.

        Args:
            images: uint8 [n, S, S, 3].
            scores: float32 [n, K, h, w], 0..1, at a grid of their own.
            described: what `describe_images` wrote for these very images.
            fitted: what `fit` wrote.
            network: the trained network; for a step that fits.

        Returns:
            float32 [n, K, h', w'], 0..1.

        """
        raise NotImplementedError


class DenseCrf(Refiner):
    """Dense CRF at the images' resolution: the posteriors of the foreground classes."""

    def __init__(self, preset: str = "thesis", backend: str = "torch") -> None:
        self.preset, self.backend = preset, backend

    def check(self) -> None:
        """The backend has to be installed."""
        if self.backend == "pydensecrf" and importlib.util.find_spec("pydensecrf") is None:
            raise InputError(
                "refiner crf: backend pydensecrf is not installed; "
                "pip install 'wsss-studies[crf]', or take backend torch"
            )

    def __call__(
        self,
        images: Images,
        scores: Scores,
        *,
        described: Path | None = None,
        fitted: Path | None = None,
        network: Network | None = None,
    ) -> Scores:
        """See `Refiner`; image by image, so that memory stays that of one lattice."""
        from wsss_core.refine.dense_crf import dense_crf, unary_probabilities

        upsampled = at_image_size(scores, images)
        refined = np.empty_like(upsampled)
        for image, maps, out in zip(images, upsampled, refined, strict=True):
            unary = unary_probabilities(maps, preset=self.preset)
            posteriors = dense_crf(image, unary, preset=self.preset, backend=self.backend)
            out[...] = np.asarray(posteriors)[1:]
        return refined


class PixelAdaptive(Refiner):
    """PAR at the images' resolution; what its weights sum to above 1 is divided out again."""

    def __init__(
        self, iterations: int = 10, dilations: Sequence[int] = (1, 2, 4, 8, 12, 24)
    ) -> None:
        self.iterations, self.dilations = iterations, tuple(dilations)

    def __call__(
        self,
        images: Images,
        scores: Scores,
        *,
        described: Path | None = None,
        fitted: Path | None = None,
        network: Network | None = None,
    ) -> Scores:
        """See `Refiner`."""
        from wsss_core.refine.par import POSITION_WEIGHT, par

        upsampled = torch.from_numpy(at_image_size(scores, images))
        grown = (1 + POSITION_WEIGHT) ** self.iterations
        refined = [
            par(
                _as_input(image[None]),
                maps[None],
                iterations=self.iterations,
                dilations=self.dilations,
            )[0].numpy()
            / grown
            for image, maps in zip(images, upsampled, strict=True)
        ]
        return np.stack(refined)


class AffinityWalk(Refiner):
    """AffinityNet (PSA) over the trained network's own encoder, and its random walk.

    It learns from pixels that two CRFs of the CAM are sure of, a weak and a strong background; the
    maps of classes that an image does not hold by its label are 0. A walked map is divided by its
    maximum, as in PSA.
    """

    fits = True
    _HEAD = "head.safetensors"
    _BOUNDARY: ClassVar[bool] = False

    def __init__(
        self,
        preset: str = "psa",
        epochs: int | None = None,
        layers: Sequence[int | str] | None = None,
    ) -> None:
        from wsss_core.refine.affinity_settings import AFFINITY_PRESETS

        changes: dict[str, Any] = {"epochs": epochs, "layers": layers and tuple(layers)}
        given = {name: value for name, value in changes.items() if value is not None}
        self.settings = replace(AFFINITY_PRESETS[preset], **given)

    def fit(
        self,
        network: Network,
        images: Images,
        scores: Scores,
        labels: NDArray[np.bool_],
        folder: Path,
        *,
        seed: int,
        device: str = "cpu",
    ) -> None:
        """See `Refiner`; labels follow from the CAMs, no mask is seen."""
        from wsss_core.refine.affinity_net import train_affinity
        from wsss_core.refine.boundary_net import train_boundary

        sure = self._sure_pixels(images, scores, labels, device)
        train = train_boundary if self._BOUNDARY else train_affinity
        head = train(network, images, sure, self.settings, seed=seed, device=device)
        state = {name: value.cpu().contiguous() for name, value in head.state_dict().items()}
        save_file(state, folder / self._HEAD)

    def _sure_pixels(
        self, images: Images, scores: Scores, labels: NDArray[np.bool_], device: str
    ) -> NDArray[np.uint8]:
        """Labels uint8 [N, h, w] on the affinity grid: 0, 1..K, and 255 where not sure."""
        from wsss_core.refine.affinity_labels import confident_labels, labels_at_grid
        from wsss_core.refine.dense_crf import PRESETS, dense_crf, unary_probabilities

        preset, strong, weak = ("irn", 0.30, 0.05) if self._BOUNDARY else ("psa", 4.0, 32.0)
        grid = self.settings.grid(*images.shape[1:3])
        found = np.empty((len(images), *grid), np.uint8)
        at_once = 8 if device.startswith("cuda") else 1
        for start in range(0, len(images), at_once):
            some = slice(start, start + at_once)
            pictures = torch.from_numpy(np.array(images[some])).to(device)
            held = scores[some] * labels[some, :, None, None]
            maps = torch.from_numpy(at_image_size(held, images[some])).to(device)
            posteriors = []
            for background in (strong, weak):
                crf = replace(PRESETS[preset], background=background)
                unary = unary_probabilities(maps, preset=crf)
                posteriors.append(dense_crf(pictures, unary, preset=crf))
            found[some] = labels_at_grid(confident_labels(*posteriors), grid).cpu().numpy()
        return found

    def __call__(
        self,
        images: Images,
        scores: Scores,
        *,
        described: Path | None = None,
        fitted: Path | None = None,
        network: Network | None = None,
    ) -> Scores:
        """See `Refiner`; the maps come back on the affinity grid."""
        assert fitted is not None
        assert network is not None
        state = load_file(fitted / self._HEAD)
        at_grid = torch.from_numpy(resize(scores, self.settings.grid(*images.shape[1:3])))
        walked = self._walk(network, state, np.array(images), at_grid)
        highest = walked.amax((-2, -1), keepdim=True)
        return torch.where(highest > 0, walked / highest.clamp_min(1e-12), 0.0).clamp(0, 1).numpy()

    def _walk(
        self, network: Network, state: dict[str, Tensor], images: Images, scores: Tensor
    ) -> Tensor:
        from wsss_core.refine.affinity_net import AffinityNet, affinity
        from wsss_core.refine.random_walk import random_walk

        head = AffinityNet.over(network, self.settings)
        head.load_state_dict(state)
        maps = affinity(head, network, images, self.settings)
        beta, squarings = self.settings.beta, self.settings.squarings
        return random_walk(scores, maps, beta=beta, squarings=squarings)


class BoundaryWalk(AffinityWalk):
    """IRN's boundary map over the trained network's own encoder, and its random walk."""

    _BOUNDARY = True

    def _walk(
        self, network: Network, state: dict[str, Tensor], images: Images, scores: Tensor
    ) -> Tensor:
        from wsss_core.refine.boundary_net import BoundaryNet, boundary_walk, edges

        head = BoundaryNet.over(network, self.settings)
        head.load_state_dict(state)
        edge = edges(head, network, images, self.settings)
        return boundary_walk(
            scores,
            edge,
            radius=self.settings.radius,
            beta=self.settings.beta,
            squarings=self.settings.squarings,
        )


class SegmentAnything(Refiner):
    """Masks of a SAM, merged with the CAM; hard maps of 0 and 1."""

    describes_images = True

    def __init__(
        self,
        weights: str | None = None,
        rule: str = "thesis",
        points_per_side: int = 8,
        pred_iou: float = 0.7,
        stability: float = 0.85,
        minimum_area: int = 20,
        seed_threshold: float = 0.3,
    ) -> None:
        self.weights, self.rule, self.seed_threshold = weights, rule, seed_threshold
        self.how: dict[str, Any] = {
            "points_per_side": points_per_side,
            "pred_iou": pred_iou,
            "stability": stability,
            "minimum_area": minimum_area,
        }

    def check(self) -> None:
        """The checkpoint has to be there."""
        from wsss_core.refine.foundation import check_foundation

        check_foundation("sam", _given(self.weights, "sam"))

    def describe_images(
        self, images: Images, classes: Sequence[str], folder: Path, *, device: str = "cpu"
    ) -> None:
        """Make every image's mask proposals."""
        from wsss_core.refine.foundation import load_foundation
        from wsss_core.refine.mask_proposals import automatic_masks, save_proposals

        model, processor = load_foundation("sam", _given(self.weights, "sam"), device=device)
        save_proposals(
            folder,
            [automatic_masks(model, processor, image, device=device, **self.how)
             for image in images],
        )  # fmt: skip

    def __call__(
        self,
        images: Images,
        scores: Scores,
        *,
        described: Path | None = None,
        fitted: Path | None = None,
        network: Network | None = None,
    ) -> Scores:
        """See `Refiner`."""
        from wsss_core.refine.mask_proposals import load_proposals

        assert described is not None
        upsampled = torch.from_numpy(at_image_size(scores, images))
        proposals = load_proposals(described)
        merged = [
            self._merged(maps, torch.from_numpy(one.masks()))
            for maps, one in zip(upsampled, proposals, strict=True)
        ]
        return torch.stack(merged).numpy()

    def _merged(self, maps: Tensor, proposals: Tensor) -> Tensor:
        """Maps [K, H, W] of one image to hard maps of the same shape."""
        from wsss_core.refine.sam_merging import (
            class_seeds,
            merge_sam_wsss,
            merge_thesis,
            refined_scores,
        )

        threshold = self.seed_threshold
        if self.rule == "sam_wsss":
            merged = merge_sam_wsss(class_seeds(maps, threshold), proposals)
        else:
            merged = torch.stack(
                [merge_thesis(one, proposals, seed_threshold=threshold) for one in maps]
            )
        return refined_scores(maps, merged)


class ClipAided(Refiner):
    """CAMs weighted by CLIP's similarity of each patch to prompts of the class."""

    describes_images = True
    _FILE = "similarity.npy"

    def __init__(
        self,
        weights: str | None = None,
        prompts: Mapping[str, Sequence[str]] | None = None,
        background: Sequence[str] = ("a photo of the sky",),
    ) -> None:
        self.weights, self.prompts, self.background = weights, dict(prompts or {}), background

    def check(self) -> None:
        """The checkpoint has to be there."""
        from wsss_core.refine.foundation import check_foundation

        check_foundation("clip", _given(self.weights, "clip"))

    def describe_images(
        self, images: Images, classes: Sequence[str], folder: Path, *, device: str = "cpu"
    ) -> None:
        """Make every image's similarity maps; a class without prompts is prompted by its name."""
        from wsss_core.refine.clip_weights import clip_similarity
        from wsss_core.refine.foundation import load_foundation

        model, processor = load_foundation("clip", _given(self.weights, "clip"), device=device)
        prompts = {name: self.prompts.get(name, [f"a photo of {name}"]) for name in classes}
        maps = clip_similarity(model, processor, images, prompts, self.background, device=device)
        np.save(folder / self._FILE, np.asarray(maps).astype(np.float16))

    def __call__(
        self,
        images: Images,
        scores: Scores,
        *,
        described: Path | None = None,
        fitted: Path | None = None,
        network: Network | None = None,
    ) -> Scores:
        """See `Refiner`."""
        from wsss_core.refine.clip_weights import weight_cams

        assert described is not None
        similarity = np.load(described / self._FILE, allow_pickle=False).astype(np.float32)
        return np.asarray(weight_cams(torch.from_numpy(scores), torch.from_numpy(similarity)))


class PlugIn(Refiner):
    """A researcher's own step: f(images, scores, **settings) -> scores."""

    def __init__(self, name: str, settings: Mapping[str, Any]) -> None:
        self._call: Callable[..., Any] = load_plugin("refine", name)
        self._settings = dict(settings)

    def __call__(
        self,
        images: Images,
        scores: Scores,
        *,
        described: Path | None = None,
        fitted: Path | None = None,
        network: Network | None = None,
    ) -> Scores:
        """See `Refiner`."""
        return np.asarray(self._call(images, scores, **self._settings), np.float32)


def make_refiner(kind: str, settings: Mapping[str, Any]) -> Refiner:
    """A step by its name in `REFINERS`, or a plug-in "module:attribute"."""
    return PlugIn(kind, settings) if is_plugin(kind) else REFINERS[kind](**settings)


def at_image_size(scores: Scores, images: Images) -> Scores:
    """Maps float32 [n, K, h, w] resized bilinearly to images uint8 [n, H, W, 3]."""
    return resize(scores, (images.shape[1], images.shape[2]))


def _as_input(images: Images) -> Tensor:
    """uint8 [n, H, W, 3] to float32 [n, 3, H, W] of 0..1."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 255


def _given(weights: str | None, kind: str) -> str:
    if weights is None:
        raise InputError(f"refiner {kind} needs weights: a folder or a hub's name")
    return weights


REFINERS: dict[str, type[Refiner]] = {
    "crf": DenseCrf,
    "par": PixelAdaptive,
    "affinity": AffinityWalk,
    "boundary": BoundaryWalk,
    "sam": SegmentAnything,
    "clip": ClipAided,
}
