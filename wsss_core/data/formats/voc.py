"""Pascal VOC: JPEGImages, SegmentationClass, ImageSets/Segmentation, Annotations.

Masks are read by their palette's indices, 255 is void. CVAT and others write masks of colours
instead, and their meaning into labelmap.txt. Image-level labels come from the annotations where
there are some, otherwise from the masks.
"""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from wsss_core.data.folder.layout import IMAGE_SUFFIXES
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
from wsss_core.data.formats.common.mask_values import (
    MaskFile,
    Meaning,
    meaning_of_colours,
    meaning_of_values,
)
from wsss_core.data.formats.common.source_files import (
    SPLIT_WORDS,
    composed,
    files_below,
    files_by_stem,
    same_stem,
    tallied,
)
from wsss_core.data.image_set import IGNORED
from wsss_core.errors import InputError, check_printable, one_line, quoted
from wsss_core.text_files import read_text

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
"""The classes of Pascal VOC; class k has the mask value k + 1."""

_BESIDE = ("JPEGImages", "ImageSets/Segmentation", "labelmap.txt")
"""What masks come with; tools that people correct masks with give them back without images."""
_MOST_BYTES = 2**20
_BOTH = "trainval"  # its images are listed by train and val too


def _recognise(path: Path) -> str | None:
    if not (path / "SegmentationClass").is_dir():
        return None
    beside = next((name for name in _BESIDE if (path / name).exists()), None)
    return f"{beside} and SegmentationClass" if beside else None


def read_voc(path: Path, options: FormatOptions) -> FormatContent:
    """Read the images that ImageSets/Segmentation lists, or without lists all that have masks.

    A list may give the path of an image in folders, as CVAT does; then masks lie in such folders.

    Raises:
        InputError: a listed image or its mask is missing, or an annotation cannot be read.

    """
    listed = _splits(path)
    pictures_in = path / "JPEGImages"
    if options.images is not None:
        pictures_in = images_root(path, options.images)
    elif not pictures_in.is_dir():
        raise InputError(f"{path}: holds no JPEGImages; say where the images are by --images DIR")
    deep = any("/" in name for name in listed)
    pictures = _by_name(pictures_in, IMAGE_SUFFIXES, deep=deep)
    masks = _by_name(path / "SegmentationClass", (".png",), deep=deep)
    splits = listed or {stem: None for stem in masks}
    meaning = _meaning(path, options)
    images = []
    missing: list[str] = []
    unlisted: list[str] = []
    if absent := [stem for stem in splits if stem not in pictures]:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise InputError(f"{pictures_in}: no image {quoted(absent[0])}{more}, which a list names")
    for stem, split in sorted(splits.items()):
        labels = _labels(path / "Annotations" / f"{stem}.xml", meaning.classes, unlisted)
        if stem not in masks:
            missing.append(stem)
        images.append(
            FormatImage(
                name=stem if deep else pictures[stem].stem,
                picture=Picture(pictures[stem]),
                split=split,
                labels=labels,
                mask=MaskFile(masks[stem], meaning) if stem in masks else None,
            )
        )
    held = any(image.labels and image.labels.present for image in images)
    if unlisted and not held and meaning.classes == VOC_CLASSES:
        said = "objects are of none of VOC's 20 classes"
        raise InputError(
            f"{tallied(len(unlisted), said, unlisted[0])}; say what the mask values mean, e.g. "
            "--values 1=smoke"
        )
    if not images:
        raise InputError(f"{path}: no image with a mask, expected at least one")
    notes = [
        tallied(len(found), said, found[0])
        for found, said in (
            (missing, "listed images have no mask in SegmentationClass"),
            (unlisted, "objects of classes that no mask value stands for are passed over"),
        )
        if found
    ]
    return FormatContent(meaning.classes, tuple(images), tuple(notes))


def _by_name(folder: Path, suffixes: Sequence[str], *, deep: bool) -> dict[str, Path]:
    """Return stem -> file, or path without the ending -> file where lists give paths."""
    files = files_below(folder, suffixes)
    if not deep:
        return files_by_stem(files)
    named: dict[str, Path] = {}
    for file in files:
        name = composed(file.relative_to(folder).with_suffix("").as_posix())
        if (other := named.setdefault(name, file)) is not file:
            raise same_stem([(file, other)])
    return named


def _splits(path: Path) -> dict[str, str | None]:
    """Return image -> split from ImageSets/Segmentation, or from the list that fits another set."""
    found: dict[str, str | None] = {}
    folder = path / "ImageSets" / "Segmentation"
    lists = files_below(folder, (".txt",), deep=False) if folder.is_dir() else []
    usual = [file for file in lists if file.stem in (*SPLIT_WORDS, _BOTH)]
    lists = usual or lists
    names = {file.stem for file in lists}
    for file in lists:
        if file.stem == _BOTH and {"train", "val"} <= names:
            continue
        for line in read_text(file, 2**28).splitlines():
            stem = composed(line.strip())
            if stem and found.setdefault(stem, file.stem) != file.stem:
                raise InputError(f"{file}: {quoted(stem)} is in {found[stem]}.txt too")
    return found


def _meaning(path: Path, options: FormatOptions) -> Meaning:
    if options.values is not None:
        return meaning_of_values({IGNORED: IGNORE_NAME} | dict(options.values))
    colours = options.colours or path / "labelmap.txt"
    if options.colours is not None or colours.is_file():
        return meaning_of_colours(colours)
    if (names := path / "class_names.txt").is_file():
        raise InputError(f"{names}: names classes other than VOC's; say them by --values 1=smoke")
    values = {0: "background", IGNORED: IGNORE_NAME}
    return meaning_of_values(values | dict(enumerate(VOC_CLASSES, start=1)))


def _labels(file: Path, classes: tuple[str, ...], unlisted: list[str]) -> Labels | None:
    """Return the classes of the objects that an annotation lists; None without annotation."""
    if not file.is_file():
        return None
    text = read_text(file, _MOST_BYTES)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InputError(f"{file}: defines entities, expected a plain annotation")
    try:
        tree = ElementTree.fromstring(text)
    except (ElementTree.ParseError, RecursionError) as error:
        raise InputError(f"{file}: not valid XML: {one_line(error, 200)}") from error
    names = [(item.findtext("name") or "").strip() for item in tree.iter("object")]
    for name in names:
        check_printable(name, str(file), allowed="")
    unlisted += [f"{name} in {file.name}" for name in names if name not in classes]
    return Labels(frozenset(name for name in names if name in classes))


VOC = Format(
    "voc",
    "JPEGImages or lists beside SegmentationClass",
    _recognise,
    read_voc,
    uses=("values", "colours", "images"),
)
