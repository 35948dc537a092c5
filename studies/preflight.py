"""What can be known to fail is found before anything is trained."""

from __future__ import annotations

from pathlib import Path

from studies.artifacts import ArtifactStore, require_writable
from studies.plan import Plan, Unit
from studies.training_stage import build_paradigm, initial_network
from wsss_core.errors import InputError


def preflight(plan: Plan, pending: list[Unit], store: ArtifactStore, results: Path) -> None:
    """Check folders, networks with their weights, and alignments of all that is to run.

    Every network and every alignment is built once, so a stage that a CNN lacks, weights whose
    shapes do not fit or channels that do not meet are named here and not after the first teacher.

    Raises:
        InputError: the first thing that cannot work.

    """
    require_writable(results)
    store.require_writable()
    for split in ("tune", "test"):
        # The images are decoded by now; a set where nothing can be scored is a mistake.
        images = plan.images.load(store, split)
        for number, name in enumerate(images.classes):
            if not images.labels[:, number].any():
                raise InputError(f"{split}: no image holds class {name!r}; its IoU has no value")
    seen: set[str] = set()
    for unit in pending:
        settings = {**unit.settings, "seed": 0}
        if (signature := repr({**settings, "training": None})) in seen:
            continue
        seen.add(signature)
        teacher = None
        if settings["paradigm"] == "teacher-student":
            teacher = initial_network(settings, "teacher", unit.weights["teacher"])
        try:
            build_paradigm(settings, unit.weights, teacher)
        except InputError as error:
            raise InputError(f"{unit.name}: {error}") from error
