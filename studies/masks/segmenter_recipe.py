"""A trained segmenter as what makes masks, in the place of a classifier's CAMs."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsss_core.data.file_hashes import file_hashes
from wsss_core.data.image_set import IGNORED
from wsss_core.errors import InputError
from wsss_core.plugins import is_plugin, plugin_version
from wsss_core.segmentation import Segmenter, load_segmenter


@dataclass(frozen=True)
class SegmenterRecipe:
    """Everything that decides a segmenter's masks; it travels to workers whole.

    Attributes:
        file: the file of `save_segmenter`, which every worker has to see.
        digest: of the file's bytes.
        classes: the classes, in the order of their numbers in a mask.
        image_size: side of the images in pixels that the segmenter sees.
        model: its architecture, or a plug-in.
        encoder: its encoder; "" if it brings its own.
        origin: where the segmenter comes from, for the record beside the masks.

    """

    file: str
    digest: str
    classes: list[str]
    image_size: int
    model: str
    encoder: str
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def plugins(self) -> dict[str, str]:
        """The plug-in of the segmenter: name -> version."""
        if not is_plugin(self.model):
            return {}
        return {self.model: str(plugin_version("segmenter", self.model))}

    def load(self, device: str) -> Segmenter:
        """Return the segmenter on a device.

        Raises:
            InputError: see `load_segmenter`; also a file that was replaced since.

        """
        if file_hashes([Path(self.file)])[0] != self.digest:
            raise InputError(f"segmenter file {self.file}: was replaced meanwhile; run again")
        return load_segmenter(Path(self.file), device=device)

    def as_record(self) -> dict[str, Any]:
        """Return what a reader of the masks has to know, and what a run that resumes must share."""
        return {
            "segmenter": self.digest,
            **self.origin,
            "model": self.model,
            "encoder": self.encoder,
            "image_size": self.image_size,
            "classes": self.classes,
        }


def recipe_of_file(file: Path) -> tuple[SegmenterRecipe, list[str]]:
    """Return the recipe of a file of `save_segmenter`, and lines that say what it is.

    The segmenter is built once, so that whatever is wrong with it is said before any work.

    Raises:
        InputError: see `load_segmenter`; also more classes than a mask has numbers.

    """
    if not file.is_file():
        raise InputError(f"segmenter file {file}: no such file, expected one of save_segmenter")
    segmenter = load_segmenter(file)
    settings = segmenter.settings
    assert settings is not None
    if segmenter.classes >= IGNORED:
        raise InputError(
            f"segmenter file {file}: {segmenter.classes} classes, expected at most {IGNORED - 1} "
            "in an 8-bit mask"
        )
    recipe = SegmenterRecipe(
        file=str(file.resolve()),
        digest=file_hashes([file])[0],
        classes=list(segmenter.names),
        image_size=segmenter.image_size,
        model=settings.model,
        encoder=settings.encoder,
    )
    over = f" over {settings.encoder}" if settings.encoder else ""
    return recipe, [
        f"segmenter {settings.model}{over}, images of {segmenter.image_size} px",
        f"classes {', '.join(recipe.classes)}",
    ]
