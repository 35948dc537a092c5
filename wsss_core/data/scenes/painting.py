"""How the things of a procedural scene are painted, and the daylight they are painted in.

Everything is laid out in unit coordinates (x to the right, y downwards, 0 to 1 across the picture)
and covers a share of each pixel between 0 and 1, exactly 0 where it is absent: painting over a
pixel with coverage 0 leaves its value as it was, to the bit. Pictures are planar float32
[3, S, S], 0 to 1.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

Colour = np.ndarray  # float32 [3, 1, 1]


def colour(red: float, green: float, blue: float) -> Colour:
    """Return a colour that broadcasts against a planar picture."""
    return np.array([red, green, blue], np.float32).reshape(3, 1, 1)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return `first` with a `share` (0 to 1) of `second`."""
    return first + np.float32(share) * (second - first)


# zenith and horizon of the sky, and the tint that daylight gives to everything below it
_SKIES = (
    (colour(0.25, 0.47, 0.80), colour(0.72, 0.83, 0.92), colour(1.00, 0.98, 0.94)),  # clear noon
    (colour(0.46, 0.62, 0.80), colour(0.86, 0.89, 0.90), colour(0.98, 0.97, 0.95)),  # hazy
    (colour(0.60, 0.66, 0.72), colour(0.82, 0.84, 0.85), colour(0.86, 0.88, 0.91)),  # overcast
    (colour(0.38, 0.50, 0.72), colour(0.95, 0.80, 0.64), colour(1.00, 0.86, 0.72)),  # evening
    (colour(0.42, 0.58, 0.82), colour(0.93, 0.88, 0.86), colour(0.97, 0.93, 0.92)),  # morning
)


@dataclass(frozen=True)
class Light:
    """Daylight: the colours of the sky, the tint of lit things, the sun's side and the haze.

    Attributes:
        zenith: colour of the sky at the top of the picture.
        horizon: colour of the sky, and of the haze, at the horizon.
        tint: multiplies the colour of everything lit.
        side: -1 where the sun stands at the left, 1 at the right.
        haze: share of haze over the farthest things, 0 to 1.
    """

    zenith: Colour
    horizon: Colour
    tint: Colour
    side: float
    haze: float

    def on(self, surface: Colour, distance: float) -> Colour:
        """Return a surface's colour in this light, through the haze of a distance from 0 to 1."""
        return mix(surface * self.tint, self.horizon, self.haze * distance)


def draw_light(random: np.random.Generator) -> Light:
    """Draw one of a few kinds of daylight, with some of another in it."""
    first, second = (_SKIES[random.integers(len(_SKIES))] for _ in range(2))
    zenith, horizon, tint = (
        mix(a, b, random.uniform(0, 0.4)) for a, b in zip(first, second, strict=True)
    )
    exposure = np.float32(random.uniform(0.82, 1.08))
    return Light(
        zenith * exposure,
        horizon * exposure,
        tint * exposure,
        side=float(random.choice((-1.0, 1.0))),
        haze=random.uniform(0.25, 0.7),
    )


def centres(size: int) -> np.ndarray:
    """Return unit coordinates of the centres of a line of pixels: float32 [size]."""
    return ((np.arange(size) + 0.5) / size).astype(np.float32)


def between(low: float, high: float, size: int) -> np.ndarray:
    """Return the share of each pixel in a line between two coordinates: float32 [size]."""
    edges = np.clip(np.arange(size + 1, dtype=np.float64) / size, low, max(low, high))
    return (np.diff(edges) * size).astype(np.float32)


def touched(cover: np.ndarray) -> slice:
    """Return the slice from the first to the last pixel of a line that is covered at all."""
    (where,) = np.nonzero(cover)
    return slice(where[0], where[-1] + 1) if len(where) else slice(0, 0)


def paint(picture: np.ndarray, paint_colour: np.ndarray, cover: np.ndarray) -> None:
    """Lay a colour over a picture, or a window of one, in place.

    Args:
        picture: float32 [3, h, w].
        paint_colour: broadcasts against the picture.
        cover: float32, broadcasts against [h, w], 0 to 1.
    """
    picture += cover * (paint_colour - picture)


@dataclass(frozen=True)
class Tapered(ABC):
    """A round thing that tapers, in unit coordinates; it is lit as a cylinder.

    Attributes:
        x: its axis.
        top: its upper end.
        base: its lower end.
        surface: its colour in white light.
        distance: 0 near to 1 far.
    """

    x: float
    top: float
    base: float
    surface: Colour
    distance: float

    @abstractmethod
    def half_width(self, share: np.ndarray) -> np.ndarray:
        """Return half its width at shares of its height, 0 at the top."""

    @abstractmethod
    def shaded(self, share: np.ndarray, around: np.ndarray) -> np.ndarray:
        """Return its colour [3, h, w] at shares of its height [h, 1] and at places around it.

        `around` [h, w] goes from -1 at the edge away from the sun to 1 at the other.
        """


def paint_tapered(picture: np.ndarray, light: Light, thing: Tapered) -> np.ndarray:
    """Paint a chimney or a cooling tower as a lit cylinder.

    Returns:
        float32 [S, S]: the share of each pixel that it covers.
    """
    size = picture.shape[1]
    cover = np.zeros((size, size), np.float32)
    down = between(thing.top, thing.base, size)
    rows = touched(down)
    reach = float(thing.half_width(np.ones(1))[0]) + 1 / size
    columns = touched(between(thing.x - reach, thing.x + reach, size))
    if rows.stop == rows.start or columns.stop == columns.start:
        return cover
    share = np.clip((centres(size)[rows] - thing.top) / (thing.base - thing.top), 0, 1)[:, None]
    half = thing.half_width(share)
    offset = centres(size)[columns] - np.float32(thing.x)
    inside = np.minimum((half - np.abs(offset)) * size + 0.5, 2 * half * size)
    cover[rows, columns] = np.clip(inside, 0, 1) * down[rows, None]
    around = np.clip(offset / half, -1, 1) * np.float32(light.side)
    lit = light.on(thing.shaded(share, around), thing.distance)
    paint(picture[:, rows, columns], lit, cover[rows, columns])
    return cover
