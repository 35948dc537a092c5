"""The meaning of mask pixels: by value, by colour, by a threshold, or as one object.

Lists of values are written `0=sky,11=ignore`. A list of colours is a text file with a line for each
class: `128 0 0 car` (red, green, blue, name), `car,128,0,0` below a header `name,r,g,b`, or CVAT's
`car:128,0,0::`. The names "ignore" and "void" stand for pixels that count neither way, "background"
for pixels of no class.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsss_core.data.formats.common.contents import BACKGROUND_NAME, IGNORE_NAME
from wsss_core.data.formats.common.source_files import read_array, tallied
from wsss_core.data.image_set import IGNORED
from wsss_core.data.mask_decoding import read_stored_pixels
from wsss_core.errors import InputError, check_printable, quoted
from wsss_core.text_files import read_text

MASK_FILE_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".jpg", ".jpeg", ".npy")
"""The endings of files that may be masks; .gif is refused when it is opened."""

OBJECT = "object"
"""The class of masks that name none."""

MOST_CLASSES = IGNORED - 1

_VOID = (IGNORE_NAME, "void", "ignored")
_FEW = 64  # distinct values of a mask that can still be numbers of classes
_MOST_BYTES = 2**20


@dataclass(frozen=True)
class Meaning:
    """What the pixels of a set's masks mean; at most one of the three is given.

    Attributes:
        classes: the foreground classes.
        values: pairs of a mask value and its code: 0 background, k + 1 class k, 255 ignored.
        colours: pairs of a colour (red * 65536 + green * 256 + blue) and its code.
        threshold: the least value that is object. With none of these every value above 0 is
            object, and a mask may hold only one.

    """

    classes: tuple[str, ...]
    values: tuple[tuple[int, int], ...] | None = None
    colours: tuple[tuple[int, int], ...] | None = None
    threshold: int | None = None


@dataclass(frozen=True)
class MaskFile:
    """A mask in a file, read by the meaning of its set.

    Attributes:
        path: an image file or a `.npy` array [h, w].
        meaning: what its pixels mean.
        code: the code of the object where `meaning` lists neither values nor colours.

    """

    path: Path
    meaning: Meaning
    code: int = 1

    def read(self) -> np.ndarray:
        """Decode the mask, see `MaskMaker.read`."""
        meaning = self.meaning
        pixels = _stored(self.path, colours=meaning.colours is not None)
        if meaning.colours is not None:
            packed = pixels.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
            known = dict(meaning.colours)
            return _coded(packed, {0: 0} | known, self.path, "#{:06x}")
        if pixels.ndim == 3:
            raise InputError(
                f"{self.path}: mask of colours, expected one number per pixel or a list of colours"
            )
        if meaning.values is not None:
            return _coded(pixels, {0: 0} | dict(meaning.values), self.path, "{}")
        if meaning.threshold is not None:
            _check_threshold(pixels, meaning.threshold, self.path)
            return np.where(pixels >= meaning.threshold, self.code, 0).astype(np.uint8)
        above = pixels[pixels > 0]
        if above.size and above.min() != above.max():
            raise InputError(
                f"{self.path}: values {above.min()} to {above.max()} beside 0, expected one; say "
                "what they mean by --values, or cut grey edges by --threshold"
            )
        return np.where(pixels > 0, self.code, 0).astype(np.uint8)


def _check_threshold(pixels: np.ndarray, threshold: int, path: Path) -> None:
    """Raise if a threshold cannot be meant for the range of a mask's values."""
    most = int(pixels.max(initial=0))
    if most == 1 < threshold:
        raise InputError(f"{path}: values 0 and 1, expected a mask that {threshold} can cut")
    if most > 255 >= threshold > 1:
        raise InputError(
            f"{path}: values up to {most}, expected at most 255 with the threshold {threshold}; "
            "for 16 bits give one above 255, e.g. --threshold 32768"
        )


def _stored(path: Path, *, colours: bool = False) -> np.ndarray:
    if path.suffix.lower() != ".npy":
        return read_stored_pixels(path, colours=colours)
    pixels = read_array(path)
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.dtype.kind not in "bui":
        raise InputError(f"{path}: expected an array of whole numbers [height, width]")
    return pixels.view(np.uint8) if pixels.dtype == np.bool_ else pixels


def _coded(pixels: np.ndarray, known: Mapping[int, int], path: Path, form: str) -> np.ndarray:
    keys = np.array(sorted(known), np.int64)
    codes = np.array([known[int(key)] for key in keys], np.uint8)
    at = np.minimum(np.searchsorted(keys, pixels), len(keys) - 1)
    wrong = keys[at] != pixels
    if wrong.any():
        first = form.format(int(pixels[wrong][0]))
        listed = ", ".join(form.format(int(key)) for key in keys[:20])
        raise InputError(
            f"{path}: {int(wrong.sum())} pixels of {first}, which is not listed; listed: {listed}"
        )
    return codes[at]


def parse_values(text: str) -> dict[int, str]:
    """Return mask value -> name from e.g. "0=sky,11=ignore".

    Raises:
        InputError: a part is no whole number from 0 to 65535, "=" and a name, or a value is given
            twice.

    >>> parse_values("0=sky, 11=ignore")
    {0: 'sky', 11: 'ignore'}
    """
    values: dict[int, str] = {}
    for part in text.split(","):
        number, equals, name = (word.strip() for word in part.partition("="))
        if not (equals and name and number.isascii() and number.isdigit() and len(number) < 6):
            raise InputError(f"values {quoted(part)}, expected e.g. 0=sky,11=ignore")
        if int(number) > 65535 or int(number) in values:
            raise InputError(f"value {number} in {quoted(text)}, expected 0 to 65535, each once")
        check_printable(name, "values", allowed="")
        values[int(number)] = name
    return values


