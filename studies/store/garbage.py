"""What nobody needs any more in a store: `wsss store gc` names it, and deletes it if asked to.

A planned trial needs its scores, what its network is trained from, and what is made of its network;
a manifest names the training run that an artifact belongs to. An artifact whose manifest names none
is needed. So is what the trials in a ledger were made of, in the plan or not: a plan that was
replaced by a smaller one leaves its trials in the ledger.

Nothing is followed out of the store: links are deleted as links. Whatever may be in the making is
left: a living lease owner keeps what it makes whatever its age, and while anyone works with the
store, whatever is younger than a day and has no known owner stays too.
"""

import contextlib
import json
import logging
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from reports.ledger import QUARANTINED, read_table
from reports.storage import Folder, Location, open_folder
from studies.store.artifacts import ArtifactStore
from studies.store.contents import StoreRecord, read_artifacts, walk
from studies.store.keys import VERSIONS, canonical
from studies.store.layout import BUILDS
from studies.store.lease_owner import LeaseOwner
from studies.store.leases import LEASES
from wsss_core.errors import InputError

DAY_S = 86_400.0

TRIED_S = 30 * DAY_S
"""Names of networks that passed are kept for at least so long: by then code and packages, which
they stand for, are mostly others."""

PROBES = (".node-check-", ".written-")
"""How the files begin by which drivers and workers find out whether a folder can be used."""

UNFINISHED_PROBES = tuple(f".{start}" for start in PROBES)
"""How such files begin until they are whole; one stays where its writer is ended before that."""

_OF_A_NETWORK = ("cams", "fits", "refined")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Garbage:
    """Something that can go.

    Attributes:
        name: its path or URI.
        why: in a few words.
        bytes: the space it takes.
        delete: makes it go.

    """

    name: str
    why: str
    bytes: int
    delete: Callable[[], None]


def find_garbage(
    store: ArtifactStore,
    *,
    older_than: float,
    unused_by: Sequence[Location] = (),
    plans_only: bool = False,
) -> list[Garbage]:
    """Return all that nobody needs.

    Args:
        store: the store; of a remote one, this machine's cache too.
        older_than: seconds; what has no known owner and changed since is left.
        unused_by: results folders. With them, artifacts too that none of their plans and trials
            needs.
        plans_only: the trials that no plan names any more need nothing.

    """
    owners = _living_owners(store)
    if owners:
        older_than = max(older_than, DAY_S)
    records = walk(store.folder)
    # Read after the walk, so that it names the files of whatever was finished meanwhile.
    artifacts = read_artifacts(store, records)
    dead = {f"{LEASES}/{name}" for name in store.leases.dead()}
    needs = _Needs(artifacts, {owner.key for owner in owners}, dead, older_than)
    found = _unneeded(store.folder, [r for r in records if r.kind != "artifact"], needs)
    if store.remote and store.root.is_dir():
        cache = open_folder(store.root)
        found += _unneeded(cache, walk(cache), needs, "in this machine's cache: ")
    for results in dict.fromkeys([*_beside(store), *unused_by]):
        found += _left_in_results(open_folder(results), older_than)
    unneeded_by = "no plan of these results needs it"
    if not plans_only:
        unneeded_by = "no plan and no trial of these results needs it"
    for artifact in _unplanned(artifacts, unused_by, plans_only) if unused_by else ():
        if not needs.works_with(artifact):
            delete = partial(store.delete, artifact.stage, artifact.key)
            name = f"{store.where}/{artifact.path}"
            found.append(Garbage(name, unneeded_by, artifact.bytes, delete))
    return found


def _living_owners(store: ArtifactStore) -> list[LeaseOwner]:
    """Return the living lease owners; those of other machines have to be watched for a while."""
    leases = store.leases
    elsewhere = [owner for owner in leases.owners() if owner.host != socket.gethostname()]
    others = {owner.token: owner.beat for owner in elsewhere}
    expiry = max([leases.expiry, *(owner.expiry for owner in elsewhere)])
    if others:
        logger.info(f"watching {len(others)} leases of other machines, for up to {expiry:.0f} s")
    deadline = time.monotonic() + expiry
    while others and time.monotonic() < deadline:
        time.sleep(min(1.0, leases.expiry / 4))
        beats = {owner.token: owner.beat for owner in leases.owners()}
        others = {token: beat for token, beat in others.items() if beats.get(token) == beat}
    return leases.owners()


