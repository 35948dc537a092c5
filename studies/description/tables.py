"""The tables of a description: the data set, and what accompanies each class."""

import math
from collections.abc import Callable, Sequence

from reports.tables.cells import ABSENT, Cell, CellValue, Column, Table, percent, points
from wsss_core.data.description import (
    ClassCount,
    Cooccurrence,
    DataDescription,
)

_Row = tuple[Column, Callable[[ClassCount], Cell]]


def counts_table(described: DataDescription) -> Table:
    """Return the data set table; columns of which nothing is known are left out."""
    rows = described.counts
    named = any(row.source for row in rows)
    columns: list[_Row] = [
        *([(Column("source", "source"), _source)] if named else []),
        (Column("split", "split"), lambda row: Cell(row.split)),
        (Column("label_type", "labels"), lambda row: Cell(row.label_type)),
        (Column("class", "class"), lambda row: Cell(row.class_name)),
        (Column("images", "images", numeric=True), _images),
    ]
    if any(row.published for row in rows):
        about = "The count that was published; T1 is all that the thesis trains on."
        columns.append((Column("published", "published", numeric=True, about=about), _published))
    if any(row.share for row in rows):
        about = "Share of the image's pixels: median over the images that hold the class [5–95 %]."
        columns.append(
            (Column("object_share", "object", "% of the image", numeric=True, about=about), _share)
        )
    columns.append((Column("size", "width x height", numeric=True), _size))
    for key in ("groups", "cameras"):
        if any(getattr(row, key) for row in rows):
            columns.append((Column(key, key, numeric=True), _number(key)))
    return Table(
        "data_set",
        "The data set",
        tuple(column for column, _ in columns),
        tuple(tuple(cell(row) for _, cell in columns) for row in rows),
        _counts_caption(rows),
    )


def _counts_caption(rows: Sequence[ClassCount]) -> str:
    parts = ["An image that holds several classes counts in each of their rows."]
    if any(row.share for row in rows):
        parts.append(
            "Object: the share of the pixels, over images that hold the class, as median and from "
            "the 5th to the 95th of 100."
        )
    if any(row.published for row in rows):
        parts.append("Published: what the thesis or the authors of the data set count.")
    return " ".join(parts)


def _source(row: ClassCount) -> Cell:
    return Cell(row.source or ABSENT, data={"": row.source})


def _images(row: ClassCount) -> Cell:
    differs = any(count.images != row.images for count in row.published)
    return Cell(f"{row.images:,}", data={"": row.images}, state="partial" if differs else "")


def _published(row: ClassCount) -> Cell:
    text = "; ".join(f"{count.images:,} ({count.by})" for count in row.published)
    figures: dict[str, CellValue] = {"": row.published[0].images if row.published else None}
    return Cell(text or ABSENT, data={**figures, "by": "; ".join(c.by for c in row.published)})


def _share(row: ClassCount) -> Cell:
    if row.share is None:
        return Cell(ABSENT, data={"median": None, "low": None, "high": None})
    share = row.share
    ends = f"[{_fine(share.low)}, {_fine(share.high)}]"
    data = {"median": share.median, "low": share.low, "high": share.high}
    return Cell(f"{_fine(share.median)} {ends}", data=data)


def _fine(share: float) -> str:
    return points(share, 1 if share >= 0.01 else 2)


def _size(row: ClassCount) -> Cell:
    (width, height), (wide, high) = row.smallest, row.largest
    text = " x ".join(
        f"{low:,}" if low == most else f"{low:,}–{most:,}"
        for low, most in ((width, wide), (height, high))
    )
    data = {"width": width, "height": height, "largest_width": wide, "largest_height": high}
    return Cell(text if row.images else ABSENT, data=dict(data))


def _number(key: str) -> Callable[[ClassCount], Cell]:
    def cell(row: ClassCount) -> Cell:
        value: int | None = getattr(row, key)
        return Cell(ABSENT if value is None else f"{value:,}", data={"": value})

    return cell


def cooccurrence_table(rows: Sequence[Cooccurrence], name: str = "cooccurrence") -> Table:
    """Return what accompanies classes, in the order given."""
    about_lift = "P(class | it) / P(class): 1 if they have nothing to do with each other."
    alone = "Balanced accuracy of telling the class by it alone; 50 % is chance."
    columns = [
        Column("beside", "it"),
        Column("class", "class"),
        Column("images_of", "in"),
        Column("lift", "lift", numeric=True, about=about_lift),
        Column("share_with", "class with it", "%", numeric=True, about="P(class | it)"),
        Column("share_without", "class without", "%", numeric=True, about="P(class | not it)"),
        Column("balanced_accuracy", "told by it alone", "%", numeric=True, about=alone),
        Column("both", "images with both", numeric=True),
        Column("with_companion", "with it", numeric=True),
        Column("with_class", "with class", numeric=True),
        Column("images", "of", numeric=True),
        Column("remark", "remark"),
    ]
    cells = [_cooccurrence(row) for row in rows]
    if not any(row[-1].text for row in cells):
        columns, cells = columns[:-1], [row[:-1] for row in cells]
    return Table(
        name,
        "What accompanies the classes",
        tuple(columns),
        tuple(cells),
        "Lift: how many times as often an image holds the class if it has this, P(class | it) / "
        "P(class), with Koopman's score interval at 95 %, over groups where images name them. "
        "Told by it alone: balanced accuracy, 50 % is chance. A look is that of the darkest "
        "quarter of the images, of the brightest, and so on. Labels are given in train, and are "
        "those of the masks in tune and test.",
    )


def _cooccurrence(row: Cooccurrence) -> tuple[Cell, ...]:
    interval = f"[{_lift(row.low)}, {_lift(row.high)}]"
    return (
        Cell(row.name),
        Cell(row.class_name),
        Cell(row.scope),
        Cell(
            f"{_lift(row.lift)} {interval}",
            data={"": row.lift, "low": row.low, "high": row.high},
            state="collapsed" if row.strong else "",
        ),
        Cell(points(row.share_with), data={"": row.share_with}),
        Cell(points(row.share_without), data={"": row.share_without}),
        Cell(points(row.balanced_accuracy), data={"": row.balanced_accuracy}),
        *(Cell(f"{n:,}", data={"": n}) for n in _numbers(row)),
        Cell(_remark(row)),
    )


def _numbers(row: Cooccurrence) -> tuple[int, ...]:
    return row.both, row.with_companion, row.with_class, row.images


def _remark(row: Cooccurrence) -> str:
    parts = []
    if row.few:
        parts.append("few images")
    elif row.few_groups:
        parts.append(f"few groups ({row.groups_with})")
    if row.by_chance:
        parts.append("may be chance")
    if row.same_images:
        parts.append(f"same images: {', '.join(row.same_images[:2])}")
    return "; ".join(parts)


def _lift(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:.2f}"


def split_facts(described: DataDescription) -> list[tuple[str, str, str]]:
    """Return split, images, and the share that holds each class, for the head of the page."""
    found = []
    for split in dict.fromkeys(one.split for one in described.images):
        here = [one for one in described.images if one.split == split]
        held = [
            (sum(one.held[number] for one in here) / len(here), name)
            for number, name in enumerate(described.classes)
        ]
        most = sorted(held, reverse=True)[:3] if len(held) > 3 else held
        text = ", ".join(f"{name} in {percent(share)}" for share, name in most)
        found.append((split, f"{len(here):,}", text))
    return found
