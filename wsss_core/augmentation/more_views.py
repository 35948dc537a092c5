"""Further samples of the training images, beside those that every training takes.

Each image of a batch comes as it is and in each further form, so that a batch of B images has
(1 + forms) x B samples, whose losses have one mean. What a form is made of follows from (seed,
pass, image) alone: a training that resumes, or takes a batch in parts, sees the same.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from wsss_core.augmentation.decomposition import CropSettings, Decomposition
from wsss_core.augmentation.passes import pass_stream
from wsss_core.augmentation.pasting import PasteSettings, Pasting
from wsss_core.augmentation.sample import Stored
from wsss_core.augmentation.views import Load


class MoreViews(Protocol):
    """Gives the further forms of a pass."""

    def __call__(self, seed: int, number: int) -> Sequence[Load]:
        """Return for each form what reads it, by the numbers of images."""
        ...


class _Form(Protocol):
    DRAWN: int

    def of(self, number: int, drawn: NDArray[np.float64]) -> tuple[NDArray, NDArray[np.float32]]:
        """Return an image in this form, and its labels."""
        ...


class DecoupledViews:
    """Images with pasted objects, and crops of images, by masks of the objects.

    Args:
        images: uint8 [N, S, S, 3].
        labels: bool [N, K].
        masks: N masks, uint8 [S, S]: 0 background, k + 1 class k, 255 ignored.
        paste: how objects are pasted; None: they are not.
        crops: which crops are taken; None: none.

    Raises:
        InputError: objects are to be pasted, and there is none.

    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.bool_],
        masks: Iterable[NDArray[np.uint8]],
        *,
        paste: PasteSettings | None = None,
        crops: CropSettings | None = None,
    ) -> None:
        masks = list(masks)
        self._count = len(images)
        self._forms: list[tuple[str, int, _Form]] = []
        if paste is not None:
            self._forms.append(("paste", 0, Pasting(images, labels, masks, paste)))
        if crops is not None:
            parts = Decomposition(images, labels, masks, crops)
            self._forms += [("crops", copy, parts) for copy in range(crops.count)]

    def __call__(self, seed: int, number: int) -> list[Load]:
        """See `MoreViews`."""
        return [self._reading(form, seed, number) for form in self._forms]

    def _reading(self, named: tuple[str, int, _Form], seed: int, number: int) -> Load:
        option, copy, form = named
        random = pass_stream(option, seed, number, copy)
        drawn = random.random((self._count, form.DRAWN))

        def load(chosen: NDArray[np.intp]) -> Stored:
            made = [form.of(int(image), drawn[image]) for image in chosen]
            labels = torch.from_numpy(np.stack([labels for _, labels in made]))
            return Stored(np.stack([image for image, _ in made]), labels)

        return load
