"""Tiny networks for the tests of everything that trains or looks into one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from wsss_core.backbones import Network, build_network


@pytest.fixture(autouse=True)
def one_thread(torch_threads: Callable[[int], None]) -> None:
    torch_threads(1)


@pytest.fixture
def cnn() -> Callable[..., Network]:
    """A ResNet-18 of 8 to 32 channels; at 16 px and output stride 8 its grid is 2 x 2."""

    def build(*, seed: int = 0, classes: int = 1, size: int = 16, **more: Any) -> Network:
        torch.manual_seed(seed)
        # timm starts each block's last BatchNorm at 0, which would hide half the gradients.
        options = {"channels": (8, 8, 16, 32), "zero_init_last": False}
        more = {"output_stride": 8, "options": options, **more}
        return build_network("resnet18", classes=classes, image_size=size, **more)

    return build


@pytest.fixture
def vit() -> Callable[..., Network]:
    """A ViT of width 24 and patch 8; at 16 px its grid is 2 x 2. Keywords are timm's options."""

    def build(*, seed: int = 0, classes: int = 1, size: int = 16, **options: Any) -> Network:
        torch.manual_seed(seed)
        options = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, **options}
        return build_network(
            "vit_tiny_patch16_224", classes=classes, image_size=size, options=options
        )

    return build
