"""Finished trials that other code made than what runs now, and how they are made again."""

import json
from collections import defaultdict
from collections.abc import Iterable

from reports.ledger.parts import read_arrow
from reports.names import DECISIVE_PACKAGES
from reports.storage import Location
from studies.planning import Job
from studies.store import JOB_STAGES, ArtifactStore, read_artifacts
from studies.store.contents import walk
from studies.store.origin import UNKNOWN, method_digest, plugin_digest, versions

STAGES = ("train", "cams", "fits", "refined", "scores", "segment")
"""The stages whose artifacts depend on the method's code and belong to one training run."""

_COLUMNS = ["code_digest", "plugin_digests", "packages"]


def made_otherwise(
    results: Location, keys: Iterable[str], table: str = "trials"
) -> dict[str, set[str]]:
    """Return what made finished trials, or segmenters, where it is not what would make them now.

    Args:
        results: the folder of the ledger.
        keys: of the finished trials, or of the scores of finished segmenters.
        table: "trials", or "segmented" for segmenters.

    Returns:
        "other code (a1b2, now c3d4)" and the like -> these keys.

    """
    found: dict[str, set[str]] = defaultdict(set)
    named = "trial_key" if table == "trials" else "scores_key"
    rows = read_arrow(results, table, keys=keys, columns=[named, *_COLUMNS], skip_corrupt=True)
    # Thousands of trials have few origins.
    alike: dict[tuple[str | None, ...], list[str]] = defaultdict(list)
    for key, *made in zip(*(rows[name].to_pylist() for name in rows.column_names), strict=True):
        alike[tuple(made)].append(key)
    for values, those in alike.items():
        for reason in _differences(**dict(zip(rows.column_names[1:], values, strict=True))):
            found[reason].update(those)
    return dict(found)


def named_otherwise(
    results: Location, keys: Iterable[str], segments: Iterable[str] = ()
) -> list[str]:
    """Return a line for each reason of `made_otherwise`, with the way to make them again.

    Args:
        results: the folder of the ledger.
        keys: of the finished trials.
        segments: the keys of the scores of finished segmenters.

    """
    return [
        f"{len(made)} {what} were made by {reason}; wsss run --anew makes them again"
        for what, table, those in (
            ("trials", "trials", keys),
            ("segmenters", "segmented", list(segments)),
        )
        if those or table == "trials"
        for reason, made in made_otherwise(results, those, table).items()
    ]


def _differences(
    code_digest: str | None = None,
    plugin_digests: str | None = None,
    packages: str | None = None,
) -> Iterable[str]:
    now = method_digest()
    if (code_digest or UNKNOWN) != now:
        yield f"other code ({code_digest or UNKNOWN}, now {now})"
    for name, digest in json.loads(plugin_digests or "{}").items():
        if digest != (there := plugin_digest(name)):
            yield f"other code of {name} ({digest}, now {there})"
    before, current = json.loads(packages or "{}"), json.loads(versions())
    changed = [name for name in DECISIVE_PACKAGES if before.get(name) != current.get(name)]
    if changed:
        was = ", ".join(f"{name} {before.get(name)}, now {current.get(name)}" for name in changed)
        yield f"other versions ({was})"


def quarantine_jobs(store: ArtifactStore, jobs: Iterable[Job]) -> int:
    """Take out of a store all that runs and what they build upon made; return how much.

    Images and what is computed from images alone stay.
    """
    keys = {key for job in jobs for key in (job.key, *job.needs)}
    taken = [
        artifact
        for artifact in read_artifacts(store, walk(store.folder), STAGES)
        if artifact.parent in keys or (artifact.stage in JOB_STAGES and artifact.key in keys)
    ]
    for artifact in taken:
        store.quarantine(artifact.stage, artifact.key)
    return len(taken)
