"""Procedural smoke scenes: a picture, its image label, a smoke mask and a context mask.

The scenes pose the problem that image-level labels leave open: chimneys occur mostly with smoke, so
a classifier may be right about smoke by looking at chimneys. Both masks are known exactly, and so
is what the scene would look like without its smoke or without its chimney.

>>> scene = render_scene(SceneSettings(size=64, seed=1), index=0)
>>> scene.image.shape, scene.image.dtype
((64, 64, 3), dtype('uint8'))
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import NamedTuple, Self

import numpy as np

from wsss_core.data.scenes.buildings import (
    draw_buildings,
    draw_chimneys,
    paint_building,
)
from wsss_core.data.scenes.cooling_tower import (
    CoolingTower,
    draw_cooling_tower,
    draw_steam,
)
from wsss_core.data.scenes.further import FURTHER, paint_further
from wsss_core.data.scenes.landscape import paint_clouds, paint_ground, paint_sky, paint_skyline
from wsss_core.data.scenes.noise import Ingredient, stream
from wsss_core.data.scenes.painting import Light, draw_light, paint, paint_tapered
from wsss_core.data.scenes.plume import draw_plume, plume_opacity
from wsss_core.errors import InputError

SCENE_VERSION = 1
"""Raised by hand whenever a change to the generator changes any picture or mask."""

SMOKE_OPACITY = 0.15
"""The smoke mask holds the pixels of which smoke hides more than this share."""

CHIMNEY_COVER = 0.5
"""The context mask holds the pixels of which a chimney fills more than this share."""

SMALLEST, LARGEST = 16, 1024

SECOND_CLASS = ("steam", "cooling_tower_given_steam", "cooling_tower_given_clear")
FURTHER_CLASSES = ("further", "context_given_further", "context_given_without")
SHARES = ("chimney_given_smoke", "chimney_given_clear", "smoke", *SECOND_CLASS, *FURTHER_CLASSES)
THINGS = (("smoke", "chimney"), ("steam", "cooling_tower"), *FURTHER)
"""The object and the context of each class, as `render_scene` calls them."""

_Streams = Callable[[Ingredient], np.random.Generator]
"""The random numbers of each ingredient of one scene."""


@dataclass(frozen=True)
class SceneSettings:
    """Settings of a family of scenes. A study file takes its fields and bounds from here.

    A study needs scenes with smoke and without it, so its bounds are narrower than those of a
    family.

    Attributes:
        size: width and height in pixels, 16 to 1024.
        chimney_given_smoke: share of the scenes with smoke that hold chimneys, 0 to 1.
        chimney_given_clear: share of the scenes without smoke that hold chimneys, 0 to 1.
        smoke: share of the scenes with smoke, 0 to 1.
        steam: share of the scenes with steam, 0 to 1, whether they have smoke or not; 0 leaves the
            second class and its cooling towers out altogether.
        cooling_tower_given_steam: share of the scenes with steam that hold a cooling tower.
        cooling_tower_given_clear: share of the scenes without steam that do.
        further: share of the scenes with a contrail, of those with a flare and of those with dust,
            each whatever else is there; 0 leaves these three classes and their contexts (aircraft,
            flare stack, stockpile) out altogether. They come besides smoke and steam.
        context_given_further: share of the scenes with such a class that hold its context.
        context_given_without: share of the scenes without the class that do.
        seed: 0 to 2**64 - 1; another seed, other scenes.

    Raises:
        InputError: a value is out of its range, or further classes without steam.
    """

    size: int = field(default=64, metadata={"ge": SMALLEST, "le": LARGEST})
    chimney_given_smoke: float = field(default=0.95, metadata={"ge": 0, "le": 1})
    chimney_given_clear: float = field(default=0.4, metadata={"ge": 0, "le": 1})
    smoke: float = field(default=0.5, metadata={"gt": 0, "lt": 1})
    steam: float = field(default=0.0, metadata={"ge": 0, "lt": 1})
    cooling_tower_given_steam: float = field(default=0.95, metadata={"ge": 0, "le": 1})
    cooling_tower_given_clear: float = field(default=0.4, metadata={"ge": 0, "le": 1})
    further: float = field(default=0.0, metadata={"ge": 0, "lt": 1})
    context_given_further: float = field(default=0.95, metadata={"ge": 0, "le": 1})
    context_given_without: float = field(default=0.4, metadata={"ge": 0, "le": 1})
    seed: int = field(default=0, metadata={"ge": 0})

    def __post_init__(self) -> None:
        for name, lowest, highest in (("size", SMALLEST, LARGEST), ("seed", 0, 2**64 - 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise InputError(f"scenes: {name} is {value!r}, expected a whole number")
            if not lowest <= value <= highest:
                raise InputError(f"scenes: {name} is {value}, expected {lowest} to {highest}")
        for name in SHARES:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float | np.number):
                raise InputError(f"scenes: {name} is {value!r}, expected a number from 0 to 1")
            if not 0 <= value <= 1:
                raise InputError(f"scenes: {name} is {value}, expected 0 to 1")
        if self.further > 0 and self.steam == 0:
            raise InputError(
                f"scenes: further is {self.further} and steam is 0, expected steam above 0: the "
                "further classes come besides smoke and steam"
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the family: smoke, and those whose share is above 0."""
        count = 1 if self.steam == 0 else 2 if self.further == 0 else len(THINGS)
        return tuple(thing for thing, _ in THINGS[:count])

    def reversed(self) -> Self:
        """Return the family in which contexts go with the scenes that lack their class."""
        return replace(
            self,
            chimney_given_smoke=self.chimney_given_clear,
            chimney_given_clear=self.chimney_given_smoke,
            cooling_tower_given_steam=self.cooling_tower_given_clear,
            cooling_tower_given_clear=self.cooling_tower_given_steam,
            context_given_further=self.context_given_without,
            context_given_without=self.context_given_further,
        )

    @classmethod
    def taken_from(cls, given: object) -> Self:
        """Return the settings that an object has as attributes of these names."""
        return cls(**{field.name: getattr(given, field.name) for field in fields(cls)})


