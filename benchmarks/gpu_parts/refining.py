"""Masks on the card, beside what others offer: dense CRF, random walk, multi-scale CAMs."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from gpu_parts.networks import tiny_cnn, tiny_vit
from gpu_parts.rows import Machine, Part, Row, compared
from wsss_core.refine import CRF_PRESETS, dense_crf, random_walk, unary_probabilities


def goal(machine: Machine, ratio: float) -> float | None:
    """Goals are those of a card: in a dry run, or on a CPU, a ratio is only said."""
    return None if machine.dry or not machine.on_gpu else ratio


def crf(machine: Machine) -> Iterator[Row]:
    """A batch on the device beside image by image on one thread of this machine's CPU."""
    from dense_crf import ITERATIONS, draw_images, has_pydensecrf

    backend = "pydensecrf" if has_pydensecrf() else "torch"
    count, size = machine.sized(16, 2), machine.sized(512, 64)
    images, scores = draw_images(count, size)
    threads = torch.get_num_threads()
    for name in ("thesis", "irn"):
        settings = replace(CRF_PRESETS[name], iterations=ITERATIONS)
        unary = unary_probabilities(scores, preset=settings)
        pixels, classes = (
            torch.from_numpy(images).to(machine.device),
            unary.to(machine.device),
        )
        own = machine.milliseconds(partial(dense_crf, pixels, classes, preset=settings)) / count
        torch.set_num_threads(1)
        try:
            on_cpu = partial(dense_crf, images[0], unary[0], preset=settings, backend=backend)
            theirs = machine.milliseconds(on_cpu, 3)
        finally:
            torch.set_num_threads(threads)
        what = f"{name}, {count} images of {size} px, {ITERATIONS} iterations"
        beside = "pydensecrf" if backend == "pydensecrf" else "our own, as pydensecrf is not here,"
        aim = goal(machine, 20) if backend == "pydensecrf" else None
        yield compared("dense CRF", what, own, "ms/image", f"{beside} on one thread", theirs, aim)


def walk(machine: Machine) -> Iterator[Row]:
    """All 256 steps beside eight dense squarings, both on the device."""
    from random_walk import BETA, dense_power, dense_transition, draw_affinity

    side = machine.sized(128, 24)
    affinity = draw_affinity(side, 5, machine.device)
    for maps in (1, 20):
        scores = torch.rand(1, maps, side, side, device=machine.device)
        own = machine.milliseconds(
            lambda scores=scores: random_walk(scores, affinity, beta=BETA, squarings=8)
        )
        dense = machine.known.get("dense squarings")
        if dense is None:
            transition = dense_transition(affinity, 5)
            dense = machine.milliseconds(
                lambda scores=scores, t=transition: dense_power(t, scores, 8), 3
            )
            machine.known["dense squarings"] = dense
            del transition
        what = f"256 steps, {side} x {side}, maps at once: {maps}"
        aim = goal(machine, 50)
        yield compared("random walk", what, own, "ms", "dense squarings, same device", dense, aim)


def has_pytorch_grad_cam() -> bool:
    try:
        import pytorch_grad_cam  # noqa: F401
    except ImportError:
        return False
    return True


def multi_scale(machine: Machine) -> Iterator[Row]:
    """Grad-CAM of 4 scales and flips beside pytorch-grad-cam on the same device."""
    import cams as benchmark

    size, count = machine.sized(224, 64), machine.sized(64, 2)
    images = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)
    runs = benchmark.contenders(count, machine.device)
    small = {"ResNet-18": tiny_cnn, "ViT-Tiny/16": tiny_vit}
    for label, name in benchmark.NETWORKS.items():
        if machine.dry:
            network = small[label](size, classes=1).eval()
        else:
            network = benchmark.network_of(name, size, machine.device)
        few = images[: machine.sized(8, 1)]
        own = machine.milliseconds(lambda n=network: runs["Grad-CAMs"](n, images), 3) / count
        bare = machine.milliseconds(lambda n=network: runs[benchmark.BARE](n, images), 3) / count
        what = f"{label}, Grad-CAM of 4 scales and flips, {size} px"
        yield compared("multi-scale CAMs", what, own, "ms/image", benchmark.BARE, bare)
        if not has_pytorch_grad_cam():
            note = "pytorch-grad-cam is not installed"
            yield Row(
                "multi-scale CAMs", f"{label}, beside pytorch-grad-cam", "not here", note=note
            )
            continue
        theirs = machine.milliseconds(
            lambda n=network, few=few: runs["pytorch-grad-cam"](n, few), 2
        ) / len(few)
        aim = goal(machine, 3)
        yield compared("multi-scale CAMs", what, own, "ms/image", "pytorch-grad-cam", theirs, aim)


PARTS = [
    Part("dense CRF, speed", 40, crf),
    Part("random walk, speed", 40, walk),
    Part("multi-scale CAMs", 60, multi_scale),
]
