"""What an import would write, before anything is written; reading in place stops here."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from wsss_core.data.folder.layout import CLEAR
from wsss_core.data.formats import FORMATS, FormatOptions
from wsss_core.data.image_set import SPLITS
from wsss_core.data.importing.candidates import (
    ReadSource,
    join_sources,
    joined_classes,
    read_source,
)
from wsss_core.data.importing.examining import examine_images
from wsss_core.data.importing.settings import ImportSettings, SourceSettings
from wsss_core.data.importing.splitting import split_images
from wsss_core.data.importing.twins import drop_twins
from wsss_core.data.importing.writing import Target, name_targets
from wsss_core.errors import InputError, check_printable, quoted

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlannedImport:
    """The images of one or several sources as one set with its splits.

    Attributes:
        sources: as they were read.
        classes: the joined classes; mask code k + 1 is `classes[k]`.
        targets: the images that were chosen, each examined and named.
        notes: what was left out or read otherwise than it may be meant.

    """

    sources: tuple[ReadSource, ...]
    classes: tuple[str, ...]
    targets: tuple[Target, ...]
    notes: tuple[str, ...]

    @property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Split -> "images", "clear" and each class -> number of images."""
        counts = {}
        for split in SPLITS:
            members = [target.examined for target in self.targets if target.examined.split == split]
            counts[split] = {
                "images": len(members),
                **{
                    name: sum(code in one.held for one in members)
                    for code, name in enumerate(self.classes, start=1)
                },
                CLEAR: sum(not one.held for one in members),
            }
        return counts


def plan_import(settings: ImportSettings) -> PlannedImport:
    """Read, join, split and examine the sources of an import.

    Args:
        settings: sources and options; where and how it is written does not matter.

    Raises:
        InputError: a source is not recognised or cannot be read, is given twice, or options do not
            fit it.

    """
    _check_given_once(settings)
    sources = [_read(source) for source in settings.sources]
    _check_options(sources)
    classes = joined_classes(sources, assume_absent=settings.assume_absent)
    for name in classes:
        if ";" in name or name.lower() == CLEAR:
            raise InputError(
                f"class {quoted(name)}, expected no ';' in a name, nor {CLEAR!r}; "
                "choose another name by --classes new=old"
            )
        check_printable(name, "classes", allowed="")
    candidates, notes = join_sources(sources, classes, settings)
    taken = [source.name for source in settings.sources if source.take]
    assigned, more = split_images(candidates, settings.split, settings.seed, taken)
    notes += more
    if settings.drop_twins:
        assigned, more = drop_twins(assigned)
        notes += more
    images, classes, more = examine_images(assigned, classes, settings)
    notes += more
    return PlannedImport(
        tuple(sources),
        classes,
        tuple(name_targets(images, prefixed=len(sources) > 1)),
        tuple([*(note for source in sources for note in source.content.notes), *notes]),
    )


def _check_given_once(settings: ImportSettings) -> None:
    """Raise if a source is given twice to be taken whole."""
    seen: set[Path] = set()
    for source in settings.sources:
        path = source.path.resolve()
        if path in seen and not source.take:
            raise InputError(f"{source.path}: given twice as a source, expected once")
        if not source.take:
            seen.add(path)


def _check_options(sources: Sequence[ReadSource]) -> None:
    """Raise if an option is given that changes nothing in any of its sources."""
    usual = FormatOptions()
    for option in (field.name for field in fields(FormatOptions)):
        given = [
            s for s in sources if getattr(s.settings.options, option) != getattr(usual, option)
        ]
        if not given or option == "crops" or any(_uses(source, option) for source in given):
            continue  # crops are cut of every format
        names = ", ".join(dict.fromkeys(source.recognition.format.name for source in given))
        known = ", ".join(known.name for known in FORMATS if option in known.uses)
        raise InputError(f"--{option} changes nothing in format {names}; it is for {known}")


def _uses(source: ReadSource, option: str) -> bool:
    return option in source.recognition.format.uses


def _read(settings: SourceSettings) -> ReadSource:
    source = read_source(settings)
    logger.info("%s: %s", settings.name, source.recognition.describe())
    return source