class _Needs:
    """What may still be needed of a store.

    Args:
        artifacts: the finished artifacts of the store.
        held: the keys that lease owners work on.
        dead: the paths, without their generations, of leases whose owners are dead.
        older_than: seconds; whatever changed since may have an owner that is not known.

    """

    def __init__(
        self, artifacts: Iterable[StoreRecord], held: set[str], dead: set[str], older_than: float
    ) -> None:
        self._held, self._dead, self._older_than = held, dead, older_than
        self._manifests = {
            (artifact.stage, artifact.key): artifact.manifest for artifact in artifacts
        }

    def reason(self, record: StoreRecord) -> str | None:
        """Return why a record can go; None if it stays. Artifacts are copies in a cache."""
        names = record.stage, record.key
        free = self._is_old(record.modified) and record.key not in self._held
        match record.kind:
            case "quarantined":
                return "a corrupt artifact that was quarantined"
            case "lease" if record.path.rpartition(".")[0] in self._dead:
                return "the lease of a process that has ended"
            case "scratch" if names in self._manifests:
                return "checkpoints of a finished artifact"
            case "scratch" if free:
                return "checkpoints that nobody resumes from"
            case "build" if free and not self._is_named(record):
                return "left by a builder"
            case "tried" if free and time.time() - record.modified >= TRIED_S:
                return "networks that passed long ago; a run that needs them tries them again"
            case "temporary" if free:
                return "a temporary file"
            case "artifact" if free and names not in self._manifests:
                return "the store no longer holds it"
        return None

    def _is_named(self, build: StoreRecord) -> bool:
        """Return whether a manifest names the files of a build, or cannot be read and may do so."""
        if (build.stage, build.key) not in self._manifests:
            return False
        manifest = self._manifests[build.stage, build.key]
        return manifest is None or build.path == f"{BUILDS}/{manifest.folder}"

    def works_with(self, artifact: StoreRecord) -> bool:
        """Return whether a lease owner may be working with an artifact of the store."""
        young = False
        if artifact.manifest is not None:
            with contextlib.suppress(ValueError):
                written = datetime.fromisoformat(artifact.manifest.written_at)
                young = not self._is_old(written.timestamp())
        return bool(self._held) and (
            young or not self._held.isdisjoint({artifact.key, artifact.parent})
        )

    def _is_old(self, moment: float) -> bool:
        return time.time() - moment >= self._older_than


def _unneeded(
    folder: Folder, records: Iterable[StoreRecord], needs: _Needs, where: str = ""
) -> list[Garbage]:
    """Return the records of a folder that can go."""
    found = []
    for record in records:
        if why := needs.reason(record):
            delete = partial(_delete, folder, record.path)
            found.append(
                Garbage(f"{folder.where}/{record.path}", where + why, record.bytes, delete)
            )
    return found


def _unplanned(
    artifacts: Sequence[StoreRecord], results: Iterable[Location], plans_only: bool
) -> list[StoreRecord]:
    """Return the artifacts that no plan and no trial needs.

    Args:
        artifacts: all artifacts of a store.
        results: the results folders of every study that uses the store.
        plans_only: only plans count.

    Raises:
        InputError: a folder without a plan, or with a search that has not led to one yet.

    """
    keys: dict[str, set[str]] = {stage: set() for stage in VERSIONS}
    for where in results:
        _add_planned(keys, where)
        if not plans_only:
            _add_ended(keys, where, artifacts)
    return [artifact for artifact in artifacts if not _is_needed(artifact, keys)]


def _add_planned(keys: dict[str, set[str]], where: Location) -> None:
    """Add the keys that the plan in a results folder names, by stage."""
    plan = read_table(where, "plan", columns=["study", "trial_key", "artifacts"])
    if plan.empty:
        raise InputError(f"{where}: no plan is in its ledger, so what it needs is not known")
    searched = set(read_table(where, "search", columns=["study"])["study"])
    if early := sorted(searched - set(plan["study"])):
        raise InputError(
            f"{where}: the search of {early[0]} has not ended, so what it needs is not known"
        )
    chains = read_table(where, "refinements", columns=["scores_key"])["scores_key"]
    segments = read_table(where, "segments", columns=["scores_key", "artifacts"])
    keys["scores"] |= set(plan["trial_key"]) | set(chains.dropna()) | set(segments["scores_key"])
    for listed in (*plan["artifacts"], *segments["artifacts"]):
        for stage, of_stage in json.loads(listed).items():
            keys.setdefault(stage, set()).update(of_stage)


