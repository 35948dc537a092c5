"""Options that decide how the pixels of images are read, the same for every command."""

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from studies.cli.common import option

if TYPE_CHECKING:
    from wsss_core.data.pixel_rules import PixelRules

PIXEL_OPTIONS = (
    option(
        "--orientation",
        choices=("apply", "refuse", "ignore"),
        default="refuse",
        help="images with an EXIF orientation: turn them upright, refuse them, or read them as "
        "stored [refuse]",
    ),
    option(
        "--largest-megapixels", type=int, default=64, metavar="N", help="of an image or mask [64]"
    ),
    option(
        "--white-level",
        type=int,
        metavar="N",
        help="value of 16-bit images that becomes 255 [65535, and dark images are refused]",
    ),
)
"""Options of a command that reads images."""


def pixel_rules(options: argparse.Namespace) -> "PixelRules":
    """Return the rules that the options give.

    Raises:
        InputError: a number is out of range.

    """
    from wsss_core.data.pixel_rules import PixelRules

    return PixelRules.taken_from(options)


def options_named(errors: Iterable[str]) -> list[str]:
    """Return the options of these that decide what errors name as keys of a study's `data`.

    >>> options_named(["a.jpg: 70 megapixels; a larger `data: {largest_megapixels: ...}` reads it"])
    ['--largest-megapixels']
    """
    said = " ".join(errors)
    names = [names[0] for names, _ in PIXEL_OPTIONS]
    return [name for name in names if f"{{{name[2:].replace('-', '_')}: " in said]
