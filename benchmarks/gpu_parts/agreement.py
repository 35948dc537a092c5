"""Every path of kernels on the device against the CPU, each with its tolerance.

The CPU computes in float64 wherever the function takes it, so a dry run, whose device is the CPU
too, compares two things as well. Products in TF32 are off: a difference is then one of rounding and
of the order of sums, some 1e-6 of a value. Gradients go through many layers, and half of them
nearly cancel; they get 1e-3 of their norm. Maps are kept in float16, whose steps are 5e-4; with
the sums of scales they get 2e-3. Losses in bfloat16, whose steps are 4e-3, get 5e-2. A training
that goes on from its checkpoint gets 1e-4, for kernels that do not add in one order; on the CPU it
is equal to the bit.
"""

import copy
import itertools
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gpu_parts.networks import (
    exact_float32,
    flat,
    pictures,
    relative,
    tiny_cnn,
    tiny_vit,
)
from gpu_parts.rows import Machine, Part, Row, checked
from wsss_core.cams import CamSettings, cams
from wsss_core.data import to_input
from wsss_core.refine import CRF_PRESETS, dense_crf, par, random_walk, unary_probabilities
from wsss_core.training import EpochRecord, TrainingSettings, train
from wsss_core.transfer import (
    TRANSFER_LEVELS,
    VARIANTS,
    Alignment,
    CoTraining,
    Paradigm,
    Single,
    TeacherStudent,
    transfer_loss,
)

OUTPUT, GRADIENT, MAPS, HISTORY, HALF, RESUMED = 2e-5, 1e-3, 2e-3, 1e-3, 5e-2, 1e-4


