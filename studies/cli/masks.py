"""`wsss masks`: pseudo masks of a folder of images, made with a finished study."""

import argparse

from studies.cli.common import (
    NO_PLUGINS_OPTION,
    PIXEL_OPTIONS,
    RESULTS_OPTION,
    Command,
    a_location,
    a_number,
    a_path,
    option,
    options_named,
    pixel_rules,
    show,
)
from wsss_core.data.annotations import AnnotationFormat
from wsss_core.errors import InputError


def _masks(options: argparse.Namespace) -> int:
    from studies.formatting import duration
    from studies.masks.making import make_masks
    from studies.scheduling.stopping import interrupt_on_terminate

    interrupt_on_terminate()
    if options.in_process and options.address is not None:
        raise InputError("--address: a cluster runs Ray; leave out --in-process")
    made = make_masks(
        options.results,
        options.images,
        options.out,
        study=options.study,
        configuration=options.configuration,
        seed=options.seed,
        fold=options.fold,
        chain=options.chain,
        rule=options.rule,
        threshold=options.threshold,
        uncertain=options.uncertain,
        soft=options.soft,
        batch=options.batch,
        store=options.store,
        address=options.address,
        in_process=options.in_process,
        follow_links=options.follow_links,
        labels=options.labels,
        formats=options.format,
        rules=pixel_rules(options),
    )
    rate = f", {made.written / made.seconds:.1f} images/s" if made.written else ""
    show(f"{made.written} masks written to {options.out} in {duration(made.seconds)}{rate}")
    if made.counts.masks:
        show(made.counts.describe())
    for written in made.annotations:
        show(f"annotations written to {written}")
    for name, error in made.failed.items():
        show(f"failed: {name}: {error}", aside=True)
    if named := options_named(made.failed.values()):
        show(f"here options decide that: {', '.join(named)}", aside=True)
    return 1 if made.failed else 0


FORMAT_NAMES = tuple(str(name) for name in AnnotationFormat)

MASKS = Command(
    "masks",
    "make pseudo masks (PNG) of a folder of images with a study's trained network; what the "
    "options do not select, the tune split selects; resumable",
    "wsss masks results/quickstart --images DIR --out masks --chain CRF",
    _masks,
    (
        RESULTS_OPTION,
        option("--images", type=a_path, required=True, metavar="DIR", help="of any sizes"),
        option(
            "--out", type=a_path, required=True, metavar="DIR", help="folder of the masks; is made"
        ),
        option("--configuration", metavar="NAME", help="[the best on the tune split]"),
        option("--seed", type=int, metavar="N", help="[the best on the tune split]"),
        option("--fold", type=int, metavar="N", help="the fold, in a study with folds"),
        option("--chain", metavar="NAME", help="a refinement chain of the study [none]"),
        option("--refinement", dest="chain", help=argparse.SUPPRESS),  # its old spelling
        option("--threshold", type=a_number, metavar="VALUE", help="0 to 1, instead of a rule"),
        option("--rule", metavar="RULE", help="tuned, fixed, otsu, ... [the study's]"),
        option(
            "--labels",
            type=a_path,
            metavar="CSV",
            help="known labels of the images, columns file and classes: no class but those gets "
            "pixels, predicted or not [the study's gating]",
        ),
        option(
            "--uncertain",
            type=a_number,
            default=0.0,
            metavar="MARGIN",
            help="write 255 where the score is nearer than MARGIN to the threshold [0]",
        ),
        option("--soft", action="store_true", help="write the scores too, to OUT/soft"),
        option(
            "--format",
            action="append",
            default=[],
            choices=FORMAT_NAMES,
            help="write annotation files too, which CVAT and others import: coco (run lengths), "
            "coco-polygons, voc; may be repeated",
        ),
        option("--store", type=a_location, metavar="DIR", help="[RESULTS/store]"),
        option("--study", metavar="NAME", help="which study, if RESULTS holds several"),
        option("--batch", type=int, default=16, metavar="N", help="images a task [16]"),
        option("--address", metavar="ADDR", help="a running Ray cluster"),
        option("--follow-links", action="store_true", help="search linked folders of DIR too"),
        *PIXEL_OPTIONS,
        option("--in-process", action="store_true", help="no Ray, for debugging"),
        NO_PLUGINS_OPTION,
    ),
)
