"""The checksums of a store's artifacts, as `wsss store verify` compares them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field

from studies.formatting import duration, in_bytes
from studies.store.artifacts import ArtifactStore
from studies.store.listing import Artifact, artifacts

SAY_EVERY_S = 10.0


@dataclass
class Verified:
    """What comparing a store's artifacts with their manifests has shown.

    Attributes:
        checked: how many artifacts.
        bytes: in them.
        damaged: "stage/key" -> how its files differ.
        set_aside: whether the damaged ones were taken out.
        orphans: "stage/key" -> the training run it is of, which the store no longer holds.

    """

    checked: int = 0
    bytes: int = 0
    damaged: dict[str, list[str]] = field(default_factory=dict)
    set_aside: bool = False
    orphans: dict[str, str] = field(default_factory=dict)


def verify(
    store: ArtifactStore,
    stages: list[str],
    *,
    set_aside: bool = False,
    say: Callable[[str], None] = print,
) -> Verified:
    """Read every file of some stages, or of all, and compare it with its checksum.

    Args:
        store: which.
        stages: see `studies.store.listing.artifacts`.
        set_aside: take damaged artifacts out, so that the next run makes them anew.
        say: where lines of progress go.

    """
    found = artifacts(store, stages)
    report = Verified(set_aside=set_aside)
    trained = store.finished("train")
    for one in found:
        if one.parent is not None and one.parent not in trained:
            report.orphans[f"{one.stage}/{one.key}"] = one.parent
    total = sum(one.bytes or 0 for one in found)
    began = said = time.monotonic()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        tasks = {pool.submit(_problems, store, one): one for one in found}
        try:
            for task in as_completed(tasks):
                one, problems = tasks[task], task.result()
                report.checked += 1
                report.bytes += one.bytes or 0
                if problems:
                    report.damaged[f"{one.stage}/{one.key}"] = problems
                now = time.monotonic()
                if now - said > SAY_EVERY_S:
                    said = now
                    left = (now - began) * (total - report.bytes) / max(1, report.bytes)
                    say(
                        f"  {report.checked} of {len(found)} artifacts, {in_bytes(report.bytes)} "
                        f"of {in_bytes(total)} read (about {duration(left)} left)"
                    )
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    report.damaged = dict(sorted(report.damaged.items()))
    if set_aside:
        for name in report.damaged:
            stage, key = name.split("/")
            store.set_aside(stage, key)
    return report


def _problems(store: ArtifactStore, one: Artifact) -> list[str]:
    try:
        return store.problems(one.stage, one.key)
    except FileNotFoundError:
        return []  # set aside or deleted meanwhile
