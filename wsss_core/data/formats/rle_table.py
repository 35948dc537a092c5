"""Tables of run lengths, as Kaggle's competitions hand masks out.

A CSV file has a line, or several, for each image: its name, run lengths, and a class where there
are several. An image whose lines hold no run is clear. An image of the same folders that no line
names is unknown: some competitions leave clear images out.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wsss_core.data.folder.layout import IMAGE_SUFFIXES
from wsss_core.data.formats.common.contents import (
    EmptyMask,
    Format,
    FormatContent,
    FormatImage,
    FormatOptions,
    Labels,
    Picture,
)
from wsss_core.data.formats.common.mask_values import OBJECT
from wsss_core.data.formats.common.runs import NO_RUNS, RunMask, Runs, torn
from wsss_core.data.formats.common.source_files import (
    FileIndex,
    composed,
    files_below,
    inner_path,
    source_root,
    split_in,
    tallied,
)
from wsss_core.errors import InputError, check_printable, quoted
from wsss_core.text_files import read_csv

_RUNS = ("encodedpixels", "rlemask", "rle")
_IMAGES = ("imageid", "image", "img", "imgid", "id", "filename", "file")
_CLASSES = ("classid", "class", "label", "category")
_BOTH = ("imageidclassid", "imagelabel", "imageidlabel")  # "0002cc93b.jpg_1"
_ANSWERS = ("sample", "submission")  # of tables that are templates of answers
_LONGEST = 2**26  # characters of a field; csv reads 131,072
_LOOKED_AT = 40  # masks by which the order of run lengths is judged


@dataclass(frozen=True)
class _Columns:
    """The columns of a table, by what they hold."""

    runs: str
    image: str
    name: str | None
    both: bool


def _columns(file: Path) -> _Columns | None:
    """Return the columns of a table of run lengths; None of any other file."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            header = next(csv.reader([opened.readline(2**16)]), [])
    except (OSError, ValueError, csv.Error):
        return None
    plain = {re.sub("[^a-z]", "", name.lower()): name for name in header}

    def first(words: tuple[str, ...]) -> str | None:
        return next((plain[word] for word in words if word in plain), None)

    runs, both, image = first(_RUNS), first(_BOTH), first(_IMAGES)
    if runs is None or (both is None and image is None):
        return None
    return _Columns(runs, both or image or "", None if both else first(_CLASSES), both is not None)


