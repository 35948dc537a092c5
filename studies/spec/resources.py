"""Resources that a training run requests from its machine: CPUs, a share of a GPU, memory.

No resource enters a key: equal settings give equal work on any machine. (If a share of a GPU is
too small for whole batches, the ledger says so, see `wsss_core.training.loop`.) The amounts of a
cluster come in Ray's form: one mapping of "CPU", "GPU" and "memory" (bytes) per node.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field

from studies.spec.base import Strict

GIB = 2**30

GpuWord = Literal["auto", "packed"]


def _share(value: object) -> object:
    words = get_args(GpuWord)
    if isinstance(value, str) and value not in words:
        raise ValueError(f"expected {', '.join(words)}, 0, a share of one GPU, or 1")
    if isinstance(value, int | float) and not 0 <= value <= 1:
        raise ValueError("expected 0, a share of one GPU, or 1: a trial uses one GPU at most")
    return value


Gpus = Annotated[float | GpuWord, BeforeValidator(_share)]
Memory = Annotated[float, Field(gt=0)] | Literal["auto"]

AUTO_MEMORY_GB = {False: 1.0, True: 3.0}
"""GiB that `memory_gb: auto` stands for, without and with a GPU: PyTorch with CUDA's libraries
takes some 2 GiB before the first image."""


class ResourceChange(Strict):
    """Resources that a paradigm or configuration changes; None keeps the study's."""

    cpus: int | None = Field(None, ge=1)
    gpus: Gpus | None = None
    memory_gb: Memory | None = None


class Resources(Strict):
    """Resources that a trial requests from the cluster.

    `gpus: auto` is one GPU where the cluster has any, otherwise none. `gpus: packed` is the same
    for the first trial of a row, and for others the share that its memory asks for, see
    `studies.scheduling.gpu_packing`. `memory_gb: auto` is 1 without a GPU and 3 with a GPU.

    A paradigm's name as a key changes settings for that paradigm (`co-training: {gpus: 1}`). The
    `resources` of an entry of `configurations` change them for its trials and override the
    paradigm's. A training run that several configurations share requests their largest amounts.

    `wsss plan` multiplies hours by the prices. The price of a GPU's hour includes the machine
    around it; the price of a core's hour is for trials without a GPU.
    """

    cpus: int = Field(1, ge=1)
    gpus: Gpus = "auto"
    memory_gb: Memory = "auto"
    single: ResourceChange = ResourceChange()
    teacher_student: ResourceChange = Field(ResourceChange(), alias="teacher-student")
    co_training: ResourceChange = Field(ResourceChange(), alias="co-training")
    price_per_gpu_hour: float | None = Field(None, ge=0)
    price_per_cpu_hour: float | None = Field(None, ge=0)

    def demand(self, paradigm: str, own: ResourceChange | None = None) -> "Demand":
        """Return the demand of a configuration.

        Args:
            paradigm: the configuration's paradigm.
            own: the changes of the configuration's own entry.

        """
        asked = (own, getattr(self, paradigm.replace("-", "_"), None), self)
        return Demand(
            *(
                next(found for one in asked if (found := getattr(one, name, None)) is not None)
                for name in Demand.__dataclass_fields__
            )
        )


@dataclass(frozen=True)
class Demand:
    """Resources that one training run requests.

    Attributes:
        cpus: cores, and threads of its process.
        gpus: 1, a share of a GPU, or "auto": 1 where the cluster has any GPU, otherwise 0; or
            "packed": the same until a trial like it was measured.
        memory_gb: memory of the machine in GiB, or "auto", see `AUTO_MEMORY_GB`.

    """

    cpus: int = 1
    gpus: float | GpuWord = "auto"
    memory_gb: float | Literal["auto"] = "auto"

    @property
    def needs_gpu(self) -> bool:
        """Whether it names an amount of a GPU; a word takes none where the cluster has none."""
        return not isinstance(self.gpus, str) and self.gpus > 0

    def larger(self, other: "Demand") -> "Demand":
        """Return the demand that serves both; a number for memory overrides "auto".

        >>> Demand(2, 0.5, 1.0).larger(Demand(1, "auto", 4.0))
        Demand(cpus=2, gpus=1.0, memory_gb=4.0)
        >>> Demand(gpus="packed").larger(Demand(gpus="packed")).gpus
        'packed'
        """
        both = (self.gpus, other.gpus)
        words = {word for word in both if isinstance(word, str)}
        gpus: float | GpuWord = max((one for one in both if not isinstance(one, str)), default=0.0)
        if words:
            # A word is a GPU where there are any, and a share needs a GPU anyway.
            word: GpuWord = "auto" if "auto" in words else "packed"
            gpus = max(1.0, gpus) if gpus else word
        memory = [gb for gb in (self.memory_gb, other.memory_gb) if gb != "auto"]
        return Demand(max(self.cpus, other.cpus), gpus, max(memory, default="auto"))

    def asks(self, whole_gpu: float, *, packed: float | None = None) -> dict[str, float]:
        """Return the request in Ray's form: "CPU", "memory" in bytes, and "GPU" unless it is 0.

        Args:
            whole_gpu: the GPUs that "auto" stands for, see `studies.planning.capacity.whole_gpu`.
            packed: the share that "packed" stands for; None: as "auto".

        """
        if isinstance(self.gpus, str):
            share = packed if self.gpus == "packed" and whole_gpu else None
            gpus = whole_gpu if share is None else share
        else:
            gpus = self.gpus
        memory = AUTO_MEMORY_GB[gpus > 0] if self.memory_gb == "auto" else self.memory_gb
        asked = {"CPU": float(self.cpus), "memory": float(int(memory * GIB))}
        return {**asked, "GPU": gpus} if gpus else asked
