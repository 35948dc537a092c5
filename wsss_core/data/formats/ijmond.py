"""IJmond: frames of industrial cameras, in the forms in which parts of the set are passed on.

* a COCO export whose classes are smoke of high and of low opacity; both count as smoke here
* `frames/manual_positive` and `frames/manual_negative`, `<clip>-<view>_frame<1|2>.jpg`
* JSON lists of clips with RISE's label states, beside clips or frames of these clips
* regions: `<clip>/<frame>/<region>/{crop,mask}.png`, soft grey masks made by a model
"""

import re
from dataclasses import replace
from pathlib import Path

from wsss_core.data.folder.layout import IMAGE_SUFFIXES
from wsss_core.data.formats.coco import annotation_files, read_coco
from wsss_core.data.formats.common.clips import CLIP_SUFFIXES
from wsss_core.data.formats.common.contents import (
    EmptyMask,
    Format,
    FormatContent,
    FormatImage,
    FormatOptions,
    Labels,
    Picture,
)
from wsss_core.data.formats.common.mask_values import MaskFile, Meaning
from wsss_core.data.formats.common.relabelling import choose_classes
from wsss_core.data.formats.common.source_files import (
    FileIndex,
    files_below,
    json_ends,
    read_json,
    tallied,
)
from wsss_core.data.formats.rise import camera_of, clip_lists, clip_rows, read_clips, row_state
from wsss_core.data.formats.smoke5k import SMOKE
from wsss_core.errors import InputError

_MANUAL = {"manual_positive": True, "manual_negative": False}
_FRAME = re.compile(r"(?P<clip>.+)_frame_?(?P<number>\d+)")
_REGION = "*/*/*/mask.png"
_HALF = 128  # of a soft mask's 255


def _manual_folders(path: Path) -> dict[Path, bool]:
    return {
        place / name: positive
        for place in (path / "frames", path)
        for name, positive in _MANUAL.items()
        if (place / name).is_dir()
    }


def _opacity_files(path: Path) -> list[Path]:
    """Return the COCO files of a path that speak of opacity, at either end if they are large."""
    return [file for file in annotation_files(path) if b"opacity" in json_ends(file).lower()]


def _regions(path: Path) -> list[Path]:
    return sorted(m for m in path.glob(_REGION) if (m.parent / "crop.png").is_file())


def _own_lists(path: Path) -> bool:
    return any(
        "ijmond" in file.name.lower() or "ijmond" in str(rows[0].get("url_root", ""))
        for file, rows in clip_lists(path).items()
    )


def _parts(path: Path) -> list[str]:
    parts = []
    if _opacity_files(path):
        parts.append("COCO annotations of opacity")
    if path.is_dir() and _manual_folders(path):
        parts.append("manual_positive and manual_negative")
    if _own_lists(path):
        parts.append("lists of IJmond's clips")
    if path.is_dir() and _regions(path):
        parts.append("regions with crop.png and mask.png")
    return parts


def _recognise(path: Path) -> str | None:
    return ", ".join(_parts(path)) or None


def read_ijmond(path: Path, options: FormatOptions) -> FormatContent:
    """Read every part of IJmond that a path holds.

    Raises:
        InputError: none is there, or one cannot be read.

    """
    contents = []
    if _opacity_files(path):
        contents.append(_pixel_set(path, options))
    manual = _manual_folders(path) if path.is_dir() else {}
    if manual:
        contents.append(_manual_frames(manual, path))
    elif _own_lists(path):
        contents.append(_listed_clips(path, options))
    if path.is_dir() and _regions(path):
        contents.append(_region_masks(path, options))
    if not contents:
        raise InputError(f"{path}: no part of IJmond, expected annotations, frames or clips")
    images = {image.name: image for content in contents for image in content.images}
    notes = tuple(note for content in contents for note in content.notes)
    return FormatContent((SMOKE,), tuple(images[name] for name in sorted(images)), notes)


def _pixel_set(path: Path, options: FormatOptions) -> FormatContent:
    content = read_coco(path, options)
    merged = choose_classes(content, {SMOKE: content.classes})
    images = []
    for image in merged.images:
        camera, found, _ = image.picture.path.name.partition("__")
        images.append(replace(image, camera=camera if found else None))
    said = f"classes {', '.join(content.classes)} are read as {SMOKE}"
    return replace(merged, images=tuple(images), notes=(*merged.notes, said))


def _manual_frames(folders: dict[Path, bool], path: Path) -> FormatContent:
    rows = clip_rows(clip_lists(path))
    images = []
    for folder, positive in folders.items():
        for file in files_below(folder, IMAGE_SUFFIXES):
            picture = Picture(file)
            found = _FRAME.fullmatch(file.stem)
            clip = found["clip"] if found else None
            images.append(
                FormatImage(
                    name=file.relative_to(path).with_suffix("").as_posix(),
                    picture=picture,
                    split="train",
                    labels=Labels(frozenset({SMOKE}) if positive else frozenset()),
                    mask=None if positive else EmptyMask(picture),
                    group=clip,
                    camera=camera_of(rows[clip]) if clip in rows else None,
                )
            )
    return FormatContent((SMOKE,), tuple(images))


def _listed_clips(path: Path, options: FormatOptions) -> FormatContent:
    """Read clips by their lists, or the frames that were taken from them."""
    lists = clip_lists(path)
    root = path if path.is_dir() else path.parent
    frames = [
        (found["clip"], file)
        for file in files_below(root, IMAGE_SUFFIXES)
        if (found := _FRAME.fullmatch(file.stem))
    ]
    rows = clip_rows(lists)
    ours = [(clip, file) for clip, file in frames if clip in rows]
    if not ours:
        return read_clips(lists, FileIndex(root, CLIP_SUFFIXES), options)
    images, left_out = [], []
    for clip, file in ours:
        _, state = row_state(rows[clip], root)
        if state not in ("smoke", "clear"):
            left_out.append(file.name)
            continue
        picture = Picture(file)
        images.append(
            FormatImage(
                name=file.relative_to(root).with_suffix("").as_posix(),
                picture=picture,
                labels=Labels(frozenset({SMOKE}) if state == "smoke" else frozenset()),
                mask=EmptyMask(picture) if state == "clear" else None,
                group=clip,
                camera=camera_of(rows[clip]),
            )
        )
    said = "frames are of bad or undecided clips and left out"
    notes = (tallied(len(left_out), said, left_out[0]),) if left_out else ()
    return FormatContent((SMOKE,), tuple(images), notes)


def _region_masks(path: Path, options: FormatOptions) -> FormatContent:
    meaning = Meaning((SMOKE,), threshold=options.threshold or _HALF)
    images = []
    for mask in _regions(path):
        region, clip = mask.parent, mask.parents[2]
        about = clip / "video.json"
        row = read_json(about) if about.is_file() else {}
        images.append(
            FormatImage(
                name=region.relative_to(path).as_posix(),
                picture=Picture(region / "crop.png"),
                mask=MaskFile(mask, meaning),
                group=clip.name,
                camera=camera_of(row) if isinstance(row, dict) else None,
                flags=("made by a model",),
            )
        )
    said = f"{len(images)} soft masks are cut at {meaning.threshold}"
    return FormatContent((SMOKE,), tuple(images), (said,))


IJMOND = Format(
    "ijmond",
    "IJmond's COCO export, manual frames, clips or regions",
    _recognise,
    read_ijmond,
    instead_of=("coco", "rise", "pairs"),
    uses=("threshold", "crowd", "boxes", "frames", "scheme"),
)
