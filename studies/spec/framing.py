"""The keys `aspect` and `tiles` of a study's data: how images become the squares networks take."""

from typing import Any, Self

from pydantic import model_validator

from studies.spec.base import Strict
from studies.spec.settings import section
from wsss_core.tiling import Aspect, Framing, TileSettings


class Tiles(section(TileSettings)):  # type: ignore[misc]
    """The windows over images; see `wsss_core.tiling.TileSettings`."""


class FramedData(Strict):
    """Data whose images may be no squares; the models that build upon it have a `size`."""

    aspect: Aspect = "squash"
    tiles: Tiles | None = None

    @property
    def framing(self) -> Framing:
        """What networks see of the images."""
        data: Any = self
        tiles = None if self.tiles is None else TileSettings(**self.tiles.model_dump())
        return Framing.chosen(self.aspect, tiles, data.size)

    @model_validator(mode="after")
    def _frames(self) -> Self:
        assert self.framing is not None  # what cannot be meant is an error here
        return self
