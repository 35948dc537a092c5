"""Logits standardised before they are compared.

Sun et al., "Logit Standardization in Knowledge Distillation", arXiv 2403.01731, algorithms 1 and 2.
"""

from torch import Tensor

from wsss_core.errors import InputError
from wsss_core.transfer.losses import unit_vectors
from wsss_core.transfer.relations.batches import image_logits, scaled_each


def standardised_logits(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Return Z = (z - mean) / std / T over the classes of each image, float [B, K].

    The standard deviation is that of the population (1 / K). Logits that are all equal become 0.

    Args:
        logits: float [B, K].
        temperature: T, the base temperature of the paper.

    """
    centred = logits - logits.mean(1, keepdim=True)
    return unit_vectors(scaled_each(centred)) * (logits.shape[1] ** 0.5 / temperature)


def standardised_kl(student: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Return the KL divergence between standardised scores of the classes of an image.

    `T^2 mean_b KL(softmax(Z(t_b)) || softmax(Z(s_b)))`. The student need not have the teacher's
    range of logits, only its relations between classes. With two classes only their order counts.

    Args:
        student: logits, float [B, K] or [B, K, 1, 1].
        teacher: logits of the same images and classes.
        temperature: T, above 0.

    Returns:
        A scalar, 0 or more. It does not change with a positive scale of an image's logits, or with
        a number added to all of them.

    Raises:
        InputError: shapes that do not meet, one class, or a temperature not above 0.

    """
    own, aim = image_logits(student, teacher, temperature)
    if own.shape[1] < 2:
        raise InputError("standardised logits compare classes; there is 1 (use kl or dist)")
    own, aim = (standardised_logits(rows, temperature).log_softmax(1) for rows in (own, aim))
    return temperature**2 * (aim.exp() * (aim - own)).sum(1).mean()
