"""Making maps of frozen networks under leases: several workers share the views of a data set.

A worker that needs maps which the store lacks makes those that nobody makes, one artifact after
another, and waits for the rest. A killed maker's lease ends with its process, and another makes the
artifact anew; a corrupt one was quarantined when it was read, and is missing since.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.store import ArtifactStore
from wsss_core.progress import hearing_progress, made_progress

STAGE = "features"

POLL_S = 0.5
"""Seconds between two looks at what others make."""


@dataclass(frozen=True)
class FeatureArtifact:
    """Maps of all images of a split in one view, in the store or to be made.

    Attributes:
        key: names them.
        about: what their manifest says.
        make: writes them to an empty folder.

    """

    key: str
    about: dict[str, Any]
    make: Callable[[Path], None]


def make_missing(store: ArtifactStore, wanted: Sequence[FeatureArtifact]) -> None:
    """Make what the store lacks, together with the other workers that need it.

    The leases are not the run's: several workers of one run want the same artifacts, so an owner of
    the same run may well live.
    """
    left = [one for one in wanted if not store.has(STAGE, one.key)]
    while left:
        waited = True
        for one in left:
            note = str(one.about.get("what", ""))
            lease = store.leases.take(STAGE, one.key, note)
            if lease is None:
                continue
            lease.progress()
            with lease, hearing_progress(lease.progress):
                if not store.has(STAGE, one.key):  # the last owner may have finished it
                    with store.build(STAGE, one.key, one.about) as folder:
                        one.make(folder)
            waited = False
        left = [one for one in left if not store.has(STAGE, one.key)]
        if left and waited:
            time.sleep(POLL_S)
            made_progress()
