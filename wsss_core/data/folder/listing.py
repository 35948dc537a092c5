"""Which files belong together in a data folder; opens no image. The layout is in `layout`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from wsss_core.data.folder.class_list import FolderClasses
from wsss_core.data.folder.findings import (
    DataFinding,
    DataFindings,
    FindingCollector,
    FindingKind,
    Severity,
)
from wsss_core.data.folder.folder_files import (
    beside_images,
    composed_form,
    listed_files,
    required_folder,
    suffix_counts,
)
from wsss_core.data.folder.layout import (
    CLEAR,
    IMAGE_SUFFIXES,
    LABELS,
    ListedImage,
    mask_suffixes,
    read_labels,
)
from wsss_core.data.folder.likely_names import meant_by, misnamed
from wsss_core.data.folder.origins import ImageOrigin, read_origins
from wsss_core.data.image_set import SPLITS
from wsss_core.errors import InputError, nearest, quoted

_OF_A_SPLIT = ("images", "masks", CLEAR, "context")
_SHORTEST = 2  # characters that a mask's name must share with its image's to be a pattern


@dataclass(frozen=True)
class SplitListing:
    """The images of a split, and what was found while its folders were listed.

    Attributes:
        images: those whose files belong together, sorted by identifier.
        findings: faults and warnings.

    """

    images: list[ListedImage]
    findings: tuple[DataFinding, ...]


def list_split(root: Path, split: str, classes: FolderClasses) -> list[ListedImage]:
    """Return the images of a split sorted by identifier, each with its mask, context and group.

    Raises:
        InputError: a folder is missing or empty, or files do not belong together.
        ValueError: `split` is not one of SPLITS.

    """
    found = listing_of(root, split, classes)
    DataFindings.of(found.findings).raise_refused(f"wsss data check {root}")
    return found.images


def listing_of(root: Path, split: str, classes: FolderClasses) -> SplitListing:
    """List a split as `list_split` does, with every fault counted instead of the first raised.

    Raises:
        ValueError: `split` is not one of SPLITS.

    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r}, expected one of {', '.join(SPLITS)}")
    told = FindingCollector()
    images: list[ListedImage] = []
    faults: list[DataFinding] = []
    try:
        folder = required_folder(root / split, f"of a data set with {', '.join(SPLITS)}")
        _tell_misnamed(folder, split, classes, told)
        if split == "train":
            found = _train_images(folder, classes, told)
        else:
            found = _masked_images(folder, told)
        origins = _origins(root, split, found, told)
        images = [
            _with_origin(image, origins.get(composed_form(image.identifier), ImageOrigin()))
            for image in sorted(found, key=lambda image: image.identifier)
        ]
    except InputError as error:
        faults.append(DataFinding(FindingKind.LAYOUT, Severity.REFUSED, str(error)))
    return SplitListing(images, (*faults, *told.findings()))


def _origins(
    root: Path, split: str, images: Collection[ListedImage], told: FindingCollector
) -> Mapping[str, ImageOrigin]:
    try:
        return read_origins(root, split, {composed_form(image.identifier) for image in images})
    except InputError:
        if any(found.severity is Severity.REFUSED for found in told.findings()):
            return {}  # a table that names an image which is refused is not wrong
        raise


def _with_origin(image: ListedImage, origin: ImageOrigin) -> ListedImage:
    group = origin.group or image.identifier
    return replace(image, group=group, source=origin.source, camera=origin.camera)


def _tell_misnamed(
    folder: Path, split: str, classes: FolderClasses, told: FindingCollector
) -> None:
    """Warn of folders and files beside the expected ones that may be meant as one of them."""
    for entry in sorted(folder.iterdir(), key=lambda path: path.name):
        if beside_images(entry.name):
            continue
        name = f"{split}/{entry.name}"
        if not entry.is_dir():
            if (expected := misnamed(entry)) is not None:
                text = f"passed over; rename it if it is meant as {expected}"
                told.add(FindingKind.NAMES, Severity.WARNING, text, name, split)
            continue
        if split == "train":
            if entry.name in classes.names and meant_by(entry.name, CLEAR, classes.names):
                text = f"a class of this name; if it means no class, call the folder {CLEAR!r}"
                told.add(FindingKind.CLASSES, Severity.WARNING, text, name, split)
        elif entry.name not in _OF_A_SPLIT:
            meant = [one for one in _OF_A_SPLIT if meant_by(entry.name, one, classes.names)]
            text = f"folder passed over, expected {', '.join(_OF_A_SPLIT)}"
            if meant:
                text = f"folder passed over; rename it if it is meant as {meant[0]!r}"
            told.add(FindingKind.LAYOUT, Severity.WARNING, text, name, split)