def _add_ended(
    keys: dict[str, set[str]], where: Location, artifacts: Sequence[StoreRecord]
) -> None:
    """Add the keys of what the trials in a ledger were made of, by stage.

    A trial's scores name its training run; where it failed, its settings are those of the run. A
    segmenter's scores name its segmentation run.
    """
    columns = ["trial_key", "train_fingerprint", "evaluation_fingerprint", "settings"]
    trials = read_table(where, "trials", columns=columns)
    refined = read_table(where, "refined", columns=["scores_key"])["scores_key"]
    segmented = read_table(where, "segmented", columns=["scores_key", "segment_key"])
    keys["scores"] |= set(segmented["scores_key"])
    keys["segment"] |= set(segmented["segment_key"])
    scored = set(trials["trial_key"]) | set(refined)
    data = {
        fingerprint
        for name in ("train_fingerprint", "evaluation_fingerprint")
        for named in trials[name].dropna()
        for fingerprint in named.split("-")
    }
    settings = {_of_training(json.loads(text)) for text in trials["settings"]}
    trained: dict[str, list[str]] = {}
    of_trials = set()
    for artifact in artifacts:
        about = {} if artifact.manifest is None else artifact.manifest.about
        if artifact.stage == "scores" and artifact.key in scored:
            keys["scores"].add(artifact.key)
            of_trials.add(artifact.parent)
        elif artifact.stage == "images" and about.get("fingerprint") in data:
            keys["images"].add(artifact.key)
        elif artifact.stage == "segment" and artifact.key in keys["segment"]:
            of_trials.add(artifact.parent)
        elif artifact.stage == "train":
            needed = [artifact.parent, *_members(about)]
            trained[artifact.key] = [key for key in needed if key is not None]
            if _of_training(about.get("settings") or {}) in settings:
                of_trials.add(artifact.key)
    parents = {needed for key in of_trials for needed in trained.get(key or "", ())}
    keys["train"] |= {key for key in of_trials | parents if key is not None}


def _members(about: Mapping[str, Any]) -> list[str]:
    """Return the keys of what a training run is built upon: members, more teachers, masks."""
    settings = about.get("settings")
    settings = settings if isinstance(settings, dict) else {}
    masks_of = (settings.get("decouple") or {}).get("of")
    found = (*settings.get("members", ()), *about.get("teachers", ()), masks_of)
    return [str(key) for key in found if key is not None]


def _of_training(settings: Mapping[str, Any]) -> str:
    """Return what tells a training run's settings from others', the scoring's left out."""
    return canonical({name: value for name, value in settings.items() if name != "cam"})


def _is_needed(artifact: StoreRecord, keys: dict[str, set[str]]) -> bool:
    if artifact.stage in _OF_A_NETWORK:
        return artifact.parent is None or artifact.parent in keys["train"]
    if artifact.stage == "features" and artifact.parent is not None:  # a teacher's
        return artifact.parent in keys["train"]
    if artifact.stage in ("described", "features"):
        images = artifact.manifest and artifact.manifest.about.get("images")
        return images is None or images in keys["images"]
    return artifact.key in keys[artifact.stage]


def _delete(folder: Folder, path: str) -> None:
    """Delete a file, a link or a folder."""
    *above, name = path.split("/")
    place = folder.joined(*above)
    with contextlib.suppress(IsADirectoryError, PermissionError):
        place.delete(name)
    place.joined(name).delete_all()


def _beside(store: ArtifactStore) -> Iterable[str]:
    """Yield the results folder that a store lies in, where it is in its usual place."""
    above, _, name = store.where.rpartition("/")
    if name == "store" and above and open_folder(above).joined("ledger").folders():
        yield above


def _left_in_results(results: Folder, older_than: float) -> list[Garbage]:
    """Return the corrupt parts that were quarantined, and what killed processes left in results."""
    temporary = [
        (results, name, entry)
        for name, entry in results.listing(hidden=True).items()
        if name.startswith((*PROBES, *UNFINISHED_PROBES))
    ]
    quarantined = []
    for path, entry in results.joined("ledger").tree().items():
        *above, name = path.split("/")
        if name.startswith(".") and name.endswith(".tmp"):
            temporary.append((results.joined("ledger", *above), name, entry))
        elif above == [QUARANTINED]:
            quarantined.append((results.joined("ledger", *above), name, entry))
    old = [one for one in temporary if time.time() - one[2].modified >= older_than]
    return [
        Garbage(f"{folder.where}/{name}", why, entry.size, partial(folder.delete, name))
        for why, found in (
            ("a temporary file", old),
            ("a corrupt part of the ledger that was quarantined", quarantined),
        )
        for folder, name, entry in found
    ]
