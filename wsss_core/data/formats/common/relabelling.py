"""Classes and labels other than a format gives them: chosen, merged, from masks, from a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from wsss_core.data.formats.common.contents import (
    EmptyMask,
    FormatContent,
    FormatImage,
    Labels,
    MaskMaker,
)
from wsss_core.data.formats.common.mask_values import OBJECT
from wsss_core.data.formats.common.source_files import composed, tallied
from wsss_core.data.image_set import IGNORED
from wsss_core.errors import InputError, check_printable, nearest, quoted
from wsss_core.text_files import read_csv

_YES, _NO, _UNKNOWN = ("1", "true", "yes"), ("0", "false", "no"), ("", "?", "-1", "unknown")
_FILE_COLUMNS = ("file", "filename", "file_name", "image", "name", "id")
_OTHERS = ("classes", "group", "camera", "split", "flags")


@dataclass(frozen=True)
class RecodedMask:
    """A mask whose codes are exchanged.

    Attributes:
        inner: the mask as its format gives it.
        codes: the new code of each code, 256 of them.

    """

    inner: MaskMaker
    codes: tuple[int, ...]

    def read(self) -> np.ndarray:
        """Decode the mask and exchange its codes."""
        recoded: np.ndarray = np.array(self.codes, np.uint8)[self.inner.read()]
        return recoded


def recoding(
    olds: Sequence[str], news: Sequence[str], new_of: Mapping[str, str]
) -> tuple[int, ...]:
    """Return the new code of each of 256 codes.

    Args:
        olds: the classes whose masks are recoded.
        news: the classes to be.
        new_of: old class -> new class; one that is not there becomes background.

    """
    codes = [0] * 256
    codes[IGNORED] = IGNORED
    for code, old in enumerate(olds, start=1):
        codes[code] = news.index(new_of[old]) + 1 if old in new_of else 0
    return tuple(codes)


def recode_image(image: FormatImage, codes: tuple[int, ...]) -> FormatImage:
    """Return an image whose mask and context mask have other codes, see `recoding`."""
    mask, context = (
        None if one is None else RecodedMask(one, codes) for one in (image.mask, image.context)
    )
    return replace(image, mask=mask, context=context)


def parse_classes(text: str) -> dict[str, tuple[str, ...]]:
    """Return class -> names in the source, from e.g. "smoke=high opacity|low opacity,steam".

    Raises:
        InputError: a name is missing, or given twice.

    >>> parse_classes("smoke=high|low, steam")
    {'smoke': ('high', 'low'), 'steam': ('steam',)}
    """
    chosen: dict[str, tuple[str, ...]] = {}
    for part in text.split(","):
        name, equals, sources = (word.strip() for word in part.partition("="))
        names = tuple(word.strip() for word in sources.split("|")) if equals else (name,)
        if not name or not all(names) or name in chosen:
            raise InputError(f"classes {quoted(text)}, expected e.g. smoke=high|low,steam")
        check_printable(name, "classes", allowed="")
        chosen[name] = names
    return chosen


def choose_classes(content: FormatContent, chosen: Mapping[str, Sequence[str]]) -> FormatContent:
    """Keep some classes, in this order and under these names; the others become background.

    A set whose masks name no class has the class "object", which a single name stands for.

    Args:
        content: the set.
        chosen: new class -> the set's classes that it stands for.

    Raises:
        InputError: the set has no such class.

    """
    if content.classes == (OBJECT,) and list(chosen.values()) == [tuple(chosen)]:
        chosen = {name: (OBJECT,) for name in chosen}
    new_of: dict[str, str] = {}
    for new, olds in chosen.items():
        for old in olds:
            if old not in content.classes:
                near = nearest(old, content.classes)
                raise InputError(
                    f"class {quoted(old)} is not in the set, whose classes are "
                    f"{', '.join(content.classes)}{f'; nearest: {near!r}' if near else ''}"
                )
            if old in new_of:
                raise InputError(
                    f"class {quoted(old)} is chosen for {quoted(new_of[old])} and {quoted(new)}, "
                    "expected each class of the set at most once"
                )
            new_of[old] = new
    classes = tuple(chosen)
    table = recoding(content.classes, classes, new_of)
    images = tuple(
        replace(
            recode_image(image, table),
            labels=None if image.labels is None else _renamed(image.labels, new_of),
        )
        for image in content.images
    )
    dropped = [old for old in content.classes if old not in new_of]
    said = f"classes {', '.join(dropped)} are read as background" if dropped else None
    return FormatContent(classes, images, (*content.notes, *([said] if said else [])))


def _renamed(labels: Labels, new_of: Mapping[str, str]) -> Labels:
    present = frozenset(new_of[name] for name in labels.present if name in new_of)
    unknown = frozenset(new_of[name] for name in labels.unknown if name in new_of)
    return Labels(present, unknown - present)


def without_labels(content: FormatContent) -> FormatContent:
    """Let the masks alone say what an image holds, where there is one."""
    images = tuple(
        replace(image, labels=image.labels if image.mask is None else None)
        for image in content.images
    )
    return replace(content, images=images)


def label_by_table(content: FormatContent, table: Path) -> FormatContent:
    """Take labels, groups, cameras, splits and flags from a CSV file.

    Its first column of `file`, `filename`, `image` or alike names the image: by its path in the
    set, its name or its stem. The classes are in a column `classes`, separated by ";", or each in a
    column of its own with 1 (present), 0 (absent) or nothing (unknown). The columns `group`,
    `camera`, `split` and `flags` are taken too.

    Args:
        content: the set; classes that only the table names are added to its own.
        table: the CSV file.

    Raises:
        InputError: a line names no image or several, or holds what is not expected.

    """
    rows = list(read_csv(table, ()))
    if not rows:
        raise InputError(f"{table}: no line below the header, expected one for each image")
    header = list(rows[0][1])
    column = next((name for name in header if name.strip().lower() in _FILE_COLUMNS), None)
    if column is None:
        raise InputError(f"{table}: columns {quoted(header)}, expected one named file")
    single = [name for name in header if name != column and name not in _OTHERS]
    by_key = _by_key(content)
    found: dict[str, FormatImage] = {}
    classes = list(content.classes)
    for line, row in rows:
        where = f"{table}, line {line}"
        image = _named(row[column], by_key, where)
        labels = _row_labels(row, single, where)
        for new in labels.present | labels.unknown:
            if new not in classes and (same := [c for c in classes if c.lower() == new.lower()]):
                raise InputError(f"{where}: class {quoted(new)}, expected {quoted(same[0])}")
        classes += [name for name in sorted(labels.present | labels.unknown) if name not in classes]
        if image.name in found:
            raise InputError(f"{where}: {quoted(row[column])} is listed twice")
        flags = tuple(flag.strip() for flag in row.get("flags", "").split(";") if flag.strip())
        found[image.name] = replace(
            image,
            labels=labels,
            mask=_mask_by(labels, image),
            group=row.get("group") or image.group,
            camera=row.get("camera") or image.camera,
            split=row.get("split") or image.split,
            flags=tuple(dict.fromkeys((*image.flags, *flags))),
        )
    if content.classes == (OBJECT,) and len(classes) == 2:
        content = choose_classes(content, {classes[1]: (OBJECT,)})
        classes = classes[1:]
        found = {
            image.name: replace(found[image.name], mask=_mask_by(found[image.name].labels, image))
            for image in content.images
            if image.name in found
        }
    missing = [image.name for image in content.images if image.name not in found]
    notes = content.notes
    if missing:
        said = f"images have no line in {table.name} and are left out"
        notes = (*notes, tallied(len(missing), said, missing[0]))
    images = tuple(found[image.name] for image in content.images if image.name in found)
    return FormatContent(tuple(classes), images, notes)


def _mask_by(labels: Labels | None, image: FormatImage) -> MaskMaker | None:
    """Return the mask of an image with new labels; that of a clear image rests on them alone."""
    drawn = None if isinstance(image.mask, EmptyMask) else image.mask
    if drawn is None and labels is not None and not (labels.present or labels.unknown):
        return EmptyMask(image.picture)
    return drawn


def _by_key(content: FormatContent) -> dict[str, list[FormatImage]]:
    by_key: dict[str, list[FormatImage]] = {}
    for image in content.images:
        path = PurePosixPath(image.name)
        full = image.picture.path.name
        for key in {image.name, f"{image.name}{image.picture.path.suffix}", path.name, full}:
            by_key.setdefault(composed(key), []).append(image)
    return by_key


def _named(name: str, by_key: Mapping[str, list[FormatImage]], where: str) -> FormatImage:
    path = PurePosixPath(composed(name.strip().replace("\\", "/")))
    for key in (path.as_posix(), path.name, path.stem):
        found = by_key.get(key, [])
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(
                f"{where}: {quoted(name)} may be {found[0].name} or {found[1].name}; give its path"
            )
    near = nearest(name, list(by_key)[:2000])
    raise InputError(
        f"{where}: {quoted(name)} is no image of the set{f'; nearest: {near!r}' if near else ''}"
    )


def _row_labels(row: Mapping[str, str], single: Sequence[str], where: str) -> Labels:
    if "classes" in row:
        if "," in row["classes"]:
            raise InputError(
                f"{where}: classes {quoted(row['classes'])}, expected ';' between classes"
            )
        names = (name.strip() for name in row["classes"].split(";"))
        return Labels(frozenset(name for name in names if name))
    present, unknown = set(), set()
    for name in single:
        word = row[name].strip().lower()
        if word in _YES:
            present.add(name.strip())
        elif word in _UNKNOWN:
            unknown.add(name.strip())
        elif word not in _NO:
            raise InputError(
                f"{where}: {quoted(row[name])} in column {quoted(name)}, expected 1, 0 or nothing"
            )
    return Labels(frozenset(present), frozenset(unknown))
