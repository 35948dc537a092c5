"""Relative foreground sensitivity: does noise on the object hurt more than noise around it?"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsss_core.errors import InputError


def relative_foreground_sensitivity(
    noisy_object: ArrayLike, noisy_context: ArrayLike
) -> NDArray[np.float64]:
    """Return RFS = (a_context - a_object) / (2 min(a, 1 - a)), a being the mean of the two.

    The difference is divided by the largest that accuracies of this mean can have, so that models
    of different robustness compare (Moayeri et al., "A Comprehensive Study of Image Classification
    Model Sensitivity to Foregrounds, Backgrounds, and Visual Attributes", CVPR 2022).

    Args:
        noisy_object: the accuracy in [0, 1] with noise on the object; any shape.
        noisy_context: the accuracy with the same noise on all but the object; the same shape.

    Returns:
        float64 of that shape in [-1, 1]: above 0 the model relies on the object. It is 0 where a is
        0 or 1, and NaN where an accuracy is NaN.

    Raises:
        InputError: accuracies outside [0, 1], or of different shapes.

    Example:
        >>> relative_foreground_sensitivity(0.6, 0.9).round(2).item()
        0.6

    """
    on_object, on_context = np.asarray(noisy_object, float), np.asarray(noisy_context, float)
    if on_object.shape != on_context.shape:
        raise InputError(
            f"noisy_context: expected the shape of noisy_object, {list(on_object.shape)}, "
            f"got {list(on_context.shape)}"
        )
    for name, values in (("noisy_object", on_object), ("noisy_context", on_context)):
        wrong = values[(values < 0) | (values > 1)]
        if wrong.size:
            raise InputError(f"{name}: expected accuracies of 0 to 1, got {wrong.flat[0]}")
    # The sum of both in place of twice their mean: it is 0 or 2 exactly where that is meant.
    total = on_object + on_context
    largest = np.minimum(total, 2 - total)
    return np.divide(
        on_context - on_object,
        largest,
        out=np.where(np.isnan(total), np.nan, 0.0),
        where=largest > 0,
    )


def feature_sensitivity(
    clean: ArrayLike, noisy_object: ArrayLike, noisy_context: ArrayLike
) -> NDArray[np.float64]:
    """Return the RFS of each image, with the cosine similarity of features for the accuracy.

    A similarity below 0 counts as 0, because RFS is defined for values of 0 to 1.

    Args:
        clean: real [N, D], pooled features of N images.
        noisy_object: [N, D], with noise on the object.
        noisy_context: [N, D], with the same noise on all but the object.

    Returns:
        float64 [N] in [-1, 1]; NaN where a feature vector is zero.

    Raises:
        InputError: features of different shapes.

    """
    features = [np.asarray(given, float) for given in (clean, noisy_object, noisy_context)]
    if features[0].ndim != 2 or len({one.shape for one in features}) > 1:
        shapes = ", ".join(str(list(one.shape)) for one in features)
        raise InputError(f"features: expected three arrays of one shape [N, D], got {shapes}")
    lengths = [np.linalg.norm(one, axis=1) for one in features]
    with np.errstate(invalid="ignore", divide="ignore"):
        similar = [
            np.einsum("nd,nd->n", features[0], one) / (lengths[0] * length)
            for one, length in zip(features[1:], lengths[1:], strict=True)
        ]
    # Rounding may pass 1 by an epsilon; clip keeps NaN.
    return relative_foreground_sensitivity(*(np.clip(one, 0, 1) for one in similar))
