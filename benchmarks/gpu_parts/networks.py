"""The networks and images of the parts, and what a step of plain PyTorch looks like."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn

from gpu_parts.rows import Machine
from wsss_core.backbones import Network, build_network
from wsss_core.training import TrainingSettings, train
from wsss_core.transfer import Paradigm

TINY_VIT = {"patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 3}
SHORT_CNN = {"layers": (1, 1, 1, 1), "channels": (8, 8, 16, 32)}
# timm starts each block's last BatchNorm at 0, which would hide half the gradients.
TINY_CNN = {"channels": (8, 8, 16, 32), "zero_init_last": False}


def tiny_vit(size: int = 64, seed: int = 0, classes: int = 2) -> Network:
    torch.manual_seed(seed)
    name = "vit_tiny_patch16_224"
    return build_network(name, classes=classes, image_size=size, options=TINY_VIT)


def tiny_cnn(size: int = 64, seed: int = 0, classes: int = 2) -> Network:
    torch.manual_seed(seed)
    return build_network(
        "resnet18", classes=classes, image_size=size, output_stride=8, options=TINY_CNN
    )


def pictures(count: int, size: int, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Return images uint8 [N, S, S, 3] with some structure, and labels bool [N, K]."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (count, size // 8, size // 8, 3), np.uint8)
    images = coarse.repeat(8, 1).repeat(8, 2)
    noise = random.integers(0, 32, images.shape, np.uint8)
    return images // 8 * 7 + noise, random.random((count, classes)) < 0.5


@contextmanager
def exact_float32() -> Iterator[None]:
    """Let no GPU round the factors of float32 products to TF32."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def relative(found: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference, as a share of the expected one's norm."""
    found, expected = found.detach().cpu().double(), expected.detach().cpu().double()
    return float((found - expected).norm() / expected.norm().clamp_min(1e-30))


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().cpu().double().flatten() for tensor in tensors])


def per_image(
    paradigm: Paradigm, machine: Machine, settings: dict[str, Any], steps: int, size: int
) -> float:
    """Return milliseconds an image of `train`: the better of two epochs after one that warms up."""
    batch_size = settings["batch_size"]
    images, labels = pictures(steps * batch_size, size, classes=1)
    asked = TrainingSettings(epochs=3, **settings)
    history = train(paradigm, images, labels, asked, seed=0, device=machine.device)
    if any(record.micro_batch for record in history):
        raise RuntimeError("the batch did not fit into memory; expected a larger card")
    return 1e3 * min(record.seconds for record in history[1:]) / len(images)


class PlainStep:
    """What a user would write: a timm model, binary cross-entropy and AdamW on one batch.

    The batch stays on the card, so nothing is waited for: the bare arithmetic of a step.
    """

    def __init__(
        self,
        model: nn.Module,
        machine: Machine,
        batch_size: int,
        size: int,
        *,
        bf16: bool = False,
        compiled: bool = False,
        capturable: bool = False,
    ) -> None:
        self.device, self.bf16 = machine.device, bf16
        self.model = model.to(machine.device).train()
        self.call: Callable[[Tensor], Tensor] = torch.compile(model) if compiled else model
        self.images = torch.rand(batch_size, 3, size, size, device=machine.device)
        self.targets = torch.ones(batch_size, 1, device=machine.device)
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, capturable=capturable)

    def __call__(self) -> Tensor:
        """Take the step and return its loss."""
        self.optimizer.zero_grad()
        kind = torch.device(self.device).type
        # Its cache of casts would outlive a captured graph.
        with torch.autocast(kind, torch.bfloat16, enabled=self.bf16, cache_enabled=False):
            logits = self.call(self.images)
        loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), self.targets)
        loss.backward()
        self.optimizer.step()
        return loss

    def captured(self) -> Callable[[], None]:
        """Return the whole step as one CUDA graph."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad()
        with torch.cuda.graph(graph):
            self()
        return graph.replay


def large(kind: str, machine: Machine) -> tuple[str, int, dict[str, Any]]:
    """Return a timm name, the side of the images and options: small ones in a dry run."""
    size = machine.sized(512, 64)
    if kind == "ViT-S":
        options = {"embed_dim": 48, "depth": 2, "num_heads": 3} if machine.dry else {}
        return "vit_small_patch16_224", size, options
    return "resnet50", size, SHORT_CNN if machine.dry else {}


def large_network(kind: str, machine: Machine) -> Network:
    name, size, options = large(kind, machine)
    torch.manual_seed(0)
    return build_network(name, classes=1, image_size=size, options=options)


def large_timm_model(kind: str, machine: Machine) -> nn.Module:
    name, size, options = large(kind, machine)
    shape: dict[str, Any] = {"img_size": size, "global_pool": "avg"} if kind == "ViT-S" else {}
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=1, **shape, **options)