def _tables(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix.lower() == ".csv" and _columns(path) else []
    found = [file for file in files_below(path, (".csv",), deep=False) if _columns(file)]
    return [f for f in found if not any(word in f.stem.lower() for word in _ANSWERS)]


def _recognise(path: Path) -> str | None:
    tables = _tables(path)
    if not tables:
        return None
    columns = _columns(tables[0])
    assert columns is not None
    return f"{tables[0].name} with the column {columns.runs.strip()}"


def read_rle_table(path: Path, options: FormatOptions) -> FormatContent:
    """Read the images that a table of run lengths names, and those beside them.

    Raises:
        InputError: several tables may be meant, images are missing, a class has no name, or the
            runs make sense in the other order alone.

    """
    tables = _tables(path)
    if len(tables) != 1:
        listed = ", ".join(file.name for file in tables) or "none"
        raise InputError(
            f"{path}: tables of run lengths: {listed}; expected one, which may be the SOURCE itself"
        )
    table = tables[0]
    root = source_root(path)
    lines, numbers = _lines(table)
    classes = _class_names(numbers, options.values, table)
    paths = _find(lines, table, root)
    split = split_in(table.stem)
    images = []
    for name, parts in lines.items():
        held = [(number, text, where) for number, text, where in parts if text]
        picture = Picture(paths[name])
        runs = tuple(Runs(_code(classes, n), text, where) for n, text, where in held)
        images.append(
            FormatImage(
                name=paths[name].relative_to(root).with_suffix("").as_posix(),
                picture=picture,
                split=split,
                labels=Labels(frozenset(classes[number] for number, _, _ in held)),
                mask=RunMask(picture, runs, options.runs) if runs else EmptyMask(picture),
            )
        )
    masks = [image.mask for image in images if isinstance(image.mask, RunMask)]
    if torn(masks[:: max(1, len(masks) // _LOOKED_AT)]):
        other = "rows" if options.runs == "columns" else "columns"
        raise InputError(
            f"{table}: run lengths read along the {options.runs} tear the objects into stripes, "
            f"along the {other} they do not; say --runs {other}"
        )
    unlisted = _unlisted(paths, root)
    named = tuple(dict.fromkeys(classes.values()))
    images += [
        FormatImage(
            name=file.relative_to(root).with_suffix("").as_posix(),
            picture=Picture(file),
            split=split,
            labels=Labels(frozenset(), frozenset(named)),
        )
        for file in unlisted
    ]
    notes: tuple[str, ...] = ()
    if unlisted:
        said = f"images are not in {table.name}; they are unknown, or clear by --assume-absent"
        notes = (tallied(len(unlisted), said, unlisted[0].relative_to(root)),)
    return FormatContent(named, tuple(sorted(images, key=lambda image: image.name)), notes)


_Line = tuple[str, str, str]  # class in the table's words, run lengths or "", where it stands


def _lines(table: Path) -> tuple[dict[str, list[_Line]], list[str]]:
    """Return image -> its lines, and the classes in the order of their numbers or names."""
    columns = _columns(table)
    assert columns is not None
    lines: dict[str, list[_Line]] = defaultdict(list)
    words: set[str] = set()
    with _long_fields():
        for number, row in read_csv(table, (columns.image, columns.runs)):
            where = f"{table}, line {number}"
            name, word = row[columns.image].strip(), ""
            if columns.both:
                name, _, word = name.rpartition("_")
            elif columns.name is not None:
                word = row[columns.name].strip()
            word = word.removesuffix(".0")  # as pandas writes whole numbers beside empty cells
            inner_path(name, where)
            text = row[columns.runs].strip()
            text = "" if text.lower() in NO_RUNS else text
            if text and not word and (columns.both or columns.name is not None):
                raise InputError(f"{where}: run lengths without a class")
            words |= {word} if word else set()
            lines[composed(name)].append((word, text, where))
    if not lines:
        raise InputError(f"{table}: no line below the header, expected some")
    ordered = sorted(words, key=lambda w: (not w.isdecimal(), int(w) if w.isdecimal() else 0, w))
    return lines, ordered or [""]


@contextmanager
def _long_fields() -> Iterator[None]:
    before = csv.field_size_limit(_LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _class_names(words: list[str], values: Mapping[int, str] | None, table: Path) -> dict[str, str]:
    """Return class in the table's words -> its name; numbers are named by `--values`."""
    named: dict[str, str] = {}
    for word in words:
        check_printable(word, str(table), allowed="")
        if not word:
            named[word] = OBJECT
        elif word.isdecimal() and values is not None:
            if int(word) not in values:
                raise InputError(f"{table}: class {word}, which --values does not name")
            named[word] = values[int(word)]
        else:
            named[word] = f"class {word}" if word.isdecimal() else word
    return named


def _code(classes: Mapping[str, str], word: str) -> int:
    return list(dict.fromkeys(classes.values())).index(classes[word]) + 1


def _find(lines: Mapping[str, list[_Line]], table: Path, root: Path) -> dict[str, Path]:
    index = FileIndex(root)
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for file in index.files:
        by_stem[composed(file.stem)].append(file)
    split = split_in(table.stem)
    folders = {file.parent.name for file in index.files}
    hints = {name for name in folders if split and split_in(name) == split}
    found: dict[str, Path] = {}
    absent = []
    for name in lines:
        path = index.find(inner_path(name, str(table)), table.parent, hints)
        same = by_stem.get(name, [])
        if path is None and len(same) > 1:
            raise InputError(
                f"{table}: image {quoted(name)} may be {same[0]} or {same[1]}; expected one"
            )
        if path is None and not same:
            absent.append(name)
            continue
        found[name] = path or same[0]
    if absent:
        raise InputError(
            f"{table}: image {quoted(absent[0])} is not in {root}; {len(absent)} of the "
            f"{len(lines)} listed images are missing"
        )
    return found


def _unlisted(paths: Mapping[str, Path], root: Path) -> list[Path]:
    """Return the images beside the listed ones that no line names."""
    used = set(paths.values())
    folders = {path.parent for path in used}
    beside = [f for folder in folders for f in files_below(folder, IMAGE_SUFFIXES, deep=False)]
    return sorted(file for file in beside if file not in used)


RLE_TABLE = Format(
    "rle",
    "a CSV file with ImageId and EncodedPixels",
    _recognise,
    read_rle_table,
    uses=("values", "runs"),
)
