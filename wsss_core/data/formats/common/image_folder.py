"""Where the images of annotations lie that came without them."""

from pathlib import Path

from wsss_core.data.formats.common.source_files import source_root
from wsss_core.errors import InputError


def images_root(path: Path, images: str | None) -> Path:
    """Return the folder in which images of a source are looked for.

    Args:
        path: the source.
        images: a folder that holds the images of annotations that came back without them; None:
            the source holds them itself.

    Raises:
        InputError: there is no such folder.

    """
    if images is None:
        return source_root(path)
    if not Path(images).is_dir():
        raise InputError(
            f"--images {images}: no such folder, expected that of the images of {path}"
        )
    return Path(images)
