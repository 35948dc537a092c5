"""The page of a description, one file without scripts, and its tables beside it."""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from reports.page.rendering import page_templates
from reports.tables.cells import points
from reports.tables.rendering import to_csv, to_latex, to_markdown
from studies.description.records import description_record
from studies.description.tables import cooccurrence_table, counts_table, split_facts
from wsss_core.data.description import (
    COLOURS,
    CONTEXT_COLOUR,
    DataDescription,
    SheetRow,
    Thumbnail,
    Trap,
)
from wsss_core.errors import as_input_error
from wsss_core.whole_files import write_whole

PAGE = "data.html"
_MOST_ROWS, _MOST_TRAPS = 60, 12


@dataclass(frozen=True)
class ShownRow:
    """A row of the sheet as the page shows it: its title, and of each image source, text, name."""

    title: str
    pictures: tuple[tuple[str, str, str], ...]


def write_description(described: DataDescription, out: Path) -> tuple[Path, ...]:
    """Write the page, its tables as CSV, Markdown and LaTeX, and the record as JSON.

    Args:
        described: the data set.
        out: a folder; made if it does not exist.

    Returns:
        The files, the page first.

    Raises:
        InputError: the folder cannot be written.

    """
    tables = [counts_table(described), cooccurrence_table(described.cooccurrences)]
    files = {PAGE: render_description(described)}
    for table in tables:
        files[f"{table.name}.csv"] = to_csv(table)
        files[f"{table.name}.md"] = to_markdown(table)
        files[f"{table.name}.tex"] = to_latex(table)
    files["data.json"] = json.dumps(description_record(described), indent=1) + "\n"
    with as_input_error(f"{out}: the description cannot be written there", OSError):
        out.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_whole(out / name, content.encode())
    return tuple(out / name for name in files)


def render_description(described: DataDescription) -> str:
    """Return the page: one HTML file that has no script and fetches nothing."""
    rows = described.cooccurrences
    return (
        page_templates("studies.description")
        .get_template("data.html")
        .render(
            described=described,
            splits=split_facts(described),
            counts=counts_table(described),
            cooccurrence=cooccurrence_table(rows[:_MOST_ROWS]),
            more_rows=max(0, len(rows) - _MOST_ROWS),
            traps=_traps(described),
            more_traps=max(0, len(described.traps) - _MOST_TRAPS),
            legend=_legend(described),
            sheet=[_shown(row, described.classes) for row in described.sheet],
        )
    )


def _traps(described: DataDescription) -> list[tuple[Trap, list[ShownRow]]]:
    """Return the first traps, and of the first few of them the images for and against."""
    shown = dict(zip(range(_MOST_TRAPS), described.trap_sheet, strict=False))
    return [
        (
            trap,
            [_shown(row, described.classes) for row in shown[place][1]] if place in shown else [],
        )
        for place, trap in enumerate(described.traps[:_MOST_TRAPS])
    ]


def _legend(described: DataDescription) -> list[tuple[str, str]]:
    """Return colour and name of each outline; classes beyond the colours share them."""
    named = [
        (_css(COLOURS[number % len(COLOURS)]), name)
        for number, name in enumerate(described.classes)
    ]
    if any(one.contexts for one in described.images):
        named.append((_css(CONTEXT_COLOUR), "context"))
    return named


def _css(colour: tuple[int, int, int]) -> str:
    return f"#{bytes(colour).hex()}"


def _shown(row: SheetRow, classes: Sequence[str]) -> ShownRow:
    title = f"{row.title} ({row.of:,})"
    return ShownRow(title, tuple(_picture(one, classes) for one in row.thumbnails))


def _picture(one: Thumbnail, classes: Sequence[str]) -> tuple[str, str, str]:
    facts = one.facts
    held = [
        f"{name} {points(facts.areas[number], 1)} %" if facts.areas else name
        for number, name in enumerate(classes)
        if facts.held[number]
    ]
    about = [", ".join(held), facts.source, facts.camera, *facts.flags]
    content = io.BytesIO()
    # Without subsampling, lines of one pixel keep their colour.
    Image.fromarray(one.pixels).save(content, "JPEG", quality=82, subsampling=0)
    encoded = base64.b64encode(content.getvalue()).decode()
    text = " · ".join(dict.fromkeys(word for word in about if word))
    name = f"{facts.split}/{facts.identifier}"
    return f"data:image/jpeg;base64,{encoded}", text or name.rpartition("/")[2], name
