"""What a run needs is spoilt in its store before or during the run: it is made again."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from reports.ledger.parts import read_table
from studies.planning.planner import make_plan
from studies.runner import run_plan
from studies.spec.study import Study
from studies.store.artifacts import ArtifactStore

Raw = dict[str, Any]
Run = Callable[..., Any]


def statuses(results: Path) -> dict[str, str]:
    table = read_table(results, "trials")
    return dict(zip(table["configuration"], table["status"], strict=True))


def spoil(file: Path) -> None:
    """Change a byte in the middle; the size stays."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def teacher_of(plan: Any) -> str:
    (key,) = {job.parent for job in plan.jobs.values() if job.parent}
    return str(key)


def test_a_teacher_spoilt_before_a_run_is_trained_again_by_it(
    taught: Raw, run: Run, tmp_path: Path
) -> None:
    first = run(taught, tmp_path)
    teacher = teacher_of(first.plan)
    spoil(first.store.path("train", teacher) / "student.safetensors")
    taught["configurations"][0]["lambda"] = 2.0
    again = run(taught, tmp_path)
    assert any(line.startswith(f"train/{teacher} is corrupt") for line in again.said)
    assert (again.result.trained, again.result.failed, again.result.remaining) == (2, {}, 0)
    assert again.store.problems("train", teacher) == []


def test_a_teacher_spoilt_during_a_run_is_trained_again_in_the_same_run(
    taught: Raw, tmp_path: Path, listening: Callable[..., Any]
) -> None:
    plan = make_plan(Study.model_validate(taught))
    store = ArtifactStore(tmp_path / "store")
    teacher, said = teacher_of(plan), []

    def say(line: str) -> None:
        if not any("teacher" in before for before in said) and "teacher" in line:
            spoil(store.path("train", teacher) / "student.safetensors")
        said.append(line)

    with listening(say):
        result = run_plan(plan, tmp_path, store, in_process=True)
    assert (result.failed, result.remaining) == ({}, 0)
    assert statuses(tmp_path) == {"taught, cosine global": "ok"}
    assert len([line for line in said if line.startswith("[") and "teacher" in line]) == 2


def test_images_spoilt_before_a_run_are_decoded_again_by_it(
    tiny: Raw, run: Run, tmp_path: Path
) -> None:
    tiny["configurations"] = tiny["configurations"][:1]
    first = run(tiny, tmp_path)
    key = first.plan.image_sets[0].splits.key("test")
    spoil(first.store.path("images", key) / "images.npy")
    tiny["configurations"][0]["training"] = {"learning_rate": 2e-3}
    again = run(tiny, tmp_path)
    assert any(line.startswith(f"images/{key} is corrupt") for line in again.said)
    assert again.store.problems("images", key) == []


def test_scores_cut_off_in_the_store_are_made_again_and_the_rest_is_kept(
    tiny: Raw, run: Run, tmp_path: Path
) -> None:
    tiny["configurations"] = tiny["configurations"][:2]
    first = run(tiny, tmp_path)
    before = read_table(tmp_path, "scores")
    key = first.plan.trials[0].key
    part = first.store.path("scores", key) / "ledger" / "scores" / f"{key}.parquet"
    os.truncate(part, part.stat().st_size // 2)
    again = run(tiny, tmp_path)
    assert (again.result.trained, again.result.scored, again.result.reused) == (0, 1, 1)
    after = read_table(tmp_path, "scores")
    assert after.equals(before) or after.astype(str).equals(before.astype(str))


def test_a_checkpoint_that_was_cut_off_is_not_gone_on_from(
    tiny: Raw, run: Run, tmp_path: Path
) -> None:
    tiny["configurations"] = tiny["configurations"][1:2]
    whole = run(tiny, tmp_path / "whole")
    (key,) = whole.plan.jobs
    store = ArtifactStore(tmp_path / "cut" / "store")
    store.make()
    checkpoint = store.scratch("train", key) / "checkpoint.pt"
    torch.save({"a": torch.ones(1000)}, checkpoint)
    os.truncate(checkpoint, 2000)
    assert run(tiny, tmp_path / "cut").result.failed == {}
    assert statuses(tmp_path / "cut") == {"ViT alone": "ok"}
