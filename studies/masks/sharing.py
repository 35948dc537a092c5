"""Several drivers on one folder of masks: each share of the images is made by one of them.

    OUT/.wsss/leases/masks-<share>.<generation>     the driver that makes the share

A share is a slice of the sorted images. A driver in one process takes one share at a time; a driver
with Ray, which uses the whole cluster, takes all that are free. The share of a driver that was
killed is taken over, see `studies.store.leases`.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from reports.storage import open_folder
from studies.masks.completed import completed
from studies.masks.worker import MaskJob
from studies.store import Leases

SHARE = 64  # images in a share of a small folder
MOST_SHARES = 64  # a driver with Ray holds a lease for each
LOOK_S = 1.0  # seconds between two looks at shares that other drivers make
THERE = "there"
"""In place of an error: another driver has made the mask meanwhile."""

logger = logging.getLogger(__name__)

Made = Iterable[tuple[str, str | None]]
"""Images, and why they have no mask, or None."""


def leases_of(out: str) -> Leases:
    """Return the leases of a folder of masks."""
    return Leases(open_folder(Path(out) / ".wsss"))


@contextmanager
def sole_lease(out: str) -> Iterator[None]:
    """Wait until no other driver writes the annotation files of a folder, and keep them off."""
    leases = leases_of(out)
    while (lease := leases.take("masks", "annotations")) is None:
        time.sleep(LOOK_S)
    with lease:
        yield


def share_with_others(
    job: MaskJob,
    names: Sequence[str],
    missing: Sequence[str],
    make: Callable[[Sequence[str]], Made],
    *,
    at_once: int = MOST_SHARES,
) -> Iterator[tuple[str, str | None]]:
    """Make the masks of all shares that no other driver makes, then wait for the others.

    Args:
        job: the images and the folder of their masks.
        names: all images, sorted; drivers that see the same images have the same shares.
        missing: those that need a mask.
        make: makes the masks of some images.
        at_once: how many shares this driver takes at a time.

    Returns:
        Each missing image and its error, None or `THERE`.

    """
    shares = min(MOST_SHARES, -(-len(names) // SHARE))
    size = -(-len(names) // shares)
    place = {name: position // size for position, name in enumerate(names)}
    left: dict[int, list[str]] = {}
    for name in missing:
        left.setdefault(place[name], []).append(name)
    leases, waited = leases_of(job.out), False
    while left:
        with ExitStack() as held:
            taken: list[str] = []
            free = at_once
            for share in list(left):
                lease = leases.take("masks", f"{share}of{shares}") if free else None
                if lease is not None:
                    held.enter_context(lease)
                    taken += left.pop(share)
                    free -= 1
            if taken:
                # Another driver may have finished them before it gave its lease back.
                found = completed(job, taken)
                todo = found.missing
                yield from ((name, THERE) for name in taken if name not in set(todo))
                if todo:
                    yield from make(todo)
                continue
        if not waited:
            logger.info("another driver makes the rest; waiting for it")
            waited = True
        time.sleep(LOOK_S)