def _labelled_images(
    folder: Path, classes: FolderClasses, told: FindingCollector
) -> list[ListedImage]:
    table = folder / LABELS
    place = required_folder(folder / "images", f"of the training images that {table} lists")
    listed = listed_files(place, IMAGE_SUFFIXES, told)
    files = {composed_form(path.name): path for path in listed.values()}
    labels: dict[str, int] = {}
    images = []
    for written, (line, names) in read_labels(table).items():
        file = composed_form(written)
        if file not in files and file in listed:  # a name without its ending
            file = composed_form(listed[file].name)
        where = f"{table}, line {line}"
        if file not in files:
            text = f"file {quoted(file)} is no image of {place}{_nearest(file, files)}"
            told.refuse(FindingKind.LABELS, text, where, "no image")
            continue
        if file in labels:
            text = f"file {quoted(file)} is listed twice, first in line {labels[file]}"
            told.refuse(FindingKind.LABELS, text, where, "listed twice")
            continue
        labels[file] = line
        if unknown := [name for name in names if name not in classes.names]:
            expected = f"expected {', '.join(classes.names)}{_nearest(unknown[0], classes.names)}"
            text = f"class {quoted(unknown[0])}, {expected}"
            told.refuse(FindingKind.LABELS, text, where, "no class")
            continue
        held = tuple(sorted({classes.names.index(name) for name in names}))
        images.append(_listed(place, files[file], train_classes=held))
    for file, path in files.items():
        if file not in labels:
            told.refuse(FindingKind.LABELS, f"training image without a line in {table}", path)
    if not images and not told.findings():
        raise InputError(f"{place}: no training image, expected at least one")
    return images


def _train_images(
    folder: Path, classes: FolderClasses, told: FindingCollector
) -> list[ListedImage]:
    if (folder / LABELS).exists():
        return _labelled_images(folder, classes, told)
    folders = dict.fromkeys(classes.names)
    images = []
    # Several classes are each other's counterexamples; a single one has no other than clear.
    if len(classes.names) == 1 or (folder / CLEAR).is_dir():
        folders[CLEAR] = None
    for name in folders:
        place = required_folder(folder / name, "of training images")
        files = listed_files(place, IMAGE_SUFFIXES, told)
        if not files:
            text = f"no training image, expected at least one ({', '.join(IMAGE_SUFFIXES)})"
            told.refuse(FindingKind.LAYOUT, text, place, f"empty {place}")
        held = () if name == CLEAR else (classes.names.index(name),)
        images += [_listed(place, path, train_classes=held) for path in files.values()]
    return images


def _masked_images(folder: Path, told: FindingCollector) -> list[ListedImage]:
    place = required_folder(folder / "images", "of images that have masks")
    files = listed_files(place, IMAGE_SUFFIXES, told)
    if not files:
        text = f"no image, expected at least one ({', '.join(IMAGE_SUFFIXES)})"
        told.refuse(FindingKind.LAYOUT, text, place)
    mask_folder = required_folder(folder / "masks", f"of .png masks for the images of {place}")
    masks = listed_files(mask_folder, mask_suffixes(mask_folder, files), told)
    clear_folder, context_folder = folder / CLEAR, folder / "context"
    clear = listed_files(clear_folder, IMAGE_SUFFIXES, told) if clear_folder.is_dir() else {}
    contexts = {}
    if context_folder.is_dir():
        contexts = listed_files(context_folder, mask_suffixes(context_folder), told)
    _tell_unpaired(place, files, mask_folder, masks, told)
    for stem in list(clear):
        if stem in files:
            text = f"same stem as {files[stem]}, expected each only once"
            told.refuse(FindingKind.PAIRING, text, clear.pop(stem), "same stem")
    for stem, path in contexts.items():
        if stem not in files and stem not in clear:
            text = (
                f"context mask without its image, expected {stem}.jpg or alike in {place} or "
                f"{clear_folder}"
            )
            told.refuse(FindingKind.PAIRING, text, path, "context alone")
    return [
        _listed(place, path, mask=masks[stem], context=contexts.get(stem))
        for stem, path in files.items()
        if stem in masks
    ] + [_listed(clear_folder, path, context=contexts.get(stem)) for stem, path in clear.items()]


