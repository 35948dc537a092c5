"""Trainings whose CAMs have targets: which maps of which training run these are cut from."""

from dataclasses import replace
from typing import TYPE_CHECKING

from reports.names import PLAIN
from studies.planning.chains import Chain
from studies.planning.segmentation.segments import MapsOfLabels
from studies.spec.configuration import Configuration
from wsss_core.errors import InputError

if TYPE_CHECKING:
    from studies.planning.planner import Planner


def guide_of(planner: "Planner", configuration: Configuration, seed: int) -> MapsOfLabels | None:
    """Return the maps that become targets of a configuration; plan the run that makes them.

    Args:
        planner: plans that training run.
        configuration: may have `targets`.
        seed: of both.

    Raises:
        InputError: a chain that cannot run.

    """
    targets = configuration.targets
    if targets is None:
        return None
    named = {PLAIN: Chain(PLAIN, planner.cam.cam, ())}
    named |= {chain.name: chain for chain in planner.chains}
    chain = named[targets.chain]
    if chain.lacks is not None:
        raise InputError(f"targets.chain: {chain.name} is not run: {chain.lacks}")
    source = dict(planner.study.named_configurations())[targets.configuration]
    training = replace(planner.job(source, seed), trials=())
    return MapsOfLabels(training, chain, "", planner.cam.scaling)
