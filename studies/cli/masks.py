"""`wsss masks`: masks of a folder of images; `wsss segment`: trained segmenters as files."""

import argparse
import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies.cli.common import (
    NO_PLUGINS_OPTION,
    PIXEL_OPTIONS,
    Command,
    a_location,
    a_number,
    a_path,
    option,
    options_named,
    pixel_rules,
    show,
)
from studies.cli.run import RUN, opened_study, run_from_options
from wsss_core.data.annotations import AnnotationFormat
from wsss_core.errors import InputError
from wsss_core.segmentation.exporting.names import SUFFIXES, ExportFormat
from wsss_core.segmentation.settings import NETWORK_PRECISIONS
from wsss_core.tiling import ASPECTS

if TYPE_CHECKING:
    from studies.masks.segmenter_recipe import SegmenterSelection
    from wsss_core.tiling import TileSettings


def _masks(options: argparse.Namespace) -> int:
    from studies.formatting import duration
    from studies.masks.making import make_masks, make_segmenter_masks
    from studies.scheduling.stopping import interrupt_on_terminate

    interrupt_on_terminate()
    if options.in_process and options.address is not None:
        raise InputError("--address: a cluster runs Ray; leave out --in-process")
    common: dict[str, Any] = {name: getattr(options, name) for name in _COMMON}
    common |= {"formats": options.format, "rules": pixel_rules(options)}
    common |= {"aspect": options.aspect, "tiles": _tiles(options)}
    if options.segmenter is not None:
        segmenter, of_study = _segmenter(options)
        of_study["precision"] = options.precision
        made = make_segmenter_masks(segmenter, options.images, options.out, **of_study, **common)
    elif options.results is None:
        raise InputError("RESULTS: expected the folder of a study, or --segmenter FILE")
    elif options.precision is not None:
        raise InputError("--precision: is a segmenter's; expected --segmenter too")
    else:
        common |= {name: getattr(options, name) for name in _OF_A_STUDY}
        made = make_masks(options.results, options.images, options.out, **common)
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


def _export_segmenter(options: argparse.Namespace) -> int:
    from wsss_core.segmentation import load_segmenter
    from wsss_core.segmentation.exporting import export_segmenter

    to = ExportFormat(options.to)
    out: Path = options.out or options.segmenter.with_suffix(SUFFIXES[to])
    record = export_segmenter(load_segmenter(options.segmenter), out, to)
    for line in record.describe():
        show(line, aside=True)
    show(record.file)
    return 0


_COMMON = (
    "uncertain", "soft", "batch", "address", "in_process", "follow_links", "labels",
)  # fmt: skip
_OF_A_STUDY = (
    "study", "configuration", "seed", "fold", "chain", "rule", "threshold", "store",
)  # fmt: skip


_OF_AN_ENTRY = ("study", "seed", "fold")


def _segmenter(
    options: argparse.Namespace,
) -> tuple["Path | SegmenterSelection", dict[str, Any]]:
    """Return the segmenter's file, or which one of a study it is, and where that lies.

    Raises:
        InputError: options that choose nothing of a segmenter.

    """
    from studies.masks.segmenter_recipe import SegmenterSelection

    given = [name for name in _OF_A_STUDY if getattr(options, name) is not None]
    is_file = options.results is None or Path(options.segmenter).is_file()
    unused = [name for name in given if is_file or name not in (*_OF_AN_ENTRY, "store")]
    if is_file and (given or options.results is not None):
        first = f"--{given[0]}" if options.results is None else "RESULTS"
        raise InputError(f"{first}: the file of --segmenter is all that makes the masks")
    if unused:
        raise InputError(f"--{unused[0]}: chooses nothing of a segmenter; leave it out")
    if is_file:
        return a_path(options.segmenter), {}
    chosen = {name: getattr(options, name) for name in _OF_AN_ENTRY}
    places = {"results": options.results, "store": options.store}
    return SegmenterSelection(options.segmenter, **chosen), places


def _tiles(options: argparse.Namespace) -> "TileSettings | None":
    """Return the windows that options ask for; None where none of them is given."""
    from wsss_core.tiling import TileSettings

    if options.tile_size is None and options.tile_stride is None:
        return None
    return TileSettings(options.tile_size, options.tile_stride)


FORMAT_NAMES = tuple(str(name) for name in AnnotationFormat)

