"""The description of a data set: what it holds, and what its classes go with."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wsss_core.data.description.cooccurrence import SCOPES, Cooccurrence, cooccurrences
from wsss_core.data.description.counts import ClassCount, class_counts
from wsss_core.data.description.facts import ImageFacts
from wsss_core.data.description.looks import with_looks
from wsss_core.data.description.published import known_source
from wsss_core.data.description.readers import described_images
from wsss_core.data.description.sheet import SheetRow, contact_rows, trap_rows
from wsss_core.data.description.traps import Trap, traps
from wsss_core.data.folder import FolderSource
from wsss_core.data.folder.origins import IMPORT_RECORD
from wsss_core.data.image_set import SPLITS, ImageSource
from wsss_core.data.importing import PublishedSource, read_record

logger = logging.getLogger(__name__)

PICTURES = 8
"""Images in a row of the contact sheet."""


@dataclass(frozen=True, eq=False)
class DataDescription:
    """What a data set holds.

    Attributes:
        name: of the data set, e.g. its folder.
        classes: in the order of their mask values.
        counts: the data set table.
        cooccurrences: what accompanies each class, the strongest first.
        traps: what may follow from the strong ones.
        notes: what is not known or was left out.
        sheet: the contact sheet.
        trap_sheet: images of the first few traps.
        images: the facts of each image.

    """

    name: str
    classes: tuple[str, ...]
    counts: tuple[ClassCount, ...]
    cooccurrences: tuple[Cooccurrence, ...]
    traps: tuple[Trap, ...]
    notes: tuple[str, ...]
    sheet: tuple[SheetRow, ...] = field(default=(), repr=False)
    trap_sheet: tuple[tuple[Trap, tuple[SheetRow, ...]], ...] = field(default=(), repr=False)
    images: tuple[ImageFacts, ...] = field(default=(), repr=False)


def describe_data(
    source: ImageSource | Path | str, *, name: str = "", size: int = 224, pictures: int = PICTURES
) -> DataDescription:
    """Describe a data set before anything is trained on it.

    Every image and mask is decoded once, and those on the sheet once more; memory grows by some two
    kilobytes an image.

    Args:
        source: a data folder, or an image source.
        name: of the data set [the folder's].
        size: the side in pixels at which a source is read that is neither a folder nor scenes.
        pictures: images in a row of the contact sheet; 0 for no sheet.

    Raises:
        InputError: the data set cannot be read.

    Example:
        >>> from wsss_core.data.scenes import SceneSettings, SceneSource
        >>> described = describe_data(SceneSource(SceneSettings(size=16), 40, 4, 4), pictures=0)
        >>> described.counts[0].class_name, described.counts[0].images
        ('smoke', 19)

    """
    opened: ImageSource = FolderSource(Path(source)) if isinstance(source, Path | str) else source
    root = getattr(opened, "root", None)
    reader = described_images(opened, size)
    read = [one for split in SPLITS if split not in reader.missing for one in reader.facts(split)]
    images = with_looks(read, SCOPES)
    found, left_out = cooccurrences(images, reader.classes)
    risky = traps(found)
    logger.debug("%d images, %d co-occurrences, %d traps", len(images), len(found), len(risky))
    return DataDescription(
        name=name or (root.name if isinstance(root, Path) else "data"),
        classes=reader.classes,
        counts=class_counts(images, reader.classes, _published_names(images, opened)),
        cooccurrences=found,
        traps=risky,
        notes=(*_unknown(images, reader.missing), *left_out, *getattr(opened, "notes", ())),
        sheet=contact_rows(reader, images, pictures) if pictures else (),
        trap_sheet=trap_rows(reader, images, risky, pictures // 2) if pictures else (),
        images=images,
    )


def _published_names(images: Sequence[ImageFacts], opened: ImageSource) -> Mapping[str, str]:
    """Return source -> the name under which its counts were published, where they were."""
    formats: dict[str, tuple[str, ...]] = {}
    root = getattr(opened, "root", None)
    if isinstance(opened, PublishedSource):
        formats = {one.name: (one.format or "", str(one.path)) for one in opened.settings.sources}
    elif isinstance(root, Path) and (root / IMPORT_RECORD).is_file():
        formats = {
            str(source["name"]): (str(source["format"]), str(source["path"]))
            for source in read_record(root).sources
        }
    found = {}
    for source in dict.fromkeys(one.source for one in images):
        words = [*formats.get(source, ()), source]
        if not source and isinstance(root, Path):
            words.append(root.name)
        found[source] = known_source(*(Path(word).name for word in words if word))
    return {source: known for source, known in found.items() if known}


def _unknown(images: Sequence[ImageFacts], missing: Sequence[str]) -> list[str]:
    """Return notes on splits that are not there and on what no image says of itself."""
    notes = [f"there is no split {split}" for split in missing]
    lacking = [
        word
        for word, is_known in (
            ("group", any(one.group for one in images)),
            ("source", any(one.source for one in images)),
            ("camera", any(one.camera for one in images)),
            ("flags", any(one.flags for one in images)),
        )
        if not is_known
    ]
    if lacking:
        listed = lacking[0] if len(lacking) == 1 else f"{', '.join(lacking[:-1])} and {lacking[-1]}"
        notes.append(
            f"{listed} of the images are unknown, so nothing is seen of what goes with them; "
            "groups.csv and attributes.csv can name them"
        )
    if not any(one.contexts is not None for one in images):
        notes.append(
            "there are no context masks, so nothing is measured of what surrounds the classes; the "
            "contact sheet shows it"
        )
    return notes
