"""Ray Data under `wsss masks`: actors with the network make CAMs, CPU tasks refine and write them.

Where there is no GPU, an actor a core does both: no core waits for the other stage, and half as
many workers hold PyTorch. Only names and small maps travel: every worker reads its images itself,
so what is in flight is a few blocks of some kilobytes, however many images there are.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.data

from studies.cluster.check import require_ready
from studies.cluster.ray_start import node_amounts, start_ray, starts_ray_here
from studies.formatting import error_line
from studies.masks.cluster_check import checks_for_masks
from studies.masks.worker import CamMaker, Cams, MaskJob, MaskWriter
from studies.planning.capacity import whole_gpu
from studies.stages.failures import gpu_failed, is_gpu_failure
from wsss_core.errors import InputError
from wsss_core.plugins import search_in

READERS = 4
"""Images a GPU's actor decodes at a time: one core decodes slower than a GPU makes CAMs."""

IN_FLIGHT = 2
"""Batches at an actor: one it works on, one that waits."""

Block = dict[str, Any]


def stream_masks(
    job: MaskJob,
    names: Sequence[str],
    *,
    batch: int,
    address: str | None,
    apart: bool | None = None,
) -> Iterator[tuple[str, str | None]]:
    """Make masks on a cluster; yields each image's name and error as its batch is done.

    Args:
        job: see `studies.masks.worker.MaskJob`; its folders have to be seen by all nodes.
        names: the images, relative to the job's folder.
        batch: images that travel together.
        address: of a running cluster; None starts Ray on this machine.
        apart: CAMs and their refinement in workers of their own; None: where there are GPUs.

    Raises:
        InputError: no cluster there, nodes that cannot be used, or files that cannot be written.

    """
    import_path = str(Path.cwd())
    # A Ray that is started here has this machine's folders.
    alone = starts_ray_here(address)
    started_here = start_ray(address)
    try:
        plugins = job.recipe.plugins
        if plugins or not alone:
            gpus = whole_gpu(node_amounts()) > 0
            require_ready(checks_for_masks(job, names[0], plugins, import_path, gpus=gpus))
        with _quiet_context():
            dataset = _dataset(job, names, batch, import_path, apart)
            for block in dataset.iter_batches(
                batch_size=None, batch_format="numpy", prefetch_batches=0
            ):
                for name, error in zip(block["name"], block["error"], strict=True):
                    if not name:
                        raise InputError(f"{error}; masks that are there stay: run again to go on")
                    yield str(name), str(error) or None
    finally:
        if started_here:
            ray.shutdown()


