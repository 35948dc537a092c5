"""One command for a machine with a GPU: is every kernel right there, and how fast is it?

First every path of kernels is checked against the CPU, with its tolerance: transfer losses, CAMs,
dense CRF, random walk, PAR, a training step of each paradigm, resuming from a checkpoint, and
batches that do not fit under a real limit of memory. Then things are timed, each beside another in
the same run: dense CRF beside pydensecrf on this machine's CPU, the walk beside dense squarings,
CAMs of several scales beside pytorch-grad-cam, steps of ResNet-50 and ViT-S at 512 px beside plain
PyTorch (float32, bfloat16, a CUDA graph, compiled), co-training, trainings that share a card in
processes or as seeds fused by `torch.func`, and a head on features kept on the card.

It needs torch, timm, numpy, pillow, pyyaml and safetensors; no Ray, Optuna, pydantic or network.
The package need not be installed. pydensecrf and pytorch-grad-cam are compared with where they are
there. The parts run one after another, each guarded: one that fails or takes too long is a row that
says so, and the next goes on. The files are written after each part. Exit code 1 if a check failed,
broke off or had no time.

    python benchmarks/on_gpu.py                               # under eight minutes on one card
    python benchmarks/on_gpu.py --device cpu --dry            # everything, tiny, on a CPU
    python benchmarks/on_gpu.py --only losses "dense CRF"     # some parts, by how they begin
"""

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

# Before CUDA starts: without it cuBLAS need not give the same sums twice.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
sys.path.insert(0, str(Path(__file__).parents[1]))

import timm
import torch
from gpu_parts import agreement, refining, sharing_a_card, steps
from gpu_parts.rows import Machine, Part, Row, markdown, rows_of

from wsss_core.out_of_memory import give_back


def all_parts() -> list[Part]:
    """Return the parts in order: checks, then what is quick, then what compiles."""
    memory, *shared = sharing_a_card.PARTS
    quick = [part for part in steps.parts() if "compiled" not in part.name]
    compiled = [part for part in steps.parts() if "compiled" in part.name]
    return [*agreement.PARTS, memory, *refining.PARTS, *quick, *shared, *compiled]


def about(machine: Machine) -> dict[str, Any]:
    gpu = torch.cuda.get_device_properties(machine.device) if machine.on_gpu else None
    return {
        "benchmark": "on_gpu",
        "device": machine.device,
        "dry": machine.dry,
        "gpu": gpu.name if gpu else None,
        "gpu_gib": round(gpu.total_memory / 2**30, 1) if gpu else None,
        "cuda": torch.version.cuda if gpu else None,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
    }


def write(record: dict[str, Any], rows: list[Row], json_file: Path, table_file: Path) -> None:
    record = {**record, "rows": [asdict(row) for row in rows]}
    json_file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    where = record["gpu"] or f"{record['processor']}, no GPU"
    dry = "; a dry run at tiny sizes, whose times and ratios say nothing" if record["dry"] else ""
    said = (
        f"{where}, torch {record['torch']}, {record['seconds']:.0f} s{dry}. A ratio is the figure "
        "beside divided by the figure."
    )
    table_file.write_text(f"{said}\n\n{markdown(rows)}\n", encoding="utf-8")


def run(
    parts: list[Part], machine: Machine, minutes: float, json_file: Path, table_file: Path
) -> list[Row]:
    """Run the parts within the minutes, and write the files after each."""
    start = time.perf_counter()
    rows: list[Row] = []
    record = about(machine)
    for part in parts:
        began = time.perf_counter()
        found = rows_of(part, machine, 60 * minutes - (began - start))
        rows += found
        try:
            give_back(machine.device)
        except RuntimeError as error:  # of a card that no longer answers; the next part says so
            print(f"memory was not given back: {error}", file=sys.stderr)
        now = time.perf_counter()
        write({**record, "seconds": now - start}, rows, json_file, table_file)
        words = ", ".join(sorted({row.verdict for row in found}))
        print(f"{part.name}: {words} ({now - began:.1f} s)", flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", help="cpu, cuda, ...; by default the GPU if there is one")
    parser.add_argument("--dry", action="store_true", help="tiny sizes; always so without a GPU")
    parser.add_argument("--minutes", type=float, default=8, help="for all parts (default: 8)")
    parser.add_argument("--only", nargs="+", metavar="PART", help="parts whose names begin so")
    parser.add_argument("--json", type=Path, default=Path("on_gpu.json"), metavar="FILE")
    parser.add_argument("--markdown", type=Path, default=Path("on_gpu.md"), metavar="FILE")
    arguments = parser.parse_args()
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(f"--device {device}: torch finds no GPU; expected cpu")
    if not arguments.minutes > 0:
        parser.error("--minutes: expected a number above 0")
    parts = all_parts()
    if arguments.only:
        parts = [part for part in parts if part.name.startswith(tuple(arguments.only))]
        if not parts:
            names = ", ".join(part.name for part in all_parts())
            parser.error(f"--only: no part begins so; expected some of {names}")
    machine = Machine(device, dry=arguments.dry or not device.startswith("cuda"))
    rows = run(parts, machine, arguments.minutes, arguments.json, arguments.markdown)
    print(f"\n{markdown(rows)}\n\nwritten: {arguments.json}, {arguments.markdown}")
    failed = [row for row in rows if row.fails]
    for row in failed:
        print(f"failed: {row.part}, {row.what}: {row.note or row.value}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
