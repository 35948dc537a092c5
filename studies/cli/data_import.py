"""The command `wsss data import`: data sets as they are published, into a data folder."""

import argparse
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from studies.cli.common import Command, a_path, option, show
from wsss_core.errors import InputError, checked_path, nearest, quoted

if TYPE_CHECKING:
    from wsss_core.data.importing import SourceSettings


def _import(options: argparse.Namespace) -> int:
    from wsss_core.data.importing import ImportSettings, import_data, parse_splits

    record = import_data(
        ImportSettings(
            _sources(options),
            checked_path(options.destination),
            split=parse_splits(options.split, options.tune),
            group_by=options.group_by,
            least_area=options.least_area,
            orientation=options.orientation,
            assume_absent=options.assume_absent,
            drop_twins=options.drop_twins,
            link=options.link,
            anew=options.anew,
            seed=options.seed,
        )
    )
    show(record.describe())
    show(f"written to {options.destination}; next: wsss data check {options.destination}")
    return 0


def _sources(options: argparse.Namespace) -> tuple["SourceSettings", ...]:
    from wsss_core.data.importing import SourceSettings, name_sources, parse_take

    sources = name_sources(options.sources)
    names = [name for name, _ in sources]
    aliases = dict(zip(string.ascii_uppercase, names, strict=False)) | {n: n for n in names}
    take = {
        _alias(name, aliases, f"--take {name}=..."): wanted
        for name, wanted in parse_take(options.take).items()
    }
    found = []
    for name, path in sources:
        given = {key: _for_source(options, key, name, aliases) for key in _PER_SOURCE}
        found.append(
            SourceSettings(
                path,
                name,
                format=given["format"],
                options=_format_options(given, options),
                classes=_parsed_classes(given["classes"]),
                labels=_labels(given["labels"]),
                take=take.get(name, {}),
            )
        )
    return tuple(found)


def _alias(name: str, aliases: Mapping[str, str], where: str) -> str:
    if name in aliases:
        return aliases[name]
    near = nearest(name, aliases)
    raise InputError(
        f"{where}: source {quoted(name)}, expected one of {', '.join(dict.fromkeys(aliases))}"
        f"{f'; nearest: {near!r}' if near else ''}"
    )


def _for_source(
    options: argparse.Namespace, key: str, name: str, aliases: Mapping[str, str]
) -> str | None:
    """Return the value of an option for one source: what is given for it, or else for all."""
    for_all, for_it = None, None
    for text in getattr(options, key):
        before, colon, rest = text.partition(":")
        if colon and before in aliases:
            for_it = rest if aliases[before] == name else for_it
        else:
            for_all = text
    return for_all if for_it is None else for_it


def _format_options(given: Mapping[str, str | None], options: argparse.Namespace) -> Any:
    from wsss_core.data.formats import FormatOptions, parse_values

    read: dict[str, Callable[[str], Any]] = {
        "images": str,
        "masks": str,
        "values": parse_values,
        "colours": checked_path,
        "threshold": _whole("--threshold", 1, 65535),
        "frames": _whole("--frames", 1, 10_000),
        "scheme": str,
        "crops": _one_of("--crops", ("none", "thesis")),
        "runs": _one_of("--runs", ("columns", "rows")),
    }
    chosen = {
        name: parse(text) for name, parse in read.items() if (text := given[name]) is not None
    }
    if options.clear:
        chosen["clear"] = tuple(options.clear)
    return replace(FormatOptions(), crowd=options.crowd, boxes=options.boxes, **chosen)


