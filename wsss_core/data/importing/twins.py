"""Near copies of an image in another split, which an import may leave out."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from wsss_core.data.formats import Picture, tallied
from wsss_core.data.importing.candidates import ImportCandidate
from wsss_core.data.importing.splitting import Assigned
from wsss_core.data.progress_lines import ProgressLines
from wsss_core.data.thumbnails import THUMBNAIL, find_twins, make_thumbnail


def thumbnails(pictures: Sequence[Picture], what: str = "thumbnails") -> np.ndarray:
    """Return uint8 [N, 2304], the pixels of each picture's thumbnail.

    Raises:
        InputError: a picture cannot be read.

    """
    progress = ProgressLines(what, len(pictures))

    def thumbnail(picture: Picture) -> np.ndarray:
        small = make_thumbnail(Image.fromarray(picture.read()))
        progress.step()
        return small

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(thumbnail, pictures))
    return np.stack(found) if found else np.zeros((0, 3 * THUMBNAIL[0] * THUMBNAIL[1]), np.uint8)


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
        twin = find_twins(small[split], later) >= 0
        members: list[ImportCandidate] = assigned[split]
        gone = [c.image.name for c, is_twin in zip(members, twin, strict=True) if is_twin]
        kept[split] = [c for c, is_twin in zip(members, twin, strict=True) if not is_twin]
        if gone:
            where = "test" if split == "tune" else "tune or test"
            said = f"images of {split} are left out, as they have a twin in {where}"
            notes.append(tallied(len(gone), said, gone[0]))
        later = np.concatenate([later, small[split][~twin]])
    return kept, notes
