"""Processor time of frozen configurations and taught rows, beside revision 6d4fdaa and plain loops.

Two claims. First: ten configurations over frozen encoders under a few seeds, from a cold store to
the scores, beside the same number of full trainings on 6d4fdaa, and beside a plain PyTorch loop
that runs the frozen encoder under no_grad in every step. Second: taught rows of `thesis/strategies`
beside the same training with the teacher asked in every step, here and on 6d4fdaa.

The new side of the first claim is `wsss run --in-process`, whole. The slow sides would take hours,
so their steps are measured on some images (medians of processor time), and multiplied by the number
of images: training passes and the CAMs of tune and test. Their start, their scores and thresholds
are left out, and so is the training of their teachers: the ratios are lower bounds. With fewer than
five seeds, the cost of the others is counted by running one seed more.

    python benchmarks/frozen.py --root CROPS --vit VIT_TINY --cnn RESNET18            # five seeds
    python benchmarks/frozen.py --root ... --seeds 1 --rows 2 --repeats 1             # some minutes
    python benchmarks/frozen.py --taught                                              # second claim

6d4fdaa is checked out into a temporary folder from this repository.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

OLD = "6d4fdaa"
HERE = Path(__file__).resolve()
ROOT = HERE.parents[1]
SIZE, EPOCHS, BATCH, SEEDS = 224, 4, 16, 5
TARGETS = {"full": 30.0, "plain": 8.0, "taught": 0.8, "minutes": 15.0}
NECKS: tuple[Any, ...] = (
    None, "conv1x1", "mlp", "conv", {"kind": "transformer", "channels": 64}
)  # fmt: skip


def study(root: str, vit: str, cnn: str, seeds: int, rows: int) -> dict[str, Any]:
    """Ten frozen configurations: the head and four necks, alone and taught by a frozen CNN."""
    base = {"model": "vit_tiny_patch16_224", "weights": vit}
    backbones: dict[str, Any] = {
        "cnn": {"model": "resnet18", "stage": "layer3", "weights": cnn, "train": "head"}
    }
    alone, taught = [], []
    for number, neck in enumerate(NECKS):
        name = f"vit{number}"
        backbones[name] = (
            {**base, "train": "neck", "neck": neck} if neck else base | {"train": "head"}
        )
        backbones[name]["label"] = f"ViT {number}"
        alone.append({"paradigm": "single", "student": name})
        taught.append(
            {
                "paradigm": "teacher-student", "student": name, "teacher": "cnn",
                "metric": "cosine", "level": "global",
                "representation": "feature" if neck else "activation_map",
            }
        )  # fmt: skip
    configurations = [row for pair in zip(alone, taught, strict=True) for row in pair]
    return {
        "study": "frozen_speed",
        "title": "How long do frozen configurations take?",
        "data": {"source": "folder", "root": root, "size": SIZE},
        "backbones": backbones,
        "training": {"epochs": EPOCHS, "batch_size": BATCH, "learning_rate": 1e-4, "flip": True},
        "seeds": list(range(seeds)),
        "configurations": configurations[:rows],
        "resources": {"cpus": 1, "memory_gb": 2},
    }


def processor_seconds(command: list[str], **options: Any) -> tuple[float, float]:
    """Run a command; return processor time of it and its children, and wall time."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, **options)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, time.perf_counter() - began


def median_seconds(run: Callable[[], object], repeats: int) -> float:
    """Return the median processor time of a call, after one that does not count."""
    run()
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        run()
        taken.append(time.process_time() - began)
    return statistics.median(taken)


def old_side(given: dict[str, Any]) -> dict[str, float]:
    """In the old worktree: processor time an image of full training and of CAMs."""
    import numpy as np
    from wsss_core.training_settings import TrainingSettings

    from wsss_core.backbones import build_network
    from wsss_core.cams import class_weight_cams
    from wsss_core.training import train
    from wsss_core.transfer import Single

    count = given["images"]
    images = np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    labels = np.arange(count)[:, None] % 2 == 0
    vit = build_network("vit_tiny_patch16_224", classes=1, image_size=SIZE, weights=given["vit"])
    settings = TrainingSettings(epochs=1, batch_size=BATCH, learning_rate=1e-4, flip=True)
    paradigm = Single(vit)
    return {
        "train": median_seconds(
            lambda: train(paradigm, images, labels, settings, seed=0), given["repeats"]
        ) / count,
        "cams": median_seconds(lambda: class_weight_cams(vit, images), given["repeats"]) / count,
    }  # fmt: skip


