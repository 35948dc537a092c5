"""Make masks in one process: CAMs of a batch of images, then their refinement and the files.

Nothing here uses Ray, so `CamMasks` can be followed in a debugger.
"""

import hashlib
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from studies.formatting import error_line
from studies.masks.files import (
    UNFINISHED_MASKS,
    MaskOrigin,
    class_scores,
    drop_stale,
    mask_of,
    score_levels,
    write_grey,
    write_mask,
)
from studies.masks.labels import ImageLabels, classes_of_image
from studies.masks.recipe import MaskRecipe
from studies.masks.segmenter_recipe import SegmenterRecipe
from studies.masks.windowed import read_windows, write_blended
from studies.planning import Step, TrainingJob
from studies.stages import (
    NetworkMaps,
    base_scores,
    gpu_failed,
    is_gpu_failure,
    load_network,
    run_step,
)
from studies.store import ArtifactStore, canonical
from wsss_core.backbones import Network
from wsss_core.cams import cams
from wsss_core.data.image_decoding import PictureFile, image_shape, read_rgb
from wsss_core.data.pixel_rules import USUAL_RULES, PixelRules
from wsss_core.errors import InputError, one_line
from wsss_core.refine.steps.registry import Refiner, make_refiner
from wsss_core.tiling import SQUASHED, Framing

SOFT = "soft"  # the folder of the soft maps

Written = list[tuple[str, str | None]]
"""Each image's name and why it has no mask, or None."""


@dataclass(frozen=True)
class MaskJob:
    """A folder of images that need masks.

    Attributes:
        recipe: what makes the masks: CAMs of a study's network, or a segmenter.
        images: the folder that names of images are relative to.
        out: the folder of the masks.
        uncertain: a pixel whose score is nearer than this to the threshold stays undecided, 0 to 1.
        soft: whether to write the scores too, a grey PNG per class.
        rules: how the pixels of the images are read. A mask has the height and width of its image
            as it is read: turned upright if the rules apply its EXIF orientation.
        labels: the known classes of each image, which alone may have pixels; None: gating is the
            study's.
        framing: what the network sees of an image: all of it as a square, or windows.

    """

    recipe: MaskRecipe | SegmenterRecipe
    images: str
    out: str
    uncertain: float = 0.0
    soft: bool = False
    rules: PixelRules = USUAL_RULES
    labels: ImageLabels | None = None
    framing: Framing = SQUASHED

    def mask_file(self, name: str) -> Path:
        """Return the file of an image's mask."""
        return Path(self.out) / PurePosixPath(name).with_suffix(".png")

    def soft_file(self, name: str, class_name: str) -> Path:
        """Return the file of an image's scores of a class."""
        return Path(self.out) / SOFT / class_name / PurePosixPath(name).with_suffix(".png")

    def files(self, name: str) -> list[Path]:
        """Return all files that an image gets, its mask first."""
        soft = self.recipe.classes if self.soft else []
        return [self.mask_file(name), *(self.soft_file(name, of) for of in soft)]

    @property
    def cam_recipe(self) -> MaskRecipe:
        """The recipe, where CAMs make the masks."""
        assert isinstance(self.recipe, MaskRecipe)
        return self.recipe

    @property
    def settings(self) -> dict[str, Any]:
        """What decides a mask beside the image, as `masks.json` holds it."""
        made = {**self.recipe.as_record(), "uncertain": self.uncertain, "soft": self.soft}
        # Masks of images as they are stored are those of earlier releases.
        if self.rules.orientation == "apply":
            made["orientation"] = self.rules.orientation
        if self.rules.white_level is not None:
            made["white_level"] = self.rules.white_level
        if not self.framing.squashes:
            made["framing"] = self.framing.as_config()
        return made

    @cached_property
    def settings_digest(self) -> str:
        """The digest (BLAKE2b, 128 bit) of the settings, which each mask holds."""
        return hashlib.blake2b(canonical(self.settings).encode(), digest_size=16).hexdigest()

    def digest_of(self, name: str) -> str:
        """Return the digest of the settings of one image's mask; its labels are among them."""
        if self.labels is None:
            return self.settings_digest
        content = canonical([self.settings_digest, classes_of_image(self.labels, name)])
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()

    def left_out(self, name: str) -> np.ndarray:
        """Return which classes an image is known not to hold, bool [K]; none without labels."""
        out = np.full(len(self.recipe.classes), self.labels is not None)
        if self.labels is not None:
            out[list(classes_of_image(self.labels, name) or ())] = False
        return out

    def gated_out(self, name: str, logits: np.ndarray) -> np.ndarray:
        """Return which classes take no part in an image, bool [K], by its logits float [K]."""
        if self.labels is None and self.cam_recipe.scaling.gating == "predicted":
            return np.asarray(logits) <= 0
        return self.left_out(name)


