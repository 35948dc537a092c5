"""Training runs whose images are decoupled by pseudo masks: what they wait for, and their keys."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from studies.planning.chains import Chain, chain_scores_key
from studies.planning.images import check_squashed
from studies.planning.segmentation.segment_plan import labels_settings
from studies.planning.segmentation.segments import MapsOfLabels
from studies.spec.configuration import Configuration
from wsss_core.errors import InputError

if TYPE_CHECKING:
    from studies.planning.planner import Planner


@dataclass(frozen=True)
class Decoupling:
    """What a training run learns of beside its images as they are.

    Attributes:
        maps: what its pseudo masks are cut from.
        settings: what decides the further views, as JSON-able values.
        parents: the keys of what it builds upon.

    """

    maps: MapsOfLabels
    settings: dict[str, Any]
    parents: tuple[str, ...]


def plan_decoupling(planner: "Planner", one: Configuration, seed: int) -> Decoupling | None:
    """Return how a configuration's images are decoupled under a seed; None where they are not.

    The training run of the row whose maps it takes is planned.

    Raises:
        InputError: a chain that cannot run, or images that are seen in windows.

    """
    if one.decouple is None:
        return None
    check_squashed("decouple", one.decouple, planner.images.framing)
    decouple, rows = one.decouple, dict(planner.study.named_configurations())
    training = planner.job(rows[decouple.configuration], seed)
    chain = Chain(decouple.chain, planner.cam.cam, ())
    chain = next((known for known in planner.chains if known.name == decouple.chain), chain)
    if chain.lacks is not None:
        raise InputError(f"decouple.chain: {chain.name} is not run: {chain.lacks}")
    scores = planner.plain_scores_key(training)
    if chain.steps or chain.cam != planner.cam.cam:
        scores = chain_scores_key(training, chain, planner.cam)
    maps = MapsOfLabels(replace(training, trials=()), chain, scores, planner.cam.scaling)
    pseudo = labels_settings("decouple", planner.study, decouple.labels)["pseudo"]
    given = decouple.model_dump(mode="json", include={"paste", "crops"}, exclude_none=True)
    by_masks = "objective" in pseudo
    return Decoupling(
        maps,
        {"of": training.key, "pseudo": pseudo, **given},
        (maps.keys()[-1], *([scores] if by_masks else [])),
    )
