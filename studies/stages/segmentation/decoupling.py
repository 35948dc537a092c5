"""Further views of a decoupled training run: objects and crops by another row's pseudo masks."""

from collections.abc import Callable

import numpy as np

from studies.planning import TrainingJob
from studies.spec.segmentation.decoupling import Decouple
from studies.stages.handover import RunContext
from studies.stages.segmentation.pseudo_masks import PseudoMasks
from studies.stages.segmentation.selection import TrainingSelection
from studies.store import ArtifactStore
from wsss_core.augmentation import DecoupledViews, MoreViews
from wsss_core.data.image_set import ImageSet
from wsss_core.progress import made_progress


def decoupled_views(
    job: TrainingJob, context: RunContext, images: ImageSet, store: ArtifactStore, device: str
) -> Callable[[], MoreViews] | None:
    """Return what makes a training run's further views, once it begins; None where it has none.

    Args:
        job: the training run.
        context: the run of the study.
        images: the training split.
        store: holds the network of the row whose masks are taken, and keeps maps.
        device: where maps are made.

    """
    maps = job.maps
    if maps is None:
        return None

    def make() -> MoreViews:
        settings = job.settings["decouple"]
        selection = TrainingSelection(images, np.arange(len(images)), {}, 0)
        pseudo = PseudoMasks(maps, settings["pseudo"], context, selection, store, device)
        masks = []
        for place, scores in pseudo.each():
            masks.append(pseudo.cut(place, scores))
            made_progress()
        given = {name: settings[name] for name in ("paste", "crops") if name in settings}
        decouple = Decouple(configuration=maps.training.key, **given)
        return DecoupledViews(
            np.asarray(images.images),
            images.labels,
            masks,
            paste=decouple.paste and decouple.paste.settings(),
            crops=decouple.crops and decouple.crops.settings(),
        )

    return make
