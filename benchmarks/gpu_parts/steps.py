"""Steps of training: the product's loop beside plain PyTorch, co-training, frozen features."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import nn

from gpu_parts.networks import (
    PlainStep,
    large,
    large_network,
    large_timm_model,
    per_image,
    pictures,
)
from gpu_parts.rows import Machine, Part, Row, compared
from wsss_core.data import to_input
from wsss_core.transfer import Alignment, CoTraining, Single

KINDS = ("ResNet-50", "ViT-S")
PLAIN = "plain PyTorch, "


def batch_of(machine: Machine) -> int:
    return machine.sized(16, 2)


def plain(machine: Machine, kind: str, *, bf16: bool, compiled: bool = False) -> Iterator[Row]:
    """A bare step on one batch that stays on the card."""
    size, batch_size = large(kind, machine)[1], batch_of(machine)
    step = PlainStep(
        large_timm_model(kind, machine), machine, batch_size, size, bf16=bf16, compiled=compiled
    )
    taken = machine.milliseconds(step, 10) / batch_size
    way = PLAIN + ("bf16" if bf16 else "fp32") + (", compiled" if compiled else "")
    yield known_row(machine, kind, way, taken, f"{PLAIN}fp32")


def captured(machine: Machine, kind: str) -> Iterator[Row]:
    """The bare step as one CUDA graph."""
    if not machine.on_gpu:
        yield Row(f"step, {kind}", f"{PLAIN}bf16, CUDA graph", "not here", note="no CUDA device")
        return
    size, batch_size = large(kind, machine)[1], batch_of(machine)
    model = large_timm_model(kind, machine)
    step = PlainStep(model, machine, batch_size, size, bf16=True, capturable=True)
    taken = machine.milliseconds(step.captured(), 10) / batch_size
    yield known_row(machine, kind, f"{PLAIN}bf16, CUDA graph", taken, f"{PLAIN}bf16")


def product(
    machine: Machine, kind: str, *, precision: str, compiled: bool = False
) -> Iterator[Row]:
    """`train`, data included: stored bytes are gathered, cross to the card and are converted."""
    settings = {
        "batch_size": batch_of(machine), "precision": precision, "compile": compiled,
    }  # fmt: skip
    size = large(kind, machine)[1]
    taken = per_image(
        Single(large_network(kind, machine)), machine, settings, machine.sized(8, 2), size
    )
    way = precision + (", compiled" if compiled else "")
    yield known_row(machine, kind, f"train, {way}", taken, PLAIN + way)


def known_row(machine: Machine, kind: str, way: str, taken: float, beside: str) -> Row:
    """Keep a figure for the parts after it, and set it beside an earlier one."""
    machine.known[f"{kind}, {way}"] = taken
    other = machine.known.get(f"{kind}, {beside}") if beside != way else None
    what = f"{way}, {large(kind, machine)[1]} px, batch {batch_of(machine)}"
    return compared(f"step, {kind}", what, taken, "ms/image", beside if other else "", other)


def co_training(machine: Machine) -> Iterator[Row]:
    """Both networks at once, beside the sum of their steps alone."""
    student, teacher = large_network("ViT-S", machine), large_network("ResNet-50", machine)
    paradigm = CoTraining(
        student, teacher, Alignment(student, teacher, metric="cosine", level="global"), 1.0
    )
    size, batch_size = large("ViT-S", machine)[1], batch_of(machine)
    if machine.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    settings = {"batch_size": batch_size, "precision": "bf16"}
    taken = per_image(paradigm, machine, settings, machine.sized(8, 2), size)
    singles = [machine.known.get(f"{kind}, train, bf16") for kind in KINDS]
    both = None if None in singles else sum(one for one in singles if one is not None)
    what = f"train, bf16, {size} px, batch {batch_size}"
    beside = "the steps of both alone" if both else ""
    yield compared("co-training, ResNet-50 and ViT-S", what, taken, "ms/image", beside, both)
    if machine.on_gpu:
        peak = torch.cuda.max_memory_allocated() / 2**20
        yield compared("co-training, ResNet-50 and ViT-S", "peak of memory", peak, "MiB")


def frozen(machine: Machine) -> Iterator[Row]:
    """A head on features of a frozen ViT-S: from the card, from the host, or computed each time.

    Plain PyTorch in all three: what keeping features could give.
    """
    network = large_network("ViT-S", machine).to(machine.device).eval()
    size, batch_size = large("ViT-S", machine)[1], batch_of(machine)
    count = machine.sized(256, 8)
    images, labels = pictures(count, size, classes=1)
    targets = torch.from_numpy(labels).float().to(machine.device)

    def features_of(chosen: torch.Tensor) -> torch.Tensor:
        half = torch.autocast(torch.device(machine.device).type, torch.bfloat16)
        with torch.no_grad(), half:
            pixels = to_input(images[chosen.numpy()], machine.device)
            return network(pixels).features.to(torch.float16)

    order = torch.arange(count).split(batch_size)
    on_card = torch.cat([features_of(chosen) for chosen in order])
    on_host = on_card.cpu().pin_memory() if machine.on_gpu else on_card.clone()
    head = nn.Conv2d(network.channels, 1, 1).to(machine.device)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)

    def epoch(take: Callable[[torch.Tensor], torch.Tensor]) -> None:
        for chosen in order:
            logits = head(take(chosen).float()).mean((-2, -1))
            loss = nn.functional.binary_cross_entropy_with_logits(logits, targets[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    ways = {
        "encoder asked in each step": features_of,
        "features in the host's memory": lambda c: on_host[c].to(machine.device),
        "features on the card": lambda c: on_card[c.to(machine.device)],
    }
    asked: float | None = None
    for way, take in ways.items():
        taken = machine.milliseconds(partial(epoch, take), 3) / count
        beside = "encoder asked in each step" if asked else ""
        yield compared(f"head on a frozen ViT-S, {size} px", way, taken, "ms/image", beside, asked)
        asked = asked or taken
    each = on_card[0].numel() * on_card.element_size() / 1024
    yield compared(f"head on a frozen ViT-S, {size} px", "features, float16", each, "KiB/image")


def parts() -> list[Part]:
    """Return the parts; those that compile come last, as they take longest."""
    quick, compiled = [], []
    for kind in KINDS:
        quick += [
            Part(f"step, {kind}, plain fp32", 25, partial(plain, kind=kind, bf16=False)),
            Part(f"step, {kind}, plain bf16", 25, partial(plain, kind=kind, bf16=True)),
            Part(f"step, {kind}, CUDA graph", 25, partial(captured, kind=kind)),
            Part(f"step, {kind}, train fp32", 30, partial(product, kind=kind, precision="fp32")),
            Part(f"step, {kind}, train bf16", 30, partial(product, kind=kind, precision="bf16")),
        ]
        half = {"kind": kind, "compiled": True}
        compiled += [
            Part(f"step, {kind}, plain compiled", 90, partial(plain, bf16=True, **half)),
            Part(f"step, {kind}, train compiled", 90, partial(product, precision="bf16", **half)),
        ]
    quick += [Part("co-training", 40, co_training), Part("frozen features", 40, frozen)]
    return quick + compiled
