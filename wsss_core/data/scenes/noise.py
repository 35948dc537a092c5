"""Random streams and smooth noise for procedural scenes.

A stream is addressed, not consumed in order: Philox (Salmon et al., "Parallel random numbers: as
easy as 1, 2, 3", SC 2011) is keyed by (seed, scene index), and every ingredient of a scene starts
at a counter of its own. Leaving one ingredient out leaves the draws of all others as they were.

Noise is drawn as lattices of normal numbers in unit coordinates and interpolated by cubic
B-splines, coarse octaves first: a larger picture shows the same field with finer octaves added.
"""

from functools import lru_cache
from typing import Literal, get_args

import numpy as np

Ingredient = Literal[
    "labels",
    "light",
    "horizon",
    "cloud_cover",
    "cloud_texture",
    "ground",
    "ground_texture",
    "hills",
    "trees",
    "back_row",
    "front_row",
    "chimneys",
    "plume",
    "plume_texture",
    "sensor",
    "second_labels",
    "tower",
    "steam",
    "steam_texture",
    "further_labels",
    "aircraft",
    "contrail",
    "contrail_texture",
    "flare_stack",
    "flare",
    "flare_texture",
    "stockpile",
    "dust",
    "dust_texture",
]
# The position of an ingredient is the address of its stream: append, never reorder.
_ADDRESS = {name: position for position, name in enumerate(get_args(Ingredient))}
# A quarter of the variance of a normal lattice survives bilinear products of B-spline weights
# (0.479 in each direction, on average over positions); this brings a field back to unit variance.
_UNIT_VARIANCE = 1 / 0.479


def stream(seed: int, index: int, ingredient: Ingredient) -> np.random.Generator:
    """Return the random numbers of one ingredient of a scene, whatever else is drawn.

    Args:
        seed: 0 to 2**64 - 1.
        index: number of the scene, 0 to 2**64 - 1.
        ingredient: what the numbers are for.
    """
    return np.random.Generator(
        np.random.Philox(key=int(seed) | int(index) << 64, counter=_ADDRESS[ingredient] << 192)
    )


def spline_weights(positions: np.ndarray, cells: int) -> np.ndarray:
    """Return cubic B-spline weights that read a lattice of `cells` + 3 numbers at positions.

    Args:
        positions: float [n]; 0 and 1 are the ends of the lattice's `cells` cells. Positions beyond
            are held at the ends.
        cells: how many cells lie between 0 and 1.

    Returns:
        float32 [n, cells + 3]; each row has four non-zeros that sum to 1.
    """
    scaled = np.clip(positions, 0.0, 1.0) * cells
    cell = np.minimum(scaled.astype(np.int64), cells - 1)
    t = scaled - cell
    weights = np.zeros((len(positions), cells + 3), np.float32)
    rows = np.arange(len(positions))
    weights[rows, cell] = (1 - t) ** 3 / 6
    weights[rows, cell + 1] = (3 * t**3 - 6 * t**2 + 4) / 6
    weights[rows, cell + 2] = (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6
    weights[rows, cell + 3] = t**3 / 6
    return weights


@lru_cache(maxsize=256)
def pixel_weights(size: int, cells: int) -> np.ndarray:
    """Return `spline_weights` at the centres of `size` pixels, kept for all scenes of a size."""
    weights = spline_weights((np.arange(size) + 0.5) / size, cells)
    weights.setflags(write=False)
    return weights


def fractal_noise(
    random: np.random.Generator,
    size: int,
    *,
    cells: tuple[int, int],
    octaves: int,
    gain: float = 0.5,
    rows: np.ndarray | None = None,
) -> np.ndarray:
    """Sum of noise octaves, each twice as fine as the one before and `gain` times as strong.

    Octaves finer than two pixels are left out. They are drawn last, so the coarser ones do not
    depend on the size; give each field a stream of its own.

    Args:
        random: the stream that fills the lattices.
        size: width and height in pixels.
        cells: lattice cells of the first octave, downwards and across.
        octaves: how many octaves a picture of unlimited size would have.
        gain: strength of an octave relative to the one before.
        rows: float [size], where in the field each row of pixels lies (0 to 1); evenly if None.

    Returns:
        float32 [size, size] with mean 0 and, over many fields of all octaves, variance 1.
    """
    strengths = gain ** np.arange(octaves)
    strengths *= _UNIT_VARIANCE / np.linalg.norm(strengths)
    field = np.zeros((size, size), np.float32)
    down, across = cells
    for octave, strength in enumerate(strengths):
        if octave and max(down, across) > size / 2:
            break
        lattice = random.standard_normal((down + 3, across + 3), dtype=np.float32)
        lattice *= np.float32(strength)
        vertical = pixel_weights(size, down) if rows is None else spline_weights(rows, down)
        field += vertical @ lattice @ pixel_weights(size, across).T
        down, across = 2 * down, 2 * across
    return field


def fractal_line(
    random: np.random.Generator, size: int, *, cells: int, octaves: int, gain: float = 0.5
) -> np.ndarray:
    """Return `fractal_noise` along one line of pixels: float32 [size]."""
    strengths = gain ** np.arange(octaves)
    strengths *= _UNIT_VARIANCE**0.5 / np.linalg.norm(strengths)
    line = np.zeros(size, np.float32)
    for octave, strength in enumerate(strengths):
        if octave and cells > size / 2:
            break
        lattice = random.standard_normal(cells + 3, dtype=np.float32) * np.float32(strength)
        line += pixel_weights(size, cells) @ lattice
        cells *= 2
    return line
