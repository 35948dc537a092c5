"""The affinity random walk on the CAM itself, beside the published power of a dense matrix.

The work, counted for a grid of n pixels (IRN: 128 x 128, n = 16,384), s squarings (8: 256 steps),
K maps and a radius of 5, at which a row of the matrix holds 69 numbers that are not zero:

- Dense: s products of two n x n matrices, 2 s n^3 operations (70 Tflop), and two matrices of
  4 n^2 bytes (1.07 GB each).
- 256 steps on the CAM: 2 x 69 x 256 K n operations (0.58 Gflop a map). `random_walk` takes about
  100 such products instead of 256, the terms of a Chebyshev series. Its weights, 34 maps of 4 n
  bytes (2.2 MB), are read from the cache in each.

Four ways to do the products are timed: `shifts`, one shifted product an offset and its mirror (what
`random_walk` runs on a CPU); `windows`, the square around each pixel in two kernels (what it runs
on a GPU); `csr`, torch's sparse matrix, int32 indices; each with all 256 steps, and `random_walk`
itself. They are first checked against each other. The contenders take turns, and the least of all
rounds counts.

A dense power at IRN's grid is neither waited for nor held in memory here, unless on a GPU: one
squaring of the largest grid that fits (--dense, a side of 64 by default) is timed in the same
rounds and scaled by its operations, which favours the dense way, whose larger matrices leave the
cache. At that grid and below it the whole power is timed as well, and nothing is scaled.

    python benchmarks/random_walk.py                      # about two minutes, one thread
    python benchmarks/random_walk.py --device cuda --dense 128 --json random_walk.json
"""

import argparse
import json
import os
import platform
import time
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor

from wsss_core.refine.affinity.random_walk import (
    _Shifts,
    _Windows,
    half_disc,
    moved,
    pixels_with_partner,
    power_terms,
    random_walk,
)

BETA = 10.0  # IRN's


