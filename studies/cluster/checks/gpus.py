"""Every node's GPUs must be there for PyTorch, and should have the memory that trials take."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from studies.cluster.checks.base import Finding, NodeCheck, NodeReport
from studies.formatting import in_bytes

GPU_SECONDS = 90.0  # for how long PyTorch may take to start and list the GPUs of a node


@dataclass(frozen=True)
class Gpu:
    """A GPU as PyTorch sees it; memory in bytes."""

    name: str
    total: int
    free: int


@dataclass(frozen=True)
class GpuFacts:
    """The GPUs that PyTorch sees on a node, or why it sees none."""

    gpus: list[Gpu]
    error: str | None = None


@dataclass(frozen=True)
class GpuCheck(NodeCheck[GpuFacts]):
    """Lets PyTorch list a node's GPUs.

    Attributes:
        needs: share of a GPU that trials get -> the most bytes that such trials took before, 0 if
            unknown.

    """

    needs: dict[float, int] = field(default_factory=dict)

    def probe(self, node: str) -> GpuFacts:
        """List the GPUs."""
        return see_gpus()

    def judge(self, facts: GpuFacts, node: NodeReport) -> Iterator[Finding]:
        """Refuse GPUs that PyTorch does not see; warn of GPUs that may be too small.

        Too little memory is no problem: a job that Ray waits for may hold it, and a trial that runs
        out of memory goes on with smaller batches.
        """
        lent, seen = math.ceil(node.resources.get("GPU", 0.0)), len(facts.gpus)
        if lent > seen:
            why = f": {facts.error}" if facts.error else ""
            yield Finding(f"Ray lends {lent} GPUs there, PyTorch sees {seen}{why}")
        for number, gpu in enumerate(facts.gpus):
            for part, peak in self.needs.items():
                share = int(part * gpu.total)
                text = f"a trial's {part:.3g} of GPU {number} ({gpu.name}) is {in_bytes(share)}"
                if peak > share:
                    took = f"{text}; trials like these took {in_bytes(peak)} before"
                    yield Finding(took, problem=False)
                # The driver and others' displays hold a little of every GPU.
                if gpu.free < min(share, 0.9 * gpu.total):
                    held = f"{text}; {in_bytes(gpu.free)} are free, others hold the rest"
                    yield Finding(held, problem=False)


_LIST_GPUS = """
import json, torch
torch.cuda.init()
gpus = []
for number in range(torch.cuda.device_count()):
    try:
        free, total = torch.cuda.mem_get_info(number)
    except RuntimeError:  # another process has taken all of it
        free, total = 0, torch.cuda.get_device_properties(number).total_memory
    gpus.append({"name": torch.cuda.get_device_name(number), "total": total, "free": free})
print(json.dumps(gpus))
"""


def see_gpus(python: Sequence[str] = (sys.executable,)) -> GpuFacts:
    """Return the GPUs of this node as PyTorch sees them, or why it sees none.

    A process of its own looks, and so gives back the memory that looking at a GPU takes (some
    hundred MB each). It asks Ray for no share of a GPU: that would wait for whoever holds the GPU.
    `nvidia-smi` would not tell whether PyTorch can use the GPUs it lists.

    Args:
        python: the interpreter and its options.

    """
    environment = dict(os.environ)
    # Some releases of Ray hide all GPUs from a task that asks for none.
    if environment.get("CUDA_VISIBLE_DEVICES") == "":
        del environment["CUDA_VISIBLE_DEVICES"]
    command = [*python, "-c", _LIST_GPUS]
    try:
        ended = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=GPU_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return GpuFacts([], f"no answer within {GPU_SECONDS:.0f} s")
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
        return GpuFacts([], lines[-1][:300])
    return GpuFacts([Gpu(**gpu) for gpu in json.loads(ended.stdout.splitlines()[-1])])
