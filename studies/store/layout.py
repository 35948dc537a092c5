"""The names in a store, the same on every file system.

    STORE/<stage>/<key>/manifest.json            an artifact is finished if its manifest is there
    STORE/files/<stage>-<key>-<version>/         the files of a build
    STORE/unfinished/<stage>-<key>/              scratch: checkpoints that a stage resumes from
    STORE/quarantined/<stage>-<key>-<version>/   a corrupt artifact that was taken out
    STORE/leases/<stage>-<key>.<generation>      who makes what, see `studies.store.leases`
    STORE/tried/<key>                            networks that passed `studies.preflight`

A local file system renames the folder of a build, manifest and all, to ``STORE/<stage>/<key>``.
Object stores rename nothing: there the files stay in ``files/``, and the manifest, written last,
names their folder. A node's cache of a remote store is laid out as a local store.
"""

import uuid
from pathlib import Path

MANIFEST = "manifest.json"
BUILDS = "files"
SCRATCH = "unfinished"
QUARANTINE = "quarantined"
TRIED = "tried"


def side_name(artifact: Path) -> str:
    """Return the name of an artifact, given its path, in the side folders."""
    return f"{artifact.parent.name}-{artifact.name}"


def new_version(artifact: Path) -> str:
    """Return a new name for a build of an artifact, or for an artifact that is taken out."""
    return f"{side_name(artifact)}-{uuid.uuid4().hex[:12]}"


def stage_and_key(name: str) -> tuple[str, str]:
    """Return the stage and the key that a name in a side folder begins with.

    >>> stage_and_key("train-0a1b-c2d3"), stage_and_key(".cams-0a1b.lock")
    (('train', '0a1b'), ('cams', '0a1b'))
    """
    stage, _, rest = name.lstrip(".").partition("-")
    return stage, rest.partition("-")[0].partition(".")[0]