def plain_side(given: dict[str, Any]) -> dict[str, float]:
    """A loop as at a prompt: encoder under no_grad, a linear head, nothing cached."""
    import timm
    import torch
    from safetensors.torch import load_file

    torch.manual_seed(0)
    count = given["images"]
    model: Any = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    state = {k: v for k, v in load_file(given["vit"]).items() if not k.startswith("head.")}
    model.load_state_dict(state)
    model.eval()
    head = torch.nn.Linear(192, 1)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-4)
    images, labels = torch.rand(count, 3, SIZE, SIZE), torch.arange(count)[:, None] % 2 == 0
    loss = torch.nn.functional.binary_cross_entropy_with_logits

    def features(batch: Any) -> Any:
        with torch.no_grad():
            return model.forward_features((batch - 0.5) / 0.5)[:, 1:]

    def epoch() -> None:
        for start in range(0, count, BATCH):
            part = slice(start, start + BATCH)
            optimizer.zero_grad()
            loss(head(features(images[part]).mean(1)), labels[part].float()).backward()
            optimizer.step()

    def cams() -> None:
        for start in range(0, count, BATCH):
            features(images[start : start + BATCH]) @ head.weight.T

    return {
        "train": median_seconds(epoch, given["repeats"]) / count,
        "cams": median_seconds(cams, given["repeats"]) / count,
    }


def taught_side(given: dict[str, Any]) -> dict[str, float]:
    """Processor time of an epoch of a taught row of `thesis/strategies`, by where it is asked.

    Works on 6d4fdaa too, which knows no cache.
    """
    import numpy as np
    import torch

    from wsss_core.backbones import build_network
    from wsss_core.transfer import Alignment, TeacherStudent

    if given["cached"] is None:
        from wsss_core.training_settings import TrainingSettings

        from wsss_core.training import train
    else:
        from wsss_core.features import OutputCache, make_outputs, read_outputs
        from wsss_core.training import TrainingSettings, train

    count = given["images"]
    images = np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), np.uint8)
    labels = np.arange(count)[:, None] % 2 == 0
    torch.manual_seed(0)
    cnn = build_network(
        "resnet18", classes=1, image_size=64, output_stride=8, head="pcm",
        options={"channels": [16, 32, 64, 128]},
    )  # fmt: skip
    vit = build_network(
        "vit_tiny_patch16_224", classes=1, image_size=64,
        options={"patch_size": 8, "embed_dim": 96, "depth": 4, "num_heads": 3},
    )  # fmt: skip
    alignment = Alignment(vit, cnn, metric="cosine", level="global")
    paradigm = TeacherStudent(vit, cnn, alignment, 1.0)
    settings = TrainingSettings(epochs=1, batch_size=32, learning_rate=5e-4, flip=True)
    making = 0.0
    if given["cached"]:
        kept = []
        began = time.process_time()
        for mirrored in (False, True):
            folder = Path(tempfile.mkdtemp(dir=given["scratch"]))
            exact = make_outputs(
                cnn, images, folder, mirrored=mirrored, taps=(), parts=("features",), batch_size=32
            )
            assert exact
            kept.append(read_outputs(folder))
        making = time.process_time() - began
        paradigm.asked_before = OutputCache(kept)
        paradigm.caches = [paradigm.asked_before]
    epoch = median_seconds(
        lambda: train(paradigm, images, labels, settings, seed=0), given["repeats"]
    )
    weights = sum(float(p.detach().double().sum()) for p in vit.parameters())
    return {"epoch": epoch, "making": making, "weights": weights}


def float16_side(given: dict[str, Any]) -> dict[str, float]:
    """Train a neck on features of both types; return how far apart its answers are."""
    import numpy as np
    import torch

    from wsss_core.backbones import build_network
    from wsss_core.cams import CamSettings
    from wsss_core.data.folder import FolderSource
    from wsss_core.evaluate import normalise
    from wsss_core.features import (
        FeatureCache,
        ViewStack,
        add_neck,
        cams_from_features,
        make_features,
    )  # fmt: skip
    from wsss_core.training import TrainingSettings, freeze, train
    from wsss_core.transfer import Single

    split = FolderSource(given["root"]).read("tune", SIZE)
    count = min(given["images"] * 2, len(split))
    chosen = np.random.default_rng(0).permutation(len(split))[:count]
    images, labels = np.stack([split.images[i] for i in chosen]), split.labels[chosen]
    found = {}
    for dtype in ("float32", "float16"):
        torch.manual_seed(0)
        vit = build_network("vit_tiny_patch16_224", classes=1, image_size=SIZE,
                            weights=given["vit"])  # fmt: skip
        add_neck(vit, "conv")
        freeze(vit, "neck")
        file = Path(given["scratch"]) / f"{dtype}.npy"
        make_features(vit, images, file, side=SIZE, mirrored=False, dtype=dtype)
        stored = np.load(file, mmap_mode="r")
        vit.cache = FeatureCache(ViewStack([stored]))
        paradigm = Single(vit)
        paradigm.caches, paradigm.needs_images = [vit.cache], False
        settings = TrainingSettings(epochs=20, batch_size=BATCH, learning_rate=1e-3)
        history = train(paradigm, images, labels, settings, seed=0)
        vit.cache = None
        scores = cams_from_features(vit, {(SIZE, False): stored}, SIZE, CamSettings())
        found[dtype] = (history[-1].loss, scores.logits, normalise(scores.maps, "min_max"))
    one, other = found["float32"], found["float16"]
    return {
        "loss": abs(one[0] - other[0]),
        "logits": float(np.abs(one[1] - other[1]).max()),
        "maps, mean": float(np.abs(one[2] - other[2]).mean()),
        "maps, largest": float(np.abs(one[2] - other[2]).max()),
    }