@dataclass(frozen=True)
class Scene:
    """One rendered scene.

    Attributes:
        image: uint8 [S, S, 3], RGB.
        smoke_mask: bool [S, S], where smoke hides more than `SMOKE_OPACITY` of its background.
        context_mask: bool [S, S], where a chimney fills more than `CHIMNEY_COVER` of the pixel.
            Chimney hidden by a building does not count; chimney seen through smoke does, so the two
            masks may share pixels.
        has_smoke: the image label.
        has_chimney: whether chimneys stand in the scene.
        steam_mask: bool [S, S], as `smoke_mask`, of the steam that is seen.
        tower_mask: bool [S, S], as `context_mask`, of the cooling tower.
        has_steam: the image label of the second class.
        has_cooling_tower: whether one stands in the scene.
        smoke_in_front: whether smoke hides steam where both are, or the other way round.
        things: the names of all things that are there, objects and contexts.
        further_masks: bool [S, S] by name, of the further classes as `smoke_mask` and of their
            contexts as `context_mask`; empty if the family has none.
    """

    image: np.ndarray
    smoke_mask: np.ndarray
    context_mask: np.ndarray
    has_smoke: bool
    has_chimney: bool
    steam_mask: np.ndarray
    tower_mask: np.ndarray
    has_steam: bool
    has_cooling_tower: bool
    smoke_in_front: bool
    things: frozenset[str] = frozenset()
    further_masks: Mapping[str, np.ndarray] = field(default_factory=dict)


