"""From a data folder or a study to the description of its images."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from studies.planning import open_source, windows_in_words
from studies.spec.loading import load_study
from wsss_core.data.description import DataDescription, describe_data
from wsss_core.data.folder import FolderSource
from wsss_core.data.importing import import_hint
from wsss_core.errors import InputError


def describe_images(
    data: str | Path, changes: Sequence[str] = (), variants: Sequence[str] = (), pictures: int = 8
) -> DataDescription:
    """Describe the images of a data folder or of a study; train nothing.

    Args:
        data: a data folder, a study file, or the name of a shipped study.
        changes: of the study, "key=value" each.
        variants: of the study.
        pictures: images in a row of the contact sheet; 0 for no sheet.

    Raises:
        InputError: the study is wrong, or its images cannot be read; or changes are given to a
            folder.

    """
    if Path(data).is_dir():
        if changes or variants:
            raise InputError(f"{data}: a data folder; --set and --variant change a study")
        try:
            source = FolderSource(Path(data))
        except InputError as error:
            raise InputError(f"{error}{import_hint(Path(data))}") from error
        return describe_data(source, pictures=pictures)
    study = load_study(str(data), changes, variants)
    notes = []
    if study.sweep is not None and study.sweep.key.startswith("data."):
        first, *others = study.sweep.values
        said = ", ".join(f"{value:g}" for value in others)
        notes.append(f"the study sweeps {study.sweep.key}; this is at {first:g}, not at {said}")
        study = study.at(first)
    images = open_source(study.data)
    described = describe_data(images, name=study.study, size=study.data.size, pictures=pictures)
    notes += [line.strip() for line in windows_in_words(images, study.data)]
    return replace(described, notes=(*notes, *described.notes))
