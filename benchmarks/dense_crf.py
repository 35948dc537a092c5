"""Dense CRF of one image: the package's own mean field beside pydensecrf.

The work, counted for one image of P pixels (512 x 512: P = 262,144), two classes and ten
iterations. The appearance kernel's lattice has d = 5, the smoothness kernel's d = 2; M is a
lattice's number of vertices, S its number of simplices that hold a pixel.

- An iteration filters C - 1 channels (the classes sum to one) through both lattices. Splat and
  slice are 2 (6 + 3) P products and as many sums; each reads a weight and a column number, 8 bytes:
  144 P bytes a channel. The blur is 3 operations and 20 bytes for each of d + 1 axes and M
  vertices, little beside that, since M is an eighth of P or less. What remains passes over vectors
  of P: about 30 of them, 120 P bytes for two classes.
- pydensecrf does the same for C channels over the same 6 P and 3 P entries.
- Building a lattice sorts P simplex keys, then (d + 1) S vertex keys, and writes 2 (d + 1) P
  matrix entries of 8 bytes. pydensecrf looks up (d + 1) P vertices in a hash table. The smoothness
  lattice depends on the image's size alone: ours is kept from image to image, and its price for
  the first image stands beside the result.

The floor that is printed is the matrices of all iterations read once each, at the bandwidth that
`np.copyto` shows in the same run: no implementation that stores its weights is faster.

pydensecrf runs on one thread, and so does ours, unless asked for more. Contenders take turns; each
image counts with its fastest of several rounds. With a GPU, all images form one batch on it.

    python benchmarks/dense_crf.py                    # 4 scenes of 512 x 512, about 40 s
    python benchmarks/dense_crf.py --images 16 --threads 2 --json dense_crf.json
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from wsss_core.data.scenes.scene import SceneSettings, render_scene
from wsss_core.errors import InputError
from wsss_core.refine import CRF_PRESETS, CrfSettings, dense_crf, unary_probabilities
from wsss_core.refine.crf.mean_field import bilateral_kernel, gaussian_kernel

ITERATIONS = 10


def draw_images(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Scenes with smoke, and a score map as a CAM gives it: a coarse grid resized."""
    settings = SceneSettings(size=size, smoke=1.0, seed=5)
    scenes = [render_scene(settings, index) for index in range(count)]
    scores = np.empty((count, 1, size, size), np.float32)
    random = np.random.default_rng(0)
    for scene, score in zip(scenes, scores, strict=True):
        mask = Image.fromarray(scene.smoke_mask.astype(np.float32))
        grid = np.asarray(mask.resize((32, 32), Image.Resampling.BOX))
        noisy = Image.fromarray((0.7 * grid + 0.3 * random.random(grid.shape)).astype(np.float32))
        score[0] = np.asarray(noisy.resize((size, size), Image.Resampling.BICUBIC)).clip(0, 1)
    return np.stack([scene.image for scene in scenes]), scores


def milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start)


def copy_bandwidth() -> float:
    """Return the bytes a second, read and written, of the best of five plain copies."""
    array = np.ones(64 * 2**20, np.uint8)
    target = np.zeros_like(array)
    seconds = [milliseconds(lambda: np.copyto(target, array)) / 1e3 for _ in range(6)]
    return 2 * array.nbytes / min(seconds)


def has_pydensecrf() -> bool:
    try:
        dense_crf(
            np.zeros((2, 2, 3), np.uint8),
            np.full((2, 2, 2), 0.5, np.float32),
            backend="pydensecrf",
        )
    except InputError as error:
        print(f"{error}\nOnly our own is timed.\n")
        return False
    return True


def time_cpu(
    images: np.ndarray, unary: Tensor, settings: CrfSettings, rounds: int, backends: list[str]
) -> dict[str, float]:
    """Return milliseconds an image: the mean over the images of each one's fastest round."""
    spent = {backend: np.empty((rounds, len(images))) for backend in backends}
    for (turn, index), backend in product(np.ndindex(rounds, len(images)), backends):
        work = partial(dense_crf, images[index], unary[index], preset=settings, backend=backend)
        spent[backend][turn, index] = milliseconds(work)
    return {backend: float(times.min(0).mean()) for backend, times in spent.items()}


def time_parts(image: np.ndarray, settings: CrfSettings, rounds: int) -> dict[str, float]:
    """Return milliseconds of building each lattice and of one iteration's filters."""
    height, width, _ = image.shape
    picture = torch.from_numpy(image)[None]
    sxy, srgb = settings.bilateral_sxy, settings.bilateral_srgb
    device = torch.device("cpu")
    build_gaussian = partial(
        gaussian_kernel.__wrapped__, height, width, settings.gaussian_sxy, device
    )
    build_bilateral = partial(bilateral_kernel, picture, sxy, srgb)
    gaussian, bilateral = build_gaussian(), build_bilateral()
    values = torch.rand(1, 1, height * width)
    work = {
        "smoothness lattice (first image of a size)": build_gaussian,
        "appearance lattice": build_bilateral,
        "smoothness filter, an iteration": lambda: gaussian.filter(values),
        "appearance filter, an iteration": lambda: bilateral.filter(values),
    }
    parts = {name: min(milliseconds(w) for _ in range(2 * rounds)) for name, w in work.items()}
    vertices = [kernel.lattice.neighbours.shape[-1] - 1 for kernel in (gaussian, bilateral)]
    return {**parts, "smoothness vertices": vertices[0], "appearance vertices": vertices[1]}


