"""Saliency maps beside class scores: as guidance, as background's score, as a CRF's unary."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wsss_core.data.file_hashes import file_hashes
from wsss_core.errors import InputError
from wsss_core.evaluate import resize
from wsss_core.progress import made_progress
from wsss_core.refine.crf.dense_crf import dense_crf
from wsss_core.refine.crf.settings import CrfPreset
from wsss_core.refine.saliency.combining import (
    SaliencyThresholds,
    SaliencyUse,
    combine_saliency,
    saliency_unary,
)
from wsss_core.refine.saliency.frequency_tuned import frequency_tuned
from wsss_core.refine.saliency.map_folder import maps_digest, read_maps
from wsss_core.refine.saliency.models import load_detector, saliency_files
from wsss_core.refine.steps.registry import Images, Known, Refiner, Scores, at_image_size


class Saliency(Refiner):
    """Class scores and the saliency of their images, put together at the images' size.

    The saliency comes from a folder of maps, from a model, or without either from the colours of
    the image (`frequency_tuned`).
    """

    _FILE = "saliency.npy"

    def __init__(
        self,
        maps: str | None = None,
        model: str | None = None,
        how: SaliencyUse = "guide",
        low: float = 0.25,
        high: float = 0.7,
        cut: float = 0.5,
        preset: CrfPreset = "thesis",
    ) -> None:
        self.maps, self.model, self.how, self.preset = maps, model, how, preset
        self.thresholds = SaliencyThresholds(low=low, high=high, cut=cut)
        self.by_name = maps is not None

    def compute_image_features(
        self,
        images: Images,
        classes: Sequence[str],
        folder: Path,
        *,
        device: str = "cpu",
        names: Sequence[str] = (),
    ) -> None:
        """Write every image's saliency map; see `Refiner`."""
        size = images.shape[1], images.shape[2]
        self._check_unchanged()
        if self.maps is not None:
            found = read_maps(self.maps, names, size)
        elif self.model is not None:
            detect = load_detector(self.model, device)
            parts = [detect(images[i : i + 8]) for i in range(0, len(images), 8)]
            found = resize(np.concatenate(parts)[:, None], size)[:, 0]
        else:
            found = np.stack([frequency_tuned(image) for image in images])
        np.save(folder / self._FILE, found.astype(np.float16))

    def _check_unchanged(self) -> None:
        """Raise InputError unless maps or model are those of the plan."""
        if self.weights_digests is None:
            return
        if self.maps is not None:
            found, what = [maps_digest(self.maps)], f"maps {self.maps}"
        elif self.model is not None:
            found, what = file_hashes(saliency_files(self.model)), f"model {self.model}"
        else:
            return
        if found != list(self.weights_digests):
            raise InputError(
                f"refiner saliency: {what} changed since the plan; run again to plan with the new "
                "files"
            )

    def refine(self, images: Images, scores: Scores, known: Known) -> Scores:
        """See `Refiner`."""
        assert known.image_features is not None
        kept = np.load(known.image_features / self._FILE, allow_pickle=False)
        saliency = kept.astype(np.float32)[:, None]
        upsampled = at_image_size(scores, images)
        if self.how != "crf":
            return combine_saliency(self.how, upsampled, saliency, self.thresholds)
        refined = np.empty_like(upsampled)
        for image, maps, salient, out in zip(images, upsampled, saliency, refined, strict=True):
            unary = saliency_unary(maps, salient)
            out[...] = np.asarray(dense_crf(image, unary, preset=self.preset))[1:]
            made_progress()
        return refined
