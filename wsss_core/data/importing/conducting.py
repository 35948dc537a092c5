"""An import from its sources to the data folder."""

import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wsss_core.data.folder.origins import IMPORT_RECORD
from wsss_core.data.formats import tallied
from wsss_core.data.importing.candidates import ReadSource
from wsss_core.data.importing.planning import plan_import
from wsss_core.data.importing.record import (
    ImportRecord,
    read_record,
    write_images,
    write_record,
)
from wsss_core.data.importing.settings import ImportSettings
from wsss_core.data.importing.writing import (
    Target,
    WrittenDigests,
    plan_digest,
    unfinished_folder,
    write_files,
    write_tables,
)
from wsss_core.errors import InputError

logger = logging.getLogger(__name__)


def import_data(settings: ImportSettings) -> ImportRecord:
    """Write a data folder from one or several sources, and return its record.

    The destination is there when it is whole, and nothing in it is overwritten. Run again after an
    interruption, the same import goes on. Run again after its end, it changes nothing.

    Args:
        settings: sources, destination and options.

    Raises:
        InputError: a source is not recognised or cannot be read, options do not fit it, or the
            destination holds something else.

    """
    destination = settings.destination
    _check_places(settings)
    held = _held(destination)
    planned = plan_import(settings)
    targets, classes = planned.targets, planned.classes
    plan = plan_digest(targets, classes, linked=settings.link)
    if held is not None:
        if held.plan == plan:
            logger.info("%s: imported before, nothing to do", destination)
            return held
        raise InputError(
            f"{destination}: holds an import of other sources or options, or of another version; "
            "expected a new folder"
        )
    with unfinished_folder(destination, plan, anew=settings.anew) as folder:
        digests = write_files(folder, targets, linked=settings.link)
        write_tables(folder, targets, classes)
        notes = [*planned.notes, *_doubled(targets, digests)]
        table = write_images(folder, _rows(targets, digests, classes))
        record = ImportRecord(
            plan,
            tuple(_described(source, targets) for source in planned.sources),
            _options(settings),
            classes,
            planned.counts,
            tuple(notes),
            table,
        )
        write_record(folder, record)
    return record


def _doubled(targets: Sequence[Target], digests: Sequence[WrittenDigests]) -> list[str]:
    """Return a note on images that lie in several splits byte by byte, or none."""
    splits: dict[str, set[str]] = defaultdict(set)
    for target, written in zip(targets, digests, strict=True):
        splits[written.image].add(target.examined.split)
    both = zip(targets, digests, strict=True)
    found = [target.file for target, written in both if len(splits[written.image]) > 1]
    said = "files are the same image in several splits; --drop-twins leaves them out of train"
    return [tallied(len(found), said, found[0])] if found else []


def _check_places(settings: ImportSettings) -> None:
    """Raise if the destination is a link or lies in a source."""
    place = settings.destination.resolve()
    if settings.destination.is_symlink():
        raise InputError(f"{settings.destination}: a link, expected a new or empty folder")
    for source in settings.sources:
        path = source.path.resolve()
        if path == place or path in place.parents:
            raise InputError(f"{settings.destination}: lies in the source {source.path}")


def _held(destination: Path) -> ImportRecord | None:
    """Return the record of a destination that is an import already; None if it is free."""
    if (destination / IMPORT_RECORD).is_file():
        return read_record(destination)
    if destination.exists() and not (destination.is_dir() and not any(destination.iterdir())):
        raise InputError(f"{destination}: exists, expected a new or empty folder")
    return None


def _rows(
    targets: Sequence[Target], digests: Sequence[WrittenDigests], classes: tuple[str, ...]
) -> list[dict[str, str]]:
    rows = []
    for target, written in zip(targets, digests, strict=True):
        candidate = target.examined.candidate
        image = candidate.image
        frame = "" if image.picture.frame is None else f"#{image.picture.frame}"
        rows.append(
            {
                "file": target.file,
                "source": candidate.origin,
                "original": f"{image.picture.path}{frame}",
                "source_split": image.split or "",
                "group": candidate.group,
                "camera": image.camera or "",
                "time": "" if image.time is None else f"{image.time:.6f}",
                "flags": ";".join(image.flags),
                "classes": ";".join(classes[code - 1] for code in target.examined.held),
                "digest": written.image,
                "mask_digest": written.mask,
                "context_digest": written.context,
            }
        )
    return rows


def _described(source: ReadSource, targets: Sequence[Target]) -> dict[str, Any]:
    name = source.settings.name
    return {
        "name": name,
        "path": str(source.recognition.path),
        "format": source.recognition.format.name,
        "recognised_by": source.recognition.why,
        "images": len(source.content.images),
        "imported": sum(t.examined.candidate.source == name for t in targets),
        "notes": list(source.content.notes),
    }


def _options(settings: ImportSettings) -> dict[str, Any]:
    options = asdict(settings)
    del options["destination"], options["anew"]
    plain: dict[str, Any] = json.loads(json.dumps(options, default=str))
    return plain
