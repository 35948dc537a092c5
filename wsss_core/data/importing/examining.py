"""Every chosen image opened once before anything is written: sizes, orientation, masks."""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from wsss_core.data.formats import (
    FormatImage,
    Labels,
    MaskFile,
    Picture,
    innermost,
    recode_image,
    recoding,
    takes_size_of_picture,
    tallied,
    with_picture,
)
from wsss_core.data.image_set import IGNORED, SPLITS
from wsss_core.data.importing.candidates import UNSHOWN, ImportCandidate
from wsss_core.data.importing.mask_figures import (
    MaskFigures,
    is_empty_mask,
    mask_figures,
    shown_labels,
)
from wsss_core.data.importing.oddities import FileHeader, file_header
from wsss_core.data.importing.settings import ImportSettings
from wsss_core.data.importing.splitting import Assigned
from wsss_core.data.progress_lines import ProgressLines
from wsss_core.errors import InputError

_FULL = 0.8  # share of object above which most masks of a set of one class look inverted
_EDGE = 0.5  # share of the border above which an object that covers less elsewhere does
_EXIF = "images have an EXIF orientation that no mask settles"


@dataclass(frozen=True)
class Examined:
    """An image of the set to be.

    Attributes:
        candidate: the image; its picture is turned upright where that is meant.
        split: its split.
        held: codes of the classes that it holds.
        tiny: codes of the classes that its mask holds with less than the least area.
        masked: whether a mask is written for it.
        figures: of its mask; None where it has none, or it is clear by its label.
        pages: the files, of image and mask, that hold more than one picture.
        palette: the colours of the mask's indices, where 0 is not black.

    """

    candidate: ImportCandidate
    split: str
    held: tuple[int, ...]
    tiny: tuple[int, ...] = ()
    masked: bool = False
    figures: MaskFigures | None = None
    pages: tuple[Path, ...] = ()
    palette: str | None = None

    @property
    def name(self) -> str:
        """The name of the image in its source."""
        return self.candidate.image.name


@dataclass(frozen=True)
class _Fault:
    """Why an image cannot be taken; `fatal`: nothing is imported because of it."""

    said: str
    name: str
    fatal: bool = True


def examine_images(
    assigned: Assigned, classes: tuple[str, ...], settings: ImportSettings
) -> tuple[list[Examined], tuple[str, ...], list[str]]:
    """Return every image with what its mask holds, the classes that some hold, and notes.

    Where no source says which classes are wanted, those that no image holds are left out.

    Raises:
        InputError: an image or mask cannot be read, sizes differ, or an orientation is not settled;
            faults of one kind are tallied.

    """
    work = [(split, candidate) for split, members in assigned.items() for candidate in members]
    progress = ProgressLines("images and masks checked", len(work))

    def examine(item: tuple[str, ImportCandidate]) -> Examined | _Fault:
        try:
            found = _examined(*item, classes, settings)
        except InputError as error:
            found = _Fault("images cannot be imported", str(error))
        progress.step()
        return found

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(examine, work))
    faults: dict[tuple[bool, str], list[str]] = defaultdict(list)
    for one in found:
        if isinstance(one, _Fault):
            faults[not one.fatal, one.said].append(one.name)
    for (passing, said), names in sorted(faults.items()):
        if not passing:
            hint = "; say --orientation apply or ignore" if said == _EXIF else ""
            raise InputError(f"{tallied(len(names), said, names[0])}{hint}")
    kept = [one for one in found if isinstance(one, Examined)]
    notes = [tallied(len(names), said, names[0]) for (_, said), names in faults.items()]
    for split in assigned:
        if not any(one.split == split for one in kept):
            raise InputError(f"no image is left in {split}: {'; '.join(notes)}")
        members = [one for one in kept if one.split == split]
        if split != "train" and not any(one.masked for one in members):
            raise InputError(
                f"no image of {split} shows a class in a mask, all {len(members)} are clear; "
                "nothing can be scored there, expected a source with masks"
            )
    if not any(source.classes for source in settings.sources):
        kept, classes, more = _without_absent(kept, classes)
        notes += more
    return kept, classes, [*notes, *_notes(kept, classes, settings)]


