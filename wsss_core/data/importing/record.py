"""The record of an import: `import.json`, where a set came from, and `images.csv`, each image.

`import.json` holds its own digest and that of `images.csv`, which holds the digests of the files.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss_core.data.file_hashes import content_hash, file_hashes
from wsss_core.data.folder.layout import CLEAR
from wsss_core.data.folder.origins import IMAGES, IMPORT_RECORD
from wsss_core.errors import InputError, quoted
from wsss_core.text_files import read_csv, read_text
from wsss_core.whole_files import ZEROS, fill_digest, holds_digest, write_whole

COLUMNS = (
    *("file", "source", "original", "source_split", "group", "camera", "time", "flags"),
    *("classes", "digest", "mask_digest", "context_digest"),
)
"""The columns of `images.csv`."""

_BEFORE = b'"digest": "'
_VERSION = 1
_MOST_BYTES = 2**26


@dataclass(frozen=True)
class ImportRecord:
    """Where a data folder came from.

    Attributes:
        plan: the digest of everything that the import was to write.
        sources: of each: name, path, format, why it was recognised, images, notes.
        options: how it was imported.
        classes: its classes.
        counts: split -> "images", "clear" and each class -> number of images.
        notes: what was left out or read otherwise than it may be meant.
        images: the digest of `images.csv`.

    """

    plan: str
    sources: tuple[Mapping[str, Any], ...]
    options: Mapping[str, Any]
    classes: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...]
    images: str

    def describe(self) -> str:
        """Return the counts as a plain-text table, and the notes below it."""
        header = ["split", "images", *self.classes, CLEAR]
        rows = [header]
        for split, counts in self.counts.items():
            rows.append([split, *(str(counts[name]) for name in header[1:])])
        widths = [max(len(row[at]) for row in rows) for at in range(len(header))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def write_record(folder: Path, record: ImportRecord) -> None:
    """Write `import.json` whole."""
    content = {"version": _VERSION, "digest": ZEROS.decode(), **record.__dict__}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    write_whole(folder / IMPORT_RECORD, fill_digest(text.encode(), _BEFORE))


def read_record(folder: Path) -> ImportRecord:
    """Return the record of an imported data folder.

    Raises:
        InputError: there is none, or it is corrupt.

    """
    file = folder / IMPORT_RECORD
    text = read_text(file, _MOST_BYTES)
    if not holds_digest(text.encode(), _BEFORE):
        raise InputError(f"{file}: corrupt, it differs from its own digest; import again")
    try:
        content = json.loads(text)
        if content["version"] != _VERSION:
            raise InputError(f"{file}: version {quoted(content['version'])}, expected {_VERSION}")
        return ImportRecord(
            content["plan"],
            tuple(content["sources"]),
            content["options"],
            tuple(content["classes"]),
            content["counts"],
            tuple(content["notes"]),
            content["images"],
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file}: not the record of an import") from error


def write_images(folder: Path, rows: Iterable[Mapping[str, str]]) -> str:
    """Write `images.csv` whole, and return its digest."""
    content = csv_text(COLUMNS, [[row[column] for column in COLUMNS] for row in rows])
    write_whole(folder / IMAGES, content)
    return content_hash(content)


def csv_text(header: Iterable[str], rows: Iterable[Iterable[str]]) -> bytes:
    """Return a CSV file's content."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def check_imported(folder: Path) -> ImportRecord:
    """Compare an imported data folder with its record, file by file; return the record.

    Raises:
        InputError: a file is missing or differs, or the record is corrupt.

    """
    record = read_record(folder)
    if file_hashes([folder / IMAGES]) != [record.images]:
        raise InputError(f"{folder / IMAGES}: differs from what was imported")
    expected: dict[Path, str] = {}
    for _, row in read_csv(folder / IMAGES, COLUMNS[:-1]):  # older records have no context masks
        file = folder / row["file"]
        expected[file] = row["digest"]
        for place in ("mask", "context"):
            if digest := row.get(f"{place}_digest"):
                of_split = file.parents[1] / ("masks" if place == "mask" else place)
                expected[of_split / f"{file.stem}.png"] = digest
    for file, digest in zip(expected, file_hashes(list(expected)), strict=True):
        if expected[file] != digest:
            raise InputError(f"{file}: differs from what was imported")
    return record
