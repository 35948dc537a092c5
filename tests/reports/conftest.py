"""A ledger as a small study would leave it: 8 configurations x 3 seeds on drawn smoke scenes.

The CAM of a configuration mixes the plume with the chimney below it: the more knowledge is
transferred, the more of the plume. One trial failed, one collapsed, one was never run.
"""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reports.ledger.parts import write_part

SIZE = 48
TITLE = "Which transfer mends a classifier that is right for the wrong reason?"
SEEDS = (0, 1, 2)
# name, paradigm, metric, level, weight, student, teacher, share of the plume in the CAM
CONFIGURATIONS = (
    ("CNN alone", "single", None, None, None, "cnn", None, 0.62),
    ("ViT alone", "single", None, None, None, "vit", None, 0.16),
    ("cosine global", "teacher-student", "cosine", "global", 1.0, "vit", "cnn", 0.55),
    ("cosine channel", "teacher-student", "cosine", "channel", 1.0, "vit", "cnn", 0.50),
    ("cosine spatial", "teacher-student", "cosine", "spatial", 1.0, "vit", "cnn", 0.44),
    ("L1 global", "teacher-student", "l1", "global", 1.0, "vit", "cnn", 0.36),
    ("L2 global", "teacher-student", "l2", "global", 0.5, "vit", "cnn", 0.28),
    ("co-training", "co-training", "cosine", "global", 1.0, "vit", "cnn", 0.48),
)
STATES = {("L2 global", 1): "failed", ("L1 global", 2): "collapsed", ("co-training", 2): "missing"}


@dataclass
class Ledger:
    """A results folder and the raw material it was made of.

    ``cams``: uint8 [N, SIZE, SIZE] by (configuration, seed, split, network, class); ``logits``:
    float32 [N] likewise; ``masks``: bool [N, SIZE, SIZE] by (split, class). Of a diagnosed ledger
    ``regions`` are bool [N, SIZE, SIZE] by (split, class, region) and ``without`` the logits
    without one thing, float32 [N] by the keys of ``cams`` and the thing.
    """

    results: Path
    cams: dict[tuple[str, int, str, str, str], np.ndarray] = field(default_factory=dict)
    masks: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    logits: dict[tuple[str, int, str, str, str], np.ndarray] = field(default_factory=dict)
    diagnosed: bool = False
    regions: dict[tuple[str, str, str], np.ndarray] = field(default_factory=dict)
    without: dict[tuple[str, int, str, str, str, str], np.ndarray] = field(default_factory=dict)


def _blob(row: float, column: float, height: float, width: float) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    return np.exp(-(((y - row) / height) ** 2) - ((x - column) / width) ** 2)


