"""RISE: clips of smoke stacks with labels by citizens and researchers, in JSON lists.

A clip's state of the researchers goes before that of the citizens: 47 and 23 are smoke, 32 and 16
none. Otherwise the citizens' 23 and 19 are smoke, 16 and 20 none. -2 is a bad clip; all other
states are undecided, and left out. Clips are `<file_name>.npy` or a video of that name.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from wsss_core.data.formats.common.clips import CLIP_SUFFIXES, frame_times, spread_positions
from wsss_core.data.formats.common.contents import (
    EmptyMask,
    Format,
    FormatContent,
    FormatImage,
    FormatOptions,
    Labels,
    Picture,
)
from wsss_core.data.formats.common.source_files import (
    FileIndex,
    files_below,
    inner_path,
    json_ends,
    read_json,
    split_in,
    tallied,
)
from wsss_core.data.formats.smoke5k import SMOKE
from wsss_core.errors import InputError, quoted

ClipState = Literal["smoke", "clear", "bad", "undecided"]

_ADMIN = {47: "smoke", 23: "smoke", 32: "clear", 16: "clear"}
_CITIZEN: Mapping[int, ClipState] = {23: "smoke", 19: "smoke", 16: "clear", 20: "clear"}
_BAD = -2
_KEYS = ("file_name", "label_state", "label_state_admin")
_PLACES = (".", "split", "dataset", "data")
_SMALL = 2**26  # the list of RISE's 12,567 clips has 5 MB


def clip_state(citizen: int, admin: int) -> ClipState:
    """Return what two label states of a clip say.

    >>> clip_state(16, 47), clip_state(19, -1), clip_state(23, -2), clip_state(5, -1)
    ('smoke', 'smoke', 'bad', 'undecided')
    """
    if _BAD in (citizen, admin):
        return "bad"
    if admin in _ADMIN:
        return "smoke" if _ADMIN[admin] == "smoke" else "clear"
    return _CITIZEN.get(citizen, "undecided")


def clip_lists(path: Path) -> dict[Path, list[dict[str, Any]]]:
    """Return the JSON lists of clips that a path is or holds, with their rows."""
    if path.is_file():
        files = [path] if path.suffix.lower() == ".json" else []
    else:
        places = [path / place for place in _PLACES if (path / place).is_dir()]
        files = [f for place in places for f in files_below(place, (".json",), deep=False)]
    found = {}
    for file in files:
        try:
            small = file.stat().st_size <= _SMALL
            is_list = small and json_ends(file).lstrip().startswith(b"[")
            rows = read_json(file) if is_list else None
        except (OSError, InputError):
            continue
        if isinstance(rows, list) and rows and all(_is_clip(row) for row in rows):
            found[file] = rows
    return found


def _is_clip(row: object) -> bool:
    return isinstance(row, dict) and all(key in row for key in _KEYS)


def _recognise(path: Path) -> str | None:
    lists = clip_lists(path)
    if not lists:
        return None
    more = f" and {len(lists) - 1} more" if len(lists) > 1 else ""
    return f"{next(iter(lists)).name}{more} with label_state of clips"


def chosen_lists(
    lists: Mapping[Path, list[dict[str, Any]]], scheme: str | None
) -> dict[Path, list[dict[str, Any]]]:
    """Return the lists of one scheme of splits.

    Args:
        lists: by file; `metadata_train_split_0_by_camera.json` is of scheme "split_0_by_camera".
        scheme: which to take.

    Raises:
        InputError: there are several schemes and none is chosen, or there is no such scheme.

    """
    by_scheme: dict[str, dict[Path, list[dict[str, Any]]]] = {}
    for file, rows in lists.items():
        word = split_in(file.stem)
        name = file.stem.partition(f"{word}_")[2] if word else ""
        by_scheme.setdefault(name, {})[file] = rows
    named = sorted(name for name in by_scheme if name)
    if scheme is None and (not named or len(by_scheme) == 1):
        return dict(lists)
    if scheme is None and len(named) == 1:
        return by_scheme[named[0]]
    if scheme not in by_scheme:
        raise InputError(
            f"{next(iter(lists)).parent}: lists of splits {', '.join(named)}; choose by --scheme"
            + (f", which is {quoted(scheme)}" if scheme else "")
        )
    return by_scheme[scheme]


def read_rise(path: Path, options: FormatOptions) -> FormatContent:
    """Read the clips of the lists of one scheme: some frames of each, with the clip's label.

    Raises:
        InputError: no clip is there, or a list cannot be read.

    """
    lists = chosen_lists(clip_lists(path), options.scheme)
    index = FileIndex(path if path.is_dir() else path.parent, CLIP_SUFFIXES)
    return read_clips(lists, index, options)


def read_clips(
    lists: Mapping[Path, list[dict[str, Any]]], index: FileIndex, options: FormatOptions
) -> FormatContent:
    """Return frames of the clips that lists name, with the clip's label.

    Args:
        lists: file -> rows.
        index: the clips that are there.
        options: `frames` is the number of frames of each clip.

    Raises:
        InputError: a state is no number, a clip is listed with two labels, or no clip is there.

    """
    by_stem = {file.stem: file for file in reversed(index.files)}  # .npy goes before videos
    left_out: dict[str, list[str]] = {}
    chosen: list[tuple[dict[str, Any], ClipState, str | None, Path]] = []
    states: dict[str, ClipState] = {}
    for file, rows in lists.items():
        for row in rows:
            name, state = row_state(row, file)
            if states.setdefault(name, state) != state:
                raise InputError(f"{file}: clip {quoted(name)} is listed with two labels")
            stated = row.get("label")
            if stated in (0, 1) and state in ("smoke", "clear") and stated != (state == "smoke"):
                left_out.setdefault("state a label that their states do not", []).append(name)
            if state in ("bad", "undecided"):
                left_out.setdefault(f"are {state} and left out", []).append(name)
            elif name not in by_stem:
                left_out.setdefault("are not there and left out", []).append(name)
            else:
                chosen.append((row, state, split_in(file.stem), by_stem[name]))
    if not chosen:
        raise InputError(
            f"{index.root}: none of the {len(states)} clips that {next(iter(lists)).name} lists is "
            f"there with a label, expected e.g. {next(iter(states))}.mp4 or .npy"
        )
    with ThreadPoolExecutor() as pool:
        times = list(pool.map(frame_times, [path for *_, path in chosen]))
    images = [
        _frame(row, state, split, clip, position, found[position])
        for (row, state, split, clip), found in zip(chosen, times, strict=True)
        for position in spread_positions(len(found), options.frames)
    ]
    if spare := sorted({file.stem for file in index.files} - states.keys()):
        left_out["are in no list and left out"] = spare
    notes = tuple(
        tallied(len(names), f"clips {said}", names[0]) for said, names in left_out.items()
    )
    ordered = tuple(sorted(images, key=lambda image: image.name))
    return FormatContent((SMOKE,), ordered, notes)


def row_state(row: Mapping[str, Any], file: Path) -> tuple[str, ClipState]:
    """Return the name of a listed clip and what its states say.

    Raises:
        InputError: a state is no whole number, or the name leads elsewhere.

    """
    name = inner_path(row["file_name"], str(file)).name
    states = [row["label_state"], row["label_state_admin"]]
    if any(isinstance(state, bool) or not isinstance(state, int) for state in states):
        raise InputError(f"{file}: clip {quoted(name)} has states {quoted(states)}, not numbers")
    return name, clip_state(*states)


def camera_of(row: Mapping[str, Any]) -> str | None:
    """Return the camera and view of a listed clip, e.g. "0-7"."""
    both = [row.get("camera_id"), row.get("view_id")]
    return "-".join(map(str, both)) if all(isinstance(n, int) for n in both) else None


def _frame(
    row: Mapping[str, Any],
    state: ClipState,
    split: str | None,
    clip: Path,
    position: int,
    time: float | None,
) -> FormatImage:
    picture = Picture(clip, frame=position)
    weight = row.get("weight")
    weak = isinstance(weight, int | float) and weight < 1
    return FormatImage(
        name=f"{clip.stem}_frame{position}",
        picture=picture,
        split=split,
        labels=Labels(frozenset({SMOKE}) if state == "smoke" else frozenset()),
        # A clip without smoke needs no mask drawn; of one with smoke nobody drew one.
        mask=EmptyMask(picture) if state == "clear" else None,
        group=clip.stem,
        camera=camera_of(row),
        time=time,
        flags=("weak",) if weak else (),
    )


def clip_rows(lists: Mapping[Path, Sequence[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Return clip name -> its row in the lists."""
    return {str(row["file_name"]): row for rows in lists.values() for row in rows}


RISE = Format(
    "rise",
    "JSON lists of clips with label_state, .npy or video clips",
    _recognise,
    read_rise,
    uses=("frames", "scheme"),
)
