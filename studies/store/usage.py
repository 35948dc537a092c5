"""Which artifacts of a store the plans of some studies need.

A planned trial needs its scores, what its network is trained from, and what is made of its network;
a manifest names the training run that an artifact belongs to. An artifact whose manifest names none
is needed.
"""

import json
from collections.abc import Iterable, Sequence

from reports.ledger.parts import read_table
from reports.storage import Location
from studies.store.contents import StoreRecord
from studies.store.keys import VERSIONS
from wsss_core.errors import InputError

_OF_A_NETWORK = ("cams", "fits", "refined")


def unneeded(artifacts: Sequence[StoreRecord], results: Iterable[Location]) -> list[StoreRecord]:
    """Return the artifacts that no plan needs.

    Args:
        artifacts: all artifacts of a store.
        results: the results folders of every study that uses the store.

    Raises:
        InputError: a folder without a plan, or with a search that has not led to one yet.

    """
    keys: dict[str, set[str]] = {stage: set() for stage in VERSIONS}
    for where in results:
        _add_planned(keys, where)
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
    keys["scores"] |= set(plan["trial_key"]) | set(chains.dropna())
    for listed in plan["artifacts"]:
        for stage, of_stage in json.loads(listed).items():
            keys.setdefault(stage, set()).update(of_stage)


def _is_needed(artifact: StoreRecord, keys: dict[str, set[str]]) -> bool:
    if artifact.stage in _OF_A_NETWORK:
        return artifact.parent is None or artifact.parent in keys["train"]
    if artifact.stage == "described":
        images = artifact.manifest and artifact.manifest.about.get("images")
        return images is None or images in keys["images"]
    return artifact.key in keys[artifact.stage]