def _scene(
    index: int, split: str, shift: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Picture, plume, chimney and mask; every third image is clear."""
    random = np.random.default_rng([index, {"tune": 1, "test": 2}[split], shift])
    column = random.uniform(12, 36)
    height = random.uniform(6, 10)
    plume = _blob(17, column + random.uniform(-4, 4), height, random.uniform(6, 11))
    if index % 3 == 2:
        plume = plume * 0
    chimney = np.zeros((SIZE, SIZE))
    chimney[30:, int(column) - 2 : int(column) + 3] = 1.0
    sky = np.linspace(200, 140, SIZE)[:, None, None] * np.array([0.75, 0.9, 1.0])
    picture = np.broadcast_to(sky, (SIZE, SIZE, 3)).copy()
    picture[40:] = (92, 105, 84)
    picture[chimney > 0] = (120, 74, 60)
    picture = picture * (1 - 0.8 * plume[..., None]) + 235 * 0.8 * plume[..., None]
    picture += random.normal(0, 5, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8), plume, chimney, plume > 0.35


def _png(pixels: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, format="PNG")
    return sink.getvalue()


def _trial_row(key: str, name: str, seed: int, status: str) -> dict[str, Any]:
    failed = status == "failed"
    return {
        "trial_key": key,
        "configuration": name,
        "seed": seed,
        "status": status,
        "error": {
            "failed": "RuntimeError: out of memory <after 2 epochs> & stopped",
            "collapsed": "balanced accuracy 50.0 % on the tune split",
        }.get(status),
        "traceback": "Traceback …" if failed else None,
        "settings": json.dumps({"name": name, "seed": seed, "learning_rate": 1e-3}),
        "train_fingerprint": "f1" * 8,
        "evaluation_fingerprint": "e2" * 8,
        "code_revision": "0123abc",
        "package_version": "0.1.0",
        "packages": json.dumps({"torch": "2.14.0", "numpy": "2.4.6", "timm": "1.0.22"}),
        "device": "cpu",
        "host": "laptop",
        "started_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "seconds_training": None if failed else 31.5 + seed,
        "seconds_scoring": None if failed else 1.25,
        "images_per_second": None if failed else 580.0 + 7 * seed,
        "peak_memory_bytes": None if failed else 734_003_200,
        "epochs": 2 if failed else 12,
        "parameters": 1_234_567,
    }


def make_ledger(
    results: Path,
    *,
    study: str = "strategies",
    names: dict[str, str] | None = None,
    classes: tuple[str, ...] = ("smoke",),
    seeds: tuple[int, ...] = SEEDS,
    states: dict[tuple[str, int], str] | None = None,
    counts: tuple[int, int] = (9, 15),
    objective: str = "per_image_iou",
    published: dict[str, float] | None = None,
    diagnosed: bool = False,
) -> Ledger:
    """Write a ledger.

    ``names`` renames configurations, ``counts`` are images in tune and test, ``published`` are
    numbers by configuration; a ``diagnosed`` one also knows regions, peaks, counterfactual logits
    and the fusion of co-trained networks.
    """
    states = STATES if states is None else states
    called = {entry[0]: (names or {}).get(entry[0], entry[0]) for entry in CONFIGURATIONS}
    ledger = Ledger(results, diagnosed=diagnosed)
    scenes = {
        (split, name): [_scene(i, split, shift) for i in range(count)]
        for split, count in zip(("tune", "test"), counts, strict=True)
        for shift, name in enumerate(classes)
    }
    for key, drawn in scenes.items():
        ledger.masks[key] = np.stack([mask for *_, mask in drawn])
        for _, _, chimney, mask in drawn if diagnosed else ():
            context = (chimney > 0) & ~mask
            around = _grown(mask, 3) & ~mask & ~context
            for region, pixels in (("context", context), ("ring", around)):
                known = ledger.regions.get((*key, region), np.empty((0, SIZE, SIZE), bool))
                ledger.regions[(*key, region)] = np.concatenate([known, pixels[None]])
    plan = []
    for position, entry in enumerate(CONFIGURATIONS):
        plain, paradigm, metric, level, weight, student, teacher, quality = entry
        name = called[plain]
        for seed in seeds:
            trial_key = f"{position:02d}{seed:02d}" + "ab" * 6
            plan.append(
                {
                    "study": study,
                    "study_title": TITLE,
                    "position": position,
                    "configuration": name,
                    "seed": seed,
                    "trial_key": trial_key,
                    "paradigm": paradigm,
                    "metric": metric,
                    "level": level,
                    "representation": "feature" if metric else None,
                    "weight": weight,
                    "student": student,
                    "teacher": teacher,
                    "baseline": called["ViT alone"] if teacher else None,
                    "reference": called["CNN alone"] if teacher else None,
                    "fixed_threshold": 0.3,
                    "objective": objective,
                    "settings": json.dumps({"name": name, "weight": weight, "epochs": 12}),
                    "family": student,
                    "published": (published or {}).get(plain),
                    "published_from": "a thesis, IJmond" if plain in (published or {}) else None,
                }
            )
            status = states.get((plain, seed), "ok")
            if status != "missing":
                networks = {"student": quality if status == "ok" else 0.02}
                if paradigm == "co-training":
                    networks |= {"teacher": 0.58} | ({"fused": 0.6} if diagnosed else {})
                _write_trial(ledger, scenes, trial_key, name, seed, status, networks, position)
    write_part(results, "plan", study, plan)
    return ledger


def _grown(mask: np.ndarray, width: int) -> np.ndarray:
    """The mask and all that is at most ``width`` pixels from it in both directions."""
    padded = np.pad(mask, width)
    shifts = [(y, x) for y in range(2 * width + 1) for x in range(2 * width + 1)]
    return np.any([padded[y : y + SIZE, x : x + SIZE] for y, x in shifts], axis=0)


def _diagnosed(
    ledger: Ledger,
    where: tuple[str, int, str, str, str],
    index: int,
    cam: np.ndarray,
    mask: np.ndarray,
    logit: np.float32,
    quality: float,
) -> dict[str, Any]:
    """Columns of an image that holds the class; the better a map, the less hangs on the context."""
    random = np.random.default_rng([index, int(1000 * quality)])
    falls = {"object": 6 * quality, "context": 6 * (1 - quality)}
    logits = {k: np.float32(logit - fall + random.normal(0, 0.5)) for k, fall in falls.items()}
    for thing, value in logits.items():
        known = ledger.without.get((*where, thing), np.empty(0, np.float32))
        ledger.without[(*where, thing)] = np.append(known, value)
    if not mask.any():
        return {}
    _, _, split, _, class_name = where
    regions = {r: ledger.regions[split, class_name, r][index] for r in ("context", "ring")}
    peak = np.unravel_index(cam.argmax(), cam.shape)
    inside = [name for name, region in {"object": mask, **regions}.items() if region[peak]]
    return {
        **{r: np.bincount(cam[pixels], minlength=256) for r, pixels in regions.items()},
        **{f"logit_without_{thing}": value for thing, value in logits.items()},
        "peak": inside[0] if inside else "elsewhere",
    }


def _write_trial(
    ledger: Ledger,
    scenes: dict[tuple[str, str], list[tuple[np.ndarray, ...]]],
    trial_key: str,
    name: str,
    seed: int,
    status: str,
    networks: dict[str, float],
    position: int,
) -> None:
    if status == "failed":
        write_part(ledger.results, "trials", trial_key, [_trial_row(trial_key, name, seed, status)])
        return
    random = np.random.default_rng([position, seed])
    scores, panels = [], []
    for (split, class_name), drawn in scenes.items():
        for network, quality in networks.items():
            shifted = float(np.clip(quality + random.normal(0, 0.05), 0.02, 0.98))
            cams, logits = [], []
            for index, (picture, plume, chimney, mask) in enumerate(drawn):
                wave = random.normal(0, 1, (SIZE // 8, SIZE // 8)).repeat(8, 0).repeat(8, 1)
                raw = shifted * plume + (1 - shifted) * chimney + 0.07 * wave
                raw = (raw - raw.min()) / np.ptp(raw)
                cam = np.round(255 * raw).astype(np.uint8)
                logit = np.float32(
                    (3 if mask.any() else -3) + random.normal(0, 2.2 if status == "ok" else 40)
                )
                cams.append(cam)
                logits.append(logit)
                image = f"images/{split}_{index:04d}.png"
                scores.append(
                    {
                        "trial_key": trial_key,
                        "network": network,
                        "split": split,
                        "image": image,
                        "group": image,
                        "class_name": class_name,
                        "labelled": bool(mask.any()),
                        "logit": logit,
                        "foreground": np.bincount(cam[mask], minlength=256).astype(np.uint32),
                        "background": np.bincount(cam[~mask], minlength=256).astype(np.uint32),
                    }
                )
                if ledger.diagnosed:
                    where = (name, seed, split, network, class_name)
                    scores[-1] |= _diagnosed(ledger, where, index, cam, mask, logit, shifted)
                if split == "test" and index < 4:
                    panels.append(
                        {
                            "trial_key": trial_key,
                            "network": network,
                            "split": split,
                            "image": image,
                            "class_name": class_name,
                            "image_png": _png(picture),
                            "mask_png": _png(255 * mask.astype(np.uint8)),
                            "cam_png": _png(cam),
                        }
                    )
            ledger.cams[name, seed, split, network, class_name] = np.stack(cams)
            ledger.logits[name, seed, split, network, class_name] = np.array(logits)
    history = []
    for epoch in range(12):
        fit = 0.65 * np.exp(-epoch / 4) + 0.06 + 0.01 * seed
        transfer = None if position < 2 else 0.9 * np.exp(-epoch / 6) + 0.1
        history.append(
            {
                "trial_key": trial_key,
                "epoch": epoch + 1,
                "loss": fit + (transfer or 0.0),
                "classification_loss": fit,
                "transfer_loss": transfer,
                "seconds": 2.6,
            }
        )
    write_part(ledger.results, "scores", trial_key, scores)
    write_part(ledger.results, "panels", trial_key, panels)
    write_part(ledger.results, "history", trial_key, history)
    write_part(ledger.results, "trials", trial_key, [_trial_row(trial_key, name, seed, status)])


@pytest.fixture(scope="session")
def build_ledger() -> Callable[..., Ledger]:
    return make_ledger


@pytest.fixture(scope="session")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return make_ledger(tmp_path_factory.mktemp("study"))
