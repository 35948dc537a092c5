"""Readers of the text that people write: YAML 1.2 and CSV.

What these readers accept means what it says: in YAML `no` is a text, a date is a text, `1e-1` is a
number. Whatever they do not accept raises an `InputError` of one line that names the file and,
where there is one, the line.
"""

import csv
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from wsss_core.errors import InputError, check_printable, one_line, quoted

MOST_BYTES = 2**20
"""The largest YAML file; a study of 20,000 configurations takes a quarter of it."""


def read_text(file: Path, most_bytes: int | None = None) -> str:
    """Return the text of a regular file in UTF-8, with or without a byte-order mark.

    Args:
        file: the file.
        most_bytes: refuse a larger file.

    Raises:
        InputError: there is no such file, it is no regular file, too large, or not UTF-8.

    """
    try:
        about = file.stat()
        if not stat.S_ISREG(about.st_mode):
            raise InputError(f"{file}: expected a regular file")
        if most_bytes is not None and about.st_size > most_bytes:
            raise InputError(f"{file}: {about.st_size} bytes, expected at most {most_bytes}")
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not a text in UTF-8: {one_line(error)}") from error
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        said = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{file}: cannot be read: {one_line(said)}") from error


def read_yaml(file: Path) -> Any:
    """Return the content of a YAML file, see `parse_yaml`.

    Raises:
        InputError: the file cannot be read, is larger than `MOST_BYTES`, or is not valid YAML.

    """
    return parse_yaml(read_text(file, MOST_BYTES), str(file))


def parse_yaml(text: str, where: str) -> Any:
    """Return the content of a YAML 1.2 text, as plain Python values.

    Values are those of the core schema: mappings, lists, texts, whole numbers, reals, booleans
    (`true`, `false`), null. Anchors and merge keys work.

    Args:
        text: one YAML document.
        where: the file or the option, for messages.

    Raises:
        InputError: the text is not valid YAML; a key is given twice; an anchor contains itself; the
            values are too many or nested too deeply; a tag is unknown; a text holds control
            characters. The limits are those of `wsss_core.plain_yaml`.

    """
    # Loaded here: many commands read no YAML.
    from wsss_core.plain_yaml import load

    try:
        return load(text)
    except Exception as error:
        # The parser lets ValueError, KeyError, AttributeError and others out.
        raise InputError(f"{where}: not valid YAML: {_said(error)}") from error


def _said(error: Exception) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return one_line(error, 200)
    return f"line {mark.line + 1}, column {mark.column + 1}: {one_line(problem, 200)}"


def read_csv(
    file: Path, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and fields of each row of a CSV file with a header.

    Blanks around the names of columns are dropped, and those that are asked for may be written in
    small or capital letters.

    Args:
        file: comma-separated text in UTF-8; other columns may stand beside those that are needed.
        columns: the columns that the header must name.
        optional: columns that it may name.

    Raises:
        InputError: the file cannot be read, a column is missing or named twice, a row has more or
            fewer fields than the header or one in a column without a name (but the first, which
            may number the rows), a quote is not closed, or a field holds control characters.

    """
    expected = f"expected CSV with columns {', '.join(columns)}"
    lines = csv.reader(read_text(file).splitlines(keepends=True), strict=True)
    try:
        known = {name.casefold(): name for name in (*columns, *optional)}
        given = (name.strip() for name in next(lines, []))
        header = [known.get(name.casefold(), name) for name in given]
        if not set(columns) <= set(header):
            raise InputError(f"{file}: columns {quoted(header)}, {expected}")
        if len(set(header)) < len(header):
            raise InputError(f"{file}: a column is named twice in {quoted(header)}, {expected}")
        for fields in lines:
            if not fields:
                continue
            where = f"{file}, line {lines.line_num}"
            if len(fields) != len(header):
                raise InputError(
                    f"{where}: {len(fields)} fields, expected {len(header)} "
                    f"({','.join(header)}); a field that holds a comma needs quotes"
                )
            for at, (name, field) in enumerate(zip(header, fields, strict=True)):
                check_printable(field, where)
                # A table that pandas wrote begins with its index, under no name.
                if at and field.strip() and not name.strip():
                    raise InputError(
                        f"{where}: {quoted(field)} stands in a column without a name; a field that "
                        "holds a comma needs quotes"
                    )
            yield lines.line_num, dict(zip(header, fields, strict=True))
    except csv.Error as error:
        raise InputError(f"{file}, line {lines.line_num}: {error}, {expected}") from error
