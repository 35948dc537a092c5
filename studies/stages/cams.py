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
from wsss_core.cams import CamSettings, RawScores, cams, class_weight_cams, window_cams
from wsss_core.data.image_set import COUNTERFACTUALS, ImageSet
from wsss_core.evaluate import Normalisation, normalise
from wsss_core.tiling import PictureWindows, normalise_windows
from wsss_core.training.loop import CollapseError

PLAIN_CAM = CamSettings()
_WINDOWS = 512  # windows read from the disk at a time


@dataclass(frozen=True)
class NetworkMaps:
    """Maps and logits of N views: images, or windows over them.

    Attributes:
        maps: float16 [N, K, h, w]; raw, or normalised where its CAM settings say so.
        logits: float32 [N, K].
        factors: float32 [N, K], by which raw maps have to be multiplied; None: all are 1.
        without_object: float32 [N, K], each class's logit on the image without that class's
            object; None where no such images are known.
        without_context: float32 [N, K], the same without that class's context.
        windows: where the views lie; None: each is an image.

    """

    maps: np.ndarray
    logits: np.ndarray
    factors: np.ndarray | None = None
    without_object: np.ndarray | None = None
    without_context: np.ndarray | None = None
    windows: PictureWindows | None = None

    @property
    def image_logits(self) -> np.ndarray:
        """The logits of each image, float32 [P, K]: of its window that holds the class most."""
        return self.logits if self.windows is None else self.windows.highest(self.logits)

    @property
    def view_logits(self) -> np.ndarray:
        """The logits of the image of each view, float32 [N, K], by which gating decides."""
        return self.logits if self.windows is None else self.image_logits[self.windows.picture]

    def part(self, start: int, stop: int) -> Self:
        """Return the maps and logits of some of the images, where there are no windows."""
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
        scores = None
        if images.windows is None:
            scores = cams_of_stored_features(
                job, role, split, network, images.images, store, device, cam
            )
        scores = scores or _made(network, images, cam, device)
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

        factors, without_object, without_context = (
            read(name) if (folder / f"{name}.npy").exists() else None
            for name in ("factors", *COUNTERFACTUALS)
        )
        return NetworkMaps(
            read("maps"),
            read("logits"),
            factors,
            without_object,
            without_context,
            images.windows,
        )


def _made(network: Network, images: ImageSet, cam: CamSettings, device: str) -> RawScores:
    """Return CAMs of what networks see of images."""
    if images.windows is None or images.windows.whole:
        return cams(network, images.views, cam, device=device)
    starts = range(0, len(images.views), _WINDOWS)
    batches = (np.asarray(images.views[start : start + _WINDOWS]) for start in starts)
    return window_cams(network, batches, images.windows, cam, device=device)


def _own_class_logits(network: Network, altered: np.ndarray, device: str) -> np.ndarray:
    """Return logits [N, K] of each class on images [K, N, S, S, 3] altered for that class."""
    scores = [class_weight_cams(network, one, device=device) for one in altered]
    return np.stack([one.logits[:, number] for number, one in enumerate(scores)], axis=1)


def normalised_maps(
    raw: NetworkMaps,
    cam: CamSettings,
    normalisation: Normalisation,
    bounds: tuple[int, int] | None = None,
) -> np.ndarray:
    """Return scores of 0 to 1, float32 [N, K, h, w], at the network's own grid.

    Args:
        raw: the maps.
        cam: how they were made.
        normalisation: how they become scores.
        bounds: which of the views to return; None: all. Windows of an image depend on each other.

    """
    if cam.normalised:
        return raw.maps[slice(*(bounds or (None,)))].astype(np.float32)
    if raw.windows is not None:
        return _normalised_windows(raw, raw.windows, normalisation, bounds)
    if bounds is not None:
        raw = raw.part(*bounds)
    if normalisation != "sigmoid" or raw.factors is None:
        return normalise(raw.maps, normalisation)  # neither of the others knows of a factor
    return normalise(raw.maps * raw.factors[..., np.newaxis, np.newaxis], normalisation)


def _normalised_windows(
    raw: NetworkMaps,
    windows: PictureWindows,
    normalisation: Normalisation,
    bounds: tuple[int, int] | None,
) -> np.ndarray:
    """Return the scores of windows; those of the images that bounds touch are made, not all."""
    maps, factors, start = raw.maps, raw.factors, 0
    if factors is not None and not (factors != 1).any():
        factors = None  # whether they multiply, and with that the type, is the same for all windows
    if bounds is not None:
        touched = windows.picture[slice(*bounds)]
        start = windows.part(touched[0]).start
        part = slice(start, windows.part(touched[-1]).stop)
        maps, factors = maps[part], None if factors is None else factors[part]
        windows = PictureWindows(windows.picture[part], windows.boxes[part], windows.shapes)
    if factors is not None:
        maps = maps * factors[..., np.newaxis, np.newaxis]
    found = normalise_windows(maps, windows, normalisation)
    return found if bounds is None else found[bounds[0] - start : bounds[1] - start]


def base_scores(
    raw: NetworkMaps, cam: CamSettings, scaling: MapScaling, bounds: tuple[int, int] | None = None
) -> np.ndarray:
    """Return what refiners begin with: normalised scores, 0 where gating rules a class out.

    Args:
        raw: the maps.
        cam: how they were made.
        scaling: how they become scores.
        bounds: which of the views to return; None: all.

    """
    scores = normalised_maps(raw, cam, scaling.normalisation, bounds)
    if scaling.gating == "predicted":
        scores[raw.view_logits[slice(*(bounds or (None,)))] <= 0] = 0
    return scores
