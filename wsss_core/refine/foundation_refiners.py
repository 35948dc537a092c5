"""Steps that ask a large model about the images, once for all trials: SAM and CLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsss_core.errors import InputError
from wsss_core.refine.clip_weights import clip_similarity, weight_cams
from wsss_core.refine.foundation import check_foundation, load_foundation
from wsss_core.refine.mask_proposals import automatic_masks
from wsss_core.refine.proposals import load_proposals, save_proposals
from wsss_core.refine.refiner import Images, Known, Refiner, Scores, at_image_size
from wsss_core.refine.sam_merging import class_seeds, merge_sam_wsss, merge_thesis, refined_scores


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
        check_foundation("sam", _given(self.weights, "sam"))

    def describe_images(
        self, images: Images, classes: Sequence[str], folder: Path, *, device: str = "cpu"
    ) -> None:
        """Make every image's mask proposals."""
        model, processor = load_foundation("sam", _given(self.weights, "sam"), device=device)
        save_proposals(
            folder,
            [automatic_masks(model, processor, image, device=device, **self.how)
             for image in images],
        )  # fmt: skip

    def refine(self, images: Images, scores: Scores, known: Known) -> Scores:
        """See `Refiner`."""
        assert known.described is not None
        upsampled = torch.from_numpy(at_image_size(scores, images))
        proposals = load_proposals(known.described)
        merged = [
            self._merged(maps, torch.from_numpy(one.masks()))
            for maps, one in zip(upsampled, proposals, strict=True)
        ]
        return torch.stack(merged).numpy()

    def _merged(self, maps: Tensor, proposals: Tensor) -> Tensor:
        """Maps [K, H, W] of one image to hard maps of the same shape."""
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
        check_foundation("clip", _given(self.weights, "clip"))

    def describe_images(
        self, images: Images, classes: Sequence[str], folder: Path, *, device: str = "cpu"
    ) -> None:
        """Make every image's similarity maps; a class without prompts is prompted by its name."""
        model, processor = load_foundation("clip", _given(self.weights, "clip"), device=device)
        prompts = {name: self.prompts.get(name, [f"a photo of {name}"]) for name in classes}
        maps = clip_similarity(model, processor, images, prompts, self.background, device=device)
        np.save(folder / self._FILE, np.asarray(maps).astype(np.float16))

    def refine(self, images: Images, scores: Scores, known: Known) -> Scores:
        """See `Refiner`."""
        assert known.described is not None
        similarity = np.load(known.described / self._FILE, allow_pickle=False).astype(np.float32)
        return np.asarray(weight_cams(torch.from_numpy(scores), torch.from_numpy(similarity)))


def _given(weights: str | None, kind: str) -> str:
    if weights is None:
        raise InputError(f"refiner {kind} needs weights: a folder or a hub's name")
    return weights
