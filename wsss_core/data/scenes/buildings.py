"""Buildings and chimneys of a procedural scene."""

from dataclasses import dataclass

import numpy as np

from wsss_core.data.scenes.painting import (
    Colour,
    Light,
    Tapered,
    between,
    centres,
    colour,
    paint,
    touched,
)

_FACADES = (
    colour(0.52, 0.34, 0.28),  # brick
    colour(0.66, 0.64, 0.60),  # concrete
    colour(0.45, 0.50, 0.55),  # sheet metal
    colour(0.74, 0.68, 0.56),  # plaster
    colour(0.36, 0.37, 0.40),  # dark cladding
)
_STACKS = (
    colour(0.50, 0.30, 0.24),  # brick
    colour(0.72, 0.71, 0.69),  # concrete
    colour(0.58, 0.60, 0.63),  # steel
)
_BAND_RED = colour(0.72, 0.17, 0.14)
_BAND_WHITE = colour(0.90, 0.89, 0.87)
_GLASS = colour(0.20, 0.25, 0.31)


@dataclass(frozen=True)
class Building:
    """A box with a flat roof, in unit coordinates."""

    left: float
    right: float
    roof: float
    base: float
    facade: Colour
    distance: float
    windows: tuple[float, float] | None  # spacing across and down
    lit: float


def draw_buildings(random: np.random.Generator, horizon: float, *, front: bool) -> list[Building]:
    """Draw a row of buildings before (`front`) or behind the chimneys, the farthest first."""
    row = []
    for _ in range(random.integers(1, 4) if front else random.integers(0, 4)):
        tower = random.random() < 0.25
        width = random.uniform(0.07, 0.13) if tower else random.uniform(0.14, 0.42)
        height = random.uniform(0.14, 0.26) if tower else random.uniform(0.06, 0.17)
        left = random.uniform(-0.1, 1.0 - width / 2)
        base = horizon + (random.uniform(0.03, 0.09) if front else random.uniform(0.0, 0.02))
        spacing = (random.uniform(0.025, 0.06), random.uniform(0.03, 0.06))
        has_windows = random.random() < 0.7
        facade = _FACADES[random.integers(len(_FACADES))] * np.float32(random.uniform(0.7, 1.15))
        row.append(
            Building(
                left,
                left + width,
                base - height,
                base,
                facade,
                distance=random.uniform(0.15, 0.35) if front else random.uniform(0.5, 0.8),
                windows=spacing if has_windows else None,
                lit=random.uniform(0.35, 0.8),
            )
        )
    return sorted(row, key=lambda building: building.base)


def paint_building(picture: np.ndarray, light: Light, building: Building) -> np.ndarray:
    """Paint one building: facade, windows, the rim of its roof.

    Returns:
        float32 [S, S]: the share of each pixel that it covers.
    """
    size = picture.shape[1]
    across = between(building.left, building.right, size)
    down = between(building.roof, building.base, size)
    rows, columns = touched(down), touched(across)
    window = picture[:, rows, columns]
    facade = light.on(building.facade, building.distance)
    # brighter towards the sun's side, darker towards the ground
    slope = (centres(size)[columns] - (building.left + building.right) / 2) * np.float32(
        light.side * 0.5
    )
    surface = facade * (1 + slope)
    surface = surface * (1 - 0.12 * np.linspace(0, 1, window.shape[1], dtype=np.float32)[:, None])
    if building.windows:
        spacing_across, spacing_down = building.windows
        glass = light.on(_GLASS, building.distance)
        panes = np.outer(
            _stripes(building.roof, building.base, spacing_down, 0.45, size)[rows],
            _stripes(building.left, building.right, spacing_across, 0.55, size)[columns],
        )
        surface = surface + panes * np.float32(building.lit) * (glass - surface)
    paint(window, surface, down[rows, None] * across[columns])
    rim = between(building.roof, building.roof + 0.008, size)[rows, None] * across[columns]
    paint(window, facade * np.float32(1.18), rim)
    return np.outer(down, across)


def _stripes(start: float, end: float, spacing: float, share: float, size: int) -> np.ndarray:
    """Return each pixel's share under evenly spaced stripes, a full margin at both ends."""
    edges = np.clip(np.arange(size + 1) / size, start, end)
    phase = (edges - start) / spacing - (1 - share) / 2
    filled = np.floor(phase) * share + np.minimum(phase - np.floor(phase), share)
    return (np.diff(filled) * spacing * size).astype(np.float32)


@dataclass(frozen=True)
class Chimney(Tapered):
    """A stack in unit coordinates, with `bands` red and white bands below its top."""

    half_width_top: float
    half_width_base: float
    bands: int

    def half_width(self, share: np.ndarray) -> np.ndarray:
        """Return half its width at shares of its height, 0 at the top."""
        return self.half_width_top + share * (self.half_width_base - self.half_width_top)

    def shaded(self, share: np.ndarray, around: np.ndarray) -> np.ndarray:
        """Return its colour, see `Tapered`."""
        red = np.floor(share / 0.14) % 2 == 0
        banded = np.where(red, _BAND_RED, _BAND_WHITE)
        surface = np.where(share < 0.14 * self.bands, banded, self.surface)
        return surface * (np.float32(0.78) + np.float32(0.30) * around)


def draw_chimneys(random: np.random.Generator, horizon: float) -> list[Chimney]:
    """Draw one to three stacks of one works, the first the tallest."""
    count = int(random.choice((1, 2, 3), p=(0.5, 0.35, 0.15)))
    x = random.uniform(0.15, 0.85)
    step = random.uniform(0.10, 0.15) * random.choice((-1.0, 1.0))
    height = random.uniform(0.30, 0.48)
    half_width = random.uniform(0.024, 0.040)
    surface = _STACKS[random.integers(len(_STACKS))] * np.float32(random.uniform(0.75, 1.1))
    bands = int(random.choice((0, 3, 5), p=(0.3, 0.35, 0.35)))
    distance = random.uniform(0.15, 0.45)
    base = horizon + random.uniform(0.01, 0.04)
    return [
        Chimney(
            x + position * step,
            base - height * shrink,
            base,
            surface,
            distance,
            half_width * shrink,
            half_width * shrink * 1.5,
            bands,
        )
        for position, shrink in zip(
            range(count), (1.0, *random.uniform(0.7, 0.95, 2)), strict=False
        )
    ]
