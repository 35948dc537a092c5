"""The `cams` stage: raw maps and logits of a trained network, and their normalisation.

Raw scores are kept as float16 at the network's own grid, those that do not fit it divided by a
power of two; CAMs of several scales or layers, which are normalised one by one before they are put
together, as scores of 0 to 1.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from studies.planning import MapScaling, TrainingJob, cams_key
from studies.stages.features import cams_of_stored_features
from studies.stages.training import load_network
from studies.store import ArtifactStore
from wsss_core.backbones import Network
from wsss_core.cams import CamSettings, cams, class_weight_cams
from wsss_core.data.image_set import COUNTERFACTUALS, ImageSet
from wsss_core.evaluate import Normalisation, normalise
from wsss_core.training.loop import CollapseError

PLAIN_CAM = CamSettings()


@dataclass(frozen=True)
class NetworkMaps:
    """Maps and logits of N images.

    Attributes:
        maps: float16 [N, K, h, w]; raw, or normalised where its CAM settings say so.
        logits: float32 [N, K].
        factors: float32 [N, K], by which raw maps have to be multiplied; None: all are 1.
        without_object: float32 [N, K], each class's logit on the image without that class's
            object; None where no such images are known.
        without_context: float32 [N, K], the same without that class's context.

    """

    maps: np.ndarray
    logits: np.ndarray
    factors: np.ndarray | None = None
    without_object: np.ndarray | None = None
    without_context: np.ndarray | None = None

    def part(self, start: int, stop: int) -> Self:
        """Return the maps and logits of some of the images."""
        return replace(
            self,
            maps=self.maps[start:stop],
            logits=self.logits[start:stop],
            factors=None if self.factors is None else self.factors[start:stop],
            without_object=None,
            without_context=None,
        )


def network_maps(
    job: TrainingJob,
    role: str,
    split: str,
    images: ImageSet,
    store: ArtifactStore,
    device: str,
    cam: CamSettings = PLAIN_CAM,
) -> NetworkMaps:
    """Return a trained network's maps of a split, from the store if they are there.

    Args:
        job: the training run of the network.
        role: which of its networks.
        split: the split's name.
        images: the split's images.
        store: where the network lies and the maps go.
        device: where they are made.
        cam: how they are made.

    Raises:
        CollapseError: scores that are not finite (the last step ruined the network).

    """
    key = cams_key(job, role, cam, split)
    if not store.has("cams", key):
        network = load_network(store, job, role)
        pixels = images.images
        scores = cams_of_stored_features(job, role, split, network, pixels, store, device, cam)
        scores = scores or cams(network, pixels, cam, device=device)
        if not (np.isfinite(scores.maps).all() and np.isfinite(scores.logits).all()):
            raise CollapseError(f"the scores of the trained {role} are not finite", [])
        settings = {"cam": cam.as_config(), "role": role, "size": job.image_size}
        with store.build("cams", key, {"settings": settings, "parent": job.key}) as folder:
            np.save(folder / "maps.npy", scores.maps)
            np.save(folder / "logits.npy", scores.logits)
            if (scores.factors != 1).any():
                np.save(folder / "factors.npy", scores.factors)
            for name in COUNTERFACTUALS:
                altered = getattr(images, name)
                if altered is not None:
                    np.save(folder / f"{name}.npy", _own_class_logits(network, altered, device))
    with store.reading("cams", key) as folder:

        def read(name: str) -> np.ndarray:
            array: np.ndarray = np.load(folder / f"{name}.npy", allow_pickle=False)
            return array

        some = [
            read(name) if (folder / f"{name}.npy").exists() else None
            for name in ("factors", *COUNTERFACTUALS)
        ]
        return NetworkMaps(read("maps"), read("logits"), *some)


def _own_class_logits(network: Network, altered: np.ndarray, device: str) -> np.ndarray:
    """Return logits [N, K] of each class on images [K, N, S, S, 3] altered for that class."""
    scores = [class_weight_cams(network, one, device=device) for one in altered]
    return np.stack([one.logits[:, number] for number, one in enumerate(scores)], axis=1)


def normalised_maps(raw: NetworkMaps, cam: CamSettings, normalisation: Normalisation) -> np.ndarray:
    """Return scores of 0 to 1, float32 [N, K, h, w], at the network's own grid."""
    if cam.normalised:
        return raw.maps.astype(np.float32)
    if normalisation != "sigmoid" or raw.factors is None:
        return normalise(raw.maps, normalisation)  # neither of the others knows of a factor
    return normalise(raw.maps * raw.factors[..., np.newaxis, np.newaxis], normalisation)


def base_scores(raw: NetworkMaps, cam: CamSettings, scaling: MapScaling) -> np.ndarray:
    """Return what refiners begin with: normalised scores, 0 where gating rules a class out."""
    scores = normalised_maps(raw, cam, scaling.normalisation)
    if scaling.gating == "predicted":
        scores[raw.logits <= 0] = 0
    return scores
