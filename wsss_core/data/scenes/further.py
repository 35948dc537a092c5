"""Three further classes of procedural scenes, each with the context that it tends to come with.

A contrail behind an aircraft, a flare over a flare stack, dust over a stockpile. They stand before
all else but smoke that is in front, and are painted in this order.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from wsss_core.data.scenes.noise import Ingredient
from wsss_core.data.scenes.painting import Light, Tapered, colour, paint, paint_tapered
from wsss_core.data.scenes.plume import Plume, draw_plume, plume_opacity

FURTHER = (("contrail", "aircraft"), ("flare", "flare_stack"), ("dust", "stockpile"))
"""The object and the context of each further class, in the order in which they are painted."""

_FROM_CONTEXT = 0.9  # the share of objects that rise from their context where it is


@dataclass(frozen=True)
class Mast(Tapered):
    """A thing whose width grows evenly from its top to its base."""

    half_width_top: float
    half_width_base: float

    def half_width(self, share: np.ndarray) -> np.ndarray:
        """Return half its width at shares of its height, 0 at the top."""
        return self.half_width_top + share * (self.half_width_base - self.half_width_top)

    def shaded(self, share: np.ndarray, around: np.ndarray) -> np.ndarray:
        """Return its colour, see `Tapered`."""
        return self.surface * (np.float32(0.80) + np.float32(0.28) * around)


@dataclass(frozen=True)
class Hull(Mast):
    """A thing that widens fast below its top, as an aircraft does that is seen from the side."""

    def half_width(self, share: np.ndarray) -> np.ndarray:
        """Return half its width at shares of its height, 0 at the top."""
        return self.half_width_base * np.sqrt((share + 0.05) / 1.05)


def _draw_aircraft(random: np.random.Generator, horizon: float) -> Tapered:
    base = random.uniform(0.08, 0.30)
    height = random.uniform(0.030, 0.042)
    grey = random.uniform(0.30, 0.55)
    return Hull(
        x=random.uniform(0.15, 0.85),
        top=base - height,
        base=base,
        surface=colour(grey, grey, grey * 1.05),
        distance=random.uniform(0.1, 0.3),
        half_width_top=0.0,
        half_width_base=height * random.uniform(1.3, 1.8),
    )


def _draw_flare_stack(random: np.random.Generator, horizon: float) -> Tapered:
    base = horizon + random.uniform(0.01, 0.05)
    half_width = random.uniform(0.014, 0.020)
    grey = random.uniform(0.22, 0.34)
    return Mast(
        x=random.uniform(0.12, 0.88),
        top=base - random.uniform(0.24, 0.36),
        base=base,
        surface=colour(grey, grey, grey * 1.1),
        distance=random.uniform(0.1, 0.3),
        half_width_top=half_width,
        half_width_base=half_width * 1.3,
    )


def _draw_stockpile(random: np.random.Generator, horizon: float) -> Tapered:
    base = horizon + random.uniform(0.06, 0.12)
    dark = random.uniform(0.30, 0.48)
    return Mast(
        x=random.uniform(0.15, 0.85),
        top=base - random.uniform(0.08, 0.13),
        base=base,
        surface=colour(dark, dark * 0.86, dark * 0.68),
        distance=random.uniform(0.05, 0.2),
        half_width_top=random.uniform(0.012, 0.03),
        half_width_base=random.uniform(0.12, 0.20),
    )


def _draw_contrail(
    random: np.random.Generator, plume: Plume, horizon: float, source: Tapered | None
) -> Plume:
    x, y = random.uniform(0.1, 0.9), random.uniform(0.06, 0.30)
    grey = random.uniform(1.35, 1.5)
    trail = replace(
        plume,
        x=x,
        y=y,
        reach=np.sign(plume.reach) * random.uniform(0.35, 0.6),
        rise=random.uniform(0.01, 0.05),
        width=random.uniform(0.012, 0.017),
        spread=random.uniform(0.008, 0.018),
        depth=random.uniform(3.5, 5.5),
        raggedness=random.uniform(0.2, 0.4),
        smoke=colour(grey, grey, grey),
    )
    return trail if source is None else replace(trail, x=source.x, y=source.base)


def _draw_flare(
    random: np.random.Generator, plume: Plume, horizon: float, source: Tapered | None
) -> Plume:
    x, y = random.uniform(0.1, 0.9), horizon - random.uniform(0.0, 0.08)
    flame = replace(
        plume,
        x=x,
        y=y,
        reach=np.sign(plume.reach) * random.uniform(0.03, 0.09),
        rise=random.uniform(0.10, 0.17),
        width=random.uniform(0.020, 0.028),
        spread=random.uniform(0.005, 0.02),
        depth=random.uniform(4.0, 6.5),
        raggedness=random.uniform(0.4, 0.7),
        smoke=colour(1.7, random.uniform(0.65, 0.85), 0.12),
    )
    return flame if source is None else replace(flame, x=source.x, y=source.top + 0.01)


def _draw_dust(
    random: np.random.Generator, plume: Plume, horizon: float, source: Tapered | None
) -> Plume:
    x, y = random.uniform(0.1, 0.9), horizon + random.uniform(0.02, 0.08)
    pale = random.uniform(0.70, 0.90)
    cloud = replace(
        plume,
        x=x,
        y=y,
        reach=np.sign(plume.reach) * random.uniform(0.18, 0.34),
        rise=random.uniform(0.04, 0.09),
        width=random.uniform(0.030, 0.042),
        spread=random.uniform(0.03, 0.06),
        depth=random.uniform(2.8, 4.5),
        smoke=colour(pale, pale * 0.80, pale * 0.55),
    )
    return cloud if source is None else replace(cloud, x=source.x, y=source.top + 0.03)


_DRAW_CONTEXT: dict[str, Callable[[np.random.Generator, float], Tapered]] = {
    "aircraft": _draw_aircraft,
    "flare_stack": _draw_flare_stack,
    "stockpile": _draw_stockpile,
}
_DRAW_OBJECT: dict[str, Callable[[np.random.Generator, Plume, float, Tapered | None], Plume]] = {
    "contrail": _draw_contrail,
    "flare": _draw_flare,
    "dust": _draw_dust,
}


def paint_further(
    picture: np.ndarray,
    light: Light,
    horizon: float,
    random: Callable[[Ingredient], np.random.Generator],
    *,
    drawn: Mapping[str, bool],
    there: Mapping[str, bool],
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Paint the further classes and their contexts that are in a scene.

    Args:
        picture: float32 [3, S, S], painted over.
        light: daylight of the scene.
        horizon: y of the horizon.
        random: the random numbers of each ingredient.
        drawn: which things the scene holds as it was drawn: an object stays where it is, even if
            the context that it rises from is taken away.
        there: which things are painted.

    Returns:
        The share that each thing covers of each pixel and that no later context hides, float32
        [S, S] by name, and the share of each pixel that the contexts leave of what was painted
        before.

    """
    size = picture.shape[-1]
    layers = {name: np.zeros((size, size), np.float32) for pair in FURTHER for name in pair}
    left = np.ones((size, size), np.float32)
    for thing, context in FURTHER:
        source = _DRAW_CONTEXT[context](random(cast(Ingredient, context)), horizon)
        if there[context]:
            cover = paint_tapered(picture, light, source)
            for layer in (*layers.values(), left):
                layer *= 1 - cover
            layers[context] = cover
        if there[thing]:
            drawing = random(cast(Ingredient, thing))
            texture = random(cast(Ingredient, f"{thing}_texture"))
            plume = draw_plume(drawing, horizon, None, [])
            rises = drawing.random() < _FROM_CONTEXT and drawn[context]
            plume = _DRAW_OBJECT[thing](drawing, plume, horizon, source if rises else None)
            plume = replace(plume, behind_front=False)
            opacity, its_colour = plume_opacity(
                plume, size, light, random=drawing, texture_random=texture
            )
            paint(picture, its_colour, opacity)
            layers[thing] = opacity
    return layers, left
