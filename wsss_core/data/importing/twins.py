"""Near copies of an image in another split: re-saved, resized, the next frame of a video.

Two images are twins if their thumbnails of 32x24 pixels differ by at most 2 of 255 on average (root
of the mean square over pixels and channels).
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from wsss_core.data.formats import Picture, tallied
from wsss_core.data.importing.candidates import ImportCandidate
from wsss_core.data.importing.progress_lines import ProgressLines
from wsss_core.data.importing.splitting import Assigned

TWIN_DISTANCE = 2.0
"""The largest distance of twins, of 255."""

_SIZE = (32, 24)
_ROWS = 512  # images compared at once: 512 x 5,000 distances take 20 MB


def thumbnails(pictures: Sequence[Picture], what: str = "thumbnails") -> np.ndarray:
    """Return float32 [N, 2304], the pixels of each picture's thumbnail, 0 to 255.

    Raises:
        InputError: a picture cannot be read.

    """
    progress = ProgressLines(what, len(pictures))

    def thumbnail(picture: Picture) -> np.ndarray:
        small = Image.fromarray(picture.read()).resize(_SIZE, Image.Resampling.BOX)
        progress.step()
        return np.asarray(small, np.float32).ravel()

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(thumbnail, pictures))
    return np.stack(found) if found else np.zeros((0, 3 * _SIZE[0] * _SIZE[1]), np.float32)


def twins_in(those: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return bool [N]: which of `those` thumbnails [N, D] have a twin among `others` [M, D]."""
    found = np.zeros(len(those), bool)
    if not len(others):
        return found
    # |a - b|^2 = |a|^2 + |b|^2 - 2 ab; in double precision, as the terms are far larger than it
    right = others.astype(np.float64)
    squares = (right**2).sum(axis=1)
    limit = TWIN_DISTANCE**2 * those.shape[1]
    for start in range(0, len(those), _ROWS):
        left = those[start : start + _ROWS].astype(np.float64)
        distances = (left**2).sum(axis=1)[:, None] + squares - 2 * left @ right.T
        found[start : start + _ROWS] = distances.min(axis=1) <= limit
    return found


def drop_twins(assigned: Assigned) -> tuple[Assigned, list[str]]:
    """Leave images out of train that have a twin in tune or test, and out of tune those of test.

    Raises:
        InputError: an image cannot be read.

    """
    small = {
        split: thumbnails([c.image.picture for c in members], f"twins in {split}")
        for split, members in assigned.items()
    }
    notes = []
    kept = dict(assigned)
    later = small["test"]
    for split in ("tune", "train"):
        twin = twins_in(small[split], later)
        members: list[ImportCandidate] = assigned[split]
        gone = [c.image.name for c, is_twin in zip(members, twin, strict=True) if is_twin]
        kept[split] = [c for c, is_twin in zip(members, twin, strict=True) if not is_twin]
        if gone:
            where = "test" if split == "tune" else "tune or test"
            said = f"images of {split} are left out, as they have a twin in {where}"
            notes.append(tallied(len(gone), said, gone[0]))
        later = np.concatenate([later, small[split][~twin]])
    return kept, notes
