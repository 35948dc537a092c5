"""Multi-scale CAMs, 4 scales and their flips, beside pytorch-grad-cam and the bare forward passes.

The work, counted for one image of S x S pixels. A CAM of 4 scales with flips cannot do without 8
forward passes over 2 (0.25 + 1 + 2.25 + 4) = 15 S^2 pixels (a ViT's attention grows faster than
that); the loop "bare forward passes" does these and nothing else, in the same batches and in
inference mode. On top of it come:

- class weights: scaling, K products with the features, normalising, resizing.
- Grad-CAM of K classes at the last layer: the backward pass from the logit to that layer alone.
  That is a mean and a matrix product for a CNN, and one of 12 blocks for a ViT.

pytorch-grad-cam, used as its examples do, is called image by image, scale by scale, flip by flip.
It does the same 8 forward passes with autograd recording everything, and a backward pass through
the whole network to its parameters (2 units of the forward pass each). Its maps are resized to
the image on the CPU, as they are by default.

The forward passes are also timed image by image, which shows how much of the ratio is batching.

    python benchmarks/cams.py                       # several minutes on two cores
    python benchmarks/cams.py --images 4 --repeats 2 --json cams.json
    python benchmarks/cams.py --device cuda --images 64 --batch-size 64
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_core.backbones import Network, build_network
from wsss_core.cams import CamSettings, cams
from wsss_core.cams.restoring import resized_for
from wsss_core.cams.settings import scaled_size
from wsss_core.data.network_input import to_input
from wsss_core.evaluate import normalise, resize

SCALES = (0.5, 1.0, 1.5, 2.0)
NETWORKS = {"ResNet-18": "resnet18", "ViT-Tiny/16": "vit_tiny_patch16_224"}
BARE = "bare forward passes"


def network_of(name: str, size: int, device: str) -> Network:
    torch.manual_seed(0)
    return build_network(name, classes=1, image_size=size).eval().to(device)


def sides_of(network: Network, size: int) -> list[int]:
    return [scaled_size(size, scale, network.encoder.size_multiple) for scale in SCALES]


def at_size(network: Network, side: int) -> Any:
    """Let a ViT take another input size; a CNN takes any."""
    vit = getattr(network.encoder, "vit", None)
    return nullcontext() if vit is None else resized_for(vit, side)


def bare_forward_passes(
    network: Network, images: np.ndarray, *, device: str, batch_size: int
) -> list[Tensor]:
    """The 8 views of every image through the encoder, a pass holding as many pixels at any size."""
    size = images.shape[1]
    features = []
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            block = to_input(images[start : start + batch_size], device)
            for side in sides_of(network, size):
                at_once = max(1, int(batch_size / (2 * (side / size) ** 2)))
                with at_size(network, side):
                    for chunk in block.split(at_once):
                        if side != size:
                            chunk = F.interpolate(chunk, (side, side), mode="bilinear")
                        both = torch.cat([chunk, chunk.flip(-1)])
                        features.append(network(both).logits)
    return features


def one_by_one(network: Network, images: np.ndarray, *, device: str, **_: Any) -> list[Tensor]:
    """The same passes, each of one image."""
    features = []
    with torch.inference_mode():
        for side in sides_of(network, images.shape[1]):
            with at_size(network, side):
                for image in images:
                    pixels = F.interpolate(
                        to_input(image[None], device), (side, side), mode="bilinear"
                    )
                    features.append(network(pixels).logits)
                    features.append(network(pixels.flip(-1)).logits)
    return features


class Logits(nn.Module):
    """What pytorch-grad-cam asks of a model: images to logits and nothing else."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Images float [B, 3, H, W] to logits float [B, K]."""
        return self.network(images).logits


def as_grid(tokens: Tensor) -> Tensor:
    side = round((tokens.shape[1] - 1) ** 0.5)
    return tokens[:, 1:].reshape(len(tokens), side, side, -1).permute(0, 3, 1, 2)


