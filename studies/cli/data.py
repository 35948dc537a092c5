"""The commands `wsss data ...`: import, make, check and describe data sets."""

import argparse
from dataclasses import replace
from pathlib import Path

from studies.cli.common import (
    NO_PLUGINS_OPTION,
    PIXEL_OPTIONS,
    Command,
    a_path,
    option,
    pixel_rules,
    show,
)
from studies.cli.data_import import IMPORT
from studies.cli.run import SPEC_OPTIONS
from studies.cli.strict_json import JSON_OPTION, Schema, of_schema, show_json
from wsss_core.errors import InputError


def _scenes(options: argparse.Namespace) -> int:
    from wsss_core.data.scenes import SceneSettings, SceneSource, contact_sheet, write_scenes

    settings = SceneSettings.taken_from(options)
    source = SceneSource(
        settings, options.train, options.tune, options.test, reverse_test=options.reverse_test
    )
    write_scenes(source, options.out, train_masks=options.train_masks)
    sheet = options.out / "contact_sheet.png"
    contact_sheet(settings).save(sheet)
    show(f"{options.train + options.tune + options.test} scenes in {options.out}; see {sheet}")
    return 0


def _check(options: argparse.Namespace) -> int:
    from wsss_core.data.folder import USUAL_SIZE, FolderSource
    from wsss_core.data.importing import import_hint, misses_a_split

    if options.root.suffix in (".yaml", ".yml") and options.root.is_file():
        return _check_study(options)
    try:
        source = FolderSource(options.root, pixel_rules(options), options.threshold)
    except InputError as error:
        raise InputError(f"{error}{import_hint(options.root)}") from error
    size = USUAL_SIZE if options.size is None else options.size
    if size < 1:
        raise InputError(f"--size {size}: expected 1 or more")
    summary = source.examine(size)
    show(summary.describe())
    try:
        summary.findings.raise_refused("above")
    except InputError as error:
        hint = import_hint(options.root) if misses_a_split(source.root) else ""
        raise InputError(f"{error}{hint}") from error
    return 0


def _check_study(options: argparse.Namespace) -> int:
    """Check the images of a study, read as its section `data` says."""
    from studies.planning import open_source, windows_in_words
    from studies.spec.loading import load_study
    from wsss_core.data.folder import FolderSource
    from wsss_core.data.importing import PublishedSource

    for name in ("size", "threshold", "white_level", "orientation", "largest_megapixels"):
        if getattr(options, name) is not None:
            option = name.replace("_", "-")
            raise InputError(f"--{option}: the study says how its images are read, as data.{name}")
    study = load_study(str(options.root))
    source = open_source(study.data)
    if not isinstance(source, FolderSource | PublishedSource):
        raise InputError(
            f"{options.root}: data.source is {study.data.source}, which has no files to check"
        )
    summary = source.examine(study.data.size)
    if study.folds is not None:
        summary = replace(summary, findings=summary.findings.without_shared_groups())
    show(summary.describe())
    if lines := windows_in_words(source, study.data):
        show("\n" + "\n".join(lines))
    summary.findings.raise_refused("above")
    return 0


def _describe(options: argparse.Namespace) -> int:
    from studies.description import describe_images, description_record, description_text

    described = describe_images(
        options.data, options.changes, options.variants, 0 if options.out is None else 8
    )
    files: tuple[Path, ...] = ()
    if options.out is not None:
        from studies.description import write_description

        files = write_description(described, options.out)
    if options.json:
        record = {**description_record(described), "files": [str(file) for file in files]}
        show_json(of_schema(Schema.DATA, record))
        return 0
    show(description_text(described))
    if files:
        show(f"\nwritten: {files[0]}")
    return 0


def _trap(options: argparse.Namespace) -> int:
    from wsss_core.data.trap_splits import make_trap

    made = make_trap(
        options.root,
        options.out,
        options.flag,
        class_name=options.trap_class,
        agreement=options.agreement,
        seed=options.seed,
        linked=options.link,
    )
    show(made.describe())
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
    "further": (0.0, "share of the scenes with each of contrail, flare and dust; needs steam"),
    "context-given-further": (0.95, "share of those with such a class that hold its context"),
    "context-given-without": (0.4, "share of those without it that do"),
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
        option(
            "--reverse-test",
            action="store_true",
            help="in test, contexts go with the scenes that lack their class: a trap",
        ),
    ),
)

CHECK = Command(
    "check",
    "read every file of a folder data set and list its contents or the error",
    "wsss data check DIR",
    _check,
    (
        option(
            "root",
            type=a_path,
            metavar="DIR",
            help="a folder with train, tune and test; or a study",
        ),
        option("--threshold", type=int, metavar="N", help="the least mask value that is object"),
        *PIXEL_OPTIONS,
        option(
            "--size",
            type=int,
            metavar="N",
            help="side of the network's input in pixels, data.size of a study [224]",
        ),
        NO_PLUGINS_OPTION,
    ),
    aside=True,
)

DESCRIBE = Command(
    "describe",
    "list what a data set holds, and what its classes go with, before anything is trained",
    "wsss data describe DIR --out description",
    _describe,
    (
        option(
            "data",
            metavar="DATA",
            help="a data folder, a study file, or a shipped study's name",
        ),
        option(
            "--out",
            type=a_path,
            metavar="DIR",
            help="write a page with a contact sheet there, and the tables",
        ),
        *SPEC_OPTIONS[1:],
        NO_PLUGINS_OPTION,
        JSON_OPTION,
    ),
)

TRAP = Command(
    "trap",
    "make a data folder in which a flag goes with the class, and in test against it",
    "wsss data trap DATA TRAP --flag night",
    _trap,
    (
        option("root", type=a_path, metavar="DIR", help="a data folder whose images have flags"),
        option("out", type=a_path, metavar="DEST", help="folder to write; must be new or empty"),
        option(
            "--flag",
            required=True,
            metavar="NAME",
            help="a flag of attributes.csv or of the import; or a source, `source NAME`",
        ),
        option(
            "--class",
            dest="trap_class",
            metavar="NAME",
            help="the class that the flag goes with [the only one]",
        ),
        option(
            "--agreement",
            type=float,
            default=0.9,
            metavar="SHARE",
            help="share of the images whose flag agrees with the label, in test of those whose "
            "flag does not [0.9]",
        ),
        option("--seed", type=int, default=0, metavar="N", help="of the images that are kept [0]"),
        option("--link", action="store_true", help="link files instead of copying them"),
    ),
)

DATA = Command(
    "data",
    "import, make, check and describe data sets",
    "wsss data check DIR",
    parts=(IMPORT, SCENES, TRAP, CHECK, DESCRIBE),
)
