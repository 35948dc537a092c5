"""Alpha matting: how much of each pixel is the object, where it is translucent as smoke is.

Levin, Lischinski and Weiss, "A Closed-Form Solution to Natural Image Matting", IEEE TPAMI 30(2),
2008: within each window of 3 x 3 pixels alpha is taken as a linear function of the colours, and the
alpha that departs least from it is found, given the pixels of a trimap that are surely object or
surely background. The solver is pymatting's (extra `matting`). It compiles itself when it is
imported for the first time on a machine, which takes minutes.
"""

import numpy as np
from numpy.typing import NDArray

from wsss_core.errors import InputError

_TOLERANCE = 1e-6  # relative residual of the solution; alpha is then right to about 1e-4


def alpha_matting(
    image: NDArray[np.uint8],
    scores: NDArray[np.floating],
    *,
    foreground: float = 0.8,
    background: float = 0.2,
    epsilon: float = 1e-7,
) -> NDArray[np.float32]:
    """Replace the scores between two thresholds by alpha, the share of the object in a pixel.

    A score of at least `foreground` becomes 1, of at most `background` 0. A map without a pixel of
    either kind stays as it is: nothing says what the object, or the background, looks like.

    Args:
        image: uint8 [H, W, 3], RGB, at least 3 x 3.
        scores: floats in 0..1, [H, W] or [K, H, W], at the image's size; each class by itself.
        foreground: scores from here on are surely object, above `background`, at most 1.
        background: scores up to here are surely background, 0 or more.
        epsilon: how far alpha may depart from a function of the colours in a window that has hardly
            any: the paper's regularisation, above 0.

    Returns:
        float32 of the scores' shape, in 0..1.

    Raises:
        InputError: other shapes, types or values, or pymatting is not installed.

    """
    given = np.asarray(scores)
    picture = np.asarray(image)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[-1] != 3:
        raise InputError(
            f"image: expected uint8 [H, W, 3], got {picture.dtype} {list(picture.shape)}"
        )
    if given.dtype.kind != "f" or given.ndim not in (2, 3) or given.shape[-2:] != picture.shape[:2]:
        raise InputError(
            f"scores: expected floats [H, W] or [K, H, W] of the image's size "
            f"{list(picture.shape[:2])}, got {given.dtype} {list(given.shape)}"
        )
    if min(picture.shape[:2]) < 3:
        raise InputError(f"image: expected at least 3 x 3 pixels, got {list(picture.shape[:2])}")
    if not (given.min(initial=0) >= 0 and given.max(initial=1) <= 1):  # NaN fails too
        raise InputError(f"scores: expected 0..1, got {given.min():g} to {given.max():g}")
    if not 0 <= background < foreground <= 1:
        raise InputError(
            f"matting: thresholds are {background!r} and {foreground!r}; "
            "expected 0 <= background < foreground <= 1"
        )
    if not 0 < epsilon < np.inf:
        raise InputError(f"matting: epsilon is {epsilon!r}, expected above 0")
    maps = given.reshape(-1, *given.shape[-2:])
    refined = [_matted(picture, one, foreground, background, epsilon) for one in maps]
    return np.stack(refined).reshape(given.shape).astype(np.float32)


def _matted(
    image: NDArray[np.uint8],
    scores: NDArray[np.floating],
    foreground: float,
    background: float,
    epsilon: float,
) -> NDArray[np.floating]:
    """Return the alpha of one map [H, W]."""
    surely, surely_not = scores >= foreground, scores <= background
    if not (surely.any() and surely_not.any()):
        return scores
    trimap = np.where(surely, 1.0, np.where(surely_not, 0.0, 0.5))
    if (surely | surely_not).all():
        return trimap
    try:
        from pymatting import estimate_alpha_cf
    except ImportError as error:
        raise InputError(
            "matting: pymatting is not installed; it comes with the extra matting: "
            "pip install 'wsss-studies[matting]'"
        ) from error
    return estimate_alpha_cf(
        image / 255.0,
        trimap,
        laplacian_kwargs={"epsilon": epsilon},
        # Where unknown pixels touch background alone the solution is 0, and so is the residual from
        # the start; pymatting 1.1.16 divides it by itself unless it lies below `atol`.
        cg_kwargs={"rtol": _TOLERANCE, "atol": np.finfo(float).tiny},
    )
