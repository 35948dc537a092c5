"""How the pixels of image and mask files are read where that is the user's decision."""

from dataclasses import dataclass, field, fields
from typing import Literal, Self, get_args

from wsss_core.errors import InputError, quoted

Orientation = Literal["apply", "refuse", "ignore"]
"""What becomes of an image whose EXIF tag says that it is shown turned or mirrored."""

_BYTES_PER_MEGAPIXEL = 2**22  # four channels take 3.8 MiB without compression


@dataclass(frozen=True)
class PixelRules:
    """How the pixels of image and mask files are read.

    Attributes:
        orientation: what to do with a file whose EXIF orientation is not upright. "refuse" ends
            with an error, as nothing says whether its mask was drawn on the stored or on the turned
            pixels. "apply" turns the file, as viewers of photos do. "ignore" reads it as stored.
            The orientation of a TIFF is part of its format, and is always applied.
        largest_megapixels: the most pixels of a file, in millions.
        white_level: the value of 16-bit images that becomes 255; None: 65535, and an image that
            holds no value above 4095 is refused, as it would be nearly black.

    Raises:
        InputError: a value is none of these.

    """

    orientation: Orientation = "refuse"
    largest_megapixels: int = field(default=64, metadata={"ge": 1, "le": 4096})
    white_level: int | None = field(default=None, metadata={"ge": 256, "le": 65535})

    def __post_init__(self) -> None:
        if self.orientation not in get_args(Orientation):
            known = ", ".join(get_args(Orientation))
            raise InputError(f"orientation {quoted(self.orientation)}, expected one of {known}")
        for one in fields(self):
            value, bounds = getattr(self, one.name), one.metadata
            if bounds and value is not None and not bounds["ge"] <= value <= bounds["le"]:
                low, high = bounds["ge"], bounds["le"]
                raise InputError(f"{one.name} {value}, expected a number from {low} to {high}")

    @classmethod
    def taken_from(cls, given: object) -> Self:
        """Return the rules that an object has as attributes of these names."""
        return cls(**{one.name: getattr(given, one.name) for one in fields(cls)})

    @property
    def most_pixels(self) -> int:
        """The most pixels of an image or mask."""
        return self.largest_megapixels * 10**6

    @property
    def most_bytes(self) -> int:
        """The most bytes of a file."""
        return max(64, self.largest_megapixels) * _BYTES_PER_MEGAPIXEL


AS_STORED = PixelRules(orientation="ignore")
"""Rules that read every file as it is stored."""

USUAL_RULES = PixelRules()
"""Rules that refuse what could be meant in two ways."""