def pytorch_grad_cam(
    network: Network, images: np.ndarray, sides: list[int], flips: tuple[bool, ...], device: str
) -> np.ndarray:
    """Image by image, scale by scale, flip by flip; maps averaged at the image's size."""
    # Here alone: the other contenders run without it.
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    vit = hasattr(network.encoder, "vit")
    layer = network.encoder.vit.blocks[-1].norm1 if vit else network.encoder.extractor.layer4
    targets = [ClassifierOutputTarget(0)]
    size = images.shape[1]
    total = np.zeros((len(images), size, size), np.float32)
    with GradCAM(Logits(network), [layer], as_grid if vit else None) as cam:
        for side in sides:
            with at_size(network, side), torch.enable_grad():
                for index, image in enumerate(images):
                    pixels = F.interpolate(
                        to_input(image[None], device), (side, side), mode="bilinear"
                    )
                    for flipped in flips:
                        found = cam(pixels.flip(-1) if flipped else pixels, targets)[0]
                        found = found[:, ::-1] if flipped else found
                        at_image = F.interpolate(
                            torch.from_numpy(found.copy())[None, None],
                            (size, size),
                            mode="bilinear",
                        )
                        total[index] += at_image[0, 0].numpy()
    network.zero_grad()
    return total / (len(sides) * len(flips))


def contenders(batch_size: int, device: str) -> dict[str, Callable[..., object]]:
    shared = {"device": device, "batch_size": batch_size}
    class_weight = CamSettings(scales=SCALES, flip=True)
    gradient = CamSettings("grad_cam", scales=SCALES, flip=True)
    return {
        BARE: partial(bare_forward_passes, **shared),
        "class-weight CAMs": lambda network, images: cams(network, images, class_weight, **shared),
        "Grad-CAMs": lambda network, images: cams(network, images, gradient, **shared),
        "forward, one by one": partial(one_by_one, **shared),
        "pytorch-grad-cam": lambda network, images: pytorch_grad_cam(
            network, images, sides_of(network, images.shape[1]), (False, True), device
        ),
    }


def check_agreement(network: Network, images: np.ndarray, device: str) -> None:
    """See that both make the same maps, at one scale: beyond that they resize in another order."""
    size = images.shape[1]
    theirs = pytorch_grad_cam(network, images, [size], (False,), device)
    raw = cams(network, images, CamSettings("grad_cam"), device=device).maps[:, 0]
    ours = resize(normalise(raw, "min_max"), (size, size))
    if np.abs(normalise(theirs, "min_max") - normalise(ours, "min_max")).max() > 0.01:
        raise SystemExit("pytorch-grad-cam and Grad-CAM at one scale disagree")


def seconds(run: Callable[..., object], network: Network, images: np.ndarray, device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run(network, images)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(count: int, size: int, repeats: int, batch_size: int, device: str) -> dict[str, Any]:
    images = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)
    found: dict[str, dict[str, float]] = {}
    for label, name in NETWORKS.items():
        network = network_of(name, size, device)
        check_agreement(network, images[:1], device)
        runs = contenders(batch_size, device)
        for run in runs.values():
            run(network, images[:1])
        best = dict.fromkeys(runs, float("inf"))
        for _ in range(repeats):
            for what, run in runs.items():
                best[what] = min(best[what], seconds(run, network, images, device))
        found[label] = {what: 1e3 * spent / count for what, spent in best.items()}
    on_cpu = platform.processor() or platform.machine()
    return {
        "images": count,
        "size": size,
        "repeats": repeats,
        "batch_size": batch_size,
        "device": torch.cuda.get_device_name() if device == "cuda" else on_cpu,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "milliseconds_an_image": found,
    }


def print_table(result: dict[str, Any]) -> None:
    print(
        f"{result['images']} images of {result['size']} px, scales {', '.join(map(str, SCALES))} "
        f"with flips, batches of {result['batch_size']}, float32,\n{result['device']}, "
        f"{result['threads']} threads; best of {result['repeats']}, interleaved\n"
    )
    for label, spent in result["milliseconds_an_image"].items():
        print(f"{label:<24}{'ms/image':>10}{'x bare':>9}{'pytorch-grad-cam takes':>25}")
        for what, milliseconds in spent.items():
            print(
                f"  {what:<22}{milliseconds:>10.1f}{milliseconds / spent[BARE]:>9.2f}"
                f"{spent['pytorch-grad-cam'] / milliseconds:>23.1f} x"
            )
        print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=16, help="number of images (default: 16)")
    parser.add_argument("--size", type=int, default=224, help="their side (default: 224)")
    parser.add_argument("--repeats", type=int, default=3, help="the best counts (default: 3)")
    parser.add_argument(
        "--batch-size", type=int, default=16, help="a pass at scale 1 (default: 16)"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda if there is one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args()
    if min(arguments.images, arguments.repeats, arguments.batch_size) < 1:
        parser.error("--images, --repeats and --batch-size: expected at least 1")
    if arguments.size % 32:
        parser.error("--size: expected a multiple of 32")
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    result = measure(
        arguments.images, arguments.size, arguments.repeats, arguments.batch_size, device
    )
    print_table(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