def _whole(name: str, least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if text.isascii() and text.isdigit() and least <= int(text[:9]) <= most:
            return int(text)
        raise InputError(f"{name} {quoted(text)}, expected a whole number from {least} to {most}")

    return parse


def _one_of(name: str, words: Sequence[str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise InputError(f"{name} {quoted(text)}, expected {' or '.join(words)}")
        return text

    return parse


def _parsed_classes(text: str | None) -> Mapping[str, Sequence[str]] | None:
    from wsss_core.data.formats import parse_classes

    return None if text is None else parse_classes(text)


def _labels(text: str | None) -> Literal["format", "masks"] | Path:
    if text == "masks":
        return "masks"
    return "format" if text in (None, "format") else checked_path(str(text))


_PER_SOURCE = {
    "format": ("NAME", "the format of the source [recognised]"),
    "images": (
        "PATTERN",
        "image files, e.g. '{split}/{class}/{stem}.jpg'; or the folder of the images of COCO or "
        "VOC annotations that came without them",
    ),
    "masks": ("PATTERN", "mask files, e.g. '{split}/gt/{stem}_mask.png'"),
    "values": ("LIST", "meaning of mask values, e.g. 0=sky,11=ignore"),
    "colours": ("FILE", "meaning of mask colours, a line each: 128 0 0 car"),
    "threshold": ("N", "mask values from N on are object, e.g. 128"),
    "classes": ("LIST", "classes to keep, merged and renamed: smoke=high|low,steam"),
    "labels": ("FROM", "image-level labels: format, masks, or a CSV file [format]"),
    "frames": ("N", "frames that are taken of a clip [2]"),
    "scheme": ("NAME", "which of several lists of splits, e.g. split_0_by_camera"),
    "crops": ("KIND", "thesis: windows of 512 px on the object; none [none]"),
    "runs": ("ORDER", "pixels of run lengths are counted down columns, or along rows [columns]"),
}


def a_whole_number(text: str) -> int:
    """Return the whole number, at least 0, that an option gives."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}")
    return int(text)


IMPORT = Command(
    "import",
    "make a data folder of data sets as they are published; an option of a source may begin with "
    "its name or letter and a colon (--format B:rise) where there are several",
    "wsss data import SMOKE5K DATA --tune 100",
    _import,
    (
        option(
            "sources",
            nargs="+",
            metavar="SOURCE",
            help="a folder, an annotation file, or NAME=PATH",
        ),
        option("destination", type=a_path, metavar="DEST", help="folder to write; new or empty"),
        *(
            option(f"--{name}", action="append", default=[], metavar=metavar, help=about)
            for name, (metavar, about) in _PER_SOURCE.items()
        ),
        option(
            "--clear",
            action="append",
            metavar="NAME",
            help="what {class} is where there is none [clear]",
        ),
        option(
            "--crowd",
            choices=["object", "ignore"],
            default="object",
            help="COCO's crowd regions are object, or ignored [object]",
        ),
        option(
            "--boxes",
            choices=["ignore", "object"],
            default="ignore",
            help="boxes without a shape (COCO, YOLO) are ignored, or object [ignore]",
        ),
        option(
            "--split",
            action="append",
            default=[],
            metavar="LIST",
            help="train=0.7,tune=0.1,test=0.2 by group, train=train.txt, or test=val",
        ),
        option(
            "--tune",
            metavar="N",
            help="images, or a share, of train that become tune; test:0.1 takes them of test",
        ),
        option(
            "--group-by",
            choices=["group", "camera"],
            default="group",
            help="what no two splits share: frames and clips, or cameras [group]",
        ),
        option(
            "--least-area",
            type=a_whole_number,
            default=1,
            metavar="PX",
            help="least pixels of a class in a mask for an image to hold it [1]",
        ),
        option(
            "--orientation",
            choices=["apply", "ignore"],
            help="of EXIF, where no mask tells whether it is meant",
        ),
        option(
            "--assume-absent",
            action="store_true",
            help="a class of which a source says nothing is absent there",
        ),
        option(
            "--take",
            action="append",
            default=[],
            metavar="SOURCE=CLASS:N",
            help="take N images of a class (or clear) for train, and nothing else of it",
        ),
        option(
            "--drop-twins",
            action="store_true",
            help="leave near copies of images of other splits out of train and tune",
        ),
        option("--link", action="store_true", help="link image files instead of copying"),
        option("--anew", action="store_true", help="throw a half import away"),
        option("--seed", type=a_whole_number, default=0, help="of random choices [0]"),
    ),
)