def _tell_unpaired(
    place: Path,
    files: Mapping[str, Path],
    mask_folder: Path,
    masks: Mapping[str, Path],
    told: FindingCollector,
) -> None:
    """Refuse images without a mask and masks without an image; say how the masks are called."""
    lone_images = [stem for stem in files if stem not in masks]
    lone_masks = [stem for stem in masks if stem not in files]
    hint = ""
    if lone_images:
        pattern = _naming(lone_images, lone_masks)
        if pattern is not None:
            hint = (
                f"; masks are called {pattern}.png: rename them, or import the folder with "
                f"`wsss data import --images PATTERN --masks PATTERN`"
            )
        elif others := _other_suffixes(mask_folder, masks):
            hint = f"; {mask_folder} holds {others}"
    for stem in lone_images:
        text = f"image without its mask, expected {mask_folder / files[stem].stem}.png{hint}"
        told.refuse(FindingKind.PAIRING, text, files[stem], "no mask")
    if hint and lone_masks:
        return  # the same masks under other names, said already
    for stem in lone_masks:
        text = f"mask without its image, expected {place / masks[stem].stem}.jpg or alike"
        told.refuse(FindingKind.PAIRING, text, masks[stem], "no image")


def _naming(images: Collection[str], masks: Collection[str]) -> str | None:
    """Return the pattern that makes the stems of masks of those of images, e.g. "{stem}_mask"."""
    known = {stem for stem in images if len(stem) >= _SHORTEST}
    for mask in sorted(masks)[:20]:
        for stem in sorted((stem for stem in known if stem in mask), key=len, reverse=True)[:3]:
            before, _, after = mask.partition(stem)
            fitting = sum(f"{before}{one}{after}" in masks for one in known)
            if fitting * 2 > len(masks):
                return f"{before}{{stem}}{after}"
    return None


def _other_suffixes(folder: Path, masks: Mapping[str, Path]) -> str:
    counted = suffix_counts(folder)
    there = sum(path.is_file() for path in folder.iterdir() if not beside_images(path.name))
    return counted if there > len(masks) else ""


def _listed(
    place: Path,
    path: Path,
    *,
    train_classes: tuple[int, ...] = (),
    mask: Path | None = None,
    context: Path | None = None,
) -> ListedImage:
    identifier = f"{place.name}/{path.name}"
    return ListedImage(identifier, identifier, path, train_classes, mask, context)


def _nearest(name: str, candidates: Collection[str]) -> str:
    """Return '; nearest: ...' for the candidate closest to `name`, or nothing."""
    near = nearest(name, candidates)
    return f"; nearest: {near!r}" if near else ""


def root_findings(root: Path) -> list[DataFinding]:
    """Return warnings of files and folders beside the splits that may be meant as another name."""
    told = FindingCollector()
    for entry in sorted(root.iterdir(), key=lambda path: path.name):
        if beside_images(entry.name):
            continue
        if not entry.is_dir():
            if (expected := misnamed(entry)) is not None:
                text = f"passed over; rename it if it is meant as {expected}"
                told.add(FindingKind.NAMES, Severity.WARNING, text, entry.name)
        elif any(meant_by(entry.name, split) for split in SPLITS):
            split = next(one for one in SPLITS if meant_by(entry.name, one))
            if not (root / split).is_dir():
                continue  # the fault of the missing split says which folder may be meant
            text = f"folder passed over, as there is {split!r} too"
            told.add(FindingKind.LAYOUT, Severity.NOTE, text, entry.name)
    return told.findings()