def losses(machine: Machine) -> Iterator[Row]:
    """Value and gradient of each transfer loss, maps of two grids."""
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(4, 16, 12, 12, generator=generator, dtype=torch.float64)
    teacher = torch.randn(4, 16, 6, 6, generator=generator, dtype=torch.float64)

    def found(
        metric: str, level: str, variant: str, device: str, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        own = student.to(device, dtype).clone().requires_grad_()
        options = {"temperature": 2.0} if metric == "kl" else {}
        loss = transfer_loss(
            own, teacher.to(device, dtype), metric=metric, level=level, variant=variant, **options
        )
        loss.backward()
        return loss.detach(), own.grad

    for metric in ("cosine", "l1", "l2", "kl"):
        worst = 0.0
        for level, variant in itertools.product(TRANSFER_LEVELS, VARIANTS):
            here, here_slope = found(metric, level, variant, machine.device, torch.float32)
            there, there_slope = found(metric, level, variant, "cpu", torch.float64)
            worst = max(worst, relative(here, there), relative(here_slope, there_slope))
        yield checked("losses", f"{metric}, levels and variants, with gradient", worst, OUTPUT)


def cam_methods(machine: Machine) -> Iterator[Row]:
    images, _ = pictures(4, 64)
    methods: dict[str, CamSettings] = {
        "class weights": CamSettings(),
        "Grad-CAM": CamSettings("grad_cam"),
        "LayerCAM": CamSettings("layer_cam"),
        "attention": CamSettings("attention"),
        "class weights, 3 scales, flips": CamSettings(scales=(0.5, 1.0, 1.5), flip=True),
        "Grad-CAM, 2 scales, flips, sum and max": CamSettings(
            "grad_cam", scales=(1.0, 1.5), flip=True, merge="sum_max"
        ),
    }
    for kind, build in (("ViT", tiny_vit), ("CNN", tiny_cnn)):
        network = build().eval()
        exact = copy.deepcopy(network).double()
        for name, settings in methods.items():
            if settings.method == "attention" and kind == "CNN":
                continue
            with exact_float32():
                here = cams(network, images, settings, device=machine.device)
            there = cams(exact, images, settings, device="cpu")
            maps = [
                torch.from_numpy(one.maps.astype(np.float64) * one.factors[..., None, None])
                for one in (here, there)
            ]
            difference = max(
                relative(*maps),
                relative(torch.from_numpy(here.logits), torch.from_numpy(there.logits)),
            )
            yield checked("CAMs", f"{kind}, {name}", difference, MAPS)


def crf(machine: Machine) -> Iterator[Row]:
    """A batch on the device beside image by image on the CPU, and beside pydensecrf."""
    from dense_crf import draw_images, has_pydensecrf

    images, scores = draw_images(2, machine.sized(192, 64))
    compare = has_pydensecrf()
    for name in CRF_PRESETS:
        unary = unary_probabilities(scores, preset=name)
        pixels = torch.from_numpy(images).to(machine.device)
        here = dense_crf(pixels, unary.to(machine.device), preset=name).cpu()
        single = partial(dense_crf, preset=name)
        there = torch.stack([single(*one) for one in zip(images, unary, strict=True)])
        sides = {"the CPU": there}
        if compare:
            sides["pydensecrf"] = dense_crf(images, unary, preset=name, backend="pydensecrf")
        for side, posteriors in sides.items():
            mean = float((here - posteriors).abs().mean((1, 2, 3)).max())
            yield checked("dense CRF", f"{name}, mean difference to {side}", mean, 1e-4)
            other = float((here.argmax(1) != posteriors.argmax(1)).float().mean())
            yield checked("dense CRF", f"{name}, labels unlike {side}'s", other, 1e-3)


def walk(machine: Machine) -> Iterator[Row]:
    from random_walk import BETA, dense_error, draw_affinity

    with exact_float32():
        error = dense_error(5, 8, machine.device)
    yield checked("random walk", "256 steps beside the dense power in float64", error, 1e-5)
    side = machine.sized(128, 32)
    affinity = draw_affinity(side, 5, "cpu").expand(2, -1, -1, -1)
    scores = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    walked = partial(random_walk, beta=BETA, squarings=8)
    here = walked(scores.to(machine.device), affinity.to(machine.device)).cpu()
    there = walked(scores.double(), affinity.double())
    difference = float((here - there).abs().max())
    yield checked("random walk", f"two images, three maps of {side} x {side}", difference, 1e-5)


def pixel_adaptive(machine: Machine) -> Iterator[Row]:
    images, _ = pictures(2, machine.sized(128, 64))
    pixels = to_input(images)
    scores = torch.rand(2, 3, *pixels.shape[-2:], generator=torch.Generator().manual_seed(0))
    here = par(pixels.to(machine.device), scores.to(machine.device)).cpu()
    there = par(pixels.double(), scores.double())
    yield checked("PAR", "10 iterations, 48 neighbours", relative(here, there), OUTPUT)


def paradigms() -> dict[str, Paradigm]:
    def taught(**alignment: object) -> Paradigm:
        student, teacher = tiny_vit(), tiny_cnn(seed=1)
        aligned = Alignment(student, teacher, **{"metric": "cosine", **alignment})
        return TeacherStudent(student, teacher, aligned, 1.0)

    def together(**more: object) -> Paradigm:
        student, teacher = tiny_vit(), tiny_cnn(seed=1)
        return CoTraining(student, teacher, Alignment(student, teacher, metric="l1"), 1.0, **more)

    return {
        "CNN alone": Single(tiny_cnn()),
        "ViT alone": Single(tiny_vit()),
        "taught, features": taught(level="spatial"),
        # Projected: the channel mean of a ViT's last norm is 0 before training, all rounding.
        "taught, spatial maps": taught(representation="spatial_map", projection="conv1x1"),
        "taught, Gram matrices": taught(metric="l2", representation="gram"),
        "taught, activation maps": taught(representation="activation_map", projection="mlp"),
        "taught, logits": taught(metric="kl", representation="logits", temperature=2.0),
        "taught, inner layers": taught(layers=[{"student": 0, "teacher": "layer2"}]),
        "co-training": together(),
        "co-training, average": together(gradient="student", ema=0.9),
    }


def gradients(paradigm: Paradigm, device: str, dtype: torch.dtype, bf16: bool = False) -> Tensor:
    """Return all gradients of one batch as one vector."""
    mine = copy.deepcopy(paradigm).to(device, dtype).train()
    images, labels = pictures(4, 64)
    targets = torch.from_numpy(labels).to(device, dtype)
    kind = torch.device(device).type
    with torch.autocast(kind, torch.bfloat16, enabled=bf16):
        found = mine.losses(to_input(images, device).to(dtype), targets)
    found.total.backward()
    slopes = [parameter.grad for parameter in mine.trainable_parameters()]
    return flat([slope for slope in slopes if slope is not None])


def training_step(machine: Machine) -> Iterator[Row]:
    for name, paradigm in paradigms().items():
        with exact_float32():
            here = gradients(paradigm, machine.device, torch.float32)
        there = gradients(paradigm, "cpu", torch.float64)
        yield checked("training step", f"{name}, gradients", relative(here, there), GRADIENT)
    for name, network in (("CNN", tiny_cnn()), ("ViT", tiny_vit())):
        half = history(Single(network), machine.device, "bf16")
        whole = history(Single(copy.deepcopy(network)), "cpu", "fp32")
        what = f"{name}, losses of three epochs in bf16 beside float32"
        yield checked("training step", what, relative(half, whole), HALF)


def history(paradigm: Paradigm, device: str, precision: str) -> Tensor:
    images, labels = pictures(16, 64)
    settings = TrainingSettings(epochs=3, batch_size=8, flip=True, precision=precision)
    copied = copy.deepcopy(paradigm)
    records = train(copied, images, labels, settings, seed=3, device=device)
    return torch.tensor([record.loss for record in records])


class _BrokenOffError(Exception):
    """The interruption of a training."""


def resumed(device: str, then: str) -> tuple[Tensor, Tensor]:
    """Train three epochs, broken off after two and gone on with: losses, and all weights."""
    images, labels = pictures(16, 64)
    settings = TrainingSettings(epochs=3, batch_size=8, flip=True, precision="fp32")

    def break_off(record: EpochRecord) -> None:
        if record.epoch == 1:
            raise _BrokenOffError

    with tempfile.TemporaryDirectory() as folder:
        kept = {"checkpoint": Path(folder) / "checkpoint.pt", "seed": 3}
        with suppress(_BrokenOffError):
            train(
                paradigms()["co-training"], images, labels, settings, device=device,
                on_epoch=break_off, **kept,
            )  # fmt: skip
        paradigm = paradigms()["co-training"]
        seen: list[EpochRecord] = []
        records = train(
            paradigm, images, labels, settings, device=then, on_epoch=seen.append, **kept
        )
    if [record.epoch for record in seen] != [2]:
        raise RuntimeError(f"expected one epoch after the checkpoint, {len(seen)} were trained")
    return torch.tensor([record.loss for record in records]), flat(list(paradigm.parameters()))


def resume(machine: Machine) -> Iterator[Row]:
    images, labels = pictures(16, 64)
    settings = TrainingSettings(epochs=3, batch_size=8, flip=True, precision="fp32")
    paradigm = paradigms()["co-training"]
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with exact_float32():
            records = train(paradigm, images, labels, settings, seed=3, device=machine.device)
            whole = torch.tensor([record.loss for record in records])
            weights = flat(list(paradigm.parameters()))
            there, there_weights = resumed(machine.device, machine.device)
            on_cpu, _ = resumed(machine.device, "cpu")
    finally:
        torch.use_deterministic_algorithms(before)
    yield checked("resume", "weights after a checkpoint", relative(there_weights, weights), RESUMED)
    yield checked("resume", "losses after a checkpoint", relative(there, whole), RESUMED)
    yield checked("resume", "losses, gone on with on the CPU", relative(on_cpu, whole), HISTORY)


PARTS = [
    Part("losses", 20, losses, check=True),
    Part("CAMs", 40, cam_methods, check=True),
    Part("dense CRF", 40, crf, check=True),
    Part("random walk", 30, walk, check=True),
    Part("PAR", 20, pixel_adaptive, check=True),
    Part("training step", 60, training_step, check=True),
    Part("resume", 40, resume, check=True),
]
