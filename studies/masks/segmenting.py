"""Masks of a segmenter: a batch of images, their probabilities at each image's own size, the files.

A pixel is of its most probable class, as `predict_masks` has it. The margin within which it stays
undecided is half the distance from the second most probable: of one class that is the distance of
its probability from a threshold of 0.5.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from studies.masks.files import drop_stale
from studies.masks.segmenter_recipe import SegmenterRecipe
from studies.masks.windowed import check_same, opened_files
from studies.masks.worker import MaskJob, Written, failure_text, write_mask_files
from wsss_core.data.framing import PictureRows, checked_file_digest
from wsss_core.data.image_decoding import PictureFile, image_shape, read_rgb
from wsss_core.data.image_set import IGNORED
from wsss_core.errors import InputError
from wsss_core.evaluate import quantise
from wsss_core.segmentation import predict_picture, predict_probabilities

PASS = 4
"""Images that a core passes through the network at a time: the outputs of the layers of four are
small enough to be kept from one layer to the next."""


class SegmenterMasks:
    """A segmenter on its device, which makes masks of images.

    Args:
        job: images and recipe, which is a segmenter's.
        device: "cpu" or "cuda".
        readers: images decoded at a time.

    """

    def __init__(self, job: MaskJob, *, device: str = "cpu", readers: int = 1) -> None:
        assert isinstance(job.recipe, SegmenterRecipe)
        self._job, self._device, self._size = job, device, job.recipe.image_size
        self._segmenter = job.recipe.load(device)
        self._prediction = job.recipe.prediction_settings
        self._readers = ThreadPoolExecutor(readers) if readers > 1 else None

    def __call__(self, names: Sequence[str]) -> Written:
        """Make the masks of a batch, and write each as soon as it is there.

        Returns:
            Each image's name and why it has no mask, or None.

        Raises:
            InputError: a file that cannot be written.

        """
        if not self._job.framing.squashes:
            return [(name, self._of_windows(name)) for name in names]
        mapped = self._readers.map if self._readers else map
        read = dict(zip(names, mapped(self._read, names), strict=True))
        failed = {name: found for name, found in read.items() if isinstance(found, str)}
        fine = {name: found for name, found in read.items() if not isinstance(found, str)}
        pixels = np.stack([found[1] for found in fine.values()]) if fine else None
        shapes = [found[2] for found in fine.values()]
        if pixels is not None:
            made = predict_probabilities(
                self._segmenter,
                pixels,
                shapes,
                self._prediction,
                batch_size=len(fine) if self._device != "cpu" else PASS,
                device=self._device,
            )
            done: set[str] = set()
            for name, (digest, _, _) in fine.items():
                try:
                    probabilities = next(made)
                except InputError:
                    raise
                except Exception as error:
                    # Those that follow would come from the same pass.
                    failed |= dict.fromkeys(fine.keys() - done, failure_text(error))
                    break
                done.add(name)
                if (said := self._written(name, probabilities, digest)) is not None:
                    failed[name] = said
        for name in failed.keys() & fine.keys():
            drop_stale(self._job, name, fine[name][0])
        return [(name, failed.get(name)) for name in names]

    def _of_windows(self, name: str) -> str | None:
        """Make the mask of an image from its windows, row by row; return why it has none."""
        job, digest = self._job, None
        try:
            file, out = Path(job.images) / name, job.left_out(name)
            digest = checked_file_digest(file, job.rules)
            with (
                PictureRows.opened(file, job.rules) as rows,
                opened_files(job, name, rows.shape, digest) as add,
            ):
                for _, band in predict_picture(
                    self._segmenter,
                    rows,
                    rows.shape,
                    job.framing,
                    self._prediction,
                    device=self._device,
                ):
                    if not np.isfinite(band).all():
                        raise InputError("the segmenter's scores of it are not finite")
                    band[1:][out] = 0
                    add(quantise(band[1:]), most_probable(band, uncertain=job.uncertain))
                check_same(job, name, digest)
        except Exception as error:
            if digest is not None:
                drop_stale(job, name, digest)
            return failure_text(error)
        return None

    def _read(self, name: str) -> tuple[str, np.ndarray, tuple[int, int]] | str:
        """Return an image's digest, pixels and shape, or why there are none."""
        image, rules = Path(self._job.images) / name, self._job.rules
        try:
            file = PictureFile.read(image, rules)
            return file.digest, read_rgb(file, self._size, rules), image_shape(image, rules)
        except InputError as error:
            return str(error)

    def _written(self, name: str, probabilities: np.ndarray, digest: str) -> str | None:
        """Write the files of an image; return why it has none."""
        if not np.isfinite(probabilities).all():
            return "the segmenter's scores of it are not finite"
        try:
            check_same(self._job, name, digest)
        except InputError as error:
            return str(error)
        probabilities[1:][self._job.left_out(name)] = 0
        mask = most_probable(probabilities, uncertain=self._job.uncertain)
        write_mask_files(self._job, name, quantise(probabilities[1:]), mask, digest)
        return None


def most_probable(probabilities: np.ndarray, *, uncertain: float = 0.0) -> np.ndarray:
    """Return the most probable class of each pixel; of equal ones the first.

    Args:
        probabilities: float [K + 1, H, W], the background first.
        uncertain: pixels whose most probable class is ahead of the next by less than twice this are
            undecided; 0: none.

    Returns:
        uint8 [H, W]: 0, k + 1 or 255.

    Raises:
        InputError: a margin out of range.

    Example:
        >>> one = np.array([[[0.9, 0.55, 0.2]], [[0.1, 0.45, 0.8]]])
        >>> most_probable(one, uncertain=0.1).tolist()
        [[0, 255, 1]]

    """
    if not 0 <= uncertain <= 1:
        raise InputError(f"uncertain {uncertain}: expected a margin from 0 to 1")
    # For one class in a third of the time of argmax along the first axis, for twenty in as much.
    mask, highest = np.zeros(probabilities.shape[1:], np.uint8), probabilities[0].copy()
    for number, of_class in enumerate(probabilities[1:], 1):
        np.copyto(mask, number, where=of_class > highest)
        np.maximum(highest, of_class, out=highest)
    if uncertain:
        first, second = np.partition(probabilities, -2, axis=0)[[-1, -2]]
        mask[first - second < 2 * uncertain] = IGNORED
    return mask