MASKS = Command(
    "masks",
    "make pseudo masks (PNG) of a folder of images with a study's trained network; what the "
    "options do not select, the tune split selects; resumable",
    "wsss masks results/quickstart --images DIR --out masks --chain CRF",
    _masks,
    (
        option(
            "results",
            nargs="?",
            type=a_location,
            metavar="RESULTS",
            help="a folder that `wsss run` wrote, or its URI; none with a segmenter's file",
        ),
        option(
            "--segmenter",
            metavar="NAME",
            help="a trained segmenter makes the masks: an entry of the study's section segment, "
            "or, without RESULTS, a file of save_segmenter",
        ),
        option("--images", type=a_path, required=True, metavar="DIR", help="of any sizes"),
        option(
            "--out", type=a_path, required=True, metavar="DIR", help="folder of the masks; is made"
        ),
        option("--configuration", metavar="NAME", help="[the best on the tune split]"),
        option("--seed", type=int, metavar="N", help="[the best on the tune split]"),
        option("--fold", type=int, metavar="N", help="the fold, in a study with folds"),
        option(
            "--chain",
            metavar="NAME",
            help="a refinement chain of the study, or 'tuned chain': the best on the tune split "
            "[none]",
        ),
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
        option(
            "--aspect",
            choices=ASPECTS,
            help="how an image becomes the square that the network takes [as in the study]",
        ),
        option(
            "--tile-size",
            type=int,
            metavar="N",
            help="see each image through windows of N px, blended, at its own resolution; large "
            "images are read and written a strip at a time [as in the study]",
        ),
        option(
            "--tile-stride",
            type=int,
            metavar="N",
            help="pixels from one window to the next [half of their size]",
        ),
        option(
            "--precision",
            choices=NETWORK_PRECISIONS,
            help="of a segmenter's network: bf16 is several times faster where the processor has "
            "units for bfloat16, and a few pixels at edges differ [as in the study; fp32]",
        ),
        option("--address", metavar="ADDR", help="a running Ray cluster"),
        option("--follow-links", action="store_true", help="search linked folders of DIR too"),
        *PIXEL_OPTIONS,
        option(
            "--in-process",
            action="store_true",
            help="no Ray: a thread for each core of this machine, or one GPU; starts at once",
        ),
        NO_PLUGINS_OPTION,
    ),
)


def _train_segmenter(options: argparse.Namespace) -> int:
    """Run a study with one more entry of `segment`; entries that were added before stay."""
    from reports.results.segments import read_segments

    entry = options.entry
    if not entry.strip() or set(".=") & set(entry):
        raise InputError(f"NAME {entry!r}: expected a name without '.' and '='")
    if entry in _entries(options):
        raise InputError(f"NAME {entry!r}: the study has this entry; expected another name")
    added = json.dumps(_entry_of(options))
    options.changes = [*options.changes, f"segment.entries.{entry}={added}"]
    whole, results, _ = opened_study(options)
    code = run_from_options(options, keep_segments=True)
    for record in read_segments(results, whole.study):
        figures = record.by_seed("per_image_iou")
        if record.entry == entry and figures:
            mean = sum(figures.values()) / len(figures)
            over = f"mean of {len(figures)} runs" if len(figures) > 1 else "of 1 run"
            show(f"{entry}: IoU of {100 * mean:.2f} % (per image, {over})")
    return code


def _entries(options: argparse.Namespace) -> list[str]:
    """Return the entries of the study's own section; none where it is not whole without ours."""
    with contextlib.suppress(InputError):
        study, _, _ = opened_study(options)
        return [] if study.segment is None else list(study.segment.entries)
    return []


def _entry_of(options: argparse.Namespace) -> dict[str, object]:
    """Return the entry that the options describe, as a study file has it."""
    labels = {
        key: value
        for key in ("masks", "configuration", "chain", "rule")
        if (value := getattr(options, key)) is not None
    }
    added: dict[str, object] = {"labels": labels}
    if options.model is not None or options.encoder is not None:
        encoder = {} if options.encoder is None else {"encoder": options.encoder}
        added["model"] = {"model": options.model or "unet", **encoder}
    if options.steps is not None:
        added["training"] = {"steps": options.steps}
    return added


def _masks_or_all(text: str) -> int | str:
    """Return a number of masks, or "all"."""
    if text == "all":
        return text
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) < 10**8):
        raise argparse.ArgumentTypeError(f"expected a number of masks, or all, got {text!r}")
    return int(text)


SEGMENT = Command(
    "segment",
    "train segmenters on a study's masks, and export them",
    "wsss segment export segmenter.safetensors --to onnx",
    parts=(
        Command(
            "train",
            "train and score one more segmenter on the masks of a study, without editing its file; "
            "what the study itself lacks is run too",
            "wsss segment train quickstart ours --configuration 'CNN alone' --encoder resnet18",
            _train_segmenter,
            (
                RUN.options[0],
                option("entry", metavar="NAME", help="of the new entry of segment"),
                option("--configuration", metavar="NAME", help="its maps become pseudo masks"),
                option("--chain", metavar="NAME", help="the chain of these maps [none]"),
                option("--rule", metavar="RULE", help="the threshold rule that cuts them [tuned]"),
                option(
                    "--masks",
                    type=_masks_or_all,
                    metavar="N",
                    help="true masks of training images: a number, or all [none]",
                ),
                option(
                    "--model",
                    metavar="MODEL",
                    help="[unet with --encoder, else the study's segment.model]",
                ),
                option("--encoder", metavar="ENCODER", help="a timm model [the study's]"),
                option("--steps", type=int, metavar="N", help="[the study's segment.training]"),
                *RUN.options[1:],
            ),
        ),
        Command(
            "export",
            "write a trained segmenter with its preprocessing as ONNX or TorchScript, read it "
            "back, compare and time it",
            "wsss segment export segmenter.safetensors --to onnx",
            _export_segmenter,
            (
                option("segmenter", type=a_path, metavar="FILE", help="a file of save_segmenter"),
                option(
                    "--to",
                    choices=tuple(str(name) for name in ExportFormat),
                    default=str(ExportFormat.ONNX),
                    help="onnx or torchscript [onnx]",
                ),
                option("--out", type=a_path, metavar="FILE", help="[FILE with .onnx or .pt]"),
                NO_PLUGINS_OPTION,
            ),
            aside=True,
        ),
    ),
)
