"""Pseudo masks of a folder of images in one call."""

import logging
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from reports.storage import Location, below, located
from studies.masks.annotating import annotation_formats
from studies.masks.folder import MasksMade, make_missing_masks
from studies.masks.labels import GivenLabels, known_labels
from studies.masks.recipe import MaskRecipe, MaskSelection, choose_recipe
from studies.masks.segmenter_recipe import SegmenterSelection, recipe_of_entry, recipe_of_file
from studies.masks.worker import MaskJob
from studies.store import ArtifactStore
from wsss_core.data.pixel_rules import USUAL_RULES, PixelRules
from wsss_core.errors import InputError, checked_path, quoted
from wsss_core.segmentation.settings import NetworkPrecision
from wsss_core.tiling import Aspect, Framing, TileSettings

logger = logging.getLogger(__name__)


def make_masks(
    results: Location,
    images: str | Path,
    out: str | Path,
    *,
    study: str | None = None,
    configuration: str | None = None,
    seed: int | None = None,
    chain: str | None = None,
    rule: str | None = None,
    threshold: float | None = None,
    fold: int | None = None,
    uncertain: float = 0.0,
    soft: bool = False,
    batch: int = 16,
    store: Location | None = None,
    address: str | None = None,
    in_process: bool = False,
    follow_links: bool = False,
    rules: PixelRules = USUAL_RULES,
    labels: GivenLabels | None = None,
    formats: Sequence[str] = (),
    aspect: Aspect | None = None,
    tiles: TileSettings | None = None,
) -> MasksMade:
    """Make the pseudo masks that a folder of images lacks, with a network of a finished study.

    A mask is a PNG of class numbers, 0 for background and 255 for undecided.

    Args:
        results: the study's results folder, a path or a URI.
        images: the folder of images, of any sizes.
        out: the folder of the masks; made if it does not exist.
        study: where `results` holds several.
        configuration: the configuration whose network makes CAMs; None: the best on the tune split.
        seed: the seed of that network; None: the best on the tune split.
        chain: the name of a refinement chain; None: the plain CAM.
        rule: the threshold rule; None: that of the study's tables.
        threshold: a threshold from 0 to 1 instead of a rule's.
        fold: the fold of that network; a study with folds needs it.
        uncertain: pixels with a score nearer than this to the threshold are undecided, 0 to 1.
        soft: write the scores too, a grey PNG per class, to `OUT/soft`.
        batch: images a worker takes at a time.
        store: the artifact store of the study; None: `store` in the results folder.
        address: of a running Ray cluster; None starts Ray on this machine.
        in_process: use no Ray: as many threads of this process as PyTorch has, or one GPU.
        follow_links: search linked folders too.
        rules: how the pixels of the images are read; a mask has the size of its image as read.
        labels: the known labels of the images, a file as `train/labels.csv` of a data folder or the
            names of the classes by file. Classes that an image is not labelled with get no pixel
            there, all others take part. The tuned threshold is then that of the tune split's maps
            gated by their labels. None: the study's gating.
        formats: of annotation files that are written too, see `AnnotationFormat`.
        aspect: how an image becomes what the network takes; None: "tiles" with `tiles`, else as the
            study has it. Padded and tiled images are read and written a strip at a time.
        tiles: the windows over an image.

    Raises:
        InputError: nothing is there by such a name, no images, or masks of other settings.

    """
    _check_numbers(threshold=threshold, uncertain=uncertain, batch=batch)
    if in_process and address is not None:
        raise InputError("address: a cluster runs Ray; leave out in_process")
    results = located(str(results))
    artifacts = ArtifactStore(below(results, "store") if store is None else located(str(store)))
    selection = MaskSelection(
        study, configuration, seed, chain, rule, threshold, fold, labels is not None
    )
    recipe, lines = choose_recipe(results, artifacts, selection)
    _log_recipe(recipe, lines)
    wanted = annotation_formats(formats, recipe.classes)
    known = known_labels(labels, recipe.classes)
    places = str(checked_path(images)), str(checked_path(out))
    framing = _framing(recipe.training.settings, recipe.training.image_size, aspect, tiles)
    job = MaskJob(recipe, *places, uncertain, soft, rules, known, framing)
    how: dict[str, Any] = {"address": address, "in_process": in_process, "formats": wanted}
    return make_missing_masks(job, batch=batch, follow_links=follow_links, **how)


