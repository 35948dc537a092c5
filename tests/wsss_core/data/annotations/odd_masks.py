"""Masks of every odd kind that goes to people and comes back."""

import numpy as np

CLASSES = ("smoke", "steam")


def odd_masks() -> dict[str, np.ndarray]:
    """Return masks by the name of their image, uint8 [H, W]: 0, 1, 2 and 255."""
    random = np.random.default_rng(7)
    hole = np.zeros((20, 30), np.uint8)
    hole[3:17, 4:24] = 1
    hole[7:12, 10:18] = 0
    hole[9, 12:14] = 2
    parts = np.zeros((20, 30), np.uint8)
    parts[0:4, 0:5] = parts[16:20, 25:30] = parts[9, 9] = 1
    touching = np.zeros((6, 6), np.uint8)
    touching[0:2, 0:2] = touching[2:4, 2:4] = 1
    touching[4, 4] = 2
    pixel = np.zeros((9, 13), np.uint8)
    pixel[8, 12] = 2
    narrow = np.zeros((40, 1), np.uint8)
    narrow[3:9] = 1
    narrow[20:] = 2
    noise = random.choice(np.array([0, 1, 2, 255], np.uint8), (17, 23))
    void = np.zeros((20, 30), np.uint8)
    void[2:9, 2:9] = 255
    void[9:12, 2:9] = 1
    return {
        "hole.png": hole,
        "several parts.png": parts,
        "cam 1/touching.png": touching,
        "cam 1/pixel.png": pixel,
        "narrow.png": narrow,
        "flat.png": narrow.T.copy(),
        "noise.png": noise,
        "void.png": void,
        "empty.png": np.zeros((20, 30), np.uint8),
        "full.png": np.ones((5, 7), np.uint8),
    }
