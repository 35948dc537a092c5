"""Intervals over seeds and images at once, by crossed random effects.

Each seed is scored on the same images, so a mean varies with both. The layout seeds x images has
one value in a cell, the seed and the image are random, and images of a group (frame, clip, patient)
are a cluster. The variance of the mean comes from the mean squares of a two-way analysis of
variance, its degrees of freedom from Satterthwaite (Biometrics Bulletin 2, 1946):

    variance = (MS_seed + MS_group - MS_rest) / (seeds x groups).

A component that comes out negative is left out. Groups of different sizes enter through the
linearised ratio of their sums to their numbers of images, so every image weighs the same.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from wsss_core.errors import InputError


@dataclass(frozen=True)
class VarianceComponents:
    """What single values vary with, in squared units; a negative estimate is written as 0.

    Attributes:
        seed: Variance between seeds.
        group: Variance between groups of images; None where no two images share a group.
        image: Variance between images, with groups between the images of a group.
        rest: Variance of a seed on an image beyond both.

    """

    seed: float
    group: float | None
    image: float
    rest: float


@dataclass(frozen=True)
class CrossedInterval:
    """The mean over seeds and images with its t interval.

    Attributes:
        mean: Mean over all cells; NaN without any.
        standard_error: Of the mean over new seeds and new images; None where there is none.
        df: Satterthwaite's degrees of freedom; None where there are none.
        low: Lower end; None without an interval.
        high: Upper end; None without an interval.
        seeds: Number of seeds.
        images: Number of images.
        groups: Number of groups; that of images where no two share a group.
        components: What single values vary with; None without an interval.
        level: Chance that the interval misses the mean.
        mean_squares: Of seeds, groups and the rest; None without an interval.
        note: Why there is no interval; None where there is one.

    """

    mean: float
    standard_error: float | None
    df: float | None
    low: float | None
    high: float | None
    seeds: int
    images: int
    groups: int
    components: VarianceComponents | None
    level: float
    mean_squares: tuple[float, float, float] | None
    note: str | None

    def half_width_with(self, seeds: int, images: int) -> float | None:
        """Return the half width that other numbers of seeds and images would be expected to give.

        New images come in groups of the size of those that are there.

        Args:
            seeds: Number of seeds, at least 2.
            images: Number of images, so many that there are two groups or more.

        Returns:
            None without an interval.

        Raises:
            InputError: There would be fewer than two seeds or groups.

        """
        if self.mean_squares is None:
            return None
        groups = self.groups * images / self.images
        if seeds < 2 or groups < 2:
            raise InputError(
                f"{seeds} seeds on {images} images ({groups:.1f} groups): two or more seeds and "
                "groups were expected"
            )
        of_seeds, of_groups, rest = self.mean_squares
        new = (
            rest + max(0.0, of_seeds - rest) * groups / self.groups,
            rest + max(0.0, of_groups - rest) * seeds / self.seeds,
            rest,
        )
        variance, df = _variance_and_df(new, seeds, groups)
        return float(stdtrit(df, 1 - self.level / 2)) * math.sqrt(variance)


def crossed_interval(
    values: ArrayLike, groups: Sequence[Hashable] | None = None, level: float = 0.05
) -> CrossedInterval:
    """Return the mean over seeds and images with an interval for new seeds and new images.

    Args:
        values: Float [seeds, images], such as the difference of two configurations in the IoU of an
            image. A seed whose values are all NaN is left out.
        groups: Group of each image, [images]; None where each image is a group of its own.
        level: Chance that the interval misses the mean, in (0, 1).

    Raises:
        InputError: The values are no matrix, one is infinite, the groups are not as many as the
            images, or the level is out of range.

    Example:
        >>> interval = crossed_interval([[1.0, 2.0, 6.0], [2.0, 4.0, 6.0]])
        >>> round(interval.mean, 2), round(interval.standard_error, 2), round(interval.df, 2)
        (3.5, 1.38, 2.3)

    """
    y, of_image = _checked(values, groups, level)
    shape = (len(y), y.shape[1], int(of_image.max(initial=-1)) + 1)
    mean = float(y.mean()) if y.size else math.nan
    note = _note(y, shape)
    if note:
        return CrossedInterval(mean, None, None, None, None, *shape, None, level, None, note)
    mean_squares = _mean_squares(_by_group(y, of_image))
    variance, df = _variance_and_df(mean_squares, shape[0], shape[2])
    error = math.sqrt(variance)
    half = float(stdtrit(df, 1 - level / 2)) * error
    components = _components(y, of_image)
    return CrossedInterval(
        mean, error, df, mean - half, mean + half, *shape, components, level, mean_squares, None
    )


def _checked(
    values: ArrayLike, groups: Sequence[Hashable] | None, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return values without missing seeds, and a number for the group of each image."""
    y = np.asarray(values, dtype=np.float64)
    if y.ndim != 2:
        raise InputError(f"values of shape {list(y.shape)}: [seeds, images] was expected")
    if np.isinf(y).any():
        raise InputError("a value is infinite; finite numbers, or NaN if missing, were expected")
    if not 0 < level < 1:
        raise InputError(f"the level is {level}; a number between 0 and 1 was expected")
    images = y.shape[1]
    names = range(images) if groups is None else groups
    if len(names) != images:
        raise InputError(f"{len(names)} groups for {images} images: one for each was expected")
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    labels = np.array([numbers[name] for name in names], dtype=np.intp)
    return y[~np.isnan(y).all(axis=1)], labels


