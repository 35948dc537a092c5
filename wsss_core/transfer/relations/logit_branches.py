"""One-for-all distillation between architectures (OFA-KD).

Hao et al., "One-for-All: Bridge the Gap Between Heterogeneous Architectures in Knowledge
Distillation", NeurIPS 2023, arXiv 2310.19444. Features of different architectures do not meet, but
class scores do: branches project inner features of the student into the space of logits, and each
branch, as well as the student itself, learns from the teacher's logits by a loss that enhances the
class of the label.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_core.backbones import pooled
from wsss_core.errors import InputError
from wsss_core.transfer.losses import bounded
from wsss_core.transfer.relations.batches import image_logits

_GAMMA = 1.5
"""The exponent in the command that is published with the paper."""


def one_for_all(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    *,
    gamma: float = _GAMMA,
    temperature: float = 1.0,
) -> Tensor:
    """Return the one-for-all loss of logits.

    `- mean_bk sum_o ((p_t(o) + y(o))^gamma - y(o)) log p_s(o)` over the two outcomes o of each
    class: it is there, with probability sigmoid(logit / T), or it is not; y(o) is 1 for the outcome
    that the label says. It is the loss of the paper and its published code for a softmax of two
    classes. There, one class excludes the others; here, classes are there or not independently of
    each other. With gamma 1 the labels cancel out and the cross-entropy with the teacher remains.
    A larger gamma gives the label's outcome more weight, the more so the surer the teacher is of
    it.

    Args:
        student: logits, float [B, K] or [B, K, 1, 1].
        teacher: logits of the same images and classes.
        labels: float [B, K] in 0..1, image-level.
        gamma: 1 or more.
        temperature: T, above 0.

    Returns:
        A scalar of 0 or more. It is a cross-entropy: at agreement it is not 0.

    Raises:
        InputError: shapes that do not meet, a gamma below 1, or a temperature not above 0.

    """
    own, aim = image_logits(student, teacher, temperature)
    if not gamma >= 1:
        raise InputError(f"gamma is {gamma!r}; expected 1 or more")
    if labels.shape != own.shape:
        raise InputError(
            f"expected labels [B, K] of the same classes; got labels {list(labels.shape)}, "
            f"student {list(student.shape)}"
        )
    own, aim, there = own / temperature, aim / temperature, labels.to(own.dtype)
    loss = 0 * own
    for sign, label in ((1, there), (-1, 1 - there)):
        weight = ((sign * aim).sigmoid() + label) ** gamma - label
        loss = loss - weight * F.logsigmoid(sign * own)
    return loss.mean()


class LogitBranch(nn.Module):
    """Projects a layer's features into the space of logits.

    A depthwise and a pointwise convolution, a norm over the channels of each location, GELU, the
    mean over locations, and a linear layer. The paper has separable convolutions for a CNN and
    transformer blocks for a ViT. Here it is the same for both, since all features are maps.

    Args:
        channels: of the features.
        width: within; the paper's is the larger one of the networks' final channels.
        classes: K.

    """

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.pointwise = nn.Conv2d(channels, width, 1)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, features: Tensor, cells: Tensor | None = None) -> Tensor:
        """Return logits float [B, K] of features float [B, C, h, w].

        Args:
            features: of a layer.
            cells: float [B, 1, h, w], the share of each cell that is no padding; None: all of it.

        """
        features = bounded(features)
        if cells is not None:
            features = torch.where(cells > 0, features, 0)
        mixed = self.pointwise(self.depthwise(features))
        normed = F.gelu(self.norm(mixed.movedim(1, -1)).movedim(-1, 1))
        logits: Tensor = self.head(pooled(normed, cells))
        return logits
