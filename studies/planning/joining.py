"""Images with masks that join the training of some rows by their image-level labels.

Such rows have a training split of their own: the study's images, and after them those that join.
Tune and test are the same for all rows of the study, and hold no image that joins.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from studies.planning.images import SCORED_SPLITS, StudyImages
from studies.spec.data import Join
from studies.store import ArtifactStore
from wsss_core.data.fold_images import chosen_images
from wsss_core.data.folder import DataSummary
from wsss_core.data.folds import Place, whole_groups
from wsss_core.data.image_set import JOINING, SPLITS, ImageSet
from wsss_core.data.outline import outline_of
from wsss_core.data.scenes import SceneSource


@dataclass(frozen=True)
class JoinedImages(StudyImages):
    """The images of some rows of a study in which images join.

    Attributes:
        whole: the data set as it is, which is decoded once for all rows.
        roles: "train", "tune" and "test" -> the places of their images in the data set, of those
            that differ from the data set's own.
        holding: how many of the images that join hold a class.

    """

    whole: StudyImages | None = None
    roles: Mapping[str, tuple[Place, ...]] = field(default_factory=dict)
    holding: int = 0

    @property
    def places(self) -> tuple[Place, ...]:
        """The places of the images that join; none where the rows are trained without them."""
        return tuple(place for place in self.roles.get("train", ()) if place[0] != "train")

    @property
    def digest(self) -> str:
        """What the findings depend on: the whole data set."""
        assert self.whole is not None
        return f"{self.whole.digest}-join"

    @property
    def training_count(self) -> int:
        """The number of training images."""
        assert self.whole is not None
        return len(self.roles["train"]) if "train" in self.roles else self.whole.training_count

    def summary(self) -> DataSummary | None:
        """Return what was found about the whole data set."""
        assert self.whole is not None
        return self.whole.summary()

    def split_of_source(self, store: ArtifactStore, split: str) -> ImageSet:
        """Return a split of the data set as it is; scenes that join are rendered."""
        assert self.whole is not None
        if split == JOINING:
            return self.source.read(split, self.splits.size)
        self.whole.decode(store)
        return self.whole.splits.load(store, split)

    def _made(self, store: ArtifactStore, missing: list[str]) -> dict[str, ImageSet]:
        assert self.whole is not None
        if missing:
            self.whole.decode(store)
        made = {}
        for role in missing:
            if role in self.roles:
                of = dict.fromkeys(split for split, _ in self.roles[role])
                splits = {split: self.split_of_source(store, split) for split in of}
                made[role] = chosen_images(splits, self.roles[role], labels_alone=role == "train")
        return made


def join_images(whole: StudyImages, join: Join) -> tuple[StudyImages, JoinedImages]:
    """Return the images of rows that are trained as ever, and of those that more images join.

    Args:
        whole: the study's images.
        join: which images join.

    Raises:
        InputError: the groups of a split cannot be parted.

    """
    source, size = whole.source, whole.splits.size
    kept: tuple[Place, ...] = ()
    if join.scenes is not None:
        assert isinstance(source, SceneSource)
        source = source.joining(join.scenes)
        part = JOINING
        taken = tuple(range(join.scenes))
        digest = source.fingerprint(part)
    else:
        part, share = ("tune", join.tune) if join.tune is not None else ("test", join.test)
        assert share is not None
        outlines = {split: outline_of(source, split, size) for split in SPLITS}
        others = [split for split in SCORED_SPLITS if split != part]
        taken = whole_groups(outlines, part, share, apart_from=others, key=f"join.{part}")
        left = np.setdiff1d(np.arange(len(outlines[part].identifiers)), taken)
        kept = tuple((part, int(place)) for place in left)
        digest = whole.splits.fingerprints[part]
    held = outline_of(source, part, size).labels[list(taken)].any(axis=1)
    count = len(outline_of(source, "train", size).identifiers)
    train = (*(("train", n) for n in range(count)), *((part, n) for n in taken))
    base = whole
    if kept:
        base = _of_roles(whole, source, {part: kept}, digest, 0)
    roles = {"train": train, **({part: kept} if kept else {})}
    return base, _of_roles(whole, source, roles, digest, int(held.sum()))


def join_line(images: JoinedImages, rows: list[str]) -> str:
    """Return in a sentence what joins, and the training of which rows."""
    part = images.places[0][0]
    of = "further scenes" if part == JOINING else f"the {part} split"
    return (
        f"join: {len(images.places)} images of {of}, {images.holding} of which hold a class, join "
        f"the training of {', '.join(rows)} by their image-level labels; no row is scored on them"
    )


def _of_roles(
    whole: StudyImages,
    source: object,
    roles: Mapping[str, tuple[Place, ...]],
    digest: str,
    holding: int,
) -> JoinedImages:
    """Return images whose fingerprints are of the data set and the chosen places."""
    own = dict(whole.splits.fingerprints)
    for role, places in roles.items():
        content = json.dumps([whole.splits.fingerprints, digest, role, places])
        own[role] = hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
    splits = replace(whole.splits, fingerprints=own)
    return JoinedImages(source, splits, whole=whole, roles=roles, holding=holding)  # type: ignore[arg-type]