def _note(y: np.ndarray, shape: tuple[int, int, int]) -> str | None:
    """Return why values [seeds, images] allow no interval."""
    seeds, images, groups = shape
    missing = int(np.isnan(y).sum())
    if seeds < 2:
        return f"{seeds} complete seeds do not show how seeds differ, so no interval."
    if groups < 2:
        return f"{images} images of {groups} groups do not show how groups differ, so no interval."
    if missing:
        return f"{missing} of {y.size} values are missing, so seeds were not scored on one set."
    if np.ptp(y) <= 1e-12 * np.abs(y).max():
        return f"All {y.size} values are equal ({y[0, 0]:g}), so their spread is unknown."
    return None


def _by_group(y: np.ndarray, of_image: np.ndarray) -> np.ndarray:
    """Return values [seeds, groups] whose mean is that over images, linearised in group sizes."""
    sizes = np.bincount(of_image)
    sums = np.zeros((len(y), len(sizes)))
    np.add.at(sums.T, of_image, y.T)
    mean = y.mean()
    return np.asarray(mean + (sums - sizes * mean) / sizes.mean())


def _mean_squares(x: np.ndarray) -> tuple[float, float, float]:
    """Return the mean squares of rows, columns and the rest of a complete two-way layout."""
    rows, columns = x.shape
    mean, of_rows, of_columns = x.mean(), x.mean(axis=1), x.mean(axis=0)
    rest = x - of_rows[:, None] - of_columns + mean
    return (
        float(columns * ((of_rows - mean) ** 2).sum() / (rows - 1)),
        float(rows * ((of_columns - mean) ** 2).sum() / (columns - 1)),
        float((rest**2).sum() / ((rows - 1) * (columns - 1))),
    )


def _variance_and_df(
    mean_squares: tuple[float, float, float], seeds: float, groups: float
) -> tuple[float, float]:
    """Return the variance of the mean and Satterthwaite's degrees of freedom."""
    of_seeds, of_groups, rest = mean_squares
    cells = seeds * groups
    # A component below 0 is none: the mean square of the other then holds all there is.
    if of_seeds <= rest and of_groups <= of_seeds:
        return of_seeds / cells, seeds - 1
    if of_seeds <= rest:
        return of_groups / cells, groups - 1
    if of_groups <= rest:
        return of_seeds / cells, seeds - 1
    total = of_seeds + of_groups - rest
    spread = (
        of_seeds**2 / (seeds - 1)
        + of_groups**2 / (groups - 1)
        + rest**2 / ((seeds - 1) * (groups - 1))
    )
    return total / cells, total**2 / spread


def _components(y: np.ndarray, of_image: np.ndarray) -> VarianceComponents:
    """Return the components of single values by the analysis of variance, groups nested."""
    seeds, images = y.shape
    of_seeds, of_images, rest = _mean_squares(y)
    seed = max(0.0, (of_seeds - rest) / images)
    sizes = np.bincount(of_image)
    groups = len(sizes)
    if groups == images:
        return VarianceComponents(seed, None, max(0.0, (of_images - rest) / seeds), rest)
    image_means = y.mean(axis=0)
    group_means = np.bincount(of_image, image_means) / sizes
    inside = seeds * float(((image_means - group_means[of_image]) ** 2).sum()) / (images - groups)
    between = seeds * float((sizes * (group_means - y.mean()) ** 2).sum()) / (groups - 1)
    effective = (images - (sizes**2).sum() / images) / (groups - 1)
    return VarianceComponents(
        seed,
        max(0.0, float(between - inside) / (seeds * float(effective))),
        max(0.0, (inside - rest) / seeds),
        rest,
    )
