"""The command for a GPU: guarded parts, honest exit codes, and a dry run on a bare machine."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
BARE = """
import runpy, sys
missing = {"ray", "optuna", "pydantic", "pydensecrf", "pytorch_grad_cam", "matplotlib", "jinja2"}
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])  # as Python does for a script
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def on_gpu(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import on_gpu

    return on_gpu


def run_main(on_gpu, monkeypatch, folder: Path, parts: list) -> tuple[int, list[dict]]:
    files = ["--json", str(folder / "rows.json"), "--markdown", str(folder / "rows.md")]
    monkeypatch.setattr(on_gpu, "all_parts", lambda: parts)
    monkeypatch.setattr(sys, "argv", ["on_gpu.py", "--device", "cpu", "--dry", *files])
    code = on_gpu.main()
    return code, json.loads((folder / "rows.json").read_text())["rows"]


def test_a_part_that_breaks_off_is_a_row_and_the_next_part_runs(on_gpu, monkeypatch, tmp_path):
    from gpu_parts.rows import Part, compared

    def broken(machine) -> Iterator:
        yield compared("speed", "before", 1.0, "ms")
        raise RuntimeError("CUDA error:\n  an illegal memory access")

    def sound(machine) -> Iterator:
        yield compared("speed", "after", 2.0, "ms", "another", 5.0, goal=3)

    code, rows = run_main(
        on_gpu, monkeypatch, tmp_path, [Part("speed", 9, broken), Part("more", 9, sound)]
    )
    assert code == 0  # no check was among them
    assert [row["verdict"] for row in rows] == ["measured", "error", "missed"]
    assert rows[1]["note"] == "RuntimeError: CUDA error: an illegal memory access"
    assert rows[2]["ratio"] == 2.5


@pytest.mark.parametrize(
    ("difference", "code", "verdict"),
    [(1e-6, 0, "passed"), (1e-2, 1, "failed"), (float("nan"), 1, "failed")],
)
def test_the_exit_code_says_whether_a_check_failed(
    on_gpu, monkeypatch, tmp_path, difference, code, verdict
):
    from gpu_parts.rows import Part, checked

    part = Part("sums", 9, lambda machine: iter([checked("sums", "a", difference, 1e-4)]), True)
    found, rows = run_main(on_gpu, monkeypatch, tmp_path, [part])
    assert (found, rows[0]["verdict"]) == (code, verdict)


def test_a_check_that_takes_too_long_is_stopped_and_fails(on_gpu, monkeypatch, tmp_path):
    from gpu_parts.rows import Part

    def endless(machine) -> Iterator:
        while True:
            try:
                time.sleep(20)
            except Exception:
                yield  # what a library may do with errors
        yield

    start = time.perf_counter()
    code, rows = run_main(on_gpu, monkeypatch, tmp_path, [Part("slow", 1, endless, True)])
    assert time.perf_counter() - start < 10
    assert (code, rows[0]["verdict"]) == (1, "no time")


@pytest.mark.ci
def test_a_kernel_that_is_wrong_fails_its_check(on_gpu, monkeypatch):
    from gpu_parts import agreement
    from gpu_parts.rows import Machine, rows_of

    par = agreement.par
    part = next(part for part in agreement.PARTS if part.name == "PAR")
    assert [row.verdict for row in rows_of(part, Machine("cpu", dry=True), 60)] == ["passed"]

    def wrong_in_float32(images, scores):
        found = par(images, scores)
        return found * 1.001 if found.element_size() == 4 else found

    monkeypatch.setattr(agreement, "par", wrong_in_float32)
    assert [row.verdict for row in rows_of(part, Machine("cpu", dry=True), 60)] == ["failed"]


def dry(folder: Path, *more: str) -> list[dict]:
    """The rows of a dry run on a machine without what a bare one lacks."""
    command = [sys.executable, "-c", BARE, str(ROOT / "benchmarks" / "on_gpu.py")]
    run = subprocess.run(
        [*command, "--device", "cpu", "--dry", *more], cwd=folder, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    rows = json.loads((folder / "on_gpu.json").read_text())["rows"]
    table = (folder / "on_gpu.md").read_text().splitlines()
    assert len([line for line in table if line.startswith("|")]) == len(rows) + 2
    return rows


@pytest.mark.ci
def test_the_smallest_dry_run_passes_on_a_bare_machine(tmp_path):
    rows = dry(tmp_path, "--only", "losses", "PAR", "random walk", "dense CRF", "out of memory")
    assert {row["verdict"] for row in rows} == {"passed", "measured"}
    assert {row["part"] for row in rows if row["check"]} == {
        "losses", "PAR", "random walk", "dense CRF", "out of memory",
    }  # fmt: skip


@pytest.mark.slow
def test_every_part_of_a_dry_run_passes(tmp_path):
    rows = dry(tmp_path, "--minutes", "20")
    assert {row["verdict"] for row in rows} == {"passed", "measured", "not here"}
    elsewhere = {row["what"] for row in rows if row["verdict"] == "not here"}
    assert all("CUDA graph" in what or "pytorch-grad-cam" in what for what in elsewhere)