@dataclass(frozen=True)
class Cams:
    """The CAMs of one image, or why it has none.

    Attributes:
        name: the image, relative to its folder.
        error: why it has no CAMs; None if it has.
        maps: float16 [K, h, w], see `studies.stages.cams.NetworkMaps`; of an image that is seen
            through T windows [T, K, h, w].
        logits: float32 [K] or [T, K].
        factors: float32 [K] or [T, K], see `NetworkMaps`.
        digest: of the image's bytes before they were decoded; None if they could not be read.

    """

    name: str
    error: str | None = None
    maps: np.ndarray | None = None
    logits: np.ndarray | None = None
    factors: np.ndarray | None = None
    digest: str | None = None


class CamMaker:
    """A trained network on its device.

    Args:
        job: the images and the recipe.
        device: "cpu" or "cuda".
        readers: images decoded at a time.

    """

    def __init__(self, job: MaskJob, *, device: str = "cpu", readers: int = 1) -> None:
        self._job, self._device = job, device
        recipe = job.cam_recipe
        network = load_network(ArtifactStore(recipe.store), recipe.training, "student")
        self._network = network.to(device)
        self._readers = ThreadPoolExecutor(readers) if readers > 1 else None

    def __call__(self, names: Sequence[str]) -> list[Cams]:
        """Return CAMs in the order of the names; an unreadable image has an error instead."""
        if not self._job.framing.squashes:
            made = [read_windows(self._job, self._network, name, self._device) for name in names]
            return [Cams(name, *parts) for name, parts in zip(names, made, strict=True)]
        mapped = self._readers.map if self._readers else map
        read = list(mapped(self._read, names))
        pixels = [found for found, _ in read if not isinstance(found, str)]
        if not pixels:
            return [Cams(n, str(f), digest=d) for n, (f, d) in zip(names, read, strict=True)]
        raw = cams(
            self._network, np.stack(pixels), self._job.cam_recipe.chain.cam, device=self._device
        )
        each = iter(zip(raw.maps, raw.logits, raw.factors, strict=True))
        return [
            Cams(name, found, digest=digest)
            if isinstance(found, str)
            else _finite(name, *next(each), digest)
            for name, (found, digest) in zip(names, read, strict=True)
        ]

    def _read(self, name: str) -> tuple[np.ndarray | str, str | None]:
        """Return an image's pixels, or why there are none, and the digest of its bytes."""
        image, digest = Path(self._job.images) / name, None
        try:
            file = PictureFile.read(image, self._job.rules)
            digest = file.digest
            return read_rgb(file, self._job.cam_recipe.training.image_size, self._job.rules), digest
        except InputError as error:
            return str(error), digest


def _finite(
    name: str, maps: np.ndarray, logits: np.ndarray, factors: np.ndarray, digest: str | None
) -> Cams:
    if np.isfinite(maps).all() and np.isfinite(logits).all():
        return Cams(name, None, maps, logits, factors, digest)
    return Cams(name, "the network's scores of it are not finite", digest=digest)


