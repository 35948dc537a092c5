"""A COCO file of masks, written image by image in constant memory, whole or not at all.

It holds what CVAT ("COCO 1.0"), Label Studio's converter and pycocotools ask for: ids from 1, a box
and an area in pixels, `iscrowd` 0, and the score where readers look for it: CVAT in `attributes`,
pycocotools' results in `score`. A category has the number of its class in the masks. Undecided
pixels are a category "ignore", which is listed only if there are any.
"""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from wsss_core.data.annotations.parts import AnnotatedImage
from wsss_core.data.annotations.shapes import coco_polygon, coco_runs
from wsss_core.data.formats import IGNORE_NAME
from wsss_core.data.image_set import IGNORED
from wsss_core.whole_files import whole_file


def coco_annotations(image: AnnotatedImage, *, polygons: bool) -> list[dict[str, Any]]:
    """Return COCO's annotations of an image, without the ids, which `CocoFile` gives.

    Args:
        image: the image and its parts.
        polygons: write outlines instead of run lengths.

    Raises:
        InputError: pycocotools is not installed.

    """
    found = []
    for part in image.parts:
        shape = [coco_polygon(part)] if polygons else coco_runs(part, image.shape)
        annotation: dict[str, Any] = {
            "category_id": part.code,
            "segmentation": shape,
            "area": part.area,
            "bbox": list(part.box),
            "iscrowd": 0,
        }
        if part.score is not None:
            annotation |= {"score": part.score, "attributes": {"score": part.score}}
        found.append(annotation)
    return found


class CocoFile:
    """An open COCO file, see `open_coco_file`.

    Args:
        images: the file, open for writing.
        annotations: a scratch file, as annotations follow all images.

    """

    def __init__(self, images: IO[bytes], annotations: IO[bytes]) -> None:
        self._images, self._annotations = images, annotations
        self.image_count = self.annotation_count = 0
        self._undecided = False

    def add(self, image: AnnotatedImage, annotations: Sequence[dict[str, Any]]) -> None:
        """Write an image and its annotations of `coco_annotations`."""
        self.image_count += 1
        height, width = image.shape
        row = {"id": self.image_count, "width": width, "height": height, "file_name": image.name}
        _write_row(self._images, row, first=self.image_count == 1)
        for annotation in annotations:
            self.annotation_count += 1
            row = {"id": self.annotation_count, "image_id": self.image_count, **annotation}
            _write_row(self._annotations, row, first=self.annotation_count == 1)
            self._undecided |= annotation["category_id"] == IGNORED

    def end(self, classes: Sequence[str]) -> None:
        """Write what follows the images: the annotations, and the categories."""
        self._images.write(b'\n],\n"annotations": [\n')
        self._annotations.seek(0)
        shutil.copyfileobj(self._annotations, self._images)
        named = dict(enumerate(classes, 1)) | ({IGNORED: IGNORE_NAME} if self._undecided else {})
        rows = [{"id": code, "name": name, "supercategory": ""} for code, name in named.items()]
        self._images.write(f'\n],\n"categories": {json.dumps(rows)}\n}}\n'.encode())


@contextlib.contextmanager
def open_coco_file(file: Path, classes: Sequence[str], aside: Path) -> Iterator[CocoFile]:
    """Open a COCO file for writing; at the end of the block it is there, whole, or as it was.

    Args:
        file: the file; its folder is made.
        classes: class k has the code k + 1.
        aside: a folder on the same file system in which it is unfinished.

    Raises:
        OSError: it cannot be written.

    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file, aside=aside) as opened, tempfile.TemporaryFile(dir=aside) as scratch:
        info = {"description": "masks made by wsss-studies", "version": "1.0"}
        opened.write(f'{{\n"info": {json.dumps(info)},\n"licenses": [],\n"images": [\n'.encode())
        written = CocoFile(opened, scratch)
        yield written
        written.end(classes)


def _write_row(file: IO[bytes], row: dict[str, Any], *, first: bool) -> None:
    file.write((b"" if first else b",\n") + json.dumps(row).encode())