def _examined(
    split: str, candidate: ImportCandidate, classes: tuple[str, ...], settings: ImportSettings
) -> Examined | _Fault:
    image, figures = candidate.image, candidate.figures
    if figures is None and image.mask is not None and not is_empty_mask(image.mask):
        figures = mask_figures(image.mask)
    header = None if image.picture.frame is not None else file_header(image.picture.path)
    picture = _settled(image, header, figures, settings)
    if picture is None:
        return _Fault(_EXIF, image.name)
    if picture.upright and image.mask is not None and takes_size_of_picture(image.mask):
        mask = with_picture(image.mask, picture)
        image, figures = replace(image, mask=mask), figures and mask_figures(mask)
    if split != "train" and image.context is not None:
        (height, width), shape = image.context.read().shape, _shape(picture, header)
        if (height, width) != shape:
            said = "images differ in size from their context mask"
            return _Fault(said, f"{image.name}, {shape[1]}x{shape[0]}, mask {width}x{height}")
    labels: Labels | None = candidate.labels
    if figures is not None:
        shape = _shape(picture, header)
        if figures.shape != shape:
            said = "images differ in size from their mask"
            height, width = figures.shape
            return _Fault(said, f"{image.name}, {shape[1]}x{shape[0]}, mask {width}x{height}")
        labels = shown_labels(candidate.labels, figures, classes, settings.least_area)
    elif image.mask is not None and candidate.labels.present:
        labels = None  # the mask of a clear image, and labels that say otherwise
    given = tuple(k for k, name in enumerate(classes, 1) if labels and name in labels.present)
    held = figures.held(settings.least_area) if figures and split != "train" else given
    if split != "train" and figures and figures.areas.keys() == {IGNORED}:
        said = f"images of {split} are left out, as their mask is ignored throughout"
        return _Fault(said, image.name, fatal=False)
    if labels is None or (split != "train" and candidate.labels.present and not held):
        return _Fault(f"images of {split} {UNSHOWN}", image.name, fatal=False)
    paged, palette = _oddities(image, header)
    return Examined(
        replace(candidate, image=replace(image, picture=picture)),
        split,
        held,
        figures.tiny(settings.least_area) if figures else (),
        figures is not None and bool(figures.areas.keys() - {0}),
        figures,
        paged,
        palette,
    )


def _shape(picture: Picture, header: FileHeader | None) -> tuple[int, int]:
    if header is None or picture.window is not None:
        return picture.shape()
    return header.upright_shape if picture.upright else header.shape


def _oddities(image: FormatImage, header: FileHeader | None) -> tuple[tuple[Path, ...], str | None]:
    """Return the files of several pages, and the colours of a mask whose index 0 is not black."""
    paged = [image.picture.path] if header and header.pages > 1 else []
    mask = None if image.mask is None else innermost(image.mask)
    path = getattr(mask, "path", None)
    if not isinstance(path, Path) or path.suffix.lower() == ".npy":
        return tuple(paged), None
    of_mask = file_header(path)
    paged += [path] if of_mask.pages > 1 else []
    by_colour = isinstance(mask, MaskFile) and mask.meaning.colours is not None
    if of_mask.palette is None or by_colour:
        return tuple(paged), None
    shown = [f"{at} is #{r:02x}{g:02x}{b:02x}" for at, (r, g, b) in of_mask.palette.items()]
    return tuple(paged), f"{path}: {', '.join(shown[:4])}"


def _settled(
    image: FormatImage,
    header: FileHeader | None,
    figures: MaskFigures | None,
    settings: ImportSettings,
) -> Picture | None:
    """Return the picture, upright where its orientation tag is meant; None if that is not clear.

    A tag that is not meant must not be copied: whoever reads the file would have to ask again.
    """
    picture = image.picture
    if header is None or picture.upright or header.orientation == 1:
        return picture
    upright, as_stored = replace(picture, upright=True), replace(picture, untagged=True)
    if settings.orientation is not None:
        return upright if settings.orientation == "apply" else as_stored
    if picture.window is not None or figures is None or image.mask is None:
        return None
    if takes_size_of_picture(image.mask) or header.shape == header.upright_shape:
        return None
    return upright if figures.shape == header.upright_shape else as_stored


def _without_absent(
    images: Sequence[Examined], classes: tuple[str, ...]
) -> tuple[list[Examined], tuple[str, ...], list[str]]:
    """Return the images and classes without those classes that no image holds, and a note.

    Formats list all classes that they can have; nothing can be trained or scored of one without an
    image. Pixels of such a class, fewer than the least area, are ignored.
    """
    seen = {code for one in images for code in one.held}
    seen |= {code for one in images if one.figures for code in one.figures.areas} - _tiny(images)
    kept = [name for code, name in enumerate(classes, start=1) if code in seen]
    gone = [name for name in classes if name not in kept]
    if not gone or not kept:
        return list(images), classes, []
    codes = list(recoding(classes, kept, {name: name for name in kept}))
    for name in gone:
        codes[classes.index(name) + 1] = IGNORED
    found = []
    for one in images:
        image = recode_image(one.candidate.image, tuple(codes))
        found.append(
            replace(
                one,
                candidate=replace(one.candidate, image=image),
                held=tuple(codes[code] for code in one.held),
                tiny=tuple(codes[code] for code in one.tiny if codes[code] != IGNORED),
                figures=one.figures and one.figures.recoded(codes),
            )
        )
    shown = ", ".join(gone[:5]) + (f" and {len(gone) - 5} more" if len(gone) > 5 else "")
    said = f"{len(gone)} classes that no image holds are left out: {shown}; --classes keeps them"
    return found, tuple(kept), [said]


