"""Studies of thousands of trials, and what a finished one leaves: for `scale.py`."""

import contextlib
import io
import json
import os
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from reports.ledger.digest import digest_in
from reports.ledger.parts import ledger_table, part_content, write_part
from reports.ledger.schema import SCHEMAS
from reports.results.score_rows import Rules
from reports.results.stored import DIGEST_BYTES, derived_columns
from studies.planning.job import TrainingJob, Trial
from studies.planning.plan import Plan
from studies.stages.handover import RunContext
from studies.store.artifacts import ArtifactStore

SEEDS = 5
IMAGES = 400
PIXELS = 64 * 64
EPOCHS = 8
PANELS = 6


def study_of(trials: int, *, refined: bool = False, images: int = IMAGES) -> dict[str, Any]:
    """A study file of so many trials under five seeds: two networks alone, the rest taught.

    A quarter of its scored images tunes thresholds.
    """
    tune = images // 4
    taught = max(2, trials // SEEDS - 2)
    weights = [round(0.01 * (place + 1), 2) for place in range((taught + 1) // 2)]
    teach = {"paradigm": "teacher-student", "student": "vit", "teacher": "cnn", "level": "global"}
    return {
        "study": "scale",
        "title": "What does a study of thousands of trials cost beside its training?",
        "data": {"source": "scenes", "size": 64, "train": 16, "tune": tune, "test": images - tune},
        "backbones": {
            "cnn": {"model": "resnet18", "label": "CNN"},
            "vit": {"model": "vit_tiny_patch16_224", "label": "ViT"},
        },
        "training": {"epochs": EPOCHS},
        "seeds": list(range(SEEDS)),
        "configurations": [
            {"paradigm": "single", "student": "vit"},
            {"paradigm": "single", "student": "cnn"},
            {**teach, "metric": "cosine", "lambda": weights},
            {**teach, "metric": "l2", "lambda": weights[: taught - len(weights)]},
        ],
        "refine": {"CRF": ["crf"], "PAR": ["par"], "Affinity": ["affinity"]} if refined else {},
        "resources": {"gpus": 0, "memory_gb": 0.1},
    }


# --- a ledger as such a study would leave it -----------------------------------------------------


def _scores_at(low: float, high: float) -> np.ndarray:
    """The share of pixels at each of 256 score levels: a beta distribution."""
    at = (np.arange(256) + 0.5) / 256
    share: np.ndarray = at ** (low - 1) * (1 - at) ** (high - 1)
    return share / share.sum()


class _Scores:
    """Score rows of trials; as drawing takes longer than writing, 97 draws are shared at random.

    Which trial has which draw follows from its key, so that no two rows agree under all seeds.
    """

    def __init__(self, tune: int, test: int) -> None:
        count = tune + test
        split = ["tune"] * tune + ["test"] * test
        image = [f"images/{name}_{place:05d}.png" for place, name in enumerate(split)]
        self._holds = np.arange(count) % 2 == 0
        peaks = np.where(self._holds, "object", None)
        self._alike: dict[str, Any] = {
            "network": ["student"] * count, "split": split, "image": image, "group": image,
            "class_name": ["smoke"] * count, "labelled": self._holds, "peak": peaks,
        }  # fmt: skip
        self._drawn: dict[int, pa.Table] = {}
        self._derived: dict[int, dict[str, Any]] = {}

    def of(self, key: str) -> pa.Table:
        """The rows of one trial."""
        draw = _draw_of(key)
        if draw not in self._drawn:
            random = np.random.default_rng(draw)
            self._drawn[draw] = self._draw(float(np.clip(random.normal(0.5, 0.1), 0, 1)), random)
        schema = SCHEMAS["scores"]
        place = schema.get_field_index("trial_key")
        keys = pa.array([key] * len(self._holds))
        return self._drawn[draw].set_column(place, schema.field(place), keys)

    def derived(
        self, key: str, rows: pa.Table, digest: str | None, rules: Rules | None
    ) -> dict[str, Any]:
        """The figures of one trial; those of a draw are derived once."""
        draw = _draw_of(key)
        if draw not in self._derived:
            self._derived[draw] = derived_columns(rows, rules, digest)
        found = self._derived[draw]
        content = bytes.fromhex(str(digest)) + found["figures"][DIGEST_BYTES:]
        return {**found, "figures": content}

    def _draw(self, quality: float, random: np.random.Generator) -> pa.Table:
        """Rows of a trial; the better it is, the higher its object and the lower its rest."""
        holds = self._holds
        draw = random.integers
        pixels = {
            "foreground": np.where(holds, draw(100, 900, len(holds)), 0),
            "context": np.where(holds, draw(50, 300, len(holds)), 0),
            "ring": np.where(holds, draw(100, 300, len(holds)), 0),
        }
        at = {
            "foreground": _scores_at(1 + 5 * quality, 2.0),
            "context": _scores_at(4.0, 2 + 4 * quality),
            "ring": _scores_at(2.0, 4.0),
        }
        found = {name: random.multinomial(pixels[name], at[name]) for name in at}
        rest = random.multinomial(PIXELS - sum(pixels.values()), _scores_at(1.2, 8.0))
        background = found["context"] + found["ring"] + rest
        counts = {**found, "background": background}
        columns = {
            **self._alike,
            "trial_key": [""] * len(holds),
            "logit": np.where(holds, 2.0, -2.0) + random.normal(0, 2, len(holds)),
            **{
                name: pa.FixedSizeListArray.from_arrays(
                    pa.array(counts[name].astype(np.uint32).ravel()),
                    256,
                    mask=pa.array(~holds) if name in ("context", "ring") else None,
                )
                for name in counts
            },
        }
        schema = SCHEMAS["scores"]
        return pa.table(
            [
                _column(columns.get(name), schema.field(name).type, len(holds))
                for name in schema.names
            ],
            schema=schema,
        )


def _draw_of(key: str) -> int:
    return zlib.crc32(key.encode()) % 97


def _column(values: Any, kind: pa.DataType, count: int) -> pa.Array:
    """A column of the table; an empty one where nothing is drawn."""
    if values is None:
        return pa.nulls(count, kind)
    return values.cast(kind) if isinstance(values, pa.Array) else pa.array(values, kind)


def _png(pixels: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


@cache
def _pictures() -> tuple[bytes, bytes, bytes]:
    """An image, its mask and its map, as PNG."""
    wave = (127 + 120 * np.sin(np.arange(64) / 5)).astype(np.uint8)
    cam = np.minimum(wave[:, None], wave[None])
    mask = 255 * (cam > 127).astype(np.uint8)
    return _png(np.stack([cam, cam.T, cam], -1)), _png(mask), _png(cam)


def _panel_rows(key: str, tune: int) -> list[dict[str, Any]]:
    image, mask, cam = _pictures()
    return [
        {
            "trial_key": key, "network": "student", "split": "test", "class_name": "smoke",
            "image": f"images/test_{tune + place:05d}.png",
            "image_png": image, "mask_png": mask, "cam_png": cam,
        }
        for place in range(PANELS)
    ]  # fmt: skip


def _trial_row(trial: Trial, job: TrainingJob, number: int) -> dict[str, Any]:
    collapsed = number % 500 == 499
    return {
        "trial_key": trial.key, "configuration": trial.configuration, "seed": trial.seed,
        "status": "collapsed" if collapsed else "ok",
        "error": f"student: the loss is not finite in epoch {number % 7}" if collapsed else None,
        "settings": json.dumps(job.settings), "train_fingerprint": "f1" * 8,
        "evaluation_fingerprint": "e2" * 8, "code_revision": "0123abc", "package_version": "0",
        "packages": "{}", "device": "cpu", "host": "node",
        "started_at": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=15 * number),
        "seconds_training": 30.0, "seconds_scoring": 1.0, "images_per_second": 500.0,
        "peak_memory_bytes": 2**29, "epochs": EPOCHS, "parameters": 5_000_000,
    }  # fmt: skip


@contextlib.contextmanager
def unsynced() -> Iterator[None]:
    """Writing without waiting for the disk, as what is written here is thrown away."""
    kept, os.fsync = os.fsync, lambda _: None
    try:
        yield
    finally:
        os.fsync = kept


def write_finished(
    plan: Plan, store: ArtifactStore, results: Path, *, with_store: bool = True
) -> int:
    """Leave a store and a ledger as if the study had been run.

    Args:
        plan: of the study.
        store: its store.
        results: its results folder.
        with_store: False: leave the ledger alone, which is all that a report reads.

    Returns:
        How many rows of scores there are.

    """
    tune, test = plan.study.data.tune, plan.study.data.test
    drawn = _Scores(tune, test)
    rows = 0
    rules = RunContext.of(plan, store, results).rules
    store.make()
    tables = {name: results / "ledger" / name for name in ("scores", "panels", "history", "trials")}
    for folder in tables.values():
        folder.mkdir(parents=True, exist_ok=True)
    if not with_store:
        write_part(results, "plan", plan.study.file_name, plan.ledger_rows())
    for number, job in enumerate(plan.jobs.values()):
        if with_store:
            with store.build("train", job.key, {}) as folder:
                (folder / "outcome.json").write_text("{}")
        for trial in job.trials:
            content = {
                "scores": drawn.of(trial.key),
                "panels": _panel_rows(trial.key, tune),
                "history": _history_rows(trial.key),
                "trials": [_trial_row(trial, job, number)],
            }
            if with_store:
                with store.build("scores", trial.key, {"parent": job.key}) as folder:
                    _write_parts(content, folder / "ledger", trial.key, drawn, rules)
                for name, ledger in tables.items():
                    part = store.path("scores", trial.key) / "ledger" / name / _part(trial.key)
                    os.link(part, ledger / part.name)
            else:
                _write_parts(content, results / "ledger", trial.key, drawn, rules)
            rows += tune + test
    return rows


def _history_rows(key: str) -> list[dict[str, Any]]:
    return [
        {
            "trial_key": key, "epoch": epoch + 1, "loss": 1 / (epoch + 1),
            "classification_loss": 1 / (epoch + 1), "seconds": 3.0,
        }
        for epoch in range(EPOCHS)
    ]  # fmt: skip


def _part(key: str) -> str:
    return f"{key}.parquet"


def _write_parts(
    content: dict[str, Any],
    ledger: Path,
    key: str,
    drawn: _Scores,
    rules: Rules | None,
) -> None:
    """Write the parts of a trial, scores first; their figures lie in the row that seals it."""
    derived: dict[str, Any] = {}
    for name, found in content.items():
        part = ledger / name / _part(key)
        part.parent.mkdir(parents=True, exist_ok=True)
        if name == "trials":
            found[0].update(derived)
        file = _write(name, found, part)
        if name == "scores":
            derived = drawn.derived(key, found, digest_in(file), rules)


def _write(table: str, content: pa.Table | list[dict[str, Any]], file: Path) -> bytes:
    if isinstance(content, list):
        content = ledger_table(table, file.stem, content)
    written = part_content(table, file.stem, content)
    file.write_bytes(written)
    return written
