"""Salient regions without any network: how far a colour is from the image's mean colour.

Achanta et al., "Frequency-tuned salient region detection", CVPR 2009, equation 3: the distance in
CIELAB between the mean colour of the image and each pixel of the image after a 5 x 5 binomial blur.
"""

import numpy as np
from numpy.typing import NDArray

_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
     [0.0193339, 0.1191920, 0.9503041]]
)  # fmt: skip
"""From linear sRGB (IEC 61966-2-1) to XYZ under D65."""

_BLUR = np.array([1, 4, 6, 4, 1]) / 16


def frequency_tuned(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the saliency of each pixel, float32 [H, W], the largest 1; 0 all over a flat image.

    Args:
        image: uint8 [H, W, 3], RGB.

    >>> image = np.zeros((9, 9, 3), np.uint8)
    >>> image[3:6, 3:6] = 255
    >>> frequency_tuned(image)[4, 4], frequency_tuned(image)[0, 0].round(2)
    (np.float32(1.0), np.float32(0.17))
    """
    colours = lab_colours(image)
    blurred = colours
    for axis in (0, 1):
        width = [(2, 2) if side == axis else (0, 0) for side in range(3)]
        padded = np.pad(blurred, width, mode="edge")
        size = image.shape[axis]
        blurred = sum(
            weight * padded.take(range(shift, shift + size), axis)
            for shift, weight in enumerate(_BLUR)
        )
    distances = np.sqrt(((blurred - colours.mean((0, 1))) ** 2).sum(-1))
    highest = distances.max()
    # A flat image differs from its mean by rounding alone.
    return (distances / highest if highest > 1e-6 else 0 * distances).astype(np.float32)


def lab_colours(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return sRGB pixels in CIELAB under D65.

    Args:
        image: uint8 [..., 3].

    Returns:
        float64 [..., 3]: L of 0..100, a and b.

    """
    share = image / 255.0
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _TO_XYZ.T / _TO_XYZ.sum(1)
    bent = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = np.moveaxis(bent, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
