"""`wsss weights`: fetch what a study names, for machines without a network."""

import argparse

from studies.cli.common import NO_PLUGINS_OPTION, Command, a_path, option, show
from studies.cli.run import SPEC_OPTIONS


def _fetch(options: argparse.Namespace) -> int:
    from studies.spec.loading import load_study

    study = load_study(options.spec, options.changes, options.variants)
    from studies.weights import fetch_weights
    from wsss_core.fetched_weights import WEIGHTS_FOLDER, weights_folder

    folder = weights_folder() if options.to is None else options.to.expanduser().absolute()
    found = fetch_weights(study, folder)
    if not found:
        show(f"{study.study} names no weights to fetch: none is pretrained, none is of a hub")
        return 0
    show(f"on every node, before wsss run: export {WEIGHTS_FOLDER}={folder}")
    return 0


FETCH = Command(
    "fetch",
    "download the pretrained networks, SAM and CLIP that a study names into one folder",
    "wsss weights fetch my_study.yaml --out /shared/weights",
    _fetch,
    (
        *SPEC_OPTIONS,
        option(
            "--out",
            "--to",
            dest="to",
            type=a_path,
            metavar="DIR",
            help="the folder [the environment's WSSS_WEIGHTS, else ~/.cache/wsss/weights]",
        ),
        NO_PLUGINS_OPTION,
    ),
)

WEIGHTS = Command(
    "weights",
    "fetch the weights that a study names, for nodes without a network",
    "wsss weights fetch STUDY --out WEIGHTS",
    parts=(FETCH,),
)
