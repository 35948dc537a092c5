"""Steps that learn which pixels belong together from the training images' CAMs, and walk."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from wsss_core.backbones import Network
from wsss_core.evaluate import resize
from wsss_core.out_of_memory import in_batches
from wsss_core.refine.affinity.heads import (
    AffinityNet,
    BoundaryNet,
    boundary_walk,
)
from wsss_core.refine.affinity.random_walk import random_walk
from wsss_core.refine.affinity.settings import AFFINITY_PRESETS
from wsss_core.refine.affinity.training import PairHead, confident_labels, labels_at_grid
from wsss_core.refine.crf.dense_crf import dense_crf, unary_probabilities
from wsss_core.refine.crf.settings import CRF_PRESETS
from wsss_core.refine.steps.registry import Images, Known, Refiner, Scores, at_image_size


class AffinityWalk(Refiner):
    """AffinityNet (PSA) over the trained network's own encoder, and its random walk.

    It learns from pixels that two CRFs of the CAM are sure of, a weak and a strong background; the
    maps of classes that an image does not hold by its label are 0. A walked map is divided by its
    maximum, as in PSA.
    """

    _FILE = "head.safetensors"
    _HEAD: ClassVar[type[PairHead]] = AffinityNet
    _SOURCE: ClassVar[tuple[str, float, float]] = ("psa", 4.0, 32.0)
    """Whose presets are taken unless others are named; its CRF's strong and weak background."""

    def __init__(
        self,
        preset: str = "psa",
        epochs: int | None = None,
        layers: Sequence[int | str] | None = None,
    ) -> None:
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
        sure = self._sure_pixels(images, scores, labels, device)
        head = self._HEAD.trained(network, images, sure, self.settings, seed=seed, device=device)
        state = {name: value.cpu().contiguous() for name, value in head.state_dict().items()}
        save_file(state, folder / self._FILE)

    def _sure_pixels(
        self, images: Images, scores: Scores, labels: NDArray[np.bool_], device: str
    ) -> NDArray[np.uint8]:
        """Return labels uint8 [N, h, w] on the affinity grid: 0, 1..K, and 255 where not sure."""
        preset, strong, weak = self._SOURCE
        grid = self.settings.grid(*images.shape[1:3])

        def sure(some: slice, _: int) -> NDArray[np.uint8]:
            pictures = torch.from_numpy(np.array(images[some])).to(device)
            held = scores[some] * labels[some, :, None, None]
            maps = torch.from_numpy(at_image_size(held, images[some])).to(device)
            both = [replace(CRF_PRESETS[preset], background=score) for score in (strong, weak)]
            # Of one image after the other, so that the two share its kernels.
            unaries = torch.stack([unary_probabilities(maps, preset=crf) for crf in both], 1)
            pictures = pictures.repeat_interleave(len(both), 0)
            posteriors = dense_crf(pictures, unaries.flatten(0, 1), preset=both[0])
            certain = confident_labels(*posteriors.unflatten(0, (-1, len(both))).unbind(1))
            return labels_at_grid(certain, grid).cpu().numpy()

        at_once = 8 if device.startswith("cuda") else 1
        return np.concatenate(
            in_batches(
                sure, len(images), at_once, device=device, what="the CRFs of affinity labels"
            )
        )

    def refine(self, images: Images, scores: Scores, known: Known) -> Scores:
        """See `Refiner`; the maps come back on the affinity grid."""
        assert known.fitted_state is not None
        assert known.network is not None
        head = self._HEAD.over(known.network, self.settings)
        head.load_state_dict(load_file(known.fitted_state / self._FILE))
        at_grid = torch.from_numpy(resize(scores, self.settings.grid(*images.shape[1:3])))
        walked = self._walk(head, known.network, np.array(images), at_grid)
        highest = walked.amax((-2, -1), keepdim=True)
        return torch.where(highest > 0, walked / highest.clamp_min(1e-12), 0.0).clamp(0, 1).numpy()

    def _walk(self, head: PairHead, network: Network, images: Images, scores: Tensor) -> Tensor:
        maps = head.predict(network, images, self.settings)
        beta, squarings = self.settings.beta, self.settings.squarings
        return random_walk(scores, maps, beta=beta, squarings=squarings)


class BoundaryWalk(AffinityWalk):
    """IRN's boundary map over the trained network's own encoder, and its random walk."""

    _HEAD = BoundaryNet
    _SOURCE = ("irn", 0.30, 0.05)

    def __init__(
        self,
        preset: str = "irn",
        epochs: int | None = None,
        layers: Sequence[int | str] | None = None,
    ) -> None:
        super().__init__(preset, epochs, layers)

    def _walk(self, head: PairHead, network: Network, images: Images, scores: Tensor) -> Tensor:
        edge = head.predict(network, images, self.settings)
        return boundary_walk(
            scores,
            edge,
            radius=self.settings.radius,
            beta=self.settings.beta,
            squarings=self.settings.squarings,
        )
