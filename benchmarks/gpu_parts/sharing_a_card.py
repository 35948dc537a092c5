"""What shares a card: batches that do not fit, trials in processes, seeds fused into one."""

import copy
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from gpu_parts.networks import exact_float32, pictures, relative, tiny_vit
from gpu_parts.one_trial import SETTINGS, SIZE, small_vit
from gpu_parts.rows import Machine, Part, Row, checked, compared
from wsss_core.data import to_input
from wsss_core.out_of_memory import give_back
from wsss_core.training import EpochRecord, TrainingSettings, train
from wsss_core.transfer import Single, classification_loss

SHARE = 0.6  # of the memory that a whole batch takes


def memory(machine: Machine) -> Iterator[Row]:
    """The same training, whole and under a limit that its batch does not fit into.

    On a card the limit is the allocator's own. Without one there is none to set, and the network
    refuses more than half a batch: only the way on is seen then.
    """
    part = "out of memory"
    batch_size = machine.sized(256, 8)
    images, labels = pictures(2 * batch_size, 64)
    settings = TrainingSettings(epochs=2, batch_size=batch_size, precision="fp32")

    def trained(limited: bool = False) -> list[EpochRecord]:
        network = tiny_vit()
        if limited and not machine.on_gpu:
            network.register_forward_pre_hook(refuse)
        return train(Single(network), images, labels, settings, seed=0, device=machine.device)

    def refuse(module: object, inputs: tuple[Tensor, ...]) -> None:
        if len(inputs[0]) > batch_size // 2:
            raise torch.OutOfMemoryError("refused, as a full card would")

    if machine.on_gpu:
        trained()  # what CUDA's libraries keep for themselves is theirs from now on
        give_back(machine.device)
        base = torch.cuda.memory_reserved()
        torch.cuda.reset_peak_memory_stats()
    whole = trained()
    if machine.on_gpu:
        peak = torch.cuda.max_memory_reserved()
        give_back(machine.device)
        total = torch.cuda.get_device_properties(machine.device).total_memory
        torch.cuda.set_per_process_memory_fraction((base + SHARE * (peak - base)) / total)
    try:
        parts = trained(limited=True)
    finally:
        if machine.on_gpu:
            torch.cuda.set_per_process_memory_fraction(1.0)
    kind = "the card's limit" if machine.on_gpu else "a refusal in place of a limit"
    took = parts[-1].micro_batch or batch_size
    yield checked(part, f"{kind}: images at once of {batch_size}", took, batch_size - 1, "images")
    losses = [torch.tensor([record.loss for record in one]) for one in (parts, whole)]
    yield checked(part, "losses beside those of whole batches", relative(*losses), 1e-3)
    yield compared(
        part, "an epoch in micro-batches", 1e3 * parts[-1].seconds, "ms", "in whole batches",
        1e3 * whole[-1].seconds,
    )  # fmt: skip


def together(machine: Machine, trials: int, epochs: int) -> float:
    """Return seconds from a common start to the end of the last of some trials, a process each."""
    command = [sys.executable, "-m", "gpu_parts.one_trial", machine.device, str(epochs)]
    paths = os.pathsep.join(str(Path(__file__).parents[up]) for up in (1, 2))
    running = [
        subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(trials)
    ]
    try:
        for process in running:
            if process.stdout.readline().strip() != "ready":
                raise RuntimeError("a trial ended before it began")
        start = time.perf_counter()
        for process in running:
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in running:
            if process.stdout.readline().strip() != "done":
                raise RuntimeError("a trial broke off")
        return time.perf_counter() - start
    finally:
        for process in running:
            process.kill()
            process.communicate()


def processes(machine: Machine) -> Iterator[Row]:
    """Small trainings side by side on one card."""
    epochs = machine.sized(10, 1)
    alone = together(machine, 1, epochs)
    machine.known["trial alone"] = alone / epochs
    what = f"trainings of a ViT at {SIZE} px, batch {SETTINGS['batch_size']}, {epochs} epochs"
    yield compared("trials on a card", f"1, {what}", alone, "s/trial")
    for trials in (2,) if machine.dry else (2, 4, 8):
        each = together(machine, trials, epochs) / trials
        yield compared("trials on a card", f"{trials} processes", each, "s/trial", "alone", alone)


