"""CAM from the linear head (Zhou et al., CVPR 2016, eq. 2) over a whole image set.

Scores are kept raw: normalising each map hides the absolute scale (an image without the class
still peaks at 1), so that is a later, named choice.
"""

from dataclasses import dataclass

import numpy as np
import torch

from wsss_core.backbones import Network
from wsss_core.cams.restoring import evaluating
from wsss_core.data.network_input import to_input
from wsss_core.out_of_memory import in_batches


@dataclass(frozen=True)
class RawScores:
    """A network's raw answer for N images.

    Attributes:
        maps: float16 [N, K, h, w], raw class scores at the network's own grid; scores of 0 to 1
            where several were put together (`CamSettings.normalised`).
        logits: float32 [N, K].

    """

    maps: np.ndarray
    logits: np.ndarray


def class_weight_cams(
    network: Network, images: np.ndarray, *, device: str = "cpu", batch_size: int = 64
) -> RawScores:
    """Return raw CAMs and logits of uint8 [N, S, S, 3] images, in evaluation mode.

    The network is left in the mode it came in. A batch that does not fit into memory is halved.
    """
    network.to(device)

    def of(part: slice, _: int) -> tuple[np.ndarray, np.ndarray]:
        output = network(to_input(images[part], device))
        maps = output.activation_maps.to(torch.float16).cpu().numpy()
        return maps, output.logits.float().cpu().numpy()

    what = f"CAMs of images of {images.shape[2]} x {images.shape[1]} px"
    with torch.inference_mode(), evaluating(network):
        made = in_batches(of, len(images), batch_size, device=device, what=what)
    maps, logits = zip(*made, strict=True)
    return RawScores(np.concatenate(maps), np.concatenate(logits))