def make_segmenter_masks(
    segmenter: str | Path | SegmenterSelection,
    images: str | Path,
    out: str | Path,
    *,
    results: Location | None = None,
    store: Location | None = None,
    uncertain: float = 0.0,
    soft: bool = False,
    batch: int = 16,
    address: str | None = None,
    in_process: bool = False,
    follow_links: bool = False,
    rules: PixelRules = USUAL_RULES,
    labels: GivenLabels | None = None,
    formats: Sequence[str] = (),
    aspect: Aspect | None = None,
    tiles: TileSettings | None = None,
    precision: NetworkPrecision | None = None,
) -> MasksMade:
    """Make the masks that a folder of images lacks, with a trained segmenter.

    A pixel is of its most probable class. A second call makes what is missing.

    Args:
        segmenter: a file of `wsss_core.segmentation.save_segmenter`; or one that a study trained,
            which predicts as the study does, with its scales, flips and CRF.
        images: the folder of images, of any sizes.
        out: the folder of the masks; made if it does not exist.
        results: the results folder of that study, a path or a URI.
        store: the artifact store of that study; None: `store` in the results folder.
        uncertain: pixels whose most probable class is ahead of the next by less than twice this are
            undecided, 0 to 1.
        soft: write the probabilities of the classes too, a grey PNG each, to `OUT/soft`.
        batch: images a worker takes at a time.
        address: see `make_masks`, as are those that follow.
        in_process: see `make_masks`.
        follow_links: see `make_masks`.
        rules: see `make_masks`.
        labels: the known labels of the images; no other classes get pixels.
        formats: see `make_masks`.
        aspect: see `make_masks`.
        tiles: see `make_masks`.
        precision: "fp32", or "bf16" for bfloat16 autocast; None: as the study has it, of a file
            "fp32".

    Raises:
        InputError: no such file, one that is corrupt or cannot be built, no images, an image
            without labels, or masks there of another segmenter.

    """
    _check_numbers(uncertain=uncertain, batch=batch)
    if isinstance(segmenter, SegmenterSelection):
        assert results is not None
        results = located(str(results))
        artifacts = ArtifactStore(below(results, "store") if store is None else located(str(store)))
        recipe, lines = recipe_of_entry(results, artifacts, segmenter)
    else:
        recipe, lines = recipe_of_file(checked_path(segmenter))
    if precision is not None:
        recipe = recipe.at_precision(precision)
    for line in lines:
        logger.info(line)
    wanted = annotation_formats(formats, recipe.classes)
    places = str(checked_path(images)), str(checked_path(out))
    known = known_labels(labels, recipe.classes)
    framing = _framing({"framing": recipe.framing}, recipe.image_size, aspect, tiles)
    job = MaskJob(recipe, *places, uncertain, soft, rules, known, framing)
    how: dict[str, Any] = {"address": address, "in_process": in_process, "formats": wanted}
    return make_missing_masks(job, batch=batch, follow_links=follow_links, **how)


def _framing(
    settings: Mapping[str, Any], size: int, aspect: Aspect | None, tiles: TileSettings | None
) -> Framing:
    """Return how images are seen: as asked, else as the network saw them that these trained."""
    if aspect is None and tiles is None:
        return Framing.from_config(settings.get("framing"))
    return Framing.chosen(aspect or "tiles", tiles, size)


def _check_numbers(**values: object) -> None:
    for name, value in values.items():
        if value is not None and not isinstance(value, Real):
            raise InputError(f"{name} {quoted(value)}: expected a number")


def _log_recipe(recipe: MaskRecipe, lines: Sequence[str]) -> None:
    """Log what the masks are made with, and warn of classes that may get no mask."""
    for line in lines:
        logger.info(line)
    for name in recipe.never_predicted:
        logger.warning(
            "warning: class %s is never predicted, in none of the tune images that hold it, so its "
            "maps may be empty here too; --labels gates by known labels",
            name,
        )
