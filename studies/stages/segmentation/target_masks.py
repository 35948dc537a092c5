"""Targets of a training's CAMs: masks cut from another training run's maps of the same images."""

import numpy as np

from studies.planning import TrainingJob
from studies.stages.handover import RunContext
from studies.stages.segmentation.pseudo_masks import PseudoMasks
from studies.stages.segmentation.selection import TrainingSelection
from studies.store import ArtifactStore
from wsss_core.data.image_set import ImageSet
from wsss_core.training import MaskTargets


def mask_targets(
    job: TrainingJob, context: RunContext, images: ImageSet, store: ArtifactStore, device: str
) -> MaskTargets:
    """Return the masks that a job's CAMs are drawn towards.

    Args:
        job: the training run, which has a guide; the guide's network is trained.
        context: its run.
        images: the training split.
        store: holds the network and keeps its maps.
        device: where maps are made.

    Raises:
        NoThresholdError: the rule has nothing to choose by.

    """
    assert job.guide is not None
    settings = job.settings["targets"]
    whole = TrainingSelection(images, np.arange(len(images)), {}, left_out=0)
    pseudo = PseudoMasks(job.guide, settings, context, whole, store, device)
    masks = np.empty(images.images.shape[:3], np.uint8)
    for place, scores in pseudo.each():
        masks[place] = pseudo.cut(place, scores)
    return MaskTargets(masks, settings["weight"])
