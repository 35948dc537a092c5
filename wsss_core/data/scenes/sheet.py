"""A sheet of procedural scenes to look at, with their masks and their counterfactuals."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from wsss_core.data.scenes.scene import THINGS, Scene, SceneSettings, render_scene
from wsss_core.errors import InputError

_OUTLINES = {
    "smoke": (255, 214, 0),
    "chimney": (0, 229, 255),
    "steam": (255, 255, 255),
    "cooling_tower": (255, 64, 160),
    "contrail": (255, 128, 0),
    "aircraft": (128, 0, 255),
    "flare": (255, 0, 0),
    "flare_stack": (0, 64, 255),
    "dust": (128, 255, 0),
    "stockpile": (0, 128, 96),
}


def contact_sheet(
    settings: SceneSettings, count: int = 12, *, indices: Sequence[int] | None = None
) -> Image.Image:
    """Draw scenes and their counterfactuals side by side, one scene a row.

    The columns are the image, the image with its masks outlined (smoke yellow, chimney cyan, steam
    white, cooling tower pink; for others see `_OUTLINES`), and the scene without each of these
    things that its family has.

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
    things = [thing for pair in THINGS[: len(settings.classes)] for thing in pair]
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
    masks = {
        "smoke": scene.smoke_mask,
        "chimney": scene.context_mask,
        "steam": scene.steam_mask,
        "cooling_tower": scene.tower_mask,
        **scene.further_masks,
    }
    for name, mask in masks.items():
        inside = _enlarge(mask, zoom)
        framed = np.pad(inside, 1, mode="edge")
        whole = framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
        picture[inside & ~whole] = _OUTLINES[name]
    return picture
