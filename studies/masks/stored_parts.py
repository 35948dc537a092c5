"""What a recipe of masks takes from ledger and store: its chain, network and fitted states.

Each is checked: a network or a step of another version than the study ran with is refused.
"""

from typing import Any

from reports.ledger.parts import read_table
from reports.storage import Location
from studies.planning import Chain, MapScaling, TrainingJob, fitted_state_key
from studies.store import ArtifactStore
from wsss_core.errors import InputError
from wsss_core.plugins import is_plugin, plugin_version
from wsss_core.refine.steps.registry import STEP_KINDS, check_step


def recorded_chain(results: Location, scores_key: str) -> Chain:
    """Return the chain of a trial as the study planned it."""
    listed = read_table(results, "refinements")
    found = listed.loc[listed["scores_key"] == scores_key, "chain"]
    if not len(found) or not isinstance(found.iloc[0], str):
        raise InputError(
            f"{results}: its ledger does not say what the chain consists of; run the study again "
            "with this release"
        )
    return Chain.from_record(found.iloc[0])


def job_key(store: ArtifactStore, trial_key: str) -> str:
    """Return the key of a trial's training run, whose network has to be in the store."""
    if not store.has("scores", trial_key):
        raise InputError(
            f"{store.where}: does not hold the trial {trial_key}; expected, as --store, the store "
            "that the study was run with"
        )
    key = str(store.manifest("scores", trial_key).parent)
    if not store.has("train", key):
        raise InputError(f"{store.where}: the trained network {key} is no longer there")
    return key


def checked_steps(
    store: ArtifactStore, training: TrainingJob, chain: Chain, scaling: MapScaling
) -> tuple[str | None, ...]:
    """Raise unless network and steps can run as they did; return the keys of the fitted states."""
    student = training.settings["student"]
    if is_plugin(student["model"]):
        _check_version("backbone", student, student["model"])
    keys: list[str | None] = []
    for step in chain.steps:
        for one in step.all_steps:
            if not is_plugin(one.kind) and one.kind not in STEP_KINDS:
                raise InputError(f"refiner {one.kind!r}: this release has no such step")
            _check_version("refiner", one.identity, one.kind)
        check_step(step.kind, step.arguments)
        key = fitted_state_key(training, chain, step, scaling) if step.needs_fitted_state else None
        if key is not None and not store.has("fits", key):
            raise InputError(f"{store.where}: the fitted state of {step.kind} is not there ({key})")
        keys.append(key)
    return tuple(keys)


def _check_version(what: str, recorded: dict[str, Any], name: str) -> None:
    """Raise unless a network or a step has the version here that the study recorded."""
    here: Any = plugin_version(what, name) if is_plugin(name) else STEP_KINDS[name].version
    if here != recorded["version"]:
        raise InputError(
            f"{what} {name}: the study was run with its version {recorded['version']}, here is "
            f"version {here}; run the study again"
        )
