"""Images beside mask files: by patterns that are given, or in layouts that are usual.

Masks hold the numbers of classes (`--values`), colours (`--colours`), soft edges (`--threshold`),
or one object. Where nothing is given, the values of all masks decide, or the reader refuses.
"""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from wsss_core.data.folder.layout import IMAGE_SUFFIXES
from wsss_core.data.formats.common.contents import (
    Format,
    FormatContent,
    FormatImage,
    FormatOptions,
    Labels,
    Picture,
)
from wsss_core.data.formats.common.mask_values import (
    MASK_FILE_SUFFIXES,
    OBJECT,
    MaskFile,
    Meaning,
    find_meaning,
    meaning_of_colours,
    meaning_of_values,
)
from wsss_core.data.formats.common.patterns import FoundFile, find_files, find_masks, pair_up
from wsss_core.data.formats.common.source_files import (
    SPLIT_WORDS,
    composed,
    files_below,
    subfolders,
    tallied,
)
from wsss_core.errors import InputError

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages", "frames", "rgb")
"""Names of folders that hold the images of a data set, in small letters."""

MASK_FOLDERS = (
    *("masks", "mask", "gt", "gts", "labels", "label", "annotations", "annotation", "annots"),
    *("groundtruth", "ground_truth", "segmentations", "segmentation", "seg"),
)
"""Names of folders that hold the masks, in small letters."""

_AFFIXES = ("_mask", "_gt", "_label", "_labels", "_seg", "_segmentation", "_L", "-mask", "_masks")
_PREFIXES = ("mask_", "gt_", "label_")
_LISTED = 20_000  # files of a folder that are looked at to find how masks are named


MEANING_OPTIONS = ("values", "colours", "threshold")
"""The options that say what the pixels of mask files mean."""


@dataclass(frozen=True)
class PairLayout:
    """The patterns of a layout, those of masks in every way in which they are named, and why."""

    images: str
    masks: tuple[str, ...]
    why: str


def usual_layout(path: Path) -> PairLayout | None:
    """Return the patterns of a folder with pairs of image and mask folders, or None."""
    if not path.is_dir():
        return None
    inner = subfolders(path)
    if pair := _folder_pair(inner):
        images, masks = pair
        splits = {f.name for f in subfolders(images)} & {f.name for f in subfolders(masks)}
        between = "{split}/" if splits & set(SPLIT_WORDS) else ""
        first = f"{min(splits & set(SPLIT_WORDS))}/" if between else ""
        return _layout(
            (images / first, masks / first),
            f"{images.name}/{between}",
            f"{masks.name}/{between}",
        )
    for folder in inner:
        if folder.name.lower() in SPLIT_WORDS and (pair := _folder_pair(subfolders(folder))):
            images, masks = pair
            return _layout(pair, f"{{split}}/{images.name}/", f"{{split}}/{masks.name}/")
    return None


def _folder_pair(folders: list[Path]) -> tuple[Path, Path] | None:
    images = [folder for folder in folders if folder.name.lower() in IMAGE_FOLDERS]
    masks = [folder for folder in folders if folder.name.lower() in MASK_FOLDERS]
    return (images[0], masks[0]) if len(images) == 1 and len(masks) == 1 else None


def _layout(folders: tuple[Path, Path], images: str, masks: str) -> PairLayout | None:
    stems = {file.stem for file in files_below(folders[0], IMAGE_SUFFIXES, deep=False)}
    names = [file.stem for file in files_below(folders[1], MASK_FILE_SUFFIXES, deep=False)]
    if not stems or not names:
        return None
    looked = names[:_LISTED]
    stems = {composed(stem) for stem in stems}
    forms = ["{stem}", *(f"{{stem}}{affix}" for affix in _AFFIXES)]
    forms += [f"{prefix}{{stem}}" for prefix in _PREFIXES]
    found = Counter(form for name in looked if (form := _form(composed(name), stems, forms)))
    if 2 * found.total() <= len(looked):
        return None
    used = [form for form, _ in found.most_common()]
    return PairLayout(
        f"{images}{{stem}}.*",
        tuple(f"{masks}{form}.*" for form in used),
        f"{images} beside {masks}{' and '.join(used)}",
    )


def _form(name: str, stems: Set[str], forms: Sequence[str]) -> str | None:
    """Return the way in which a mask is named after its image."""
    for form in forms:
        before, after = form.split("{stem}")
        stem = name[len(before) : len(name) - len(after)]
        if name.startswith(before) and name.endswith(after) and stem in stems:
            return form
    return None


