"""Ray Data under `wsss masks`: actors with the network make CAMs, CPU tasks refine and write them.

Without a GPU, one actor a core does both: no core waits for the other stage, and half as many
workers hold PyTorch. Only names and small maps travel: every worker reads its images itself, so
only a few blocks of some kilobytes are in flight, however many images there are.
"""

import contextlib
import logging
import pickle
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.data
import torch

from reports.storage import is_uri
from studies.cluster.check import require_ready
from studies.cluster.checks import (
    ClockCheck,
    CodeCheck,
    ExpectedFile,
    FilesCheck,
    FoldersCheck,
    GpuCheck,
    NodeCheck,
    PluginsCheck,
    code_facts,
)
from studies.cluster.plan_checks import files_of_chain
from studies.cluster.ray_start import node_amounts, ray_running, starts_ray_here
from studies.masks.segmenter_recipe import SegmenterRecipe
from studies.masks.segmenting import SegmenterMasks
from studies.masks.worker import (
    UNFINISHED_MASKS,
    CamMaker,
    Cams,
    MaskJob,
    MaskWriter,
    failure_text,
)
from studies.planning import whole_gpu
from studies.stages import keep_freed_memory
from studies.store import MANIFEST, ArtifactStore
from wsss_core.data.file_hashes import file_hashes
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
    """Make masks on a cluster; yield each image's name and error as its batch is done.

    Args:
        job: images and recipe; all nodes have to see its folders.
        names: the images, relative to the job's folder.
        batch: images that travel together.
        address: of a running cluster; None starts Ray on this machine.
        apart: make CAMs and refine them in workers of their own; None: if there are GPUs.

    Raises:
        InputError: no cluster there, nodes that cannot be used, or files that cannot be written.

    """
    import_path = str(Path.cwd())
    # A Ray that is started here has this machine's folders.
    alone = starts_ray_here(address)
    with ray_running(address):
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


def checks_for_masks(
    job: MaskJob, image: str, plugins: dict[str, str], import_path: str, *, gpus: bool
) -> list[NodeCheck[Any]]:
    """Return the checks of every node, in the order in which their findings are listed.

    Args:
        job: every node has to see its images and its network, and to share the folder of its masks.
        image: one of its images, which stands for all.
        plugins: the network's and the chain's: name -> version on the driver.
        import_path: a folder that is searched for them too.
        gpus: whether the nodes lend any.

    """
    needed, recipe = [Path(job.images) / image], job.recipe
    if isinstance(recipe, SegmenterRecipe):
        if recipe.store is None or not is_uri(recipe.store):
            needed.append(Path(recipe.file))
    elif not is_uri(recipe.store):
        needed.append(ArtifactStore(recipe.store).path("train", recipe.training.key) / MANIFEST)
    files = {
        str(file): ExpectedFile.of(file, digest)
        for file, digest in zip(needed, file_hashes(needed), strict=True)
    }
    of_chain = {} if isinstance(recipe, SegmenterRecipe) else files_of_chain(recipe.chain)
    checks: list[NodeCheck[Any]] = [
        CodeCheck(code_facts()),
        FoldersCheck({"masks": f"{job.out}/{UNFINISHED_MASKS}"}),
        PluginsCheck(plugins, import_path),
        FilesCheck(files | of_chain),
        ClockCheck(),
    ]
    return [*checks, GpuCheck()] if gpus else checks