def draw_affinity(side: int, radius: int, device: str) -> Tensor:
    """Affinities [1, N, side, side] as of a grid with regions, 0 where the partner is off it."""
    generator = torch.Generator().manual_seed(0)
    regions = torch.rand(1, 1, max(2, side // 8), max(2, side // 8), generator=generator)
    features = torch.nn.functional.interpolate(regions, (side, side), mode="bicubic")[0, 0]
    offsets = half_disc(radius)
    maps = torch.zeros(1, len(offsets), side, side)
    for number, offset in enumerate(offsets):
        here = pixels_with_partner(offset, side, side)
        there = moved(here, offset)
        maps[0, number][here] = torch.exp(-(features[here] - features[there]).abs())
    return maps.to(device)


def indices_of(affinity: Tensor, radius: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, columns and values of affinity^beta with 1 on its diagonal, both triangles."""
    side = affinity.shape[-1]
    number = torch.arange(side * side, device=affinity.device).view(side, side)
    rows, columns = [number.flatten()], [number.flatten()]
    values = [torch.ones(side * side, device=affinity.device)]
    for map_, offset in zip(affinity[0] ** BETA, half_disc(radius), strict=True):
        here = pixels_with_partner(offset, side, side)
        one, other = number[here].flatten(), number[moved(here, offset)].flatten()
        rows += [one, other]
        columns += [other, one]
        values += [map_[here].flatten()] * 2
    return torch.cat(rows), torch.cat(columns), torch.cat(values)


def dense_transition(affinity: Tensor, radius: int) -> Tensor:
    rows, columns, values = indices_of(affinity, radius)
    size = affinity.shape[-1] ** 2
    matrix = torch.zeros(size, size, device=affinity.device)
    matrix[rows, columns] = values
    return matrix / matrix.sum(0, keepdim=True)


def dense_power(transition: Tensor, scores: Tensor, squarings: int) -> Tensor:
    for _ in range(squarings):
        transition = transition @ transition
    return (scores.flatten(2) @ transition).view(scores.shape)


def csr_steps(affinity: Tensor, radius: int, steps: int) -> Callable[[Tensor], Tensor]:
    rows, columns, values = indices_of(affinity, radius)
    size = affinity.shape[-1] ** 2
    sums = torch.zeros(size, device=values.device).index_add_(0, rows, values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its CSR a beta
        place = torch.stack([rows, columns])
        shape = (size, size)
        found = torch.sparse_coo_tensor(place, values / sums[rows], shape).coalesce()
        long = found.to_sparse_csr()
        matrix = torch.sparse_csr_tensor(
            long.crow_indices().int(), long.col_indices().int(), long.values(), shape
        )

    def walk(scores: Tensor) -> Tensor:
        columns = scores[0].flatten(1).T.contiguous()
        for _ in range(steps):
            columns = matrix @ columns
        return columns.T.reshape(scores.shape)

    return walk


def stepwise(product: type, affinity: Tensor, radius: int, steps: int) -> Callable:
    """All steps one after another, by one of the package's two products."""

    def walk(scores: Tensor) -> Tensor:
        times = product(affinity[0] ** BETA, half_disc(radius), scores.shape[1])
        maps = scores[0].flatten(1)
        shares = 1 / (1 + times(torch.ones_like(maps)))
        for _ in range(steps):
            maps = (times(maps) + maps).mul_(shares)
        return maps.view(scores.shape)

    return walk


def least_seconds(
    contenders: dict[str, Callable[[], object]], rounds: int, device: str
) -> dict[str, float]:
    """The least of all rounds, in which the contenders take turns; a first round warms up."""
    least = dict.fromkeys(contenders, float("inf"))
    for round_ in range(rounds + 1):
        for name, run in contenders.items():
            if device != "cpu":
                torch.cuda.synchronize()
            start = time.perf_counter()
            run()
            if device != "cpu":
                torch.cuda.synchronize()
            if round_:
                least[name] = min(least[name], time.perf_counter() - start)
    return least


def dense_error(radius: int, squarings: int, device: str) -> float:
    """How far `random_walk` is from the dense power in float64, on a grid of 32 x 32."""
    affinity, scores = draw_affinity(32, radius, device), torch.rand(1, 1, 32, 32, device=device)
    expected = dense_power(dense_transition(affinity, radius).double(), scores.double(), squarings)
    walked = random_walk(scores, affinity, beta=BETA, squarings=squarings)
    return float((walked - expected).abs().max())


def measure(arguments: argparse.Namespace) -> dict:
    side, radius, squarings = arguments.side, arguments.radius, arguments.squarings
    device, steps = arguments.device, 2**arguments.squarings
    scores = torch.rand(1, arguments.maps, side, side, device=device)
    affinity = draw_affinity(side, radius, device)
    walks: dict[str, Callable[[Tensor], Tensor]] = {
        "random_walk": lambda s: random_walk(s, affinity, beta=BETA, squarings=squarings),
        "shifts": stepwise(_Shifts, affinity, radius, steps),
        "windows": stepwise(_Windows, affinity, radius, steps),
        "csr": csr_steps(affinity, radius, steps),
    }
    small = arguments.dense
    small_scores = torch.rand(1, arguments.maps, small, small, device=device)
    small_affinity = draw_affinity(small, radius, device)
    transition = dense_transition(small_affinity, radius)

    def small_walk() -> Tensor:
        return random_walk(small_scores, small_affinity, beta=BETA, squarings=squarings)

    errors = {"random_walk against dense": dense_error(radius, squarings, device)}
    reference = walks["random_walk"](scores)
    for name in ("shifts", "windows", "csr"):
        errors[f"{name} against random_walk"] = float((walks[name](scores) - reference).abs().max())
    if max(errors.values()) > 1e-4:
        raise SystemExit(f"the walks disagree: {errors}")
    contenders: dict[str, Callable[[], object]] = {
        name: (lambda walk=walk: walk(scores)) for name, walk in walks.items()
    }
    contenders["one dense squaring"] = lambda: transition @ transition
    contenders["random_walk, small grid"] = small_walk
    seconds = least_seconds(contenders, arguments.rounds, device)
    whole = least_seconds(
        {"dense power": lambda: dense_power(transition, small_scores, squarings)}, 1, device
    )
    return {
        "benchmark": "random_walk", "device": device, "side": side, "small_side": small,
        "radius": radius, "squarings": squarings, "maps": arguments.maps,
        "threads": torch.get_num_threads(), "torch": torch.__version__,
        "processor": platform.processor() or platform.machine(),
        "seconds": {**seconds, **whole}, "errors": errors,
        "products_of_random_walk": products(side, radius, steps),
        "dense_seconds_scaled": seconds["one dense squaring"] * squarings * (side / small) ** 6,
        "dense_flop": 2 * squarings * side**6,
        "step_flop": 2 * (2 * len(half_disc(radius)) + 1) * side**2 * arguments.maps,
    }  # fmt: skip


def products(side: int, radius: int, steps: int) -> int:
    """How many products `random_walk` does, that of its weights' sums included."""
    most = side * side * (2 * len(half_disc(radius)) + 1)
    terms = len(power_terms(steps, torch.finfo(torch.float32).eps / most**0.5))
    return 1 + (steps if terms > 0.8 * steps else terms - 1)


def print_table(result: dict) -> None:
    side, small, seconds = result["side"], result["small_side"], result["seconds"]
    squaring = seconds["one dense squaring"]
    scaled = result["dense_seconds_scaled"]
    how = "timed" if side == small else f"scaled from one squaring at {small} x {small}"
    steps = 2 ** result["squarings"]
    print(
        f"{side} x {side}, radius {result['radius']}, {steps} steps, {result['maps']} map(s), "
        f"{result['device']}, {result['threads']} thread(s), least of all rounds\n"
    )
    print(f"{'way':<30}{'seconds':>12}{'products':>10}{'Gflop':>12}{'dense / it':>12}")
    print(f"{'dense, ' + how:<30}\n{'':<30}{scaled:>12.1f}{'':>10}"
          f"{result['dense_flop'] / 1e9:>12.1f}{1:>12}")  # fmt: skip
    for name in ("random_walk", "shifts", "windows", "csr"):
        count = result["products_of_random_walk"] if name == "random_walk" else steps
        print(
            f"{name:<30}{seconds[name]:>12.4f}{count:>10}"
            f"{count * result['step_flop'] / 1e9:>12.2f}{scaled / seconds[name]:>12.0f}"
        )
    print(f"\n{small} x {small}, all of it timed:")
    ratio = seconds["dense power"] / seconds["random_walk, small grid"]
    print(
        f"  dense {seconds['dense power']:.3f} s, random_walk "
        f"{seconds['random_walk, small grid']:.4f} s: {ratio:.0f} x; the dense squaring runs at "
        f"{2 * small**6 / squaring / 1e9:.0f} Gflop/s"
    )
    for name, error in result["errors"].items():
        print(f"  {name}: at most {error:.1e} apart")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=128, help="of the grid (default: 128, IRN's)")
    parser.add_argument(
        "--dense", type=int, default=64, metavar="SIDE",
        help="of the grid whose dense matrix is squared (default: 64, PSA's)",
    )  # fmt: skip
    parser.add_argument("--radius", type=int, default=5)
    parser.add_argument("--squarings", type=int, default=8)
    parser.add_argument("--maps", type=int, default=1, help="classes walked at once (default: 1)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args()
    if min(arguments.side, arguments.dense, arguments.maps, arguments.rounds) < 1:
        parser.error("--side, --dense, --maps and --rounds: expected at least 1")
    result = measure(arguments)
    print_table(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
