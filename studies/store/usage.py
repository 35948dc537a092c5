"""What of a store the ledgers of some studies need, and so what nobody needs.

A planned trial needs its scores, what it is trained from and what is made of its network; what an
artifact is of, its manifest says. What does not say what it belongs to is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from reports.ledger.parts import read_table
from reports.storage.locations import Location
from studies.store.artifacts import ArtifactStore
from studies.store.keys import VERSIONS
from wsss_core.errors import InputError

OF_A_NETWORK = ("cams", "fits", "refined")


class Needed:
    """The keys that the plans of some results folders need, by stage.

    Args:
        store: where manifests say what is of what.
        results: folders whose ledgers hold plans.

    Raises:
        InputError: a folder without a plan, or with a search that has not led to one yet.

    """

    def __init__(self, store: ArtifactStore, results: Sequence[Location]) -> None:
        self._keys: dict[str, set[str]] = {stage: set() for stage in VERSIONS}
        self._all_images = False
        for where in results:
            self._plan(store, where)
        manifests = {key: manifest or {} for key, manifest in store.manifests("train")}
        waiting = list(self._keys["train"])
        while waiting:  # a teacher may have had a teacher
            parent = manifests.get(waiting.pop(), {}).get("parent")
            if parent is not None and parent not in self._keys["train"]:
                self._keys["train"].add(parent)
                waiting.append(parent)

    def _plan(self, store: ArtifactStore, where: Location) -> None:
        plan = read_table(where, "plan", columns=["study", "trial_key", "artifacts"])
        if plan.empty:
            raise InputError(f"{where}: no plan is in its ledger, so what it needs is not known")
        searched = set(read_table(where, "search", columns=["study"])["study"])
        if early := sorted(searched - set(plan["study"])):
            raise InputError(
                f"{where}: the search of {early[0]} has not ended, so what it needs is not known"
            )
        chains = read_table(where, "refinements", columns=["scores_key"])["scores_key"]
        self._keys["scores"] |= set(plan["trial_key"]) | set(chains.dropna())
        scored = store.finished("scores")
        for key, listed in zip(plan["trial_key"], plan["artifacts"], strict=True):
            if isinstance(listed, str):
                for stage, keys in json.loads(listed).items():
                    self._keys.setdefault(stage, set()).update(keys)
                continue
            # Planned by an older release: the scores say what they are of.
            self._all_images = True
            if key in scored:
                self._keys["train"].add(str(store.manifest("scores", key).get("parent")))
            else:
                raise InputError(
                    f"{where}: an older release has planned trials that are not done, so what it "
                    "needs is not known; run the study again with this one first"
                )

    def needs(self, stage: str, key: str, manifest: dict[str, Any] | None) -> bool:
        """Whether an artifact is needed, or does not say what it is of."""
        if key in self._keys[stage]:
            return True
        about = manifest or {}
        if stage in OF_A_NETWORK:
            return "parent" not in about or about["parent"] in self._keys["train"]
        if stage == "described":
            images = about.get("images")
            return self._all_images or images is None or images in self._keys["images"]
        return stage == "images" and self._all_images


def unused(
    store: ArtifactStore,
    results: Sequence[Location],
    held: Callable[[str, dict[str, Any] | None], bool],
) -> list[tuple[str, str, dict[str, Any] | None]]:
    """The finished artifacts that no plan of some results folders needs.

    Args:
        store: which.
        results: every folder whose study uses this store.
        held: whether somebody works on a key, given its manifest.

    Returns:
        Stage, key and manifest of each, by stage.

    """
    needed = Needed(store, results)
    return [
        (stage, key, manifest)
        for stage in VERSIONS
        for key, manifest in store.manifests(stage)
        if not needed.needs(stage, key, manifest) and not held(key, manifest)
    ]
