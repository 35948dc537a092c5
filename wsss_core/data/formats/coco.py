"""COCO JSON: instance annotations, as COCO, Roboflow, CVAT, Label Studio and others write them.

Classes go by name, never by number: ids may begin at 0, have gaps, or differ from file to file.
Every image that a file lists counts as fully annotated, so an image without annotations is clear.
A category "ignore" is no class: its pixels count neither way.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from wsss_core.data.formats.common.coco_masks import (
    CocoMask,
    CocoPart,
    mask_tool,
    run_lengths,
    whole_box,
)
from wsss_core.data.formats.common.contents import (
    IGNORE_NAME,
    Format,
    FormatContent,
    FormatImage,
    FormatOptions,
    Labels,
    Picture,
)
from wsss_core.data.formats.common.image_folder import images_root
from wsss_core.data.formats.common.source_files import (
    SPLIT_WORDS,
    FileIndex,
    files_below,
    inner_path,
    json_keys,
    left_out_images,
    original_stem,
    read_json,
    split_in,
    subfolders,
    tallied,
)
from wsss_core.data.image_decoding import image_shape
from wsss_core.data.image_set import IGNORED
from wsss_core.errors import InputError, check_printable, quoted

_KEYS = ("images", "annotations", "categories")
_ALMOST_ALL = 0.99


@dataclass
class _Findings:
    """What is tallied while a file is walked: kind of finding -> how often, and where first."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, what: str, where: str) -> None:
        self.counts[what] += 1
        self.first.setdefault(what, where)

    def notes(self) -> tuple[str, ...]:
        return tuple(tallied(n, what, self.first[what]) for what, n in self.counts.items())


def annotation_files(path: Path) -> list[Path]:
    """Return the COCO files that a path is or holds: in it, in annotations/, in split folders."""
    if path.is_file():
        return [path] if path.suffix.lower() == ".json" and json_keys(path, _KEYS) else []
    if not path.is_dir():
        return []
    places = [path, *subfolders(path)]
    found = [
        file
        for place in places
        for file in files_below(place, (".json",), deep=False)
        if json_keys(file, _KEYS)
    ]
    instances = [file for file in found if file.name.startswith("instances_")]
    return instances or found


def _recognise(path: Path) -> str | None:
    files = annotation_files(path)
    if not files:
        return None
    shown = files[0].relative_to(path) if path.is_dir() else files[0].name
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return f"{shown}{more} with images, annotations and categories"


def read_coco(path: Path, options: FormatOptions) -> FormatContent:
    """Read every COCO file of a path; the split of each is in its name or its folder's.

    Raises:
        InputError: a file is not as COCO describes it, names images that are not there, or holds
            shapes that do not fit their image.

    """
    mask_tool()
    files = annotation_files(path)
    if not files:
        raise InputError(f"{path}: no JSON file with {', '.join(_KEYS)}, expected COCO annotations")
    root = path if path.is_dir() else path.parent
    index = FileIndex(images_root(path, options.images))
    contents = {file: _checked(read_json(file), file) for file in files}
    findings = _Findings()
    names = {file: _class_names(content, file, findings) for file, content in contents.items()}
    listed = dict.fromkeys(name for found in names.values() for name in found.values())
    classes = tuple(name for name in listed if name != IGNORE_NAME)
    images: dict[str, FormatImage] = {}
    for file, content in contents.items():
        walk = _Walk(file, root, index, options, names[file], classes, findings)
        for image in walk.images(content):
            if image.name in images:
                raise InputError(
                    f"{file}: image {image.name} is listed twice, or two files differ only in "
                    "their suffix; expected each once"
                )
            images[image.name] = image
    if not images:
        raise InputError(f"{files[0]}: no image is listed, expected at least one")
    ordered = tuple(images[name] for name in sorted(images))
    return FormatContent(classes, ordered, findings.notes())


def _read(path: Path, options: FormatOptions) -> FormatContent:
    content = read_coco(path, options)
    unused = left_out_images(images_root(path, options.images), content.files)
    return replace(content, notes=(*content.notes, *([unused] if unused else [])))


