"""Maps of images that a chain reads from a folder: checked before any work, image by image."""

from collections.abc import Iterator, Sequence

from reports.names import TUNED_CHAIN
from studies.planning.chains import Chain
from studies.planning.images import SCORED_SPLITS, StudyImages, check_squashed
from studies.spec.study import Study
from wsss_core.data.image_set import SPLITS
from wsss_core.data.outline import outline_of
from wsss_core.refine.saliency.map_folder import check_maps


def check_maps_of_images(study: Study, images: StudyImages, chains: Sequence[Chain]) -> None:
    """Raise InputError unless each image that a chain refines has its saliency map.

    Training images need maps where pseudo masks are made under the chain, or folds score them.

    Args:
        study: the study.
        images: all of its images.
        chains: its chains.

    """
    asked: dict[str, set[str]] = {}
    of_training = _of_training_images(study, chains)
    for chain in chains:
        for step in (outer.applied for outer in chain.steps):
            if step.kind == "saliency" and (folder := step.arguments["maps"]) is not None:
                trained = study.folds is not None or chain.name in of_training
                asked.setdefault(folder, set()).update(SPLITS if trained else SCORED_SPLITS)
    for folder, splits in asked.items():
        check_squashed("maps of the step saliency", folder, images.framing)
        check_maps(folder, _named(images, sorted(splits)))


def _of_training_images(study: Study, chains: Sequence[Chain]) -> set[str]:
    """Return the chains that pseudo masks of training images may be made under, by name."""
    entries = study.segment.entries.values() if study.segment else ()
    rows = [one for _, one in study.named_configurations()]
    sources = [source for one in rows for source in (one.decouple, one.targets) if source]
    found = {entry.labels.chain for entry in entries} | {source.chain for source in sources}
    return found | {chain.name for chain in chains} if TUNED_CHAIN in found else found


def _named(
    images: StudyImages, splits: Sequence[str]
) -> Iterator[tuple[str, tuple[int, int] | None]]:
    """Yield the name of each image, and its height and width where its source knows them."""
    shapes_of = getattr(images.source, "shapes", None)
    for split in splits:
        names = outline_of(images.source, split, images.splits.size).identifiers
        shapes = [None] * len(names) if shapes_of is None else shapes_of(split)
        for name, shape in zip(names, shapes, strict=True):
            yield f"{split}/{name}", shape
