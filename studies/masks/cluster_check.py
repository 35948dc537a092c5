"""What making masks needs of every node of a cluster."""

from pathlib import Path
from typing import Any

from reports.storage import is_uri
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
from studies.masks.worker import UNFINISHED_MASKS, MaskJob
from studies.store import MANIFEST, ArtifactStore
from wsss_core.data.file_hashes import file_hashes


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
    needed = [Path(job.images) / image]
    if not is_uri(job.recipe.store):
        needed.append(
            ArtifactStore(job.recipe.store).path("train", job.recipe.training.key) / MANIFEST
        )
    files = {
        str(file): ExpectedFile.of(file, digest)
        for file, digest in zip(needed, file_hashes(needed), strict=True)
    }
    checks: list[NodeCheck[Any]] = [
        CodeCheck(code_facts()),
        FoldersCheck({"masks": f"{job.out}/{UNFINISHED_MASKS}"}),
        PluginsCheck(plugins, import_path),
        FilesCheck(files | files_of_chain(job.recipe.chain)),
        ClockCheck(),
    ]
    return [*checks, GpuCheck()] if gpus else checks
