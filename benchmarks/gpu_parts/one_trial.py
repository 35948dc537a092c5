"""One small training in a process of its own: says "ready", waits for a line, trains, says "done".

With `benchmarks` and the repository on PYTHONPATH: python -m gpu_parts.one_trial DEVICE EPOCHS
"""

import sys
from typing import Any

import torch

from gpu_parts.networks import pictures
from wsss_core.backbones import Network, build_network
from wsss_core.training import TrainingSettings, train
from wsss_core.transfer import Single

SIZE = 64
SETTINGS: dict[str, Any] = {"batch_size": 32, "precision": "fp32"}


def small_vit(seed: int) -> Network:
    """Return the ViT of the quickstart."""
    torch.manual_seed(seed)
    options = {"patch_size": 8, "embed_dim": 96, "depth": 4, "num_heads": 3}
    return build_network("vit_tiny_patch16_224", classes=1, image_size=SIZE, options=options)


def main() -> None:
    device, epochs = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(1)
    on_card = device.startswith("cuda")
    images, labels = pictures(512 if on_card else 64, SIZE, classes=1)
    first = TrainingSettings(epochs=1, **SETTINGS)
    train(Single(small_vit(1)), images[:64], labels[:64], first, seed=0, device=device)
    paradigm, settings = Single(small_vit(0)), TrainingSettings(epochs=epochs, **SETTINGS)
    print("ready", flush=True)
    sys.stdin.readline()
    train(paradigm, images, labels, settings, seed=0, device=device)
    if on_card:
        torch.cuda.synchronize()
    print("done", flush=True)


if __name__ == "__main__":
    main()