def _checked(content: Any, file: Path) -> Mapping[str, list[dict[str, Any]]]:
    for key in _KEYS:
        rows = content.get(key) if isinstance(content, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise InputError(f"{file}: {key} is no list of objects, expected COCO annotations")
    checked: Mapping[str, list[dict[str, Any]]] = content
    return checked


def _class_names(
    content: Mapping[str, list[dict[str, Any]]], file: Path, findings: _Findings
) -> dict[Any, str]:
    """Return category id -> class; a row that is only the others' supercategory is no class."""
    names: dict[Any, str] = {}
    for row in content["categories"]:
        name, number = row.get("name"), row.get("id")
        if not isinstance(name, str) or not name.strip() or not isinstance(number, int | str):
            raise InputError(f"{file}: category {quoted(row)}, expected an id and a name")
        if number in names:
            raise InputError(f"{file}: category id {quoted(number)} is given twice")
        check_printable(name, str(file), allowed="")
        names[number] = name.strip()
    parents = {
        row["supercategory"]
        for row in content["categories"]
        if isinstance(row.get("supercategory"), str) and row["supercategory"] != row["name"]
    }
    used = {
        row["category_id"]
        for row in content["annotations"]
        if isinstance(row.get("category_id"), int | str)
    }
    heads = [number for number, name in names.items() if name in parents and number not in used]
    for number in heads:
        findings.add(f"category {names.pop(number)!r} only heads others, it is no class", file.name)
    return names


@dataclass(frozen=True)
class _Walk:
    """One pass over one annotation file."""

    file: Path
    root: Path
    index: FileIndex
    options: FormatOptions
    names: Mapping[Any, str]
    classes: tuple[str, ...]
    findings: _Findings

    def images(self, content: Mapping[str, list[dict[str, Any]]]) -> Iterator[FormatImage]:
        """Yield the images of the file, each with its annotations."""
        listed: dict[Any, dict[str, Any]] = {}
        for row in content["images"]:
            number = row.get("id")
            if not isinstance(number, int | str) or number in listed:
                raise InputError(f"{self.file}: image id {quoted(number)}, expected one each")
            listed[number] = row
        by_image: dict[Any, list[dict[str, Any]]] = {number: [] for number in listed}
        for row in content["annotations"]:
            number, category = row.get("image_id"), row.get("category_id")
            if not isinstance(category, int | str) or category not in self.names:
                raise InputError(
                    f"{self.file}: annotation {quoted(row.get('id'))} of category "
                    f"{quoted(category)}, which is not listed"
                )
            if not isinstance(number, int | str) or number not in by_image:
                if str(number).removesuffix(".0") in {str(known) for known in by_image}:
                    raise InputError(
                        f"{self.file}: annotation {quoted(row.get('id'))} of image "
                        f"{quoted(number)}, which is listed as another type; expected numbers "
                        "or texts in both lists"
                    )
                self.findings.add("annotations of images that are not listed", self.file.name)
                continue
            by_image[number].append(row)
        split = split_in(self.file.stem) or (
            split_in(self.file.parent.name) if self.file.parent != self.root else None
        )
        self._count_crowds(content["annotations"])
        names = {n: inner_path(row.get("file_name"), str(self.file)) for n, row in listed.items()}
        paths = {number: self._find(name, split) for number, name in names.items()}
        if absent := [str(names[number]) for number, path in paths.items() if path is None]:
            raise InputError(
                f"{self.file}: image {quoted(absent[0])} is not in {self.index.root}; "
                f"{len(absent)} of the {len(listed)} listed images are missing"
            )
        for number, row in listed.items():
            path = paths[number]
            assert path is not None
            self._check_place(path, names[number], split)
            yield self._image(row, path, by_image[number], split)

    def _find(self, name: PurePosixPath, split: str | None) -> Path | None:
        words = (split,) if split else ()
        hints = (self.file.stem.removeprefix("instances_"), *words, self.file.parent.name)
        beside = self.file.parent if self.options.images is None else self.index.root
        return self.index.find(name, beside, hints)

    def _count_crowds(self, annotations: list[dict[str, Any]]) -> None:
        crowds = sum(row.get("iscrowd") == 1 for row in annotations)
        if crowds and self.options.crowd == "object" and crowds >= _ALMOST_ALL * len(annotations):
            self.findings.add(
                "file(s) mark every shape as crowd; they are read as objects", self.file.name
            )

    def _image(
        self,
        row: dict[str, Any],
        path: Path,
        annotations: list[dict[str, Any]],
        split: str | None,
    ) -> FormatImage:
        shape = image_shape(path)
        stated = (row.get("height"), row.get("width"))
        upright = False
        if stated != shape and stated == shape[::-1]:
            # A tool that shows photographs upright annotates them so.
            picture = Picture(path, upright=True)
            upright = picture.shape() == stated
            shape = picture.shape()
        if all(isinstance(side, int) and side > 0 for side in stated) and stated != shape:
            raise InputError(
                f"{path}: {shape[1]}x{shape[0]} pixels, but {self.file.name} says "
                f"{stated[1]}x{stated[0]}"
            )
        if upright:
            self.findings.add("images are turned upright, as they were annotated", path.name)
        present, unknown, parts = self._parts(annotations, shape)
        relative = path.relative_to(self.index.root)
        return FormatImage(
            name=relative.with_suffix("").as_posix(),
            picture=Picture(path, upright=upright),
            split=split,
            labels=Labels(frozenset(present), frozenset(unknown - present)),
            mask=CocoMask(shape, tuple(parts)),
            group=original_stem(path.stem),
        )

    def _check_place(self, path: Path, name: PurePosixPath, split: str | None) -> None:
        """Raise if an image was found by its name alone, in the folder of another split."""
        folders = path.relative_to(self.index.root).parent.parts
        words = {SPLIT_WORDS[word] for folder in folders if (word := split_in(folder))}
        if (
            split
            and words
            and SPLIT_WORDS[split] not in words
            and path.parts[-2:] != name.parts[-2:]
        ):
            raise InputError(
                f"{self.file}: image {quoted(str(name))} of split {split} is not there, only {path}"
            )

    def _parts(
        self, annotations: list[dict[str, Any]], shape: tuple[int, int]
    ) -> tuple[set[str], set[str], list[CocoPart]]:
        """Return the classes of an image, those that are only ignored, and the pixels."""
        present: set[str] = set()
        unknown: set[str] = set()
        parts: list[CocoPart] = []
        for row in annotations:
            name = self.names[row["category_id"]]
            where = f"{self.file}: annotation {quoted(row.get('id'))}"
            code = IGNORED if name == IGNORE_NAME else self.classes.index(name) + 1
            if row.get("iscrowd") == 1 and self.options.crowd == "ignore":
                code = IGNORED
            counts = run_lengths(row.get("segmentation"), shape, where)
            if counts is None:
                box = whole_box(row.get("bbox"), shape, where)
                if box is None:
                    self.findings.add("annotations without shape and box are left out", where)
                    continue
                said = "the box is " + ("ignored" if self.options.boxes == "ignore" else "object")
                self.findings.add(f"annotations have no shape, {said}", where)
                if name != IGNORE_NAME:
                    present.add(name)
                parts.append(CocoPart(IGNORED if self.options.boxes == "ignore" else code, box=box))
                continue
            if not self._area_agrees(row, counts, shape, where):
                self.findings.add("annotations cover no pixel and are left out", where)
                continue
            if name != IGNORE_NAME:
                (unknown if code == IGNORED else present).add(name)
            parts.append(CocoPart(code, counts))
        return present, unknown, parts

    def _area_agrees(
        self, row: dict[str, Any], counts: bytes, shape: tuple[int, int], where: str
    ) -> bool:
        """Count an area that differs from the mask; return whether the mask has any pixel."""
        runs = {"size": list(shape), "counts": counts}
        painted = int(mask_tool().area(runs))
        stated = row.get("area")
        _, _, width, height = mask_tool().toBbox(runs)
        if isinstance(stated, int | float) and painted:
            border = int(2 * (width + height))
            if abs(stated - painted) <= border:
                return True
            self.findings.add("annotations state an area that differs from their mask", where)
        return painted > 0


COCO = Format(
    "coco",
    "a JSON file with images, annotations and categories",
    _recognise,
    _read,
    uses=("crowd", "boxes", "images"),
)
