"""A study's images: from the data section to a source, fingerprints and artifacts."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from studies.spec.data import Data, FolderData, Folds, PluginData, SceneData
from studies.spec.published import PublishedData
from studies.store import ArtifactStore, stage_key
from wsss_core.data.fold_images import fold_images
from wsss_core.data.folder import DataSummary, FolderSource
from wsss_core.data.folds import Fold, make_folds
from wsss_core.data.framing import (
    all_shapes,
    check_tiles_fit,
    count_tiles,
    framed_fingerprint,
    read_framed,
    tile_lines,
)
from wsss_core.data.image_set import SPLITS, ImageSet, ImageSource
from wsss_core.data.importing import PublishedSource, import_hint, misses_a_split
from wsss_core.data.outline import outline_of
from wsss_core.data.pixel_rules import USUAL_RULES, PixelRules
from wsss_core.data.scenes import SceneSettings, SceneSource
from wsss_core.errors import InputError, as_input_error, checked_path, quoted
from wsss_core.plugins import load_plugin
from wsss_core.tiling import SQUASHED, Framing

SCORED_SPLITS = ("tune", "test")
"""The splits with masks; training sees neither."""


@dataclass(frozen=True)
class ImageSplits:
    """The three splits of a study's images, named by their content; it travels to workers.

    Attributes:
        size: the side of the network's input in pixels.
        fingerprints: split -> hash of its content.
        fold: the number of the fold that they are of; None in a study without folds.

    """

    size: int
    fingerprints: dict[str, str]
    fold: int | None = None

    @property
    def keys(self) -> dict[str, str]:
        """Split -> the key of the decoded split."""
        return {split: self.key(split) for split in self.fingerprints}

    def key(self, split: str) -> str:
        """Return the key of a decoded split."""
        return stage_key(
            "images", {"split": split, "size": self.size}, data=[self.fingerprints[split]]
        )

    def load(self, store: ArtifactStore, split: str) -> ImageSet:
        """Return a decoded split, memory-mapped."""
        with store.reading("images", self.key(split)) as folder:
            return ImageSet.load(folder)


@dataclass(frozen=True)
class StudyImages:
    """The images of a study where they can be read: in the driver.

    Attributes:
        source: reads and checks them.
        splits: what the rest of the study knows of them.
        fold: the fold that they are of; None in a study without folds.
        framing: what networks see of them; it is part of their fingerprints.

    """

    source: ImageSource
    splits: ImageSplits
    fold: Fold | None = None
    framing: Framing = SQUASHED

    @property
    def framing_settings(self) -> dict[str, Any]:
        """What a training run's settings hold of the framing; nothing of squashed images."""
        if self.framing.squashes:
            return {}
        return {"framing": self.framing.as_config(training=True)}

    @property
    def digest(self) -> str:
        """What their findings depend on: the fingerprints and the size."""
        return "-".join(
            [*(self.splits.fingerprints[split] for split in SPLITS), str(self.splits.size)]
        )

    @cached_property
    def training_count(self) -> int:
        """The number of training images."""
        if self.fold is not None:
            return len(self.fold.roles["train"])
        indices = getattr(self.source, "indices", None)
        if indices is not None and self.framing.squashes:
            return len(indices("train"))  # scenes, which no outline has to render
        return len(outline_of(self.source, "train", self.splits.size).identifiers)

    def summary(self) -> DataSummary | None:
        """Return what was found about image files, reading what was not read yet; or None."""
        if not isinstance(self.source, FolderSource | PublishedSource):
            return None
        return self.source.examine(self.splits.size)

    @property
    def listed_by(self) -> str:
        """The command that lists their findings."""
        if isinstance(self.source, FolderSource) and self.source.rules == USUAL_RULES:
            return f"wsss data check {self.source.root}"
        return "wsss data check STUDY.yaml"

    def decode(self, store: ArtifactStore) -> list[str]:
        """Check and decode every split that the store does not hold; return those it made.

        Raises:
            InputError: the first image or mask that cannot be used, or content that is no longer
                that of the fingerprint.

        """
        splits = self.splits
        missing = [split for split in SPLITS if not store.has("images", splits.key(split))]
        # All splits are read before any is kept: a bad test image stops the study at its start.
        read = self._made(store, missing)
        for split, images in read.items():
            about = {"split": split, "size": splits.size, "fingerprint": splits.fingerprints[split]}
            with store.build("images", splits.key(split), about) as folder:
                images.save(folder)
        return missing

    def _made(self, store: ArtifactStore, missing: list[str]) -> dict[str, ImageSet]:
        """Return the splits that the store lacks."""
        return {split: self._read(split) for split in missing}

    def _read(self, split: str) -> ImageSet:
        read = read_framed(self.source, split, self.splits.size, self.framing)
        # These compare every file by themselves when they read it once; others are asked once more.
        once = isinstance(self.source, FolderSource | PublishedSource) and self.framing.squashes
        if not once and (
            framed_fingerprint(self.source.fingerprint(split), self.framing, split)
            != self.splits.fingerprints[split]
        ):
            raise InputError(f"data, split {split}: changed while it was read; run again")
        return read


