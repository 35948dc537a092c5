"""Frames of clips: `.npy` arrays and videos, frame by position in the order of decoding.

Videos are decoded from the first frame on. Seeking to `index / rate` misses by one frame at a
constant rate and by many at a varying one, and the number of frames that a container states is 0 in
Matroska and WebM. PyAV (extra `formats`) decodes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from wsss_core.data.formats.common.source_files import read_array
from wsss_core.data.image_decoding import MOST_PIXELS
from wsss_core.errors import InputError, one_line

ARRAY_SUFFIX = ".npy"
VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")
CLIP_SUFFIXES = (ARRAY_SUFFIX, *VIDEO_SUFFIXES)

MOST_FRAMES = 100_000
"""The most frames of a clip."""


def frame_times(path: Path) -> list[float | None]:
    """Return the time of every frame of a clip, in seconds; None for each of an array.

    Raises:
        InputError: the clip cannot be read, or PyAV is missing.

    """
    if path.suffix.lower() == ARRAY_SUFFIX:
        return [None] * len(_array(path))
    return [time for time, _ in _decoded(path)]


def read_frame(path: Path, position: int) -> np.ndarray:
    """Decode one frame to uint8 [h, w, 3].

    Args:
        path: the clip.
        position: of the frame, from 0.

    Raises:
        InputError: the clip cannot be read or is shorter, or PyAV is missing.

    """
    if path.suffix.lower() == ARRAY_SUFFIX:
        frames = _array(path)
        if position < len(frames):
            return np.array(frames[position])
        raise InputError(f"{path}: {len(frames)} frames, expected at least {position + 1}")
    count = 0
    for count, (_, frame) in enumerate(_decoded(path), start=1):
        if count == position + 1:
            pixels: np.ndarray = frame.to_ndarray(format="rgb24")
            return pixels
    raise InputError(f"{path}: {count} frames, expected at least {position + 1}")


def spread_positions(frames: int, wanted: int) -> list[int]:
    """Return positions of `wanted` frames, in the middle of as many equal parts of a clip.

    >>> spread_positions(36, 2)
    [9, 27]
    >>> spread_positions(1, 2)
    [0]
    """
    parts = min(frames, wanted)
    return [(2 * part + 1) * frames // (2 * parts) for part in range(parts)]


def _array(path: Path) -> np.ndarray:
    frames = read_array(path, mapped=True)
    if not isinstance(frames, np.ndarray) or frames.ndim != 4 or frames.shape[3] != 3:
        shape = getattr(frames, "shape", "several arrays")
        raise InputError(f"{path}: {shape}, expected frames [time, height, width, 3]")
    if frames.dtype != np.uint8:
        raise InputError(f"{path}: frames of {frames.dtype}, expected uint8")
    if not len(frames) or frames.shape[1] * frames.shape[2] > MOST_PIXELS:
        raise InputError(f"{path}: frames {frames.shape}, expected some, of a usual size")
    return frames


def _decoded(path: Path) -> Iterator[tuple[float | None, Any]]:
    with _readable(path) as av, av.open(str(path), "r") as container:
        if not container.streams.video:
            raise InputError(f"{path}: no video in it")
        stream = container.streams.video[0]
        for count, frame in enumerate(container.decode(stream)):
            if count >= MOST_FRAMES or frame.width * frame.height > MOST_PIXELS:
                raise InputError(
                    f"{path}: expected at most {MOST_FRAMES} frames of {MOST_PIXELS} pixels"
                )
            stamped = frame.pts is not None and frame.time_base is not None
            yield (float(frame.pts * frame.time_base) if stamped else None), frame


@contextmanager
def _readable(path: Path) -> Iterator[Any]:
    try:
        import av
    except ImportError as error:
        raise InputError(
            f"{path}: videos need PyAV: pip install 'wsss-studies[formats]'"
        ) from error
    if not path.is_file():
        raise InputError(f"{path}: expected a readable video file")
    try:
        yield av
    except InputError:
        raise
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{path}: expected a readable video: {one_line(error, 200)}") from error