def meaning_of_values(values: Mapping[int, str]) -> Meaning:
    """Return the meaning of listed values; several values may share a class.

    Raises:
        InputError: no class is listed, or too many.

    """
    classes = _classes(name for _, name in sorted(values.items()))
    codes = tuple((value, _code(name, classes)) for value, name in sorted(values.items()))
    return Meaning(classes, values=codes)


def meaning_of_colours(file: Path) -> Meaning:
    """Return the meaning of a list of colours in a file; black is background unless listed.

    Raises:
        InputError: the file cannot be read, or a line is no colour and name.

    """
    listed: dict[int, str] = {}
    for number, line in enumerate(read_text(file, _MOST_BYTES).splitlines(), start=1):
        text = line.partition("#")[0].strip()
        if not text or (number == 1 and not re.search(r"\d", text)):
            continue
        colour, name = _colour_line(text, f"{file}, line {number}")
        if listed.setdefault(colour, name) != name:
            raise InputError(f"{file}, line {number}: colour #{colour:06x} has two names")
    classes = _classes(listed.values())
    codes = tuple((colour, _code(name, classes)) for colour, name in sorted(listed.items()))
    return Meaning(classes, colours=codes)


def _colour_line(text: str, where: str) -> tuple[int, str]:
    number = r"\s*(\d{1,3})\s*"
    for pattern in (
        rf"{number}[ ,\t]{number}[ ,\t]{number}[ ,\t]\s*(?P<name>\S.*)",
        rf"(?P<name>[^,]*[^,\s])\s*,{number},{number},{number}",
        rf"(?P<name>[^:]*[^:\s])\s*:{number},{number},{number}:[^:]*:[^:]*",
    ):
        found = re.fullmatch(pattern, text)
        if not found:
            continue
        name = found["name"].strip()
        parts = [int(part) for part in found.groups() if part != found["name"]]
        if len(parts) == 3 and max(parts) <= 255:
            check_printable(name, where, allowed="")
            return (parts[0] << 16) + (parts[1] << 8) + parts[2], name
    raise InputError(f"{where}: {quoted(text)}, expected e.g. '128 0 0 car' or 'car,128,0,0'")


def _classes(names: object) -> tuple[str, ...]:
    assert not isinstance(names, str)
    listed: list[str] = list(dict.fromkeys(names))  # type: ignore[call-overload]
    classes = tuple(name for name in listed if name.lower() not in (*_VOID, BACKGROUND_NAME))
    if not 1 <= len(classes) <= MOST_CLASSES:
        raise InputError(f"{len(classes)} classes are listed, expected 1 to {MOST_CLASSES}")
    return classes


def _code(name: str, classes: Sequence[str]) -> int:
    if name.lower() in _VOID:
        return IGNORED
    return 0 if name.lower() == BACKGROUND_NAME else classes.index(name) + 1


def find_meaning(masks: Sequence[Path], name: str = OBJECT) -> tuple[Meaning, tuple[str, ...]]:
    """Open every mask, and return what its values can only mean, with a note where that helps.

    Masks that hold 0 and one other value each, 1 or 255 throughout, show one object. Anything else
    has to be told.

    Args:
        masks: the mask files.
        name: the class of the object.

    Raises:
        InputError: the values are ambiguous; the message counts them and names the option.

    """
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(_values_of, masks))
    colour = [path for path, values in zip(masks, found, strict=True) if values is None]
    if colour:
        raise InputError(
            f"{tallied(len(colour), 'masks of colours', colour[0])}, expected a list of what they "
            "mean: --colours FILE with lines such as '128 0 0 car'"
        )
    files: Counter[int] = Counter()
    grey = []
    for path, values in zip(masks, found, strict=True):
        files.update(values or ())
        if values is not None and (len(values) > _FEW or _is_grey(values)):
            grey.append(path)
    if grey:
        raise InputError(
            f"{tallied(len(grey), 'masks have grey edges or are probability maps', grey[0])}; cut "
            "them by --threshold 128, or say what each value means by --values"
        )
    above = sorted(value for value in files if value > 0)
    several = [
        path for path, values in zip(masks, found, strict=True) if values and len(values) > 1
    ]
    if several or not set(above) <= {1, 255}:
        shown = ", ".join(f"{value} in {files[value]}" for value in above[:20])
        raise InputError(
            f"{masks[0].parent}: masks hold the values {shown}"
            f"{' and others' if len(above) > 20 else ''}; say what they mean, e.g. --values "
            f"{','.join(f'{v}={_example(v)}' for v in above[:3])}"
        )
    notes: tuple[str, ...] = ()
    if len(above) == 2:
        notes = (f"{files[1]} masks hold 1 and {files[255]} hold 255; each is read as object",)
    return Meaning((name,)), notes


def _example(value: int) -> str:
    return IGNORE_NAME if value == IGNORED else f"class{value}"


def _values_of(path: Path) -> tuple[int, ...] | None:
    """Return the distinct values above 0 of a mask; None for colours."""
    pixels = _stored(path)
    if pixels.ndim == 3:
        return None
    found = np.unique(pixels)
    return tuple(int(value) for value in found if value > 0)


def _is_grey(values: Sequence[int]) -> bool:
    """Return whether values look like those of soft edges: many, unevenly, and up to white."""
    return len(values) > 4 and values[-1] > 200 and values[-1] - values[0] > 2 * len(values)
