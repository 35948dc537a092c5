"""Steps that run a large model over the images, once for all trials: SAM and CLIP."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from wsss_core.data.file_hashes import file_hashes
from wsss_core.errors import InputError
from wsss_core.refine.foundation.clip_weights import clip_similarity, weight_cams
from wsss_core.refine.foundation.mask_proposals import (
    automatic_masks,
    load_proposals,
    save_proposals,
)
from wsss_core.refine.foundation.models import (
    FoundationKind,
    files_of_weights,
    load_foundation,
)
from wsss_core.refine.foundation.sam_merging import (
    class_seeds,
    merge_sam_wsss,
    merge_thesis,
    refined_scores,
)
from wsss_core.refine.steps.registry import Images, Known, Refiner, Scores, at_image_size

BACKGROUND = (
    "a photo of the sky",
    "a photo of clouds",
    "a photo of a building",
    "a photo of trees",
)
"""Prompts of the background, unless others are given."""


class _Foundation(Refiner):
    """A step whose model stays loaded for as long as the step is kept.

    Attributes:
        kind: which model.
        weights: a folder or a hub's name; None: none were given.

    """

    kind: ClassVar[FoundationKind]

    def __init__(self, weights: str | None) -> None:
        self.weights = weights
        self._loaded: tuple[str, tuple[Any, Any]] | None = None

    def model(self, device: str) -> tuple[Any, Any]:
        """Return the model on a device and its processor, see `load_foundation`.

        Raises:
            InputError: see `load_foundation`; also files that are not those of the plan.

        """
        if self._loaded is None or self._loaded[0] != device:
            loaded = load_foundation(self.kind, self.weights, device=device)
            # After loading: a file that was replaced before or meanwhile differs now.
            self._check_weights()
            self._loaded = device, loaded
        return self._loaded[1]

    def _check_weights(self) -> None:
        if self.weights_digests is None or self.weights is None:
            return
        files = files_of_weights(Path(self.weights))
        for file, planned, found in zip_longest(files, self.weights_digests, file_hashes(files)):
            if planned != found:
                raise InputError(
                    f"refiner {self.kind}: weights {file or self.weights} changed since the plan: "
                    f"the digest was {planned} and is {found}; run again to plan with the new files"
                )


class SegmentAnything(_Foundation):
    """Masks of a SAM, merged with the CAM; hard maps of 0 and 1."""

    kind = "sam"

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
        super().__init__(weights)
        self.rule, self.seed_threshold = rule, seed_threshold
        self.how: dict[str, Any] = {
            "points_per_side": points_per_side,
            "pred_iou": pred_iou,
            "stability": stability,
            "minimum_area": minimum_area,
        }

    def compute_image_features(
        self, images: Images, classes: Sequence[str], folder: Path, *, device: str = "cpu"
    ) -> None:
        """Make every image's mask proposals."""
        model, processor = self.model(device)
        proposals = [
            automatic_masks(model, processor, image, device=device, **self.how) for image in images
        ]
        save_proposals(folder, proposals)

    def refine(self, images: Images, scores: Scores, known: Known) -> Scores:
        """See `Refiner`."""
        assert known.image_features is not None
        upsampled = torch.from_numpy(at_image_size(scores, images))
        proposals = load_proposals(known.image_features)
        merged = [
            self._merged(maps, torch.from_numpy(one.masks()))
            for maps, one in zip(upsampled, proposals, strict=True)
        ]
        return torch.stack(merged).numpy()

    def _merged(self, maps: Tensor, proposals: Tensor) -> Tensor:
        """Turn maps [K, H, W] of one image into hard maps of the same shape."""
        threshold = self.seed_threshold
        if self.rule == "sam_wsss":
            merged = merge_sam_wsss(class_seeds(maps, threshold), proposals)
        else:
            merged = torch.stack(
                [merge_thesis(one, proposals, seed_threshold=threshold) for one in maps]
            )
        return refined_scores(maps, merged)


class ClipAided(_Foundation):
    """CAMs weighted by CLIP's similarity of each patch to prompts of the class."""

    kind = "clip"
    _FILE = "similarity.npy"

    def __init__(
        self,
        weights: str | None = None,
        prompts: Mapping[str, Sequence[str]] | None = None,
        background: Sequence[str] = BACKGROUND,
    ) -> None:
        super().__init__(weights)
        self.prompts, self.background = dict(prompts or {}), background

    def compute_image_features(
        self, images: Images, classes: Sequence[str], folder: Path, *, device: str = "cpu"
    ) -> None:
        """Make every image's similarity maps; a class without prompts is prompted by its name."""
        model, processor = self.model(device)
        prompts = {name: self.prompts.get(name, [f"a photo of {name}"]) for name in classes}
        maps = clip_similarity(model, processor, images, prompts, self.background, device=device)
        np.save(folder / self._FILE, np.asarray(maps).astype(np.float16))

    def refine(self, images: Images, scores: Scores, known: Known) -> Scores:
        """See `Refiner`."""
        assert known.image_features is not None
        similarity = np.load(known.image_features / self._FILE, allow_pickle=False).astype(
            np.float32
        )
        return np.asarray(weight_cams(torch.from_numpy(scores), torch.from_numpy(similarity)))
