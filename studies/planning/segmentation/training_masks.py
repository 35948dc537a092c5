"""True masks of training images: where they come from, and their artifact in the store.

Weak supervision does not see them. Segmenters that ask for them do, see
`studies.spec.segmentation.segment`. An image that holds no class has none: its label says that it
is all background.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial

import numpy as np
from PIL import Image

from studies.planning.images import FoldImages, StudyImages
from studies.planning.joining import JoinedImages
from studies.store import ArtifactStore, stage_key
from wsss_core.data.folder.training_masks import TrainingMask
from wsss_core.data.framing import training_windows, window_name
from wsss_core.data.image_set import SPLITS
from wsss_core.data.outline import outline_of
from wsss_core.errors import InputError
from wsss_core.tiling import cut_labels
from wsss_core.tiling.choosing import TileKind, judge_tiles

TRUE_MASKS, MASK_NAMES = "masks.npy", "names.json"


@dataclass(frozen=True)
class MaskSet:
    """The masks of a study's training images as a worker knows them.

    Attributes:
        key: of their artifact, of the stage `images`.
        fingerprint: hash of their content.
        count: how many there are.

    """

    key: str
    fingerprint: str
    count: int

    def load(self, store: ArtifactStore) -> dict[str, np.ndarray]:
        """Return identifier -> mask, uint8 [S, S]: 0 background, k + 1 class k, 255 ignored."""
        with store.reading("images", self.key) as folder:
            masks = np.load(folder / TRUE_MASKS, mmap_mode="r", allow_pickle=False)
            names = json.loads((folder / MASK_NAMES).read_text(encoding="utf-8"))
            return dict(zip(names, masks, strict=True))


class TrainingMasks:
    """The masks of a study's training images where they can be read: in the driver.

    With folds they are those of the images that the fold trains on. Images of the splits tune and
    test are among these, with the masks that they have anyway.

    Where images join, theirs are among them too.

    Args:
        images: the study's images.
        joined_alone: leave out all masks but those of images that join.

    Raises:
        InputError: no training image has a mask.

    """

    def __init__(self, images: StudyImages, *, joined_alone: bool = False) -> None:
        self._images = images
        size = images.splits.size
        given = getattr(images.source, "training_masks", None)
        own = {} if given is None else given(size)
        fold = images.fold
        self._read: dict[str, Callable[[ArtifactStore], np.ndarray]] = {}
        self._own: list[TrainingMask] = []
        if not images.framing.squashes:
            self._own = list(own.values())
            self._read = _of_windows(images, {} if given is None else given(None))
        elif isinstance(images, JoinedImages) and images.places:
            if not joined_alone:
                self._read = {f"train/{name}": _reading(mask.read) for name, mask in own.items()}
                self._own = list(own.values())
            self._read |= _of_joined(images)
        elif fold is None:
            self._read = {name: _reading(mask.read) for name, mask in own.items()}
            self._own = list(own.values())
        else:
            assert isinstance(images, FoldImages)
            outlines = {split: outline_of(images.source, split, size) for split in SPLITS}
            for split, place in fold.roles["train"]:
                outline = outlines[split]
                name = outline.identifiers[place]
                if split == "train" and name in own:
                    self._read[f"{split}/{name}"] = _reading(own[name].read)
                    self._own.append(own[name])
                elif split != "train" and outline.labels[place].any():
                    self._read[f"{split}/{name}"] = _of_split(images, split, place)
        if not self._read:
            where = getattr(images.source, "root", None)
            folder = "train/masks" if where is None else f"{where}/train/masks"
            raise InputError(
                f"no training image has a mask; expected masks in {folder}, which `wsss data "
                "import` and `wsss data scenes --train-masks` write"
            )

    @cached_property
    def known(self) -> MaskSet:
        """What travels to workers."""
        splits = self._images.splits
        content: list[object] = [sorted(self._read)]
        own = getattr(self._images.source, "training_masks_fingerprint", None)
        if own is not None:
            content.append(own())
        else:
            with ThreadPoolExecutor() as pool:
                content.append(list(pool.map(lambda mask: _digest(mask.read()), self._own)))
        if isinstance(self._images, FoldImages | JoinedImages) and self._images.whole is not None:
            content.append(self._images.whole.splits.fingerprints)
        content.append(splits.fingerprints["train"])
        fingerprint = hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()
        settings = {"split": "train", "size": splits.size, "masks": True}
        key = stage_key("images", settings, data=[fingerprint])
        return MaskSet(key, fingerprint, len(self._read))

    def keep(self, store: ArtifactStore) -> None:
        """Decode all masks into the store unless it holds them.

        Raises:
            InputError: a mask that cannot be read.

        """
        known = self.known
        if store.has("images", known.key):
            return
        with ThreadPoolExecutor() as pool:
            masks = list(pool.map(lambda read: read(store), self._read.values()))
        about = {
            "split": "masks of train",
            "size": self._images.splits.size,
            "fingerprint": known.fingerprint,
        }
        with store.build("images", known.key, about) as folder:
            np.save(folder / TRUE_MASKS, np.stack(masks), allow_pickle=False)
            (folder / MASK_NAMES).write_text(json.dumps(list(self._read)), encoding="utf-8")


def _reading(read: Callable[[], np.ndarray]) -> Callable[[ArtifactStore], np.ndarray]:
    return lambda store: read()


def _of_windows(
    images: StudyImages, masks: Mapping[str, TrainingMask]
) -> dict[str, Callable[[ArtifactStore], np.ndarray]]:
    """Return what reads the mask of each window of a training image with a mask.

    A window that holds less of every class than `least_share`, but some, has none: its label is
    unknown. To know that, masks are decoded when a study is planned, unless the share is 0.
    """
    size, framing = images.splits.size, images.framing
    names = outline_of(images.source, "train", size).identifiers
    windows = training_windows(images.source, framing)
    classes = len(images.source.classes)
    found: dict[str, Callable[[ArtifactStore], np.ndarray]] = {}
    for number, name in enumerate(names):
        if name not in masks:
            continue
        part = windows.part(number)
        boxes = windows.boxes[part]
        unknown: set[int] = set()
        if framing.tiles is not None and framing.tiles.least_share > 0:
            judged = judge_tiles(masks[name].read(), boxes, framing.tiles.least_share, classes)
            unknown = {tile.place for tile in judged if tile.kind is TileKind.UNKNOWN}
        decode = lru_cache(maxsize=1)(masks[name].read)
        for place, box in enumerate(boxes.tolist()):
            if place not in unknown:
                read = partial(_cut_window, decode, box, size)
                found[window_name(name, windows, part.start + place)] = _reading(read)
    return found


def _cut_window(decode: Callable[[], np.ndarray], box: Sequence[int], size: int) -> np.ndarray:
    return cut_labels(decode(), box, size)


def _of_split(images: FoldImages, split: str, place: int) -> Callable[[ArtifactStore], np.ndarray]:
    """Return what reads the mask of an image of the splits tune and test, at the input's size."""
    assert images.whole is not None
    splits, size = images.whole.splits, images.splits.size

    def read(store: ArtifactStore) -> np.ndarray:
        mask = Image.fromarray(splits.load(store, split).mask(place))
        return np.asarray(mask.resize((size, size), Image.Resampling.NEAREST))

    return read


def _of_joined(images: JoinedImages) -> dict[str, Callable[[ArtifactStore], np.ndarray]]:
    """Return what reads the mask of each image that joins and holds a class."""
    split, size = images.places[0][0], images.splits.size
    outline = outline_of(images.source, split, size)
    loaded = lru_cache(maxsize=1)(lambda store: images.split_of_source(store, split))

    def read(place: int, store: ArtifactStore) -> np.ndarray:
        mask = Image.fromarray(loaded(store).mask(place))
        return np.asarray(mask.resize((size, size), Image.Resampling.NEAREST))

    return {
        f"{split}/{outline.identifiers[place]}": partial(read, place)
        for _, place in images.places
        if outline.labels[place].any()
    }


def _digest(mask: np.ndarray) -> str:
    return hashlib.blake2b(np.ascontiguousarray(mask).tobytes(), digest_size=16).hexdigest()