def _recognise(path: Path) -> str | None:
    layout = usual_layout(path)
    return layout.why if layout else None


def _read(path: Path, options: FormatOptions) -> FormatContent:
    if options.images is not None:
        told = (options.masks,) if options.masks else ()
        return read_pairs(path, options, PairLayout(options.images, told, "as told"))
    layout = usual_layout(path)
    if layout is None:
        raise InputError(
            f"{path}: no folders of images and masks that are named in a usual way; give their "
            "patterns, e.g. --images '{split}/pictures/{stem}.jpg' --masks '{split}/gt/{stem}.png'"
        )
    masks = (options.masks,) if options.masks else layout.masks
    return read_pairs(path, options, replace(layout, masks=masks))


def read_pairs(
    path: Path,
    options: FormatOptions,
    layout: PairLayout,
    values: Mapping[int, str] | None = None,
) -> FormatContent:
    """Read images and masks by their patterns.

    Args:
        path: the folder.
        options: their values, colours or threshold go before everything else.
        layout: the patterns.
        values: what the mask values mean in this layout, unless the options say.

    Raises:
        InputError: no image fits, masks without an image are there, or the meaning of the masks
            has to be told.

    """
    images = find_files(path, layout.images, IMAGE_SUFFIXES)
    named = find_masks(path, layout.masks, MASK_FILE_SUFFIXES, images) if layout.masks else {}
    masks = sorted((mask for found in named.values() for mask in found), key=lambda m: m.path)
    if layout.masks:
        taken = {mask.path for mask in masks}
        images = [image for image in images if image.path not in taken]
        if not images:
            raise InputError(f"{path}: the patterns find the same files for images and masks")
    pairs, spare = pair_up(images, masks)
    if spare:
        said = "masks have no image that fits the pattern"
        raise InputError(f"{tallied(len(spare), said, spare[0].path)}; pattern: {layout.images}")
    by_folder = {image.fields["class"] for image in images if "class" in image.fields}
    held = sorted(by_folder - set(options.clear))
    meaning, notes = _meaning(options, masks, values, held)
    clear = [] if "class" not in images[0].fields else [*options.clear]
    found = [_image(path, image, mask, meaning, held, clear) for image, mask in pairs]
    if len(ways := [f"{len(found)} as {way}" for way, found in named.items() if found]) > 1:
        notes = (*notes, f"masks are named in {len(ways)} ways, all are read: {', '.join(ways)}")
    lone = [image.path for image, mask in pairs if mask is None]
    if masks and lone:
        notes = (*notes, tallied(len(lone), "images have no mask", lone[0]))
    ordered = tuple(sorted(found, key=lambda image: image.name))
    return FormatContent(meaning.classes if masks else tuple(held), ordered, notes)


def _meaning(
    options: FormatOptions,
    masks: list[FoundFile],
    values: Mapping[int, str] | None,
    held: list[str],
) -> tuple[Meaning, tuple[str, ...]]:
    if options.values is not None:
        return meaning_of_values(options.values), ()
    if options.colours is not None:
        return meaning_of_colours(options.colours), ()
    classes = tuple(held) or (OBJECT,)
    if options.threshold is not None:
        return Meaning(classes, threshold=options.threshold), ()
    if values is not None:
        return meaning_of_values(values), ()
    if not masks:
        return Meaning(classes), ()
    found, notes = find_meaning([mask.path for mask in masks], OBJECT)
    return replace(found, classes=classes), notes


def _image(
    root: Path,
    image: FoundFile,
    mask: FoundFile | None,
    meaning: Meaning,
    held: list[str],
    clear: list[str],
) -> FormatImage:
    fields = image.fields
    label = fields.get("class")
    labels, code = None, 1
    if label is not None:
        if label in held and label not in meaning.classes:
            raise InputError(
                f"{image.path}: folder of class {label}, but the masks' classes are "
                f"{', '.join(meaning.classes)}"
            )
        labels = Labels(frozenset() if label in clear else frozenset({label}))
        code = 1 if label in clear else meaning.classes.index(label) + 1
    return FormatImage(
        name=image.path.relative_to(root).with_suffix("").as_posix(),
        picture=Picture(image.path),
        split=fields.get("split"),
        labels=labels,
        mask=None if mask is None else MaskFile(mask.path, meaning, code),
        group=fields.get("group"),
        camera=fields.get("camera"),
    )


PAIRS = Format(
    "pairs",
    "images beside mask files, by folders or patterns",
    _recognise,
    _read,
    specific=False,
    uses=("images", "masks", "clear", *MEANING_OPTIONS),
)