def _dataset(
    job: MaskJob, names: Sequence[str], batch: int, import_path: str, apart: bool | None
) -> Any:
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    apart = gpus > 0 if apart is None else apart
    describing = any(step.needs_image_features for step in job.recipe.chain.steps)
    # Of a GPU, the large model of a step that sees images alone gets half.
    share = {"num_gpus": 0.5 if describing and apart else 1.0} if gpus else {}
    device = "cuda" if gpus else "cpu"
    blocks = -(-len(names) // batch)
    pool = ray.data.ActorPoolStrategy(
        size=min(gpus or max(1, int(resources.get("CPU", 1))), blocks),
        max_tasks_in_flight_per_actor=IN_FLIGHT,
    )
    given = {"job": job, "device": device, "import_path": import_path}
    items: Any = ray.data.from_items([{"name": name} for name in names], override_num_blocks=blocks)
    made = items.map_batches(
        _CamWorker if apart else _MaskWorker,
        batch_size=batch,
        batch_format="numpy",
        compute=pool,
        # Beside tasks, actors hold no core: they would leave it idle whenever they are ahead.
        num_cpus=0 if apart else 1,
        fn_constructor_kwargs=given,
        **share,
    )
    if not apart:
        return made
    if describing:
        # A large model stays where it is; after a task on a GPU Ray ends the process.
        return made.map_batches(
            _RefineWorker, batch_size=batch, batch_format="numpy", compute=pool, num_cpus=1,
            fn_constructor_kwargs=given, **share,
        )  # fmt: skip
    return made.map_batches(
        _refine_block, batch_size=batch, batch_format="numpy", num_cpus=1,
        fn_kwargs={"job": job, "import_path": import_path},
    )  # fmt: skip


@contextlib.contextmanager
def _quiet_context() -> Iterator[None]:
    """Ray Data's settings for one dataset: no bars and no lines of its own."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of copying settings that Ray itself gave up
        context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    with ray.data.DataContext.current(context):
        yield


class _Worker:
    """Makes what it needs at its first batch, not before: what goes wrong is then told in a line.

    Raised, Ray Data would print it with its own traceback.
    """

    def __init__(self, job: MaskJob, device: str, import_path: str) -> None:
        self._job, self._device, self._import_path = job, device, import_path
        self._ready = False

    def __call__(self, block: Block) -> Block:
        """One block to the next; an error of no image is that of an image without a name."""
        try:
            if not self._ready:
                _set_up(self._import_path)
                self._make()
                self._ready = True
            return self._go_on(block)
        except Exception as error:
            return self._failed(_in_words(error))

    def _make(self) -> None:
        raise NotImplementedError

    def _go_on(self, block: Block) -> Block:
        raise NotImplementedError

    def _failed(self, said: str) -> Block:
        return _written([("", said)])


class _CamWorker(_Worker):
    """Names to packed CAMs, by a network that stays."""

    def _make(self) -> None:
        readers = 1 if self._device == "cpu" else READERS
        self._made = CamMaker(self._job, device=self._device, readers=readers)

    def _go_on(self, block: Block) -> Block:
        return _packed(self._made([str(name) for name in block["name"]]))

    def _failed(self, said: str) -> Block:
        return _packed([Cams("", said)])


class _RefineWorker(_Worker):
    """Packed CAMs to what became of them, by a chain that stays, its large models with it."""

    def _make(self) -> None:
        self._writer = MaskWriter(self._job, device=self._device)

    def _go_on(self, block: Block) -> Block:
        return _written(self._writer(_unpacked(block, len(self._job.recipe.classes))))


class _MaskWorker(_Worker):
    """Names to what became of them, by a network and a chain that stay."""

    def _make(self) -> None:
        self._made = CamMaker(self._job, device=self._device)
        self._writer = MaskWriter(self._job, device=self._device)

    def _go_on(self, block: Block) -> Block:
        return _written(self._writer(self._made([str(name) for name in block["name"]])))


def _refine_block(block: Block, job: MaskJob, import_path: str) -> Block:
    """Packed CAMs to what became of them; by a chain without large models."""
    return _RefineWorker(job, "cpu", import_path)(block)


def _written(done: Sequence[tuple[str, str | None]]) -> Block:
    return {"name": [name for name, _ in done], "error": [error or "" for _, error in done]}


def _in_words(error: Exception) -> str:
    if isinstance(error, InputError):
        return str(error)
    if is_gpu_failure(error):
        return gpu_failed(error)
    return error_line(error)


def _set_up(import_path: str) -> None:
    """One thread for one CPU, and where plug-ins are looked for."""
    import torch

    torch.set_num_threads(1)
    search_in(import_path)


def _packed(batch: Sequence[Cams]) -> Block:
    """Maps as bytes: an image without any has none, and blocks of any grid fit together."""
    return {
        "name": [one.name for one in batch],
        "error": [one.error or "" for one in batch],
        "maps": [b"" if one.maps is None else one.maps.tobytes() for one in batch],
        "width": [0 if one.maps is None else one.maps.shape[-1] for one in batch],
        "logits": [b"" if one.logits is None else one.logits.tobytes() for one in batch],
    }


def _unpacked(block: Block, classes: int) -> list[Cams]:
    batch = []
    for name, error, maps, width, logits in zip(
        *(block[key] for key in ("name", "error", "maps", "width", "logits")), strict=True
    ):
        if error:
            batch.append(Cams(str(name), str(error)))
            continue
        grid = np.frombuffer(maps, np.float16).reshape(classes, -1, int(width))
        batch.append(Cams(str(name), None, grid, np.frombuffer(logits, np.float32)))
    return batch
