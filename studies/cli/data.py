"""The commands `wsss data ...`: import, make and check data sets."""

import argparse

from studies.cli.common import Command, a_path, option, show
from studies.cli.data_import import IMPORT
from wsss_core.errors import InputError


def _scenes(options: argparse.Namespace) -> int:
    from wsss_core.data.scenes import SceneSettings, SceneSource, contact_sheet, write_scenes

    settings = SceneSettings.taken_from(options)
    source = SceneSource(settings, train=options.train, tune=options.tune, test=options.test)
    write_scenes(source, options.out, train_masks=options.train_masks)
    sheet = options.out / "contact_sheet.png"
    contact_sheet(settings).save(sheet)
    show(f"{options.train + options.tune + options.test} scenes in {options.out}; see {sheet}")
    return 0


def _check(options: argparse.Namespace) -> int:
    from wsss_core.data.folder import FolderSource
    from wsss_core.data.importing import import_hint, misses_a_split

    try:
        source = FolderSource(options.root)
    except InputError as error:
        raise InputError(f"{error}{import_hint(options.root)}") from error
    if options.size < 1:
        raise InputError(f"--size {options.size}: expected 1 or more")
    summary = source.examine(options.size)
    show(summary.describe())
    try:
        summary.findings.raise_refused("above")
    except InputError as error:
        hint = import_hint(options.root) if misses_a_split(source.root) else ""
        raise InputError(f"{error}{hint}") from error
    return 0


_COUNTS = {
    "size": (64, "width and height in pixels"),
    "train": (1500, "scenes of the train split"),
    "tune": (150, "scenes of the tune split"),
    "test": (300, "scenes of the test split"),
    "seed": (0, "another seed, other scenes"),
}
_SHARES = {
    "smoke": (0.5, "share of the scenes with smoke"),
    "chimney-given-smoke": (0.95, "share of those with smoke that hold a chimney"),
    "chimney-given-clear": (0.4, "share of those without smoke that hold a chimney"),
    "steam": (0.0, "share of the scenes with steam; above 0 steam is a second class"),
    "cooling-tower-given-steam": (0.95, "share of those with steam that hold a cooling tower"),
    "cooling-tower-given-clear": (0.4, "share of those without steam that do"),
}

SCENES = Command(
    "scenes",
    "write procedural smoke scenes as a folder data set",
    "wsss data scenes scenes --train 1500 --chimney-given-clear 0.4",
    _scenes,
    (
        option("out", type=a_path, metavar="DIR", help="folder to write; must be new or empty"),
        *(
            option(
                f"--{name}",
                type=type(default),
                default=default,
                metavar="N" if isinstance(default, int) else "SHARE",
                help=f"{about} [{default}]",
            )
            for name, (default, about) in {**_COUNTS, **_SHARES}.items()
        ),
        option(
            "--train-masks",
            action="store_true",
            help="write masks of training images too, which weak supervision does not use",
        ),
    ),
)

CHECK = Command(
    "check",
    "read every file of a folder data set and list its contents or the error",
    "wsss data check DIR",
    _check,
    (
        option("root", type=a_path, metavar="DIR", help="a folder with train, tune and test"),
        option(
            "--size",
            type=int,
            default=224,
            metavar="N",
            help="side of the network's input in pixels, data.size of a study [224]",
        ),
    ),
    aside=True,
)

DATA = Command(
    "data",
    "import, make and check data sets",
    "wsss data check DIR",
    parts=(IMPORT, SCENES, CHECK),
)