@dataclass(frozen=True)
class FoldImages(StudyImages):
    """The images of a fold, which are chosen from the data set's own splits.

    Attributes:
        whole: the data set as it is, which is decoded once for all folds.

    """

    whole: StudyImages | None = None

    @property
    def digest(self) -> str:
        """What the findings depend on: the whole data set, and that it is read in folds."""
        assert self.whole is not None
        return f"{self.whole.digest}-folds"

    @property
    def listed_by(self) -> str:
        """The command that lists their findings, which knows of the folds."""
        return "wsss data check STUDY.yaml"

    def summary(self) -> DataSummary | None:
        """Return what was found about the whole data set but what its own splits alone cause."""
        found = super().summary()
        return found and replace(found, findings=found.findings.without_shared_groups())

    def _made(self, store: ArtifactStore, missing: list[str]) -> dict[str, ImageSet]:
        if not missing:
            return {}
        assert self.whole is not None
        assert self.fold is not None
        self.whole.decode(store)
        splits = {split: self.whole.splits.load(store, split) for split in SPLITS}
        return {role: fold_images(splits, self.fold, role) for role in missing}


def folded_images(whole: StudyImages, folds: Folds) -> list[StudyImages]:
    """Return the images of each fold of a study; masks are looked at, nothing is kept.

    Raises:
        InputError: fewer groups than folds, or images that belong to no source or camera.

    """
    source, splits = whole.source, whole.splits
    check_squashed("folds", folds, whole.framing)
    outlines = {split: outline_of(source, split, splits.size) for split in SPLITS}
    return [
        FoldImages(
            source,
            replace(splits, fingerprints=_of_fold(splits.fingerprints, fold), fold=fold.number),
            fold,
            whole=whole,
        )
        for fold in make_folds(outlines, source.classes, **folds.model_dump())
    ]


def _of_fold(whole: Mapping[str, str], fold: Fold) -> dict[str, str]:
    """Return the fingerprint of each role: the data set's splits, and the places chosen of them."""
    contents = {role: json.dumps([whole, role, places]) for role, places in fold.roles.items()}
    return {
        role: hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
        for role, content in contents.items()
    }


def study_images(data: Data) -> StudyImages:
    """Open the study's data and take its fingerprints.

    Raises:
        InputError: a folder that is not there or not laid out as expected.

    """
    try:
        source = open_source(data)
        framing = framing_of(data)
        if framing.aspect == "tiles":
            shapes = [shape for split in all_shapes(source).values() for shape in split]
            check_tiles_fit(shapes, framing, "the data")
        fingerprints = {
            split: framed_fingerprint(source.fingerprint(split), framing, split) for split in SPLITS
        }
    except InputError as error:
        if not isinstance(data, FolderData) or not misses_a_split(Path(data.root)):
            raise
        raise InputError(f"{error}{import_hint(checked_path(data.root))}") from error
    return StudyImages(source, ImageSplits(data.size, fingerprints), framing=framing)


def check_squashed(key: str, section: object, framing: Framing) -> None:
    """Raise InputError if a study has a section that knows of squashed images alone."""
    if section is not None and not framing.squashes:
        raise InputError(
            f"{key}: data.aspect is {framing.aspect}, expected aspect: squash; with others a "
            f"network sees windows over images, which {key} cannot choose or alter"
        )


def framing_of(data: Data) -> Framing:
    """Return what networks see of a study's images; scenes are squares."""
    return SQUASHED if isinstance(data, SceneData) else data.framing


def windows_in_words(source: ImageSource, data: Data) -> list[str]:
    """Return how many windows a study's images give and what they cost, as lines; or none.

    Raises:
        InputError: tiles larger than every image.

    """
    framing = framing_of(data)
    if framing.squashes:
        return []
    return tile_lines(count_tiles(source, framing), framing)


def open_source(data: Data) -> ImageSource:
    """Return the source of a study's images.

    Raises:
        InputError: a folder that is not there or not laid out as expected.

    """
    if isinstance(data, SceneData):
        settings = SceneSettings.taken_from(data)
        return SceneSource(
            settings, data.train, data.tune, data.test, reverse_test=data.reverse_test
        )
    if isinstance(data, FolderData):
        return FolderSource(checked_path(data.root), PixelRules.taken_from(data), data.threshold)
    if isinstance(data, PublishedData):
        with as_input_error("data", InputError):
            return PublishedSource(data.import_settings())
    return _plugin_source(data)


def _plugin_source(data: PluginData) -> ImageSource:
    factory = load_plugin("data.factory", data.factory)
    said = f"data.factory {data.factory!r} with {quoted(data.options)}"
    # Whatever a user's factory raises is the user's to read, in one line.
    with as_input_error(said, Exception, named=True):
        source: ImageSource = factory(**data.options)
    if missing := [
        name for name in ("classes", "fingerprint", "read") if not hasattr(source, name)
    ]:
        raise InputError(
            f"data.factory {data.factory!r}: what it returns has no {missing[0]!r}; expected an "
            "image source with classes, fingerprint(split) and read(split, size)"
        )
    return source
