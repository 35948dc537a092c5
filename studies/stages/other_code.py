"""Finished trials that other code made than what runs now, and how they are made again."""

import json
from collections import defaultdict
from collections.abc import Iterable

from reports.ledger.parts import read_arrow
from reports.names import DECISIVE_PACKAGES
from reports.storage import Location
from studies.planning import TrainingJob
from studies.store import ArtifactStore, read_artifacts
from studies.store.contents import walk
from studies.store.origin import UNKNOWN, method_digest, plugin_digest, versions

STAGES = ("train", "cams", "fits", "refined", "scores")
"""The stages whose artifacts depend on the method's code and belong to one training run."""

_COLUMNS = ["trial_key", "code_digest", "plugin_digests", "packages"]


def made_otherwise(results: Location, keys: Iterable[str]) -> dict[str, set[str]]:
    """Return what made finished trials, where it is not what would make them now.

    Args:
        results: the folder of the ledger.
        keys: of the finished trials.

    Returns:
        "other code (a1b2, now c3d4)" and the like -> the keys of the trials.

    """
    found: dict[str, set[str]] = defaultdict(set)
    rows = read_arrow(results, "trials", keys=keys, columns=_COLUMNS, skip_corrupt=True)
    for row in rows.to_pylist():
        for reason in _differences(**row):
            found[reason].add(row["trial_key"])
    return dict(found)


def named_otherwise(results: Location, keys: Iterable[str]) -> list[str]:
    """Return a line for each reason of `made_otherwise`, with the way to make the trials again."""
    return [
        f"{len(trials)} trials were made by {reason}; wsss run --anew makes them again"
        for reason, trials in made_otherwise(results, keys).items()
    ]


def _differences(
    code_digest: str | None = None,
    plugin_digests: str | None = None,
    packages: str = "{}",
    **_: str,
) -> Iterable[str]:
    now = method_digest()
    if (code_digest or UNKNOWN) != now:
        yield f"other code ({code_digest or UNKNOWN}, now {now})"
    for name, digest in json.loads(plugin_digests or "{}").items():
        if digest != (there := plugin_digest(name)):
            yield f"other code of {name} ({digest}, now {there})"
    before, current = json.loads(packages), json.loads(versions())
    changed = [name for name in DECISIVE_PACKAGES if before.get(name) != current.get(name)]
    if changed:
        was = ", ".join(f"{name} {before.get(name)}, now {current.get(name)}" for name in changed)
        yield f"other versions ({was})"


def quarantine_jobs(store: ArtifactStore, jobs: Iterable[TrainingJob]) -> int:
    """Take out of a store all that training runs and their teachers made; return how much.

    Images and what is computed from images alone stay.
    """
    keys = {key for job in jobs for key in (job.key, job.parent) if key is not None}
    taken = [
        artifact
        for artifact in read_artifacts(store, walk(store.folder), STAGES)
        if artifact.parent in keys or (artifact.stage == "train" and artifact.key in keys)
    ]
    for artifact in taken:
        store.quarantine(artifact.stage, artifact.key)
    return len(taken)
