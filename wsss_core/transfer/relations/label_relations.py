"""Relations between classes and between images (DIST).

Huang et al., "Knowledge Distillation from A Stronger Teacher", arXiv 2205.10536, eq. 6 to 10.
"""

from torch import Tensor

from wsss_core.transfer.losses import unit_vectors
from wsss_core.transfer.relations.batches import image_logits, no_loss


def class_relations(student: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Return DIST: how little two networks' scores of classes, and of images, correlate.

    `T^2 (mean_b (1 - r(s_b, t_b)) + mean_k (1 - r(s_k, t_k)))` with Pearson's r of the scores of
    the classes in image b, and of the images for class k; weights beta and gamma are 1, as in the
    paper. The scores are sigmoid(logit / T), as classes are there or not independently of each
    other; the paper, of one class for each image, takes the softmax.

    Args:
        student: logits, float [B, K] or [B, K, 1, 1].
        teacher: logits of the same images and classes.
        temperature: T, above 0.

    Returns:
        A scalar in [0, 4 T^2]. The first term is left out where there is one class, the second
        where there is one image: a single number correlates with nothing. Scores that are all
        equal correlate 0 with others, and get no gradient.

    Raises:
        InputError: shapes that do not meet, or a temperature not above 0.

    """
    own, aim = image_logits(student, teacher, temperature)
    own, aim = (own / temperature).sigmoid(), (aim / temperature).sigmoid()
    loss = no_loss(own, aim)
    if own.shape[1] > 1:
        loss = loss + _apart(own, aim)
    if own.shape[0] > 1:
        loss = loss + _apart(own.T, aim.T)
    return temperature**2 * loss


def _apart(one: Tensor, other: Tensor) -> Tensor:
    """Return the mean of 1 - Pearson's r over rows."""
    one, other = (rows - rows.mean(1, keepdim=True) for rows in (one, other))
    return 1 - (unit_vectors(one) * unit_vectors(other)).sum(1).mean()
