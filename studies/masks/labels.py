"""Known labels of the images that masks are made of: which classes may have pixels in each."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath

from wsss_core.data.folder.folder_files import composed_form
from wsss_core.data.folder.layout import read_labels
from wsss_core.errors import InputError, checked_path, nearest, quoted

ImageLabels = Mapping[str, tuple[int, ...]]
"""An image, by its path within its folder or by its file's name -> its classes' numbers, from 0."""

GivenLabels = str | Path | Mapping[str, Collection[str]]
"""A file as `train/labels.csv` of a data folder, or the names of the classes by file."""


def known_labels(given: GivenLabels | None, classes: Sequence[str]) -> ImageLabels | None:
    """Return the labels with the numbers of a study's classes.

    Args:
        given: the file or a mapping; None: no labels are known.
        classes: the study's classes, in the order of their numbers.

    Raises:
        InputError: the file cannot be read, lists an image twice, or names another class.

    """
    if given is None:
        return None
    if isinstance(given, Mapping):
        where = "labels"
        named: dict[str, tuple[int, tuple[str, ...]]] = {}
        for file, names in given.items():
            if isinstance(names, str):
                raise InputError(
                    f"labels: file {quoted(file)} has {quoted(names)}, expected a list of classes"
                )
            named[str(file)] = 0, tuple(names)
    else:
        where, named = str(given), read_labels(checked_path(given))
    for file, (line, names) in named.items():
        for name in names:
            if name not in classes:
                at = f"{where}, line {line}" if line else f"{where}, file {quoted(file)}"
                near = nearest(name, classes)
                raise InputError(
                    f"{at}: class {quoted(name)}, expected {', '.join(classes)}"
                    + (f"; nearest: {near!r}" if near else "")
                )
    known: dict[str, tuple[int, ...]] = {}
    for file, (_, names) in named.items():
        if (key := composed_form(file)) in known:
            raise InputError(f"{where}: file {quoted(file)} is listed twice, in two Unicode forms")
        known[key] = tuple(sorted({classes.index(name) for name in names}))
    return known


def classes_of_image(labels: ImageLabels, image: str) -> tuple[int, ...] | None:
    """Return the numbers of an image's classes; None if it is not listed.

    It may be listed by its path, by its name, or by either without the ending.

    >>> classes_of_image({"a.jpg": (0,), "b/a.jpg": (1,)}, "b/a.jpg")
    (1,)
    >>> classes_of_image({"a.jpg": (0,)}, "c/a.jpg")
    (0,)
    """
    listed = _listed_as(labels, image)
    return None if listed is None else labels[listed]


def _listed_as(labels: ImageLabels, image: str) -> str | None:
    """Return the words by which an image is listed, or None."""
    path = PurePosixPath(composed_form(image))
    names = (path.as_posix(), path.with_suffix("").as_posix(), path.name, path.stem)
    return next((name for name in names if name in labels), None)


def check_labels(labels: ImageLabels, images: Sequence[str]) -> None:
    """Raise unless each image has its own labels.

    Args:
        labels: the known labels.
        images: paths of the images, relative to their folder.

    Raises:
        InputError: images without labels, counted, or two that the same line would label.

    """
    missing = [image for image in images if classes_of_image(labels, image) is None]
    if missing:
        near = nearest(PurePosixPath(missing[0]).name, labels)
        hint = f" (nearest: {near!r})" if near else ""
        raise InputError(
            f"labels: {len(missing)} of {len(images)} images are not listed, the first is "
            f"{quoted(missing[0])}{hint}; expected each, without classes if it holds none"
        )
    meant: dict[str, str] = {}
    for image in images:
        name = _listed_as(labels, image)
        if name is None or name == composed_form(image):
            continue
        if name in meant:
            raise InputError(
                f"labels: {meant[name]} and {image} have the same name, so it is not clear which "
                f"of them {quoted(name)} means; expected their paths"
            )
        meant[name] = image