def render_scene(
    settings: SceneSettings,
    index: int,
    *,
    smoke: bool | None = None,
    chimney: bool | None = None,
    steam: bool | None = None,
    cooling_tower: bool | None = None,
    **further: bool | None,
) -> Scene:
    """Render a scene, or a counterfactual of it.

    A scene depends on the settings and its index alone. Size changes the resolution, not the scene;
    the three shares change which of its things are there. A counterfactual differs from the scene
    in the pixels that the added or removed thing covers, and in no other.

    Args:
        settings: the family of scenes.
        index: which of them, 0 or more.
        smoke: with smoke or without; None: as drawn.
        chimney: with chimneys or without; None: as drawn. Smoke stays where it is in the scene as
            drawn, even if it rises from a chimney that is taken away.
        steam: with steam or without; None: as drawn.
        cooling_tower: with a cooling tower or without; None: as drawn. Steam stays where it is.
        further: of a further class or its context by name (contrail, aircraft, flare, flare_stack,
            dust, stockpile), with or without it; None: as drawn.

    Raises:
        InputError: the index is negative or no whole number; or another thing, or a further one in
            a family without them.
    """
    random = _streams(settings.seed, index)
    drawn = _drawn_things(settings, random)
    asked = {"smoke": smoke, "chimney": chimney, "steam": steam, "cooling_tower": cooling_tower}
    asked |= _known_further(settings, further)
    there = drawn._replace(**{name: it for name, it in asked.items() if it is not None})
    return _render(settings, random, drawn, there)


def _render(settings: SceneSettings, random: _Streams, drawn: "_Things", there: "_Things") -> Scene:
    """Paint from the back to the front; things stand where they were drawn, if they are there."""
    size = settings.size
    light = draw_light(random("light"))
    horizon = random("horizon").uniform(0.66, 0.86)
    front_row = draw_buildings(random("front_row"), horizon, front=True)
    chimneys = draw_chimneys(random("chimneys"), horizon)
    tower = draw_cooling_tower(random("tower"), horizon)

    picture = np.empty((3, size, size), np.float32)
    _paint_background(picture, light, horizon, random)
    tower_cover, chimney_cover, opacity, steam_opacity = np.zeros((4, size, size), np.float32)
    if there.cooling_tower:
        tower_cover = paint_tapered(picture, light, tower)
    for stack in chimneys if there.chimney else ():
        np.maximum(chimney_cover, paint_tapered(picture, light, stack), out=chimney_cover)
    behind_front = False
    if there.smoke:
        plume_random = random("plume")
        plume = draw_plume(plume_random, horizon, chimneys[0] if drawn.chimney else None, front_row)
        opacity, smoke_colour = plume_opacity(
            plume, size, light, random=plume_random, texture_random=random("plume_texture")
        )
        behind_front = plume.behind_front
        if behind_front:
            paint(picture, smoke_colour, opacity)
    for building in front_row:
        hidden = paint_building(picture, light, building)
        chimney_cover *= 1 - hidden
        tower_cover *= 1 - hidden
        if behind_front:
            opacity *= 1 - hidden
    if there.steam:
        source = tower if drawn.cooling_tower else None
        steam_opacity = _paint_steam(picture, light, horizon, source, random)
    layers: dict[str, np.ndarray] = {}
    if settings.further > 0:
        layers, left = paint_further(
            picture, light, horizon, random, drawn=drawn._asdict(), there=there._asdict()
        )
        for layer in (tower_cover, chimney_cover, steam_opacity, *([opacity] * behind_front)):
            layer *= left
    if there.smoke and not behind_front:
        paint(picture, smoke_colour, opacity)

    return Scene(
        image=_photograph(picture, random),
        smoke_mask=opacity > SMOKE_OPACITY,
        context_mask=chimney_cover > CHIMNEY_COVER,
        has_smoke=there.smoke,
        has_chimney=there.chimney,
        steam_mask=steam_opacity > SMOKE_OPACITY,
        tower_mask=tower_cover > CHIMNEY_COVER,
        has_steam=there.steam,
        has_cooling_tower=there.cooling_tower,
        smoke_in_front=not behind_front,
        things=frozenset(name for name, it in there._asdict().items() if it),
        further_masks=_further_masks(layers),
    )


def _further_masks(layers: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        name: layers[name] > least
        for pair in (FURTHER if layers else ())
        for name, least in zip(pair, (SMOKE_OPACITY, CHIMNEY_COVER), strict=True)
    }


