"""YOLO: a text file of boxes or polygons for each image, and the names of classes in data.yaml.

Each line is a class's number and numbers between 0 and 1, shares of the image's width and height:
centre, width and height of a box, or the corners of a polygon. The file lies in `labels` where the
image lies in `images`, or beside it. An image without one shows none of the classes. Boxes say
which classes an image holds, and not where they end, so such an image has no mask.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from wsss_core.data.folder.layout import IMAGE_SUFFIXES
from wsss_core.data.formats.common.coco_masks import (
    CocoMask,
    CocoPart,
    mask_tool,
    run_lengths,
    whole_box,
)
from wsss_core.data.formats.common.contents import (
    EmptyMask,
    Format,
    FormatContent,
    FormatImage,
    FormatOptions,
    Labels,
    MaskMaker,
    Picture,
)
from wsss_core.data.formats.common.source_files import (
    composed,
    files_below,
    original_stem,
    split_in,
    subfolders,
    tallied,
)
from wsss_core.data.image_decoding import exif_orientation
from wsss_core.data.image_set import IGNORED
from wsss_core.errors import InputError, check_printable, quoted
from wsss_core.text_files import read_text, read_yaml

_DARKNET = "obj.data"
_LISTS = ("train", "val", "test")  # keys of data.yaml
_NAME_FILES = ("classes.txt", "obj.names", "_darknet.labels")
_MOST_BYTES = 2**24  # of a label file
_LIST_BYTES = 2**28
_SLACK = 0.01  # by which tools let corners lie outside the image


@dataclass(frozen=True)
class YoloMask:
    """The shapes of an image in shares of its sides, painted in the order of the file.

    Attributes:
        picture: the image, whose size the mask has.
        shapes: of each its code, its numbers (x, y, x, y, ...; of a box left, top, width, height),
            whether it is a box, and file and line for messages.

    """

    picture: Picture
    shapes: tuple[tuple[int, tuple[float, ...], bool, str], ...]

    def read(self) -> np.ndarray:
        """Paint the mask by pycocotools, see `MaskMaker.read`."""
        height, width = self.picture.shape()
        parts = []
        for code, numbers, is_box, where in self.shapes:
            scaled = [n * (height if at % 2 else width) for at, n in enumerate(numbers)]
            if is_box:
                box = whole_box(scaled, (height, width), where)
                parts += [CocoPart(code, box=box)] if box else []
            else:
                parts.append(CocoPart(code, run_lengths([scaled], (height, width), where)))
        return CocoMask((height, width), tuple(parts)).read()


def _settings_files(path: Path) -> list[Path]:
    found = files_below(path, (".yaml", ".yml"), deep=False) if path.is_dir() else []
    return [file for file in found if "names" in _settings(file)]


def _settings(file: Path) -> Mapping[str, Any]:
    try:
        content = read_yaml(file)
    except InputError:
        return {}
    return content if isinstance(content, dict) else {}


def _darknet_settings(file: Path) -> Mapping[str, Any]:
    """Return the lists of images that darknet's file of `key = value` names."""
    lines = [line.partition("=") for line in read_text(file, _MOST_BYTES).splitlines()]
    given = {key.strip(): value.strip() for key, _, value in lines}
    words = {"train": "train", "valid": "val", "test": "test"}
    return {new: given[old] for old, new in words.items() if given.get(old)}


def _label_folders(path: Path) -> list[Path]:
    """Return the folders called labels, at the top or in those of the splits, that hold texts."""
    if not path.is_dir():
        return []
    tops = subfolders(path)
    labels = [
        f for f in [*tops, *(g for top in tops for g in subfolders(top))] if f.name == "labels"
    ]
    return [folder for folder in labels if next(_texts(folder), None)]


