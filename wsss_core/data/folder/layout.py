"""The layout of a data folder, and its classes; opens no image.

    train/<class>/*         images that hold the class (one class per image)
    train/clear/*           images that hold none; optional with several classes
    train/images, labels.csv  instead of those folders, where an image may hold several classes:
                            columns file, classes, the classes separated by ";", none for clear
    train/masks             masks of training images, see `training_masks`; optional
    tune/images, tune/masks images and their masks: same stem; so in `test`
    tune/clear              images without any class, without masks; optional
    tune/context            masks of what accompanies a class (chimneys), same stem; optional
    classes.yaml            `classes: {1: smoke, 2: steam}`, the mask value of each class; `ignore`,
                            `threshold`; optional
    groups.csv              columns file, group: the frame each image was cut from; optional,
                            with optional columns source, camera (see `origins`)

Without `classes.yaml` there is one class, named by the one folder of train/ that is not `clear`,
and a mask holds 0 and one other value, which is the class: masks {0, 1} and {0, 255} read alike,
nothing is ignored. For what the file says, see `class_list`. Hidden files and files that are not
images are passed over; a folder among the images is an error.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from wsss_core.data.folder.class_list import (
    ClassList,
    FolderClasses,
    class_list_file,
    read_class_list,
)
from wsss_core.data.folder.folder_files import (
    beside_images,
    checked_name,
    composed_form,
    required_folder,
)
from wsss_core.data.folder.likely_names import meant_by
from wsss_core.errors import InputError, nearest, quoted
from wsss_core.text_files import read_csv

CLEAR = "clear"
LABELS = "labels.csv"
TRAINING_MASKS = "masks"
"""The folder of train/ with masks of training images; it is no class."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".webp", ".jpg", ".jpeg", ".npy")


@dataclass(frozen=True)
class ListedImage:
    """One image of a split and the files that belong to it.

    Attributes:
        identifier: path within the split's folder, e.g. "images/test_0001.jpg".
        group: the frame it was cut from; the identifier where that is unknown.
        image: the image file.
        train_classes: indices of the classes of a training image; none for clear, and in tune and
            test.
        mask: the mask file; None for clear and training images.
        context: the context mask file, or None.
        source: the data set it belongs to, "" where that is unknown.
        camera: the camera or place it was taken from, "" where that is unknown.

    """

    identifier: str
    group: str
    image: Path
    train_classes: tuple[int, ...] = ()
    mask: Path | None = None
    context: Path | None = None
    source: str = ""
    camera: str = ""


def find_classes(root: Path) -> FolderClasses:
    """Return the classes of a data folder, from `classes.yaml` or the folders of train/.

    Raises:
        InputError: there is no such folder, or its classes and folders do not agree.

    """
    if root.exists() and not root.is_dir():
        raise InputError(f"{root}: a file, expected a data folder with train, tune, test")
    if not root.is_dir():
        raise InputError(f"{root}: no such folder, expected a data folder with train, tune, test")
    train = required_folder(root / "train", "with a folder per class")
    folders = sorted(
        checked_name(entry)
        for entry in train.iterdir()
        if entry.is_dir()
        and entry.name not in (CLEAR, TRAINING_MASKS)
        and not beside_images(entry.name)
    )
    listing, table = class_list_file(root), train / LABELS
    found, by_table = folders, table.exists()
    if by_table:
        others = [name for name in folders if name != "images"]
        if others or (train / CLEAR).is_dir():
            raise InputError(
                f"{table}: lists the classes of {train / 'images'}, and there is a class folder "
                f"{(others or [CLEAR])[0]!r} besides; expected one of the two layouts"
            )
        found = sorted({name for _, names in read_labels(table).values() for name in names})
    elif "images" in folders:
        raise InputError(
            f"{train / 'images'}: no class folder; images with labels of their own need {table} "
            "(columns file, classes), others a folder for each class"
        )
    listed = ClassList(None, (), None) if listing is None else read_class_list(listing)
    if listed.names is None:
        if len(found) == 1:
            return FolderClasses((found[0],), None, listed.ignored, listed.threshold)
        known = ", ".join(found) or "none"
        meant = [name for name in found if meant_by(name, CLEAR, found)]
        if meant:
            known += f"; if {meant[0]!r} means no class, rename it to {CLEAR!r}"
        raise InputError(
            f"{table}: classes {known}; of other than one class, classes.yaml in {root} has to "
            "give the mask value of each"
            if by_table
            else f"{train}: expected one class folder beside {CLEAR!r}, or classes.yaml in "
            f"{root} with the mask value of each class; class folders found: {known}"
        )
    names = tuple(listed.names.values())
    if CLEAR in names:
        raise InputError(f"{listing}: class name {CLEAR!r}, which stands for images of no class")
    if not by_table:
        for name in names:
            if name not in folders:
                near = _nearest(name, folders)
                raise InputError(f"{listing}: class {name!r} has no folder {train / name}{near}")
        for name in folders:
            if name not in names:
                near = _nearest(name, names)
                raise InputError(f"{train / name}: class folder that {listing} does not list{near}")
    return FolderClasses(names, tuple(listed.names), listed.ignored, listed.threshold)


def mask_suffixes(folder: Path, stems: Collection[str] = ()) -> tuple[str, ...]:
    """Return the endings of the masks in a folder.

    Where PNG files suffice, others beside them are no masks.

    Args:
        folder: the folder of masks.
        stems: of images that all need a mask, in Unicode's composed form.

    """
    first = MASK_SUFFIXES[:1]
    there = {composed_form(path.stem) for path in folder.iterdir() if path.suffix.lower() in first}
    return first if there and there.issuperset(stems) else MASK_SUFFIXES


def _named_image(file: str) -> str:
    """Return the name of an image from a field of labels.csv, which may be its path."""
    path = PurePosixPath(file.strip().replace("\\", "/"))
    parents = path.parent.parts
    return path.name if parents in ((), ("images",), ("train", "images")) else file.strip()


def read_labels(table: Path) -> dict[str, tuple[int, tuple[str, ...]]]:
    """Read labels.csv: name of an image -> its line and the names of its classes.

    A path (`train/images/a.jpg`, `images/a.jpg`) stands for the name at its end.

    Raises:
        InputError: a line cannot be read, separates classes by commas, or lists a file twice.

    """
    found: dict[str, tuple[int, tuple[str, ...]]] = {}
    for line, row in read_csv(table, ("file", "classes")):
        file, classes = _named_image(row["file"]), row["classes"]
        if "," in classes:
            raise InputError(
                f"{table}, line {line}: classes {quoted(classes)}, expected ';' between classes"
            )
        if file in found:
            raise InputError(
                f"{table}, line {line}: file {quoted(file)} is listed twice, first in line "
                f"{found[file][0]}"
            )
        names = (name.strip() for name in classes.split(";"))
        found[file] = line, tuple(name for name in names if name)
    return found


def _nearest(name: str, candidates: Collection[str]) -> str:
    """Return '; nearest: ...' for the candidate closest to `name`, or nothing."""
    near = nearest(name, candidates)
    return f"; nearest: {near!r}" if near else ""