def _known_further(
    settings: SceneSettings, asked: Mapping[str, bool | None]
) -> Mapping[str, bool | None]:
    known = [name for pair in FURTHER for name in pair] if settings.further > 0 else []
    if others := sorted(asked.keys() - set(known)):
        those = f"expected one of {', '.join(known)}" if known else "the family has no further ones"
        raise InputError(f"scenes: thing {others[0]!r}, {those}")
    return asked


def _streams(seed: int, index: int) -> _Streams:
    if isinstance(index, bool) or not isinstance(index, int | np.integer) or not 0 <= index < 2**64:
        raise InputError(f"scenes: index is {index!r}, expected a whole number, 0 or more")
    return partial(stream, seed, index)


class _Things(NamedTuple):
    """Which of its things are in a scene."""

    smoke: bool
    chimney: bool
    steam: bool = False
    cooling_tower: bool = False
    contrail: bool = False
    aircraft: bool = False
    flare: bool = False
    flare_stack: bool = False
    dust: bool = False
    stockpile: bool = False


def _drawn_things(settings: SceneSettings, random: _Streams) -> _Things:
    """Draw which things a scene holds, by the shares of its family."""
    object_draw, context_draw = random("labels").random(2)
    smoke = bool(object_draw < settings.smoke)
    chimney_share = settings.chimney_given_smoke if smoke else settings.chimney_given_clear
    chimney = bool(context_draw < chimney_share)
    if not settings.steam > 0:
        return _Things(smoke, chimney)
    object_draw, context_draw = random("second_labels").random(2)
    steam = bool(object_draw < settings.steam)
    tower_share = (
        settings.cooling_tower_given_steam if steam else settings.cooling_tower_given_clear
    )
    found = _Things(smoke, chimney, steam, bool(context_draw < tower_share))
    if not settings.further > 0:
        return found
    draws = random("further_labels").random((len(FURTHER), 2))
    further: dict[str, bool] = {}
    for (thing, context), (object_draw, context_draw) in zip(FURTHER, draws, strict=True):
        further[thing] = bool(object_draw < settings.further)
        given = settings.context_given_further
        share = given if further[thing] else settings.context_given_without
        further[context] = bool(context_draw < share)
    return found._replace(**further)


def _paint_background(picture: np.ndarray, light: Light, horizon: float, random: _Streams) -> None:
    """Paint the sky, the ground and the back row of buildings: all that hides no thing."""
    paint_sky(picture, light, horizon)
    paint_clouds(
        picture,
        light,
        horizon,
        cover_random=random("cloud_cover"),
        texture_random=random("cloud_texture"),
    )
    paint_ground(
        picture, light, horizon, random=random("ground"), texture_random=random("ground_texture")
    )
    paint_skyline(
        picture, light, horizon, hills_random=random("hills"), trees_random=random("trees")
    )
    for building in draw_buildings(random("back_row"), horizon, front=False):
        paint_building(picture, light, building)


def _paint_steam(
    picture: np.ndarray,
    light: Light,
    horizon: float,
    tower: CoolingTower | None,
    random: _Streams,
) -> np.ndarray:
    """Paint steam, out of a cooling tower if there is one; its opacity, float32 [S, S]."""
    drawing = random("steam")
    plume = draw_steam(drawing, draw_plume(drawing, horizon, None, []), horizon, tower)
    opacity, steam_colour = plume_opacity(
        plume, picture.shape[-1], light, random=drawing, texture_random=random("steam_texture")
    )
    paint(picture, steam_colour, opacity)
    return opacity


def _photograph(picture: np.ndarray, random: _Streams) -> np.ndarray:
    """Add the sensor's noise to a picture float32 [3, S, S] of 0..1; uint8 [S, S, 3]."""
    noise = random("sensor").standard_normal(picture.shape[1:], dtype=np.float32)
    levels = np.rint(np.clip(picture + noise * np.float32(0.008), 0, 1) * 255)
    return np.ascontiguousarray(levels.astype(np.uint8).transpose(1, 2, 0))
