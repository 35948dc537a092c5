"""A step of AffinityNet's head: affinities of all pairs and their gradient, three ways.

The work, counted for B images of a grid of n cells with C channels and N offsets (a radius of 5 has
34): B N n C differences. Forward each is subtracted, its sign dropped and added up; backward it is
subtracted, its sign multiplied and added to two places: 8 operations each, 62 million of 8 images
of 8 x 8 cells with PSA's 448 channels, and 4 billion of 64 x 64 cells.

Ways:

- `gathered`: both ends of all pairs are gathered first, as in PSA's code; it holds B N n C numbers
  three times over (1.7 GB of 8 images of 28 x 28 cells), so larger grids are left out.
- `by offset`: autograd, one offset at a time, whose differences are made anew for the backward
  pass; the way this package had before.
- `blocks`: `feature_affinity`.

Their affinities and gradients are first checked against each other. The ways take turns, and the
least of all rounds counts.

    python benchmarks/affinity.py            # about a minute, one thread
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from wsss_core.refine.affinity.heads import feature_affinity
from wsss_core.refine.affinity.random_walk import (
    Offset,
    half_disc,
    moved,
    pixels_with_partner,
)

CHANNELS = 448  # PSA's
MOST_GATHERED = 28
Way = Callable[[Tensor, int], Tensor]


def gathered(features: Tensor, radius: int) -> Tensor:
    """Affinities [B, N, h, w] from gathered ends of all pairs."""
    batch, _, height, width = features.shape
    number = torch.arange(height * width, device=features.device).view(height, width)
    ends, places = [], []
    for place, offset in enumerate(half_disc(radius)):
        window = pixels_with_partner(offset, height, width)
        ends.append((number[window].flatten(), number[moved(window, offset)].flatten()))
        places.append(place * height * width + ends[-1][0])
    here, there = (torch.cat(one) for one in zip(*ends, strict=True))
    flat = features.flatten(2)
    alike = torch.exp(-(flat[..., here] - flat[..., there]).abs().mean(1))
    found = features.new_zeros(batch, len(places) * height * width)
    return found.index_copy(1, torch.cat(places), alike).view(batch, len(places), height, width)


def by_offset(features: Tensor, radius: int) -> Tensor:
    """Affinities [B, N, h, w], the differences of each offset made anew for the gradient."""

    def alike(features: Tensor, offset: Offset) -> Tensor:
        height, width = features.shape[-2:]
        rows, columns = here = pixels_with_partner(offset, height, width)
        there_rows, there_columns = moved(here, offset)
        difference = features[..., rows, columns] - features[..., there_rows, there_columns]
        around = (columns.start, width - columns.stop, 0, height - rows.stop)
        return torch.nn.functional.pad(torch.exp(-difference.abs().mean(1)), around)

    maps = [
        checkpoint(alike, features, offset, use_reentrant=False, preserve_rng_state=False)
        for offset in half_disc(radius)
    ]
    return torch.stack(maps, 1)


def step(way: Way, features: Tensor, weights: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Return the affinities and the gradient of their weighted sum."""
    own = features.detach().requires_grad_()
    found = way(own, radius)
    (gradient,) = torch.autograd.grad((found * weights).sum(), own)
    return found.detach(), gradient


def measure(side: int, batch: int, radius: int, rounds: int, device: str) -> dict[str, float]:
    """Return the seconds of a step by way, after a check that all agree."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(batch, CHANNELS, side, side, generator=generator).to(device)
    weights = torch.randn(batch, len(half_disc(radius)), side, side, generator=generator).to(device)
    ways: dict[str, Way] = {"by offset": by_offset, "blocks": feature_affinity}
    if side <= MOST_GATHERED:
        ways = {"gathered": gathered, **ways}
    found = {name: step(way, features, weights, radius) for name, way in ways.items()}
    for name, (affinity, gradient) in found.items():
        torch.testing.assert_close(affinity, found["blocks"][0], rtol=0, atol=1e-6, msg=name)
        torch.testing.assert_close(gradient, found["blocks"][1], rtol=0, atol=1e-6, msg=name)
    took = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            step(way, features, weights, radius)
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            took[name] = min(took[name], time.perf_counter() - started)
    return took


def main() -> None:
    """Print a line for each grid."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sides", type=int, nargs="+", default=[8, 16, 28, 64])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--radius", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread")
    record: dict[str, dict[str, float]] = {}
    for side in given.sides:
        took = measure(side, given.batch, given.radius, given.rounds, given.device)
        record[str(side)] = took
        operations = 8 * given.batch * len(half_disc(given.radius)) * side**2 * CHANNELS
        said = ", ".join(f"{name} {1e3 * seconds:.1f} ms" for name, seconds in took.items())
        ratio = took["by offset"] / took["blocks"]
        speed = operations / took["blocks"] / 1e9
        print(f"{side} x {side}: {said}; by offset / blocks {ratio:.1f}; {speed:.1f} Gop/s")
    if given.json is not None:
        given.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
