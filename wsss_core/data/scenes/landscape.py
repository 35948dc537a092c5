"""The landscape of every procedural scene: sky, clouds, hills, trees, ground."""

import numpy as np

from wsss_core.data.scenes.noise import fractal_line, fractal_noise
from wsss_core.data.scenes.painting import Light, between, centres, colour, mix, paint, touched

_MEADOW = colour(0.34, 0.42, 0.22)
_YARD = colour(0.47, 0.44, 0.40)
_WOOD = colour(0.16, 0.24, 0.15)


def paint_sky(picture: np.ndarray, light: Light, horizon: float) -> None:
    """Fill the picture with the sky's gradient, palest at the horizon."""
    height = np.clip(1 - centres(picture.shape[1])[:, None] / horizon, 0, 1) ** np.float32(0.8)
    picture[:] = light.horizon + height * (light.zenith - light.horizon)
    glow = np.clip(1 - np.abs(centres(picture.shape[2]) - (0.5 + 0.6 * light.side)), 0, 1) ** 2
    paint(picture, light.horizon, (1 - height) * glow * np.float32(0.35))


def paint_clouds(
    picture: np.ndarray,
    light: Light,
    horizon: float,
    *,
    cover_random: np.random.Generator,
    texture_random: np.random.Generator,
) -> None:
    """Paint clouds: patches wider than high, flatter towards the horizon, darker underneath."""
    size = picture.shape[1]
    amount = cover_random.choice((0.0, 0.7, 1.1, 1.5, 2.6), p=(0.15, 0.25, 0.25, 0.2, 0.15))
    softness = cover_random.uniform(0.35, 1.3)
    density = cover_random.uniform(0.65, 1.0)
    greyness = cover_random.uniform(0.3, 1.1)
    cells_across = int(cover_random.integers(2, 5))
    if not amount:
        return
    # A layer overhead seen from the ground: rows crowd together near the horizon.
    height = np.clip(1 - centres(size) / horizon, 0, 1)
    rows = 1 - (height * 1.7 / (height + 0.7)).astype(np.float64)
    field = fractal_noise(
        texture_random, size, cells=(6, cells_across), octaves=6, gain=0.55, rows=rows
    )
    thickness = 1 - np.exp(-np.maximum(field + np.float32(amount - 1.6), 0) / np.float32(softness))
    fade = np.minimum(height * 6, 1)[:, None]
    # What lies a little higher in the cloud shades what lies below it.
    step = max(size // 20, 1)
    above = np.concatenate((np.repeat(thickness[:1], step, axis=0), thickness[:-step]))
    lit = mix(colour(1, 1, 1), light.horizon, 0.25) * light.tint
    shade = mix(lit * np.float32(0.62), light.zenith, 0.25)
    surface = lit + (np.float32(greyness) * (0.35 * thickness + 0.65 * above)) * (shade - lit)
    paint(picture, surface, thickness * fade * np.float32(density))


def paint_ground(
    picture: np.ndarray,
    light: Light,
    horizon: float,
    *,
    random: np.random.Generator,
    texture_random: np.random.Generator,
) -> None:
    """Paint meadow or yard below the horizon, its texture drawn wide by perspective."""
    size = picture.shape[1]
    near = mix(_MEADOW, _YARD, random.uniform(0, 1)) * np.float32(random.uniform(0.7, 1.15))
    contrast = random.uniform(0.04, 0.12)
    below = between(horizon, 1, size)
    depth = np.clip((centres(size) - horizon) / (1 - horizon), 0, 1)
    rows = depth.astype(np.float64) ** 0.5
    texture = fractal_noise(texture_random, size, cells=(10, 4), octaves=4, gain=0.7, rows=rows)
    window = touched(below)
    far_share = ((1 - depth[window]) ** 2)[:, None]
    base = light.on(near, 0.15)
    surface = base + far_share * (light.on(near, 0.9) - base)
    surface = surface * (1 + np.float32(contrast) * texture[window])
    paint(picture[:, window], surface, below[window, None])


def paint_skyline(
    picture: np.ndarray,
    light: Light,
    horizon: float,
    *,
    hills_random: np.random.Generator,
    trees_random: np.random.Generator,
) -> None:
    """Paint hills and a line of trees behind everything built; either may be missing."""
    size = picture.shape[1]
    edges = np.arange(1, size + 1, dtype=np.float32)[:, None]
    above_horizon = between(0, horizon + 0.5 / size, size)[:, None]
    for random, surface, share, heights, cells, distance in (
        (hills_random, _MEADOW, 0.6, (0.03, 0.12), 2, 0.95),
        (trees_random, _WOOD, 0.65, (0.02, 0.07), 8, 0.55),
    ):
        present = random.random() < share
        height = np.float32(random.uniform(*heights))
        if not present:
            continue
        line = fractal_line(random, size, cells=cells, octaves=4, gain=0.6)
        top = horizon - height * np.clip(1 + 0.4 * line, 0.1, None)
        cover = np.clip(edges - top * size, 0, 1).astype(np.float32) * above_horizon
        rows = touched(cover.any(axis=1))
        paint(picture[:, rows], light.on(surface, distance), cover[rows])
