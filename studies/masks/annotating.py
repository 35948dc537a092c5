"""Finished masks as files that people's tools import, beside the PNGs.

    OUT/coco/annotations/instances_default.json            run lengths
    OUT/coco-polygons/annotations/instances_default.json   polygons
    OUT/voc/{SegmentationClass,Annotations,ImageSets,labelmap.txt}

Each of the three folders, as an archive, is an upload for CVAT. They are made from the masks when
all of those are there, one mask after another: a file is whole or as it was before, and a run that
was killed makes it from the masks that it finds.
"""

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.masks.files import read_mask_parts, voc_palette
from studies.masks.worker import UNFINISHED_MASKS, MaskJob
from wsss_core.data.annotations import (
    LABEL_MAP,
    VOC_BOXES,
    VOC_LIST,
    VOC_MASKS,
    AnnotatedImage,
    AnnotationFormat,
    CocoFile,
    coco_annotations,
    label_map,
    open_coco_file,
    voc_annotation,
    voc_name,
)
from wsss_core.data.formats import IGNORE_NAME, mask_tool
from wsss_core.data.image_set import IGNORED
from wsss_core.errors import InputError, as_input_error, nearest, quoted
from wsss_core.whole_files import whole_file, write_whole

THREADS = min(8, os.cpu_count() or 1)
IN_MEMORY = 8 * THREADS  # masks that are read ahead

COCO_JSON = "annotations/instances_default.json"  # where CVAT's importer looks

logger = logging.getLogger(__name__)


def annotation_formats(names: Sequence[str], classes: Sequence[str]) -> list[AnnotationFormat]:
    """Return the formats that names stand for, each once.

    Args:
        names: their names.
        classes: of the masks.

    Raises:
        InputError: an unknown format, a package that it needs, or a class that it cannot name.

    """
    found = []
    for name in dict.fromkeys(names):
        if name not in list(AnnotationFormat):
            near = nearest(name, list(AnnotationFormat))
            hint = f"; nearest: {near!r}" if near else ""
            raise InputError(f"format {quoted(name)}: expected {', '.join(AnnotationFormat)}{hint}")
        found.append(AnnotationFormat(name))
    if found and len(classes) >= IGNORED:
        raise InputError(f"{len(classes)} classes: expected at most {IGNORED - 1} in a palette")
    for name in classes if found else ():
        if name == IGNORE_NAME or (AnnotationFormat.VOC in found and set(":#,") & set(name)):
            raise InputError(
                f"class {quoted(name)}: expected another name than {IGNORE_NAME!r}, which is that "
                "of undecided pixels, and for voc none with ':', ',' or '#'"
            )
    if {AnnotationFormat.COCO, AnnotationFormat.COCO_POLYGONS} & set(found):
        mask_tool()
    return found


@dataclass(frozen=True, eq=False)
class _Prepared:
    """An image whose mask was read, and what of it takes long to work out."""

    image: AnnotatedImage
    coco: dict[AnnotationFormat, list[dict[str, Any]]]
    undecided: bool


def write_annotations(
    job: MaskJob, names: Sequence[str], formats: Sequence[AnnotationFormat]
) -> list[Path]:
    """Write the masks of some images in some formats, in constant memory.

    Args:
        job: the folder of the masks and their classes.
        names: images that have their mask, in the order in which they are listed.
        formats: of `annotation_formats`.

    Returns:
        What was written: a file of each COCO format, a folder for VOC.

    Raises:
        InputError: a mask cannot be read, or a file cannot be written.

    """
    out, classes = Path(job.out), job.recipe.classes
    unfinished = out / UNFINISHED_MASKS
    written, undecided, unscored = [], False, 0
    with as_input_error(f"{out}: cannot be written", OSError), contextlib.ExitStack() as open_files:
        unfinished.mkdir(parents=True, exist_ok=True)
        files: dict[AnnotationFormat, CocoFile] = {}
        for kind in formats:
            folder = out / kind
            if kind == AnnotationFormat.VOC:
                (folder / VOC_LIST).parent.mkdir(parents=True, exist_ok=True)
                listed = open_files.enter_context(whole_file(folder / VOC_LIST, aside=unfinished))
                written.append(folder)
            else:
                opened = open_coco_file(folder / COCO_JSON, classes, unfinished)
                files[kind] = open_files.enter_context(opened)
                written.append(folder / COCO_JSON)
        for prepared in _prepared(job, names, list(files)):
            undecided |= prepared.undecided
            unscored += any(p.score is None and p.code != IGNORED for p in prepared.image.parts)
            for kind, file in files.items():
                file.add(prepared.image, prepared.coco[kind])
            if AnnotationFormat.VOC in formats:
                _write_voc(job, prepared.image)
                listed.write(f"{voc_name(prepared.image.name)}\n".encode())
        if AnnotationFormat.VOC in formats:
            colours = label_map(classes, voc_palette(), undecided=undecided)
            write_whole(out / AnnotationFormat.VOC / LABEL_MAP, colours)
    if unscored:
        logger.info("%d masks hold no scores: of an earlier release, or made in strips", unscored)
    return written


def _prepared(
    job: MaskJob, names: Sequence[str], coco: Sequence[AnnotationFormat]
) -> Iterator[_Prepared]:
    """Yield the images in order; a few are worked out at a time."""

    def prepare(name: str) -> _Prepared:
        mask, parts = read_mask_parts(job.mask_file(name))
        image = AnnotatedImage(name, (mask.shape[0], mask.shape[1]), parts)
        annotations = {
            kind: coco_annotations(image, polygons=kind == AnnotationFormat.COCO_POLYGONS)
            for kind in coco
        }
        return _Prepared(image, annotations, any(part.code == IGNORED for part in parts))

    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(names), IN_MEMORY):
            yield from pool.map(prepare, names[start : start + IN_MEMORY])


def _write_voc(job: MaskJob, image: AnnotatedImage) -> None:
    """Write the mask and the boxes of an image, unless they are there."""
    folder = Path(job.out) / AnnotationFormat.VOC
    name, mask = voc_name(image.name), job.mask_file(image.name).read_bytes()
    boxes = voc_annotation(image, job.recipe.classes)
    for place, suffix, content in ((VOC_MASKS, ".png", mask), (VOC_BOXES, ".xml", boxes)):
        file = folder / place / f"{name}{suffix}"
        if file.is_file() and file.read_bytes() == content:
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file, aside=Path(job.out) / UNFINISHED_MASKS) as opened:
            opened.write(content)