class Seeds:
    """Networks of several seeds as one: stacked weights, a vmap over them, one AdamW.

    AdamW works number by number, so that of the stacked weights is that of each seed.
    """

    def __init__(self, seeds: int, device: str) -> None:
        networks = [small_vit(seed).to(device).train() for seed in range(seeds)]
        self.alone = [copy.deepcopy(network) for network in networks]
        weights, self.buffers = torch.func.stack_module_state(networks)
        self.weights = {name: weight.detach() for name, weight in weights.items()}
        skeleton = copy.deepcopy(networks[0]).to("meta")

        def loss(weights: dict, buffers: dict, images: Tensor, labels: Tensor) -> Tensor:
            output = torch.func.functional_call(skeleton, (weights, buffers), (images,))
            return classification_loss(output, labels)

        self._slopes = torch.func.vmap(torch.func.grad(loss), randomness="different")
        self.optimizer = torch.optim.AdamW(list(self.weights.values()), lr=1e-4)

    def slopes(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return gradients [seeds, ...] for images [seeds, B, 3, H, W], labels [seeds, B, K]."""
        return self._slopes(self.weights, self.buffers, images, labels)

    def step(self, images: Tensor, labels: Tensor) -> None:
        """Take a step of every seed."""
        for name, slope in self.slopes(images, labels).items():
            self.weights[name].grad = slope
        self.optimizer.step()


def unlike_alone(seeds: Seeds, images: Tensor, labels: Tensor) -> float:
    """Return the greatest relative difference of a parameter's gradient to its seed's alone."""
    found = seeds.slopes(images, labels)
    worst = 0.0
    for number, network in enumerate(seeds.alone):
        network.zero_grad()
        classification_loss(network(images[number]), labels[number]).backward()
        for name, parameter in network.named_parameters():
            if parameter.grad.norm() > 1e-6:  # below, it is all rounding
                worst = max(worst, relative(found[name][number], parameter.grad))
    return worst


def fused(machine: Machine) -> Iterator[Row]:
    """Steps of several seeds at once beside the same one after another, batches on the card."""
    part, batch_size = "seeds fused by torch.func", SETTINGS["batch_size"]
    for count in (2,) if machine.dry else (2, 5, 10):
        images, labels = pictures(count * batch_size, SIZE, classes=1)
        pixels = to_input(images, machine.device).unflatten(0, (count, batch_size))
        targets = torch.from_numpy(labels).float().to(machine.device)
        targets = targets.unflatten(0, (count, batch_size))
        seeds = Seeds(count, machine.device)
        with exact_float32():
            worst = unlike_alone(seeds, pixels, targets)
        yield checked(part, f"{count} seeds, gradients beside each alone", worst, 1e-3)
        optimizers = [torch.optim.AdamW(n.parameters(), lr=1e-4, fused=True) for n in seeds.alone]

        def in_turn(
            seeds: Seeds = seeds, optimizers: list = optimizers,
            pixels: Tensor = pixels, targets: Tensor = targets,
        ) -> None:  # fmt: skip
            for number, network in enumerate(seeds.alone):
                optimizers[number].zero_grad()
                classification_loss(network(pixels[number]), targets[number]).backward()
                optimizers[number].step()

        one = machine.milliseconds(
            lambda s=seeds, p=pixels, t=targets: s.step(p, t)
        ) / count  # fmt: skip
        turn = machine.milliseconds(in_turn) / count
        if not math.isfinite(float(seeds.weights["head.weight"].sum())):
            raise RuntimeError("weights of the fused seeds are no longer finite")
        what = f"{count} seeds at once, a step at {SIZE} px, batch {batch_size}"
        yield compared(part, what, one, "ms/seed", "one after another", turn)


PARTS = [
    Part("out of memory", 40, memory, check=True),
    Part("trials on a card", 90, processes),
    Part("seeds fused by torch.func", 40, fused),
]