SIDES = {"old": old_side, "plain": plain_side, "taught": taught_side, "float16": float16_side}


def ask(side: str, given: dict[str, Any], code: Path = ROOT) -> dict[str, float]:
    """Run a side in a process of its own, with the packages of a checkout."""
    said = subprocess.run(
        [sys.executable, str(HERE), "--side", side, json.dumps(given)],
        env={**os.environ, "PYTHONPATH": str(code)}, cwd=code,
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return dict(json.loads(said.stdout.splitlines()[-1]))


def frozen(given: argparse.Namespace, old: Path, scratch: Path) -> dict[str, Any]:
    """The first claim."""
    rows = min(given.rows, 2 * len(NECKS))
    file = scratch / "frozen_speed.json"  # JSON is YAML
    command = [sys.executable, "-m", "studies.cli.main", "run", str(file)]
    command += ["--results", str(scratch / "results"), *(() if given.ray else ("--in-process",))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(seeds: int) -> tuple[float, float]:
        file.write_text(json.dumps(study(given.root, given.vit, given.cnn, seeds, rows)))
        return processor_seconds(command, env=environment, cwd=ROOT, stdout=sys.stderr)

    spent, wall = run(given.seeds)
    trials = rows * given.seeds
    measured = {"trials": trials, "processor seconds": spent, "wall minutes": wall / 60}
    if given.seeds < SEEDS:
        # One seed more shows what trials cost whose features are there.
        more, _ = run(given.seeds + 1)
        spent += more * (SEEDS - given.seeds)
        trials = rows * SEEDS
        measured |= {"another seed": more, "counted trials": trials, "counted seconds": spent}
    about = {"vit": given.vit, "images": given.images, "repeats": given.repeats}
    train, scored = count_images(Path(given.root))
    sides = {"full": ask("old", about, old), "plain": ask("plain", about)}
    found: dict[str, Any] = {**measured, "seconds a trial": spent / trials}
    for name, cost in sides.items():
        a_trial = EPOCHS * train * cost["train"] + scored * cost["cams"]
        found[name] = {
            **cost, "seconds a trial": a_trial, "ratio": a_trial * trials / spent,
            "target": TARGETS[name],
        }  # fmt: skip
    found["float16 beside float32"] = ask(
        "float16", {**about, "root": given.root, "scratch": str(scratch)}
    )
    return found


def count_images(root: Path) -> tuple[int, int]:
    """Return how many images are trained on, and how many are scored."""
    counts = {
        part: sum(1 for file in (root / part).rglob("*") if file.is_file() and "masks" not in
                  file.parts)
        for part in ("train", "tune", "test")
    }  # fmt: skip
    return counts["train"], counts["tune"] + counts["test"]


def taught(given: argparse.Namespace, old: Path, scratch: Path) -> dict[str, Any]:
    """The second claim: `thesis/strategies` has five taught rows, eight epochs, 1,000 images."""
    about = {"images": given.images * 10, "repeats": given.repeats, "scratch": str(scratch)}
    asked = ask("taught", {**about, "cached": False})
    kept = ask("taught", {**about, "cached": True})
    before = ask("taught", {**about, "cached": None}, old)
    epochs, students = 8, 5
    row = epochs * kept["epoch"] + kept["making"] / students
    return {
        "epoch asked": asked["epoch"], "epoch kept": kept["epoch"], "making": kept["making"],
        "epoch at 6d4fdaa": before["epoch"],
        "row beside asked": row / (epochs * asked["epoch"]),
        "row beside 6d4fdaa": row / (epochs * before["epoch"]),
        "one row, its own cache": (epochs * kept["epoch"] + kept["making"])
        / (epochs * before["epoch"]),
        "target": TARGETS["taught"], "same weights": kept["weights"] == asked["weights"],
    }  # fmt: skip


def main() -> None:
    """Print what was measured as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", help="folder of crops, as the study smoke_crops takes it")
    parser.add_argument("--vit", help="ImageNet weights of vit_tiny_patch16_224")
    parser.add_argument("--cnn", help="ImageNet weights of resnet18 up to layer3")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--rows", type=int, default=10, help="of the ten configurations")
    parser.add_argument("--images", type=int, default=32, help="that slow sides are measured on")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--taught", action="store_true", help="the second claim")
    parser.add_argument("--ray", action="store_true", help="the new side on all cores, by Ray")
    parser.add_argument("--side", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        import torch

        torch.set_num_threads(1)
        print(json.dumps(SIDES[given.side[0]](json.loads(given.side[1]))))
        return
    if not given.taught and not (given.root and given.vit and given.cnn):
        parser.error("--root, --vit and --cnn are needed, or --taught")
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder) / "old"
        subprocess.run(["git", "worktree", "add", "--detach", old, OLD], cwd=ROOT, check=True,
                       capture_output=True)  # fmt: skip
        try:
            claim = taught if given.taught else frozen
            print(json.dumps(claim(given, old, Path(folder)), indent=1))
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", old], cwd=ROOT, check=False)


if __name__ == "__main__":
    main()
