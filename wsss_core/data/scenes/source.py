"""Procedural scenes as a data set: in memory, as an ordinary folder, and as a sheet to look at."""

import hashlib
import json
from collections.abc import Sequence
from copy import copy
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image, ImageDraw

from wsss_core.data.folder.layout import LABELS, TRAINING_MASKS
from wsss_core.data.folder.training_masks import TrainingMask
from wsss_core.data.image_set import JOINING, SPLITS, ImageSet, PixelMaps
from wsss_core.data.outline import SplitOutline
from wsss_core.data.scenes.scene import (
    SCENE_VERSION,
    SECOND_CLASS,
    Scene,
    SceneSettings,
    render_scene,
)
from wsss_core.errors import InputError, as_input_error

# Each split counts from a start of its own: more training scenes do not change the test scenes.
_MOST_SCENES = 10**9
_FIRST_INDEX = {split: position * _MOST_SCENES for position, split in enumerate((*SPLITS, JOINING))}

# The object and the context of each class, as `render_scene` calls them.
_THINGS = (("smoke", "chimney"), ("steam", "cooling_tower"))
_STEAM_OUTLINE = (255, 255, 255)
_TOWER_OUTLINE = (255, 64, 160)
_SMOKE_OUTLINE = (255, 214, 0)
_CHIMNEY_OUTLINE = (0, 229, 255)


class SceneSource:
    """Scenes of one family, cut into splits, as an ImageSource of smoke, and of steam if any is.

    The share of steam may be small, for a rare class: with `steam=0.03` some 3 of 100 scenes hold
    any, so the splits have to be large enough that each holds one.

    Args:
        settings: the family of scenes.
        train: number of scenes of the training split, at least 2.
        tune: number of scenes of the tune split, at least 1.
        test: number of scenes of the test split, at least 1.
        reverse_test: in the test split contexts go with the scenes that lack their class, so that a
            network that takes the context for the class is wrong there. Nothing else of its scenes
            changes.

    Raises:
        InputError: a number is out of range.
    """

    def __init__(
        self,
        settings: SceneSettings,
        train: int = 1500,
        tune: int = 150,
        test: int = 300,
        *,
        reverse_test: bool = False,
    ) -> None:
        self.settings = settings
        self._of_test = settings.reversed() if reverse_test else settings
        self._counts = {"train": train, "tune": tune, "test": test}
        for split, count in self._counts.items():
            _check_count(split, count)

    def joining(self, count: int) -> Self:
        """Return these scenes with a further split of scenes with masks, "join".

        Raises:
            InputError: the number of its scenes is out of range.
        """
        _check_count(JOINING, count)
        found = copy(self)
        found._counts = {**self._counts, JOINING: count}
        return found

    @property
    def classes(self) -> tuple[str, ...]:
        """Return smoke, and steam where there is any."""
        return ("smoke", "steam") if self.settings.steam > 0 else ("smoke",)

    def settings_of(self, split: str) -> SceneSettings:
        """Return the family of a split's scenes."""
        return self._of_test if split == "test" else self.settings

    def indices(self, split: str) -> range:
        """Return the scene indices of a split, for `render_scene`; no two splits share one.

        Raises:
            ValueError: there is no such split.
        """
        if split not in self._counts:
            raise ValueError(f"split {split!r}, expected one of {', '.join(self._counts)}")
        first = _FIRST_INDEX[split]
        return range(first, first + self._counts[split])

    def fingerprint(self, split: str) -> str:
        """Return a digest (128 bit, hexadecimal) of all that `read` depends on, but the size.

        These are the version of the generator, the seed, the shares and the range of indices.
        """
        family = asdict(self.settings_of(split))
        del family["size"]
        if self.settings.steam == 0:
            for name in SECOND_CLASS:
                del family[name]
        indices = self.indices(split)
        content = {
            "generator": SCENE_VERSION,
            "family": {
                name: int(value) if name == "seed" else float(value)
                for name, value in sorted(family.items())
            },
            "indices": [indices.start, indices.stop],
        }
        return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()

    def outline(self, split: str) -> SplitOutline:
        """Return names and labels of a split's scenes, each of which is a group of its own."""
        small = replace(self.settings_of(split), size=16)
        scenes = [render_scene(small, index) for index in self.indices(split)]
        names = tuple(_identifier(position) for position in range(len(scenes)))
        labels = np.array([(one.has_smoke, one.has_steam) for one in scenes], np.bool_)
        return SplitOutline(names, names, labels.reshape(-1, 2)[:, : len(self.classes)])

    def read(self, split: str, size: int) -> ImageSet:
        """Render a split at size x size pixels, tune and test with smoke and chimney masks.

        The training split has image-level labels alone, like a folder's. The test split also has
        each scene without its smoke, and without its chimneys.

        Raises:
            InputError: the size is out of range.
        """
        settings = replace(self.settings_of(split), size=size)
        indices = self.indices(split)
        images = np.empty((len(indices), size, size, 3), np.uint8)
        count = len(self.classes)
        labels = np.empty((len(indices), count), np.bool_)
        masks = contexts = without = None
        if split != "train":
            shapes = [(size, size)] * len(indices)
            masks = PixelMaps.allocate(shapes, [True] * len(indices))
            contexts = PixelMaps.allocate(shapes, [True] * len(indices))
        if split == "test":
            without = np.empty((2, count, *images.shape), np.uint8)
        for position, index in enumerate(indices):
            scene = render_scene(settings, index)
            if without is not None:
                for number in range(count):
                    for which, thing in enumerate(_THINGS[number]):
                        altered = render_scene(settings, index, **{thing: False})
                        without[which, number, position] = altered.image
            images[position] = scene.image
            labels[position] = (scene.has_smoke, scene.has_steam)[:count]
            for maps, values in ((masks, index_mask(scene)), (contexts, index_context(scene))):
                view = None if maps is None else maps[position]
                if view is not None:
                    view[...] = values
        identifiers = tuple(_identifier(position) for position in range(len(indices)))
        return ImageSet(
            classes=self.classes,
            images=images,
            labels=labels,
            identifiers=identifiers,
            groups=identifiers,
            masks=masks,
            contexts=contexts,
            without_objects=None if without is None else without[0],
            without_contexts=None if without is None else without[1],
        )

    def training_masks(self, size: int | None = None) -> dict[str, TrainingMask]:
        """Return identifier -> mask of the training scenes that hold a class, by identifier.

        Args:
            size: the side of the masks in pixels; None: that of the settings.

        """
        settings = replace(self.settings, size=size or self.settings.size)
        outline, indices = self.outline("train"), self.indices("train")
        return {
            name: TrainingMask(name, Path(name), partial(_mask_of, settings, index))
            for name, index, held in zip(outline.identifiers, indices, outline.labels, strict=True)
            if held.any()
        }

    def training_masks_fingerprint(self) -> str:
        """Return a digest of all that masks of training scenes depend on, but the size."""
        return self.fingerprint("train")


