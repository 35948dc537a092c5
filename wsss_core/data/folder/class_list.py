"""The classes of a data folder and what the values of its masks mean: `classes.yaml`.

    classes: {1: smoke, 2: steam}   the mask value of each class, 0 to 65535
    ignore: 255                     a value or a list of values that count neither way
    threshold: 128                  for a single class: the least value that is object

Each key may be left out. Without `classes` there is one class, and a mask holds 0 and one other
value. With `classes`, 255 is ignored unless it is a class or `ignore` says otherwise; 0 is the
background unless it is a class or ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wsss_core.data.folder.likely_names import CLASS_FILES
from wsss_core.data.image_set import IGNORED
from wsss_core.data.mask_decoding import MaskMeaning
from wsss_core.errors import InputError, check_printable, quoted
from wsss_core.text_files import read_yaml

LARGEST_VALUE = 65535
"""The largest value of a mask that can be a class; masks have 8 or 16 bits."""

_KEYS = ("classes", "ignore", "threshold")
_EXAMPLE = "expected e.g. `classes: {1: smoke, 2: steam}`"


@dataclass(frozen=True)
class FolderClasses:
    """The classes of a data folder and what its masks mean.

    Attributes:
        names: the classes, ascending by mask value.
        mask_values: the value of each; None for a single class that every value above 0 stands for.
        ignored: values of pixels that count neither way.
        threshold: the least value that is object, for a single class; None: masks are not cut.

    """

    names: tuple[str, ...]
    mask_values: tuple[int, ...] | None
    ignored: tuple[int, ...] = ()
    threshold: int | None = None

    @property
    def meaning(self) -> MaskMeaning:
        """What the values of masks mean."""
        return MaskMeaning(self.mask_values, self.ignored, self.threshold)

    @property
    def unusual(self) -> dict[str, object]:
        """What differs from the meaning that the values of the classes have by themselves."""
        found: dict[str, object] = {}
        if self.ignored != usually_ignored(self.mask_values):
            found["ignored"] = self.ignored
        if self.threshold is not None:
            found["threshold"] = self.threshold
        return found


@dataclass(frozen=True)
class ClassList:
    """The content of `classes.yaml`.

    Attributes:
        names: mask value -> class, ascending; None where the file lists none.
        ignored: values that count neither way.
        threshold: the least value that is object, or None.

    """

    names: Mapping[int, str] | None
    ignored: tuple[int, ...]
    threshold: int | None


def usually_ignored(mask_values: tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the values that are ignored unless `classes.yaml` says otherwise."""
    return () if mask_values is None or IGNORED in mask_values else (IGNORED,)


def class_list_file(root: Path) -> Path | None:
    """Return the list of classes of a data folder, or None where there is none.

    Raises:
        InputError: it is there with both endings.

    """
    found = [root / name for name in CLASS_FILES if (root / name).exists()]
    if len(found) > 1:
        raise InputError(f"{found[1]}: stands beside {found[0].name}, expected one of them")
    return found[0] if found else None


def read_class_list(path: Path) -> ClassList:
    """Read `classes.yaml`.

    Raises:
        InputError: it cannot be read, a key is unknown, or values do not fit together.

    """
    content = read_yaml(path)
    if not isinstance(content, dict) or not content.keys() & set(_KEYS):
        raise InputError(f"{path}: no mapping of mask values to class names, {_EXAMPLE}")
    for key in content:
        if key not in _KEYS:
            known = ", ".join(_KEYS)
            raise InputError(f"{path}: unknown key {quoted(key)}, expected {known}")
    names = _names(path, content["classes"]) if "classes" in content else None
    ignored = usually_ignored(None if names is None else tuple(names))
    if "ignore" in content:
        ignored = _ignored(path, content["ignore"], names or {})
    threshold = content.get("threshold")
    if "threshold" in content:
        check_threshold(str(path), threshold, names or {})
    return ClassList(names, ignored, threshold)


def check_threshold(where: str, threshold: object, names: Mapping[int, str]) -> None:
    """Raise InputError unless masks of these classes can be cut at a threshold.

    Args:
        where: the file or key, for messages.
        threshold: the least value that is object.
        names: mask value -> class; may be empty for a single class.

    """
    if type(threshold) is not int or not 1 <= threshold <= LARGEST_VALUE:
        raise InputError(
            f"{where}: threshold {quoted(threshold)}, expected a whole number from 1 to "
            f"{LARGEST_VALUE}, e.g. 128"
        )
    if len(names) > 1:
        raise InputError(
            f"{where}: threshold {threshold} for {len(names)} classes, expected a single class; "
            "masks of several hold a value for each"
        )
    for value, name in names.items():
        if value < threshold:
            raise InputError(
                f"{where}: class {name!r} has the mask value {value}, below the threshold "
                f"{threshold}; leave `classes` out, as the threshold says what is object"
            )


def _names(path: Path, values: Any) -> dict[int, str]:
    if not isinstance(values, dict):
        raise InputError(f"{path}: no mapping of mask values to class names, {_EXAMPLE}")
    if not 0 < len(values) < IGNORED:
        said = f"{len(values)} classes, expected 1 to {IGNORED - 1}" if values else "no class"
        raise InputError(f"{path}: {said} listed, {_EXAMPLE}")
    for value, name in values.items():
        if not _is_value(value):
            raise InputError(
                f"{path}: mask value {quoted(value)} of class {quoted(name)}, expected a whole "
                f"number from 0 to {LARGEST_VALUE}"
            )
        if not isinstance(name, str) or not name:
            raise InputError(
                f"{path}: class name {quoted(name)} of mask value {value}, expected a name"
            )
        check_printable(name, str(path), allowed="")
    if len(set(values.values())) < len(values):
        raise InputError(f"{path}: a class is listed twice, expected one mask value for each class")
    return dict(sorted(values.items()))


def _ignored(path: Path, given: Any, names: Mapping[int, str]) -> tuple[int, ...]:
    values = given if isinstance(given, list) else [given]
    for value in values:
        if not _is_value(value):
            raise InputError(
                f"{path}: ignore {quoted(value)}, expected a mask value from 0 to {LARGEST_VALUE}, "
                "or a list of values"
            )
        if value in names:
            raise InputError(f"{path}: mask value {value} is class {names[value]!r} and ignored")
    return tuple(sorted(set(values)))


def _is_value(value: object) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_VALUE


def cut_at(classes: FolderClasses, threshold: int, root: Path) -> FolderClasses:
    """Return classes whose masks are cut at a threshold that the study gives."""
    values = classes.mask_values
    names = {} if values is None else dict(zip(values, classes.names, strict=True))
    check_threshold(f"{root}: data.threshold", threshold, names)
    if classes.threshold not in (None, threshold):
        raise InputError(
            f"{root}: data.threshold {threshold}, and classes.yaml says {classes.threshold}; "
            "expected one of them, or the same"
        )
    return replace(classes, threshold=threshold)
