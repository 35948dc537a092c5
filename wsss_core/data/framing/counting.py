"""How many windows pictures give, and what that costs, before a pixel is decoded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wsss_core.data.framing.framed_source import all_shapes, check_tiles_fit
from wsss_core.data.image_set import ImageSource
from wsss_core.tiling import Framing
from wsss_core.tiling.windows import Shape, axis_starts


@dataclass(frozen=True)
class TileCounts:
    """The windows of a split.

    Attributes:
        pictures: how many pictures there are.
        windows: how many windows a network sees of them.
        fewest: windows of the picture with the fewest.
        most: windows of the picture with the most.

    """

    pictures: int
    windows: int
    fewest: int
    most: int

    @property
    def price(self) -> float:
        """How many times as many squares a network sees as of squashed pictures."""
        return self.windows / max(1, self.pictures)


def count_tiles(source: ImageSource, framing: Framing) -> dict[str, TileCounts]:
    """Return split -> the windows of its pictures, from the headers of files where they tell.

    Raises:
        InputError: a file cannot be read, a source tells no shapes, or tiles are larger than every
            picture.

    """
    found = all_shapes(source)
    check_tiles_fit([shape for shapes in found.values() for shape in shapes], framing, "the data")
    return {
        split: _counted(shapes, framing, training=split == "train")
        for split, shapes in found.items()
    }


def tile_lines(counts: Mapping[str, TileCounts], framing: Framing) -> list[str]:
    """Return what tiles there are and what they cost, as lines; none for squashed pictures."""
    if framing.squashes:
        return []
    if framing.aspect == "pad":
        return ["images are padded to squares: a network sees each once, as of squashed images"]
    size, stride = framing.tile
    keep = framing.kept(training=True)
    kept = "" if keep is None else f", at most {keep} of a training image"
    return [
        f"tiles of {size} px, {stride} px apart{kept}:",
        *(
            f"  {split}: {one.pictures:,} images give {one.windows:,} tiles, {one.fewest} to "
            f"{one.most} of an image; a pass over them costs {one.price:.3g} times one over "
            "squashed images"
            for split, one in counts.items()
        ),
    ]


def _counted(shapes: Sequence[Shape], framing: Framing, *, training: bool) -> TileCounts:
    numbers = [_windows_of(shape, framing, training=training) for shape in shapes]
    return TileCounts(len(shapes), sum(numbers), min(numbers, default=0), max(numbers, default=0))


def _windows_of(shape: Shape, framing: Framing, *, training: bool) -> int:
    if framing.aspect != "tiles":
        return 1
    rows, columns = (len(axis_starts(length, *framing.tile)) for length in shape)
    keep = framing.kept(training=training)
    return rows * columns if keep is None else min(keep, rows * columns)