def _texts(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*.txt") if file.name not in _NAME_FILES)


def _recognise(path: Path) -> str | None:
    folders = _label_folders(path)
    if folders:
        named = "".join(f" and {file.name}" for file in _settings_files(path)[:1])
        return f"texts in {folders[0].relative_to(path)}{named}"
    darknet = path.is_dir() and (path / "obj.names").is_file() and (path / _DARKNET).is_file()
    return "obj.data and obj.names" if darknet else None


def read_yolo(path: Path, options: FormatOptions) -> FormatContent:
    """Read the images that data.yaml lists, or those beside or above folders of labels.

    Raises:
        InputError: classes have no names, a line is no box and no polygon, or there is no image.

    """
    found = _settings_files(path)
    if len(found) > 1:
        listed = ", ".join(file.name for file in found)
        raise InputError(f"{path}: {listed} all name classes, expected one of them")
    settings = _settings(found[0]) if found else {}
    if not found and (path / _DARKNET).is_file():
        found, settings = [path / _DARKNET], _darknet_settings(path / _DARKNET)
    if "kpt_shape" in settings:
        raise InputError(f"{found[0]}: labels of keypoints, expected boxes or polygons")
    names = _names(path, found[0] if found else None, settings, options)
    classes = tuple(dict.fromkeys(names.values()))
    files = files_below(path, IMAGE_SUFFIXES)
    split_of, notes = _splits(path, found[0] if found else None, settings, files)
    texts = {label for folder in (_label_folders(path) or [path]) for label in _texts(folder)}
    by_name = {composed(str(text)): text for text in texts}
    has_labels = {text.parent for text in texts}
    images, unlabelled, boxes, mixed, turned = [], [], [], [], []
    for file in files:
        text = by_name.get(composed(str(label_file(file, path))))
        is_beside = label_file(file, path).parent in has_labels
        if file not in split_of and text is None and not is_beside:
            continue  # counted with the files that no part of the set uses
        if text is None:
            unlabelled.append(file.relative_to(path))
        upright = exif_orientation(file) != 1
        turned += [file.relative_to(path)] if upright else []
        shapes = list(_shapes(text, names)) if text else []
        picture = Picture(file, upright=upright)
        mask = _mask(picture, shapes, classes, options)
        boxes += [file.relative_to(path)] if mask is None else []
        if options.boxes == "ignore" and mask is not None and any(shape[2] for shape in shapes):
            mixed.append(file.relative_to(path))
        parts = file.relative_to(path).parent.parts
        images.append(
            FormatImage(
                name=file.relative_to(path).with_suffix("").as_posix(),
                picture=picture,
                split=split_of.get(file) or next((w for p in parts if (w := split_in(p))), None),
                labels=Labels(frozenset(name for name, *_ in shapes)),
                mask=mask,
                group=original_stem(file.stem),
            )
        )
    if not images:
        raise InputError(f"{path}: no image with labels, expected images beside or above them")
    used = {label_file(image.picture.path, path) for image in images}
    beside = {text.parent for text in used} - {path}
    spare = sorted(text for text in texts - used if text.parent in beside)
    for these, said in (
        (unlabelled, "images have no label file and are clear"),
        (spare, "label files have no image"),
        (boxes, "images have boxes alone, which give them labels and no mask"),
        (mixed, "images have boxes beside polygons, whose pixels are ignored"),
        (turned, "images are turned upright, as they were annotated"),
    ):
        notes += [tallied(len(these), said, these[0])] if these else []
    ordered = tuple(sorted(images, key=lambda image: image.name))
    return FormatContent(classes, ordered, tuple(notes))


def label_file(image: Path, root: Path) -> Path:
    """Return the label file of an image: in `labels` for the last `images` of its path, or beside.

    >>> label_file(Path("set/images/train/a.jpg"), Path("set")).as_posix()
    'set/labels/train/a.txt'
    """
    parts = list(image.relative_to(root).with_suffix(".txt").parts)
    for at in reversed(range(len(parts) - 1)):
        if parts[at] == "images":
            parts[at] = "labels"
            break
    return root.joinpath(*parts)


def _names(
    path: Path, file: Path | None, settings: Mapping[str, Any], options: FormatOptions
) -> dict[int, str]:
    if options.values is not None:
        return dict(options.values)
    given = settings.get("names")
    where = str(file)
    if given is None:
        places = [path / name for name in _NAME_FILES] + [path / "labels" / _NAME_FILES[0]]
        texts = [place for place in places if place.is_file()]
        if not texts:
            raise InputError(
                f"{path}: no data.yaml or classes.txt with the names of the classes; say them by "
                "--values 0=smoke,1=fire"
            )
        where = str(texts[0])
        given = [line.strip() for line in read_text(texts[0], _MOST_BYTES).splitlines()]
        given = [name for name in given if name]
    if not isinstance(given, dict | list):
        raise InputError(f"{where}: names {quoted(given)}, expected a list of classes")
    pairs = given.items() if isinstance(given, dict) else enumerate(given)
    names: dict[int, str] = {}
    for number, name in pairs:
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise InputError(f"{where}: class number {quoted(number)}, expected 0, 1, ...")
        text = str(name).strip() if isinstance(name, str | int) else ""
        if not text:
            raise InputError(f"{where}: name {quoted(name)} of class {number}, expected a text")
        check_printable(text, where, allowed="")
        names[number] = text
    if not names:
        raise InputError(f"{where}: no class is named, expected at least one")
    return names


def _splits(
    root: Path, file: Path | None, settings: Mapping[str, Any], files: Sequence[Path]
) -> tuple[dict[Path, str], list[str]]:
    """Return image -> split by the folders or lists that data.yaml gives, and notes."""
    found: dict[Path, str] = {}
    notes = []
    known = {composed(str(image)): image for image in files}
    for key in _LISTS if file is not None else ():
        given = settings.get(key)
        entries = given if isinstance(given, list) else [given]
        doubled = []
        for entry in entries:
            if entry is None or entry == "":
                continue
            place = _inside(entry, root)
            if place is None:
                notes.append(f"{file}: {key} is {quoted(entry)}, which is not there")
                continue
            for image in _listed(place, root, known):
                if found.setdefault(image, key) != key:
                    doubled.append(image.name)
        if doubled:
            said = f"images of {key} are in another split of {file} too, which keeps them"
            notes.append(tallied(len(doubled), said, doubled[0]))
    return found, notes


def _inside(entry: object, root: Path) -> Path | None:
    """Return the folder or list that an entry of data.yaml means, wherever it was written."""
    if not isinstance(entry, str) or "\0" in entry:
        raise InputError(f"{root}: data.yaml names {quoted(entry)}, expected a folder or a list")
    parts = [p for p in PurePosixPath(entry.replace("\\", "/")).parts if p not in ("/", "..", ".")]
    tails = [root.joinpath(*parts[at:]) for at in range(len(parts))]
    return next((place for place in tails if place.exists()), root if not parts else None)


def _listed(place: Path, root: Path, known: Mapping[str, Path]) -> Iterator[Path]:
    if place.is_dir():
        yield from (image for image in known.values() if place in image.parents)
        return
    absent = []
    for line in read_text(place, _LIST_BYTES).splitlines():
        if not (text := line.strip()):
            continue
        path = _inside(text, root)
        image = known.get(composed(str(path)))
        if image is None:
            absent.append(text)
        else:
            yield image
    if absent:
        raise InputError(
            f"{place}: image {quoted(absent[0])} is not in {root}; {len(absent)} of the listed "
            "images are missing"
        )


_Shape = tuple[str, tuple[float, ...], bool, str]  # class, numbers, whether a box, where


def _shapes(file: Path, names: Mapping[int, str]) -> Iterator[_Shape]:
    for line, text in enumerate(read_text(file, _MOST_BYTES).splitlines(), start=1):
        words = text.split()
        if not words:
            continue
        where = f"{file}, line {line}"
        try:
            numbers = tuple(map(float, words[1:]))
            number = float(words[0])
        except ValueError as error:
            raise InputError(f"{where}: {quoted(text)}, expected numbers") from error
        if number not in names:
            raise InputError(f"{where}: class {words[0]}, which is not named")
        if len(numbers) != 4 and (len(numbers) < 6 or len(numbers) % 2):
            raise InputError(
                f"{where}: {len(numbers)} numbers behind the class, expected 4 of a box or x, y of "
                "at least three corners"
            )
        if not all(-_SLACK <= n <= 1 + _SLACK for n in numbers):
            raise InputError(f"{where}: {quoted(text)}, expected shares of the image from 0 to 1")
        numbers = tuple(min(max(n, 0.0), 1.0) for n in numbers)
        is_box = len(numbers) == 4
        if is_box:
            x, y, width, height = numbers
            numbers = (x - width / 2, y - height / 2, width, height)
        yield names[int(number)], numbers, is_box, where


def _mask(
    picture: Picture, shapes: Sequence[_Shape], classes: Sequence[str], options: FormatOptions
) -> MaskMaker | None:
    if not shapes:
        return EmptyMask(picture)
    if options.boxes == "ignore" and all(is_box for _, _, is_box, _ in shapes):
        return None
    mask_tool()
    return YoloMask(
        picture,
        tuple(
            (
                IGNORED if is_box and options.boxes == "ignore" else classes.index(name) + 1,
                numbers,
                is_box,
                where,
            )
            for name, numbers, is_box, where in shapes
        ),
    )


YOLO = Format(
    "yolo",
    "data.yaml, and texts of boxes or polygons in labels",
    _recognise,
    read_yolo,
    uses=("values", "boxes"),
)
