"""`wsss masks`: pseudo masks of a folder of images, made with a finished study."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from reports.storage import below, located
from studies.cli.common import add_command

if TYPE_CHECKING:
    from studies.cli.common import Commands


def add_masks_command(commands: "Commands") -> None:
    """Add `masks`."""
    masks = add_command(
        commands,
        "masks",
        _masks,
        "make pseudo masks (PNG) of a folder of images with a study's trained network; what the "
        "options do not select, the tune split selects; resumable",
        "wsss masks results/quickstart --images DIR --out masks --chain CRF",
    )
    masks.add_argument("results", type=located, metavar="RESULTS")
    masks.add_argument("--images", type=Path, required=True, metavar="DIR", help="of any sizes")
    masks.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of the masks; is made"
    )
    masks.add_argument("--configuration", metavar="NAME", help="[the best on the tune split]")
    masks.add_argument("--seed", type=int, metavar="N", help="[the best on the tune split]")
    masks.add_argument("--chain", metavar="NAME", help="a refinement chain of the study [none]")
    masks.add_argument("--refinement", dest="chain", help=argparse.SUPPRESS)  # its old spelling
    cut = masks.add_mutually_exclusive_group()
    cut.add_argument("--threshold", type=float, metavar="VALUE", help="0 to 1, instead of a rule")
    cut.add_argument("--rule", metavar="RULE", help="tuned, fixed, otsu, ... [the study's]")
    masks.add_argument(
        "--uncertain",
        type=float,
        default=0.0,
        metavar="MARGIN",
        help="write 255 where the score is nearer than MARGIN to the threshold [0]",
    )
    masks.add_argument("--soft", action="store_true", help="write the scores too, to OUT/soft")
    masks.add_argument("--store", type=located, metavar="DIR", help="[RESULTS/store]")
    masks.add_argument("--study", metavar="NAME", help="which study, if RESULTS holds several")
    masks.add_argument("--batch", type=int, default=16, metavar="N", help="images a task [16]")
    masks.add_argument("--address", metavar="ADDR", help="a running Ray cluster")
    masks.add_argument("--in-process", action="store_true", help="no Ray, for debugging")


def _masks(options: argparse.Namespace) -> int:
    from studies.formatting import duration
    from studies.masks.folder import make_masks
    from studies.masks.recipe import MaskSelection, choose_recipe
    from studies.masks.worker import MaskJob
    from studies.store import ArtifactStore

    selection = MaskSelection(
        **{name: getattr(options, name) for name in MaskSelection.__dataclass_fields__}
    )
    store = ArtifactStore(options.store or below(options.results, "store"))
    recipe, lines = choose_recipe(options.results, store, selection)
    for line in lines:
        print(line, flush=True)
    images, out = (str(folder.absolute()) for folder in (options.images, options.out))
    made = make_masks(
        MaskJob(recipe, images, out, options.uncertain, options.soft),
        batch=options.batch,
        address=options.address,
        in_process=options.in_process,
    )
    rate = f", {made.written / made.seconds:.1f} images/s" if made.written else ""
    print(f"{made.written} masks written to {options.out} in {duration(made.seconds)}{rate}")
    for name, error in made.failed.items():
        print(f"failed: {name}: {error}", file=sys.stderr)
    return 1 if made.failed else 0