class MaskWriter:
    """Refines CAMs by a recipe's chain and writes masks; large models stay loaded.

    Args:
        job: the images and the recipe.
        device: of the models that see images alone.

    """

    def __init__(self, job: MaskJob, *, device: str = "cpu") -> None:
        recipe = job.cam_recipe
        self._job, self._device = job, device
        self._steps: list[tuple[Step, Refiner, Path | None]] = []
        self._network: Network | None = None
        for step, key in zip(recipe.chain.steps, recipe.fitted_states, strict=True):
            fitted_state = None
            if key is not None:
                fitted_state = ArtifactStore(recipe.store).fetch("fits", key)
                self._network = _trained(recipe.store, recipe.training, threading.get_ident())
            refiner = make_refiner(step.kind, step.arguments, step.weights_digests)
            self._steps.append((step, refiner, fitted_state))
        # Such steps load a model; others gain nothing from several images at a time.
        self._together = any(
            step.needs_image_features or step.needs_fitted_state for step, _, _ in self._steps
        )

    def __call__(self, batch: Sequence[Cams]) -> Written:
        """Refine a batch of CAMs and write each mask as soon as it is there.

        Returns:
            Each image's name and why it has no mask, or None.

        Raises:
            InputError: a file that cannot be written.

        """
        if not self._job.framing.squashes:
            steps = self._through_steps if self._steps else None
            return [(one.name, write_blended(self._job, one, steps, failure_text)) for one in batch]
        failed = {one.name: one.error for one in batch if one.error is not None}
        fine = [one for one in batch if one.error is None]
        groups = [fine] if self._together and fine else [[one] for one in fine]
        while groups:
            group = groups.pop(0)
            try:
                images = [Path(self._job.images) / one.name for one in group]
                rules = self._job.rules
                shapes = [image_shape(image, rules) for image in images]
                scores = self._refined(group)
                digests = [PictureFile.read(image, rules).digest for image in images]
            except Exception as error:
                if len(group) > 1:
                    # Each alone, to find the image that fails.
                    groups = [[one] for one in group] + groups
                else:
                    failed[group[0].name] = failure_text(error)
                continue
            for one, maps, shape, digest in zip(group, scores, shapes, digests, strict=True):
                if one.digest not in (None, digest):
                    failed[one.name] = "the image changed while its mask was made; run again"
                else:
                    _write(self._job, one, maps, shape, digest)
        for one in batch:
            if one.name in failed and one.digest is not None:
                drop_stale(self._job, one.name, one.digest)
        return [(one.name, failed.get(one.name)) for one in batch]

    def _refined(self, batch: Sequence[Cams]) -> np.ndarray:
        """Return the chain's maps, float32 [n, K, h, w] in 0..1, as a study scores them."""
        recipe = self._job.cam_recipe
        raw = NetworkMaps(
            np.stack([np.asarray(one.maps) for one in batch]),
            np.stack([np.asarray(one.logits) for one in batch]),
            np.stack([np.asarray(one.factors) for one in batch]),
        )
        scores = base_scores(raw, recipe.chain.cam, recipe.scaling)
        for position, one in enumerate(batch):
            # Before the first refiner, so that no step spreads what takes no part.
            scores[position, self._job.gated_out(one.name, raw.logits[position])] = 0
        if not self._steps:
            return scores
        files = [Path(self._job.images) / one.name for one in batch]
        images = np.stack(
            [read_rgb(file, recipe.training.image_size, self._job.rules) for file in files]
        )
        return self._through_steps(images, scores, [one.name for one in batch])

    def _through_steps(
        self, images: np.ndarray, scores: np.ndarray, names: Sequence[str] = ()
    ) -> np.ndarray:
        """Return what the chain's steps make of scores float32 [n, K, h, w] of n named images."""
        for step, refiner, fitted_state in self._steps:
            with tempfile.TemporaryDirectory() as folder:
                features = Path(folder) if step.needs_image_features else None
                if features is not None:
                    named = {"names": names} if refiner.by_name else {}
                    refiner.compute_image_features(
                        images, self._job.recipe.classes, features, device=self._device, **named
                    )
                kept = run_step(
                    step.kind,
                    refiner,
                    images,
                    scores,
                    image_features=features,
                    fitted_state=fitted_state,
                    network=self._network if step.needs_fitted_state else None,
                )
            scores = kept.astype(np.float32)
        return scores


def failure_text(error: Exception) -> str:
    """Return why an image or a worker failed, on one line; a failed GPU is named."""
    if isinstance(error, InputError):
        return one_line(error)
    return gpu_failed(error) if is_gpu_failure(error) else error_line(error)


def _write(
    job: MaskJob, image: Cams, maps: np.ndarray, shape: tuple[int, int], digest: str
) -> None:
    """Write the soft maps first, then the mask: an image with a mask is done."""
    out = job.gated_out(image.name, np.asarray(image.logits))
    levels = score_levels(maps, shape, out)
    mask = mask_of(levels, out, job.cam_recipe.level, uncertain=job.uncertain)
    write_mask_files(job, image.name, levels, mask, digest)


def write_mask_files(
    job: MaskJob, name: str, levels: np.ndarray, mask: np.ndarray, digest: str
) -> None:
    """Write the soft maps of an image first, then its mask.

    Args:
        job: what of them is written, and where.
        name: the image.
        levels: uint8 [K, H, W], the scores of the classes.
        mask: uint8 [H, W].
        digest: of the image's bytes.

    Raises:
        InputError: a file that cannot be written.

    """
    unfinished = Path(job.out) / UNFINISHED_MASKS
    origin = MaskOrigin(digest, job.digest_of(name))
    if job.soft:
        for class_name, grey in zip(job.recipe.classes, levels, strict=True):
            write_grey(grey, job.soft_file(name, class_name), unfinished, origin)
    file = job.mask_file(name)
    write_mask(mask, file, unfinished, origin, scores=class_scores(levels, mask))


@lru_cache(maxsize=1)
def _trained(store: str, training: TrainingJob, thread: int) -> Network:
    """Return a trained network for a thread, which no other thread may use at the same time."""
    return load_network(ArtifactStore(store), training, "student")


class CamMasks:
    """Makes the masks of a batch in this process, network and models loaded, see `CamMaker`."""

    def __init__(self, job: MaskJob, *, device: str = "cpu") -> None:
        self._make_cams, self._write = CamMaker(job, device=device), MaskWriter(job, device=device)

    def __call__(self, names: Sequence[str]) -> Written:
        """Return each image's name and why it has no mask, or None."""
        return self._write(self._make_cams(names))