def _tiny(images: Sequence[Examined]) -> set[int]:
    """Return the codes of the classes that no mask holds with enough pixels."""
    enough = {c for one in images if one.figures for c in one.figures.areas.keys() - set(one.tiny)}
    return {code for one in images for code in one.tiny} - enough


def _contradicts(one: Examined, classes: tuple[str, ...]) -> bool:
    """Return whether an image has labels that its mask shows to be wrong."""
    if one.figures is None or one.candidate.image.labels is None:
        return False
    labels, shown = one.candidate.labels, {classes[code - 1] for code in one.held}
    seen = {classes[code - 1] for code in one.figures.areas.keys() - {0, IGNORED}}
    lacking = labels.present & set(classes) - seen if not one.figures.ignored else set()
    return bool(lacking or shown - labels.present - labels.unknown)


def _notes(
    kept: Sequence[Examined], classes: tuple[str, ...], settings: ImportSettings
) -> list[str]:
    least, notes = settings.least_area, []

    def note(names: Sequence[object], said: str) -> None:
        if names:
            notes.append(tallied(len(names), said, names[0]))

    said = f"masks hold a class with less than {least} pixels, now ignored"
    note([one.name for one in kept if one.tiny], said)
    note(*_inverted(kept, classes))
    told = {source.name for source in settings.sources if 0 in (source.options.values or {})}
    others = [one for one in kept if one.palette and one.candidate.source not in told]
    note(
        [one.palette for one in others],
        "palette masks have another colour than black at index 0, which is read as background; "
        "if their colours are meant, say --colours FILE, or the meaning of each index, e.g. "
        f"--values 0={classes[0]},1=background",
    )
    unsaid = [
        one.name
        for one in kept
        if one.figures is not None and set(one.figures.held(least)) - {*one.held}
    ]
    note(unsaid, "training images have labels that lack a class of their mask")
    otherwise = [one.name for one in kept if one.split != "train" and _contradicts(one, classes)]
    note(otherwise, "images of tune and test have other labels than their mask, which counts there")
    said = "files hold several pages or frames; the first is read"
    note([file for one in kept for file in one.pages], said)
    unread = [o.name for o in kept if o.split == "train" and o.candidate.image.context]
    note(unread, "images are now trained on, where context masks are not kept")
    turned = [one.name for one in kept if one.candidate.image.picture.upright]
    note(turned, "images are turned upright")
    for split in SPLITS:
        held = {code for one in kept if one.split == split for code in one.held}
        missing = [name for code, name in enumerate(classes, start=1) if code not in held]
        if missing:
            notes.append(f"no image of {split} holds {', '.join(missing)}")
    if all(one.held for one in kept if one.split == "train"):
        notes.append("every image of train holds a class, none is clear")
    return notes


def _inverted(kept: Sequence[Examined], classes: tuple[str, ...]) -> tuple[list[str], str]:
    """Return the masks that look inverted, of splits where most do, and what is said of them.

    An object covers less of the image's border than of the image, unless it is what lies around
    the object, or a surface such as sky or road. Several classes may cover the whole image.
    """
    hint = f"are they inverted? Then say e.g. --values 0={classes[0]},255=background"
    for said, looks_so in (
        (f"in more than {_FULL:.0%} of their pixels", lambda f: f.share > _FULL),
        (
            f"in more than {_EDGE:.0%} of the image's border, and more there than elsewhere",
            lambda f: f.border > _EDGE and f.border > f.share,
        ),
    ):
        found: list[str] = []
        for split in SPLITS if len(classes) == 1 else ():
            masked = [one for one in kept if one.split == split and one.masked and one.figures]
            these = [one.name for one in masked if looks_so(one.figures)]
            found += these if 2 * len(these) > len(masked) else []
        if found:
            return found, f"masks are {classes[0]} {said}; {hint}"
    return [], ""
