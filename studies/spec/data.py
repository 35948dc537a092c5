"""The `data` section of a study file: procedural scenes, a folder, or a plug-in's images."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from studies.spec.base import Strict
from wsss_core.plugins import is_plugin


class SceneData(Strict):
    """Procedural smoke scenes, rendered when they are needed (see `wsss_core.data.scenes`)."""

    source: Literal["scenes"]
    size: int = Field(64, ge=16, le=1024)
    train: int = Field(1500, ge=2)
    tune: int = Field(150, ge=2)
    test: int = Field(300, ge=2)
    seed: int = Field(0, ge=0)
    smoke: float = Field(0.5, gt=0, lt=1)
    chimney_given_smoke: float = Field(0.95, ge=0, le=1)
    chimney_given_clear: float = Field(0.4, ge=0, le=1)
    steam: float = Field(0.0, ge=0, lt=1)
    cooling_tower_given_steam: float = Field(0.95, ge=0, le=1)
    cooling_tower_given_clear: float = Field(0.4, ge=0, le=1)


class FolderData(Strict):
    """A folder of images and masks (see `wsss_core.data.folder`)."""

    source: Literal["folder"]
    root: str
    size: int = Field(224, ge=16, le=4096)


class PluginData(Strict):
    """Images of a plug-in: `factory` ("module:attribute") is called with `options`.

    It returns a `wsss_core.data.image_set.ImageSource`.
    """

    source: Literal["plugin"]
    factory: str
    size: int = Field(224, ge=16, le=4096)
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("factory")
    @classmethod
    def _is_a_plugin(cls, name: str) -> str:
        if not is_plugin(name):
            raise ValueError("expected module:attribute")
        return name


Data = Annotated[SceneData | FolderData | PluginData, Field(discriminator="source")]
