"""The commands `wsss data ...`: import, make and check data sets."""

import argparse

from studies.cli.common import Command, a_path, option, show
from studies.cli.data_import import IMPORT


def _scenes(options: argparse.Namespace) -> int:
    from wsss_core.data.scenes import SceneSettings, SceneSource, contact_sheet, write_scenes

    settings = SceneSettings.taken_from(options)
    source = SceneSource(settings, train=options.train, tune=options.tune, test=options.test)
    write_scenes(source, options.out)
    sheet = options.out / "contact_sheet.png"
    contact_sheet(settings).save(sheet)
    show(f"{options.train + options.tune + options.test} scenes in {options.out}; see {sheet}")
    return 0


def _check(options: argparse.Namespace) -> int:
    from wsss_core.data.folder.source import FolderSource

    show(FolderSource(options.root).check().describe())
    return 0


_COUNTS = {"size": 64, "train": 1500, "tune": 150, "test": 300, "seed": 0}

_SHARES = {
    "smoke": 0.5,
    "chimney-given-smoke": 0.95,
    "chimney-given-clear": 0.4,
    "steam": 0.0,
    "cooling-tower-given-steam": 0.95,
    "cooling-tower-given-clear": 0.4,
}

SCENES = Command(
    "scenes",
    "write procedural smoke scenes as a folder data set",
    "wsss data scenes scenes --train 1500 --chimney-given-clear 0.4",
    _scenes,
    (
        option("out", type=a_path, metavar="DIR", help="folder to write; must be new or empty"),
        *(
            option(f"--{name}", type=type(default), default=default, help=f"[{default}]")
            for name, default in {**_COUNTS, **_SHARES}.items()
        ),
    ),
)

CHECK = Command(
    "check",
    "read every file of a folder data set and list its contents or the error",
    "wsss data check DIR",
    _check,
    (option("root", type=a_path, metavar="DIR"),),
)

DATA = Command(
    "data",
    "import, make and check data sets",
    "wsss data check DIR",
    parts=(IMPORT, SCENES, CHECK),
)