def _dataset(
    job: MaskJob, names: Sequence[str], batch: int, import_path: str, apart: bool | None
) -> Any:
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    steps = () if isinstance(job.recipe, SegmenterRecipe) else job.recipe.chain.steps
    # A segmenter's masks need no refinement, so nothing is left for other workers.
    apart = (gpus > 0 if apart is None else apart) and not isinstance(job.recipe, SegmenterRecipe)
    images_first = any(step.needs_image_features for step in steps)
    # The large model of a step that sees images alone gets half of a GPU.
    share = {"num_gpus": 0.5 if images_first and apart else 1.0} if gpus else {}
    blocks = -(-len(names) // batch)
    pool = ray.data.ActorPoolStrategy(
        size=min(gpus or max(1, int(resources.get("CPU", 1))), blocks),
        max_tasks_in_flight_per_actor=IN_FLIGHT,
    )
    stage = {"batch_size": batch, "batch_format": "numpy"}
    given: dict[str, Any] = {
        "job": job,
        "device": "cuda" if gpus else "cpu",
        "import_path": import_path,
    }
    items: Any = ray.data.from_items([{"name": name} for name in names], override_num_blocks=blocks)
    made = items.map_batches(
        _Worker,
        compute=pool,
        # Beside tasks, actors hold no core: they would leave it idle whenever they are ahead.
        num_cpus=0 if apart else 1,
        fn_constructor_kwargs={**given, "writes": not apart},
        **stage,
        **share,
    )
    if not apart:
        return made
    if images_first:
        # A large model stays where it is; after a task on a GPU Ray ends the process.
        given["makes_cams"] = False
        return made.map_batches(
            _Worker, compute=pool, num_cpus=1, fn_constructor_kwargs=given, **stage, **share
        )
    given["device"] = "cpu"
    return made.map_batches(_refine_block, num_cpus=1, fn_kwargs=given, **stage)


@contextlib.contextmanager
def _quiet_context() -> Iterator[None]:
    """Ray Data's settings for one dataset: no bars and no lines of its own."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of settings that Ray itself has given up
        context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    with ray.data.DataContext.current(context):
        yield


class _Worker:
    """Turns names into packed CAMs, those into masks, or names into masks.

    It loads network and models at its first batch, not before, and keeps them. An error that
    belongs to no image is that of an image without a name: Ray Data would print an exception with
    its own traceback.
    """

    def __init__(
        self,
        job: MaskJob,
        device: str,
        import_path: str,
        *,
        makes_cams: bool = True,
        writes: bool = True,
    ) -> None:
        self._job, self._device, self._import_path = job, device, import_path
        self._makes_cams, self._writes = makes_cams, writes
        self._masks: SegmenterMasks | None = None
        self._cams: CamMaker | None = None
        self._writer: MaskWriter | None = None

    def __call__(self, block: Block) -> Block:
        """Turn one block into the next."""
        try:
            return self._next(block)
        except Exception as error:
            text = failure_text(error)
            return _written([("", text)]) if self._writes else _packed([Cams("", text)])

    def _next(self, block: Block) -> Block:
        if self._cams is None and self._writer is None and self._masks is None:
            self._load()
        if self._masks is not None:
            return _written(self._masks([str(name) for name in block["name"]]))
        if self._cams is None:
            batch = [pickle.loads(cams) for cams in block["cams"]]
        else:
            batch = self._cams([str(name) for name in block["name"]])
        return _packed(batch) if self._writer is None else _written(self._writer(batch))

    def _load(self) -> None:
        torch.set_num_threads(1)  # one thread for one CPU
        keep_freed_memory()
        search_in(self._import_path)
        if isinstance(self._job.recipe, SegmenterRecipe):
            readers = READERS if self._device != "cpu" else 1
            self._masks = SegmenterMasks(self._job, device=self._device, readers=readers)
            return
        readers = READERS if self._device != "cpu" and not self._writes else 1
        writer = MaskWriter(self._job, device=self._device) if self._writes else None
        if self._makes_cams:
            self._cams = CamMaker(self._job, device=self._device, readers=readers)
        self._writer = writer


def _refine_block(block: Block, job: MaskJob, device: str, import_path: str) -> Block:
    """Refine packed CAMs and write masks, with a chain without large models."""
    return _Worker(job, device, import_path, makes_cams=False)(block)


def _written(done: Sequence[tuple[str, str | None]]) -> Block:
    return {"name": [name for name, _ in done], "error": [error or "" for _, error in done]}


def _packed(batch: Sequence[Cams]) -> Block:
    """Pack CAMs as bytes: blocks with any grids, or without maps, then fit together."""
    return {"cams": [pickle.dumps(cams) for cams in batch]}
