"""How pictures of any shape become the squares that networks take."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, get_args

from wsss_core.errors import InputError, quoted

Aspect = Literal["squash", "pad", "tiles"]
"""What becomes of a picture that is no square: it is resized to a square and loses its aspect
ratio, it is padded to a square, or it is seen through several square windows."""

ASPECTS: tuple[str, ...] = get_args(Aspect)


@dataclass(frozen=True)
class TileSettings:
    """The windows over a picture. A study file takes its fields, bounds included, from here.

    Attributes:
        size: the side of a window in pixels of the picture; None: that of the network's input.
        stride: the most pixels from one window to the next; None: half of the size. The last
            window of a row or column ends with the picture.
        keep: the most tiles of a picture that a training takes; None: all.
        least_share: the least share of a tile's known pixels that a class covers for the tile to
            count as labelled with it, where pixels have labels, see `choose_tiles`.

    Raises:
        InputError: a value out of its range, or a stride larger than the size.

    """

    size: int | None = field(default=None, metadata={"ge": 1, "le": 16384})
    stride: int | None = field(default=None, metadata={"ge": 1, "le": 16384})
    keep: int | None = field(default=None, metadata={"ge": 1})
    least_share: float = field(default=0.0, metadata={"ge": 0, "lt": 1})

    def __post_init__(self) -> None:
        for name in ("size", "stride", "keep"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"tiles: {name} {quoted(value)}, expected 1 or more")
        if not 0 <= self.least_share < 1:
            raise InputError(f"tiles: least_share {self.least_share}, expected 0 to below 1")
        if self.size is not None and self.stride is not None and self.stride > self.size:
            raise InputError(
                f"tiles: stride {self.stride} is larger than the size {self.size}, so pixels "
                "between two windows would be in none; expected at most the size"
            )

    def resolved(self, side: int) -> Self:
        """Return the settings with a size and a stride, for networks that take `side` pixels."""
        size = self.size or side
        # Once more checked: a stride may be larger than the size that the network decides.
        return replace(self, size=size, stride=self.stride or max(1, size // 2))


@dataclass(frozen=True)
class Framing:
    """What a network sees of a picture: all of it as a square, or windows.

    Attributes:
        aspect: see `Aspect`.
        tiles: the windows of "tiles", with a size and a stride; None otherwise.

    Raises:
        InputError: tiles with another aspect than "tiles", or an unknown aspect.

    """

    aspect: Aspect = "squash"
    tiles: TileSettings | None = None

    def __post_init__(self) -> None:
        if self.aspect not in ASPECTS:
            known = ", ".join(ASPECTS)
            raise InputError(f"aspect {quoted(self.aspect)}, expected one of {known}")
        if self.tiles is not None and self.aspect != "tiles":
            raise InputError(
                f"tiles are given, and aspect is {self.aspect}; expected aspect: tiles, or no tiles"
            )
        if self.aspect == "tiles" and (self.tiles is None or self.tiles.stride is None):
            raise InputError("aspect tiles: expected the size and stride of the tiles")

    @classmethod
    def chosen(cls, aspect: Aspect, tiles: TileSettings | None, side: int) -> Self:
        """Return the framing of these settings for a network that takes `side` pixels."""
        if aspect == "tiles":
            tiles = (tiles or TileSettings()).resolved(side)
        return cls(aspect, tiles)

    @property
    def squashes(self) -> bool:
        """Whether every picture is resized to one square, as without any framing."""
        return self.aspect == "squash"

    @property
    def tile(self) -> tuple[int, int]:
        """The side of a tile and the stride, in pixels of the picture."""
        assert self.tiles is not None
        assert self.tiles.size is not None
        assert self.tiles.stride is not None
        return self.tiles.size, self.tiles.stride

    def kept(self, *, training: bool) -> int | None:
        """Return the most tiles of a picture that are taken; None: all, as outside training."""
        return self.tiles.keep if training and self.tiles is not None else None

    def as_config(self, *, training: bool = False) -> dict[str, Any]:
        """Return what keys hold: JSON-able values that decide which windows a network sees.

        Args:
            training: whether it is of training images, of which `keep` leaves some tiles out.

        """
        if self.aspect != "tiles":
            return {"aspect": self.aspect}
        size, stride = self.tile
        config: dict[str, Any] = {"aspect": self.aspect, "size": size, "stride": stride}
        keep = self.kept(training=training)
        if keep is not None:
            config["keep"] = keep
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | None) -> Self:
        """Return the framing that `as_config` described; None is that of squashed pictures."""
        given = dict(config or {"aspect": "squash"})
        aspect = given.pop("aspect")
        return cls(aspect, TileSettings(**given) if aspect == "tiles" else None)


SQUASHED = Framing()
"""The framing of studies that say nothing of it."""