def time_cuda(images: np.ndarray, unary: Tensor, settings: CrfSettings, rounds: int) -> float:
    """Return milliseconds an image of one batch, from and to the GPU's memory."""
    pictures, classes = torch.from_numpy(images).cuda(), unary.cuda()
    work = partial(dense_crf, pictures, classes, preset=settings)
    milliseconds(work)
    return min(milliseconds(work) for _ in range(rounds)) / len(images)


def check_agreement(images: np.ndarray, unary: Tensor, settings: CrfSettings) -> dict[str, float]:
    own = dense_crf(images, unary, preset=settings)
    theirs = dense_crf(images, unary, preset=settings, backend="pydensecrf")
    difference = float((own - theirs).abs().mean((1, 2, 3)).max())
    agreement = float((own.argmax(1) == theirs.argmax(1)).float().mean((1, 2)).min())
    if difference > 1e-4 or agreement < 0.999:
        raise SystemExit(f"the backends differ by {difference:g}, labels agree by {agreement:.4%}")
    return {"mean_difference": difference, "label_agreement": agreement}


def count_work(size: int, parts: dict[str, float]) -> dict[str, float]:
    """Count the multiplications, additions and bytes of the filters of ten iterations."""
    pixels = size**2
    entries = 2 * (6 + 3) * pixels
    blurred = 6 * parts["appearance vertices"] + 3 * parts["smoothness vertices"]
    return {
        "operations": ITERATIONS * (2 * entries + 3 * blurred),
        "matrix_bytes": ITERATIONS * 8 * entries,
        "vector_bytes": ITERATIONS * (120 * pixels + 20 * blurred),
    }


def measure(count: int, size: int, rounds: int, threads: int) -> dict[str, Any]:
    images, scores = draw_images(count, size)
    compare = has_pydensecrf()
    torch.set_num_threads(threads)
    result: dict[str, Any] = {
        "images": count,
        "size": size,
        "rounds": rounds,
        "torch": torch.__version__,
        "threads": threads,
        "processor": platform.processor() or platform.machine(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "copy_gb_per_s": copy_bandwidth() / 1e9,
        "presets": {},
    }
    for name, preset in CRF_PRESETS.items():
        settings = replace(preset, iterations=ITERATIONS)
        unary = unary_probabilities(scores, preset=settings)
        dense_crf(images[0], unary[0], preset=settings)
        parts = time_parts(images[0], settings, rounds)
        row: dict[str, Any] = {
            "milliseconds": time_cpu(
                images, unary, settings, rounds, ["pydensecrf", "torch"] if compare else ["torch"]
            ),
            "parts": parts,
            "work": count_work(size, parts),
        }
        if result["gpu"]:
            row["milliseconds"]["torch, GPU"] = time_cuda(images, unary, settings, rounds)
        if compare:
            row["agreement"] = check_agreement(images, unary, settings)
        result["presets"][name] = row
    return result


def print_table(result: dict[str, Any]) -> None:
    size, bandwidth = result["size"], result["copy_gb_per_s"]
    print(
        f"{result['images']} scenes of {size} x {size}, two classes, {ITERATIONS} iterations; "
        f"threads for torch: {result['threads']}; fastest of {result['rounds']} rounds, mean over "
        "the scenes\n"
    )
    print(f"{'preset':<9}{'backend':<12}{'ms/image':>9}{'of pydensecrf':>15}{'target':>9}")
    for name, row in result["presets"].items():
        spent = row["milliseconds"]
        theirs = spent.get("pydensecrf", float("nan"))
        for contender, value in spent.items():
            target = "<= 0.05" if "GPU" in contender else "<= 1.5"
            target = "" if contender == "pydensecrf" else target
            print(f"{name:<9}{contender:<12}{value:>9.1f}{value / theirs:>14.2f}x{target:>9}")
    if all("agreement" in row for row in result["presets"].values()):
        agreements = [row["agreement"] for row in result["presets"].values()]
        print(
            f"\nPosteriors differ by at most {max(a['mean_difference'] for a in agreements):.1e} "
            f"on average, labels agree by {min(a['label_agreement'] for a in agreements):.4%}."
        )
    print("\nWhere our time goes, first scene (ms):")
    names = list(result["presets"]["thesis"]["parts"])
    print(f"  {'':<44}" + "".join(f"{preset:>9}" for preset in result["presets"]))
    for name in names:
        values = [row["parts"][name] for row in result["presets"].values()]
        digits = 0 if "vertices" in name else 1
        print(f"  {name:<44}" + "".join(f"{value:>9.{digits}f}" for value in values))
    print(f"\nThe filters of {ITERATIONS} iterations, counted:")
    for name, row in result["presets"].items():
        work, spent, parts = row["work"], row["milliseconds"]["torch"], row["parts"]
        floor = work["matrix_bytes"] / bandwidth / 1e6
        filters = ITERATIONS * sum(value for part, value in parts.items() if "filter" in part)
        print(
            f"  {name:<8}{work['operations'] / 1e6:6.0f} Mop, matrices "
            f"{work['matrix_bytes'] / 2**20:.0f} MiB, vectors {work['vector_bytes'] / 2**20:.0f} "
            f"MiB; reading the matrices takes {floor:.0f} ms at np.copyto's {bandwidth:.1f} GB/s: "
            f"our filters {filters / floor:.1f} x, the whole {spent / floor:.1f} x"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=4, help="number of scenes (default: 4)")
    parser.add_argument("--size", type=int, default=512, help="side in pixels (default: 512)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (default: 3)")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args()
    if min(arguments.images, arguments.rounds, arguments.threads) < 1:
        parser.error("--images, --rounds and --threads: expected at least 1")
    if not 32 <= arguments.size <= 1024:
        parser.error("--size: expected 32 to 1024")
    result = measure(arguments.images, arguments.size, arguments.rounds, arguments.threads)
    print_table(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
