"""Smoke plumes: bent by the wind, widening, torn by turbulence, and translucent.

The axis follows the "2/3 law" of plume rise (Briggs, "Plume rise predictions", 1975): height above
the source grows with the power 2/3 of the distance downwind. The smoke is a chain of Gaussian puffs
along the axis whose summed optical depth is broken up by fractal noise; what it hides of the scene
follows from Beer and Lambert's law, opacity = 1 - exp(-optical depth).
"""

from dataclasses import dataclass, replace

import numpy as np

from wsss_core.data.scenes.buildings import Building, Chimney
from wsss_core.data.scenes.noise import fractal_noise
from wsss_core.data.scenes.painting import Colour, Light, centres, colour, mix

_PUFFS = 72


@dataclass(frozen=True)
class Plume:
    """A plume in unit coordinates.

    Attributes:
        x: where it leaves its source, to the right.
        y: where it leaves its source, downwards.
        reach: how far the wind carries it to the right (negative: to the left).
        rise: how far it rises.
        width: standard deviation of the puffs at the source.
        spread: growth of that deviation over the whole length.
        depth: optical depth through the axis at the source.
        thinning: power of the width ratio with which the depth falls.
        raggedness: strength of the turbulence that tears it.
        smoke: its colour in white light.
        behind_front: painted before the front row of buildings, which then hides its foot.
    """

    x: float
    y: float
    reach: float
    rise: float
    width: float
    spread: float
    depth: float
    thinning: float
    raggedness: float
    smoke: Colour
    behind_front: bool


def draw_plume(
    random: np.random.Generator,
    horizon: float,
    chimney: Chimney | None,
    front_row: list[Building],
) -> Plume:
    """Draw a plume and its source.

    Four in five rise from the chimney's mouth if there is a chimney. The others, and those of a
    scene without a chimney, rise from behind a building, from the ground or beyond the edge.

    Args:
        random: the stream of the plume.
        horizon: y of the horizon.
        chimney: the stack that may smoke.
        front_row: buildings behind which a fire may burn.
    """
    from_chimney = random.random() < 0.8
    elsewhere = random.choice(("building", "ground", "edge"), p=(0.45, 0.3, 0.25))
    at = random.random()
    side = 1.0 if random.random() < 0.5 else -1.0
    wind = random.uniform(0.1, 0.45)
    pale = random.random() < 0.6
    grey = random.uniform(0.68, 0.95) if pale else random.uniform(0.25, 0.6)
    warmth = random.uniform(-0.02, 0.05)
    plume = Plume(
        x=at,
        y=horizon,
        reach=wind,
        rise=random.uniform(0.20, 0.40),
        width=random.uniform(0.018, 0.026),
        spread=random.uniform(0.035, 0.075),
        depth=random.uniform(3.0, 5.5),
        thinning=random.uniform(0.3, 0.7),
        raggedness=random.uniform(0.55, 1.0),
        smoke=colour(grey + warmth, grey, grey - warmth),
        behind_front=False,
    )
    if chimney is not None and from_chimney:
        plume = replace(plume, x=chimney.x, y=chimney.top + 0.012)
    elif elsewhere == "edge":
        x = -0.06 if side > 0 else 1.06
        wide = plume.width * 2
        return replace(
            plume,
            x=x,
            y=0.18 + 0.4 * at,
            reach=side * (wind + 0.35),
            rise=plume.rise / 3,
            width=wide,
        )
    elif elsewhere == "building" and front_row:
        house = front_row[int(at * len(front_row))]
        x = np.clip((house.left + house.right) / 2, 0.1, 0.9)
        plume = replace(plume, x=x, y=house.roof + 0.04, width=plume.width * 1.5, behind_front=True)
    else:
        plume = replace(plume, x=0.1 + 0.8 * at, y=horizon + 0.12 * wind, width=plume.width * 1.4)
    # Blown towards the roomier side, mostly.
    roomier = 1.0 if plume.x < 0.5 else -1.0
    return replace(plume, reach=wind * (roomier if random.random() < 0.8 else -roomier))


def plume_opacity(
    plume: Plume,
    size: int,
    light: Light,
    *,
    random: np.random.Generator,
    texture_random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return how much the smoke hides, and its colour, for every pixel.

    Args:
        plume: the plume.
        size: width and height in pixels.
        light: daylight of the scene.
        random: places the puffs.
        texture_random: draws the turbulence.

    Returns:
        opacity: float32 [size, size], 0 to 1, exactly 0 outside the plume.
        colour: float32 [3, size, size].
    """
    jitter = random.standard_normal((2, _PUFFS))
    along = ((np.arange(_PUFFS) + random.random(_PUFFS)) / _PUFFS) ** 1.3
    phase, amplitude = random.standard_normal(2) * (0.4, 0.03)
    width = plume.width + plume.spread * along
    sway = amplitude * along * np.sin(2 * np.pi * (1.1 * along + phase))
    x = plume.x + plume.reach * along + sway + 0.55 * width * jitter[0] * along**0.3
    y = plume.y - plume.rise * along ** (2 / 3) + 0.55 * width * jitter[1] * along**0.3
    length = np.hypot(plume.reach, plume.rise)
    fade = np.clip((1 - along) / 0.35, 0, 1)
    depth = plume.depth * (plume.width / width) ** plume.thinning * fade
    # A line of puffs `length / _PUFFS` apart sums to this depth on its axis.
    weight = depth * length / (_PUFFS * np.sqrt(2 * np.pi) * width)

    grid = centres(size)
    across = np.exp(-0.5 * ((grid[:, None] - x) / width) ** 2).astype(np.float32)
    down = np.exp(-0.5 * ((grid[:, None] - y) / width) ** 2).astype(np.float32)
    smooth = (down * weight.astype(np.float32)) @ across.T
    turbulence = fractal_noise(texture_random, size, cells=(6, 6), octaves=5, gain=0.65)
    torn = np.exp(np.float32(plume.raggedness) * (turbulence - 0.2))
    optical_depth = np.maximum(smooth * torn - np.float32(0.06), 0)
    opacity = 1 - np.exp(-optical_depth)

    # Smoke between the sun and a pixel darkens it: the same chain, seen a little towards the light.
    shifted = np.exp(-0.5 * ((grid[:, None] - x + 0.03 * light.side) / width) ** 2)
    lifted = np.exp(-0.5 * ((grid[:, None] - y - 0.04) / width) ** 2)
    before = (lifted.astype(np.float32) * weight.astype(np.float32)) @ shifted.astype(np.float32).T
    brightness = 0.62 + 0.38 * np.exp(-0.9 * before) + 0.07 * turbulence
    lit = mix(plume.smoke, light.horizon, 0.12) * light.tint
    return opacity, np.clip(lit * brightness, 0, 1)