def _check_count(split: str, count: object) -> None:
    if isinstance(count, bool) or not isinstance(count, int | np.integer):
        raise InputError(f"scenes: {split} is {count!r}, expected a whole number of scenes")
    if not 1 <= count <= _MOST_SCENES:
        raise InputError(f"scenes: {split} is {count}, expected 1 to {_MOST_SCENES} scenes")


def _mask_of(settings: SceneSettings, index: int) -> np.ndarray:
    return index_mask(render_scene(settings, index))


def index_mask(scene: Scene) -> np.ndarray:
    """Return the classes, uint8 [S, S]: 0 none, 1 smoke, 2 steam; the front one where both."""
    mask = scene.smoke_mask.astype(np.uint8)
    steam = scene.steam_mask & ~scene.smoke_mask if scene.smoke_in_front else scene.steam_mask
    mask[steam] = 2
    return mask


def index_context(scene: Scene) -> np.ndarray:
    """Return the contexts, uint8 [S, S]: 0 none, 1 chimney, 2 cooling tower."""
    context = scene.context_mask.astype(np.uint8)
    context[scene.tower_mask & ~scene.context_mask] = 2
    return context


def write_scenes(source: SceneSource, folder: Path, *, train_masks: bool = False) -> None:
    """Write all splits as a data folder of PNG files, at the size of the source's settings.

    Of two classes the training images lie in one folder beside labels.csv, as an image may hold
    both.

    The layout is that of `wsss_core.data.folder.layout`: `train/smoke`, `train/clear`, and for tune
    and test `images`, `masks` (0 and 255), `clear` and `context` (0 and 255, for every image).

    Args:
        source: the scenes.
        folder: where to write; created if missing.
        train_masks: write masks of the training images too, see
            `wsss_core.data.folder.training_masks`.

    Raises:
        InputError: the folder holds something, or cannot be written; or a split lacks scenes with
            smoke, or the training split scenes without, so that the folder could not be read.
    """
    folder = Path(folder)
    _check_both_kinds(source)
    with as_input_error(f"{folder}: cannot write scenes there", OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError(f"{folder}: folder is not empty, expected a new or an empty one")
        for split in SPLITS:
            in_training = ("smoke", "clear") if len(source.classes) == 1 else ("images",)
            names = in_training if split == "train" else ("images", "clear", "masks", "context")
            for name in names:
                (folder / split / name).mkdir(parents=True)
            lines = ["file,classes"]
            for position, index in enumerate(source.indices(split)):
                scene = render_scene(source.settings_of(split), index)
                name = f"{_identifier(position)}.png"
                _write_scene(scene, folder / split, name, source.classes)
                if split == "train" and train_masks:
                    _write_training_mask(scene, folder / split / TRAINING_MASKS, name, source)
                lines.append(f"{name},{';'.join(_held(scene, source.classes))}")
            if split == "train" and len(source.classes) > 1:
                (folder / split / LABELS).write_text("\n".join(lines) + "\n", encoding="utf-8")
        if len(source.classes) > 1:
            values = ", ".join(f"{k}: {name}" for k, name in enumerate(source.classes, 1))
            (folder / "classes.yaml").write_text(f"classes: {{{values}}}\n", encoding="utf-8")


def _check_both_kinds(source: SceneSource) -> None:
    """Find out from the labels' draws, before anything is written, whether each kind occurs."""
    for split in SPLITS:
        smallest = replace(source.settings_of(split), size=16)
        wanted = {(name, True) for name in source.classes}
        if split == "train":
            wanted.add(("smoke", False))
        for index in source.indices(split):
            scene = render_scene(smallest, index)
            wanted -= {("smoke", scene.has_smoke), ("steam", scene.has_steam)}
            if not wanted:
                break
        else:
            name, held = min(wanted)
            count = len(source.indices(split))
            raise InputError(
                f"scenes: none of the {count} {split} scenes is {'with' if held else 'without'} "
                f"{name}, expected at least one; the share of {name} is "
                f"{getattr(source.settings, name)}"
            )


def _identifier(position: int) -> str:
    return f"scene_{position:06d}"


def _held(scene: Scene, classes: Sequence[str]) -> list[str]:
    there = {"smoke": scene.has_smoke, "steam": scene.has_steam}
    return [name for name in classes if there[name]]


def _write_scene(scene: Scene, folder: Path, name: str, classes: Sequence[str]) -> None:
    held = _held(scene, classes)
    if folder.name == "train":
        place = "images" if len(classes) > 1 else "smoke" if held else "clear"
        Image.fromarray(scene.image).save(folder / place / name)
        return
    brightness = _brightness(classes)
    Image.fromarray(scene.image).save(folder / ("images" if held else "clear") / name)
    if held:
        Image.fromarray(index_mask(scene) * brightness).save(folder / "masks" / name)
    Image.fromarray(index_context(scene) * brightness).save(folder / "context" / name)


def _write_training_mask(scene: Scene, folder: Path, name: str, source: SceneSource) -> None:
    if not _held(scene, source.classes):
        return
    place = folder if len(source.classes) > 1 else folder / "smoke"
    place.mkdir(parents=True, exist_ok=True)
    Image.fromarray(index_mask(scene) * _brightness(source.classes)).save(place / name)


def _brightness(classes: Sequence[str]) -> int:
    """Return 255 for one class, which is drawn to be looked at; several have to be told apart."""
    return 255 if len(classes) == 1 else 1


def contact_sheet(
    settings: SceneSettings, count: int = 12, *, indices: Sequence[int] | None = None
) -> Image.Image:
    """Draw scenes and their counterfactuals side by side, one scene a row.

    The columns are the image, the image with its masks outlined (smoke yellow, chimney cyan, steam
    white, cooling tower pink), and the scene without each of these things that its family has.

    Args:
        settings: the family of scenes; smaller than 128 px they are enlarged by a whole factor.
        count: how many scenes, counted from the first of the training split.
        indices: which scenes instead.

    Raises:
        InputError: no scene is asked for.
    """
    chosen = list(range(count)) if indices is None else list(indices)
    if not chosen:
        raise InputError(f"scenes: {count} scenes on a contact sheet, expected at least 1")
    zoom = max(1, -(-128 // settings.size))
    cell = settings.size * zoom
    gap, header = 4, 18
    things = [thing for pair in _THINGS[: 1 + (settings.steam > 0)] for thing in pair]
    titles = ["image", "masks", *(f"without {thing.replace('_', ' ')}" for thing in things)]
    sheet = Image.new(
        "RGB",
        (len(titles) * (cell + gap) - gap, header + len(chosen) * (cell + gap) - gap),
        (255, 255, 255),
    )
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        draw.text((column * (cell + gap) + 2, 3), title, fill=(0, 0, 0))
    for row, index in enumerate(chosen):
        scene = render_scene(settings, index)
        cells = (
            _enlarge(scene.image, zoom),
            _outlined(scene, zoom),
            *(
                _enlarge(render_scene(settings, index, **{thing: False}).image, zoom)
                for thing in things
            ),
        )
        for column, picture in enumerate(cells):
            place = (column * (cell + gap), header + row * (cell + gap))
            sheet.paste(Image.fromarray(picture), place)
    return sheet


def _enlarge(values: np.ndarray, zoom: int) -> np.ndarray:
    return values.repeat(zoom, axis=0).repeat(zoom, axis=1)


def _outlined(scene: Scene, zoom: int) -> np.ndarray:
    """Return the image, enlarged, with a line just inside the edge of each mask."""
    picture = _enlarge(scene.image, zoom)
    for mask, line in (
        (scene.smoke_mask, _SMOKE_OUTLINE),
        (scene.context_mask, _CHIMNEY_OUTLINE),
        (scene.steam_mask, _STEAM_OUTLINE),
        (scene.tower_mask, _TOWER_OUTLINE),
    ):
        inside = _enlarge(mask, zoom)
        framed = np.pad(inside, 1, mode="edge")
        whole = framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
        picture[inside & ~whole] = line
    return picture
