"""Patterns of paths, and the pairs of images and masks that two patterns find.

A pattern is a path below the source with fields in braces: `{split}/images/{stem}.jpg` beside
`{split}/masks/{stem}_mask.png`. `{stem}` is the name that image and mask share, `{split}` names the
split, `{class}` the class of the image (or of the object in its mask), `{group}` what it was taken
from, `{camera}` the camera. `*` stands for any part of a name, `**` for any folders.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsss_core.data.formats.common.source_files import composed, files_below, same_stem
from wsss_core.errors import InputError, quoted

FIELDS = ("stem", "split", "class", "group", "camera")
"""The fields of a pattern."""

_TOKEN = re.compile(r"\{([^{}]*)\}|(\*\*/?)|(\*)|([^{}*]+)|(.)")


@dataclass(frozen=True)
class FoundFile:
    """A file that a pattern fits, and what stands in the fields."""

    path: Path
    fields: Mapping[str, str]


def pattern_regex(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a pattern.

    Raises:
        InputError: a field is unknown, a brace is open, or the pattern leads out of the source.

    >>> pattern_regex("{split}/{stem}_mask.*").fullmatch("val/a_mask.png")["stem"]
    'a'
    """
    expected = f"expected e.g. '{{split}}/images/{{stem}}.*' with the fields {', '.join(FIELDS)}"
    if not pattern or pattern.startswith(("/", "~")) or ".." in pattern.split("/"):
        raise InputError(f"pattern {quoted(pattern)} leads elsewhere, {expected}")
    seen: set[str] = set()
    parts = []
    for field, folders, star, text, other in _TOKEN.findall(pattern):
        if field:
            if field not in FIELDS:
                raise InputError(f"pattern {quoted(pattern)}: field {quoted(field)}, {expected}")
            parts.append(f"(?P={field})" if field in seen else f"(?P<{field}>[^/]+?)")
            seen.add(field)
        elif folders:
            parts.append("(?:.*/)?" if folders.endswith("/") else ".*")
        elif star:
            parts.append("[^/]*")
        elif text:
            parts.append(re.escape(text))
        else:
            raise InputError(f"pattern {quoted(pattern)}: {quoted(other or '{}')}, {expected}")
    if "stem" not in seen:
        raise InputError(f"pattern {quoted(pattern)} has no {{stem}}, {expected}")
    return re.compile("".join(parts))


def find_files(root: Path, pattern: str, suffixes: tuple[str, ...]) -> list[FoundFile]:
    """Return the files below a folder that a pattern fits, sorted by path.

    Args:
        root: the folder.
        pattern: see the module.
        suffixes: of the files in question.

    Raises:
        InputError: the pattern is wrong, or no file fits it.

    """
    regex = pattern_regex(pattern)
    files = files_below(root, suffixes)
    found = _fitting(root, files, regex)
    if not found:
        example = f", e.g. {files[0].relative_to(root)}" if files else ""
        raise InputError(
            f"{root}: no file fits the pattern {quoted(pattern)}; it holds {len(files)} files that "
            f"end in {', '.join(suffixes)}{example}"
        )
    return found


def _fitting(root: Path, files: list[Path], regex: re.Pattern[str]) -> list[FoundFile]:
    return [
        FoundFile(path, match.groupdict())
        for path in files
        if (match := regex.fullmatch(path.relative_to(root).as_posix()))
    ]


def find_masks(
    root: Path, patterns: Sequence[str], suffixes: tuple[str, ...], images: Sequence[FoundFile]
) -> dict[str, list[FoundFile]]:
    """Return pattern -> masks, where masks are named in one of several ways.

    A mask belongs to the first pattern by which it has an image, or else to the first that fits.

    Args:
        root: the folder.
        patterns: see the module; all with the same fields.
        suffixes: of masks.
        images: the images that masks may belong to.

    Raises:
        InputError: a pattern is wrong, or no file fits the first.

    """
    if len(patterns) == 1:
        return {patterns[0]: find_files(root, patterns[0], suffixes)}
    files = files_below(root, suffixes)
    by_pattern = {p: _fitting(root, files, pattern_regex(p)) for p in patterns}
    shared = set(images[0].fields) & set(re.findall(r"{(\w+)}", patterns[0])) if images else ()
    known = {tuple(composed(image.fields[field]) for field in shared) for image in images}
    chosen: dict[Path, tuple[str, FoundFile]] = {}
    for paired in (True, False):
        for pattern, found in by_pattern.items():
            for mask in found:
                key = tuple(composed(mask.fields[field]) for field in shared)
                if (key in known) is paired:
                    chosen.setdefault(mask.path, (pattern, mask))
    grouped: dict[str, list[FoundFile]] = {pattern: [] for pattern in patterns}
    for path in sorted(chosen):
        grouped[chosen[path][0]].append(chosen[path][1])
    return grouped


def pair_up(
    images: list[FoundFile], masks: list[FoundFile]
) -> tuple[list[tuple[FoundFile, FoundFile | None]], list[FoundFile]]:
    """Return every image with its mask or None, and the masks without an image.

    Two files belong together where all fields that both patterns have are equal.

    Raises:
        InputError: several images or masks have the same fields.

    """
    shared = sorted(set(images[0].fields) & set(masks[0].fields)) if masks else []

    def key(found: FoundFile) -> tuple[str, ...]:
        return tuple(composed(found.fields[field]) for field in shared)

    by_key: dict[tuple[str, ...], FoundFile] = {}
    for found in masks:
        if (other := by_key.setdefault(key(found), found)) is not found:
            raise InputError(
                f"{found.path}: same {', '.join(shared)} as {other.path.name}; expected one mask "
                "of each image"
            )
    taken: dict[tuple[str, ...], FoundFile] = {}
    pairs: list[tuple[FoundFile, FoundFile | None]] = []
    for image in images:
        mask = by_key.get(key(image)) if masks else None
        if mask is not None and (other := taken.setdefault(key(image), image)) is not image:
            raise same_stem([(image.path, other.path)])
        pairs.append((image, mask))
    return pairs, [mask for at, mask in by_key.items() if at not in taken]
