"""TransCAM's network: a Conformer whose branches both classify.

R. Li et al., "TransCAM: Transformer attention-based CAM refinement for weakly supervised semantic
segmentation", 2022, arXiv 2203.07239. A convolution 3x3 gives a map for each class, whose mean is
the branch's logit; the normalised class token gives another by a linear layer. The network is
trained by the sum of both.

Its CAM is the map F, float [K, L], multiplied by the transformer branch's attention: the mean over
heads, summed over blocks, A float [1 + L, 1 + L]. A row asks, and the class token comes first.
The option `attention` of the Conformer names the code's variants:

| name | CAM at patch i |
|---|---|
| `forward` | sum_j A[i, j] F[j]: what the patches that i attends to score; TransCAM's own |
| `transposed` | sum_j A[j, i] F[j]: what the patches that attend to i score |
| `class_token` | A[class token, i] F[i] |
| `none` | F[i] |

Logits come from the map before that.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from wsss_core.backbones.conformer.conformer import Conformer
from wsss_core.backbones.encoder import Encoder
from wsss_core.backbones.names import Layer
from wsss_core.errors import InputError


class BranchAnswers(NamedTuple):
    """What both branches say of B images.

    Attributes:
        features: float [B, C, h, w], the final map of the convolutions.
        taps: the maps of inner layers that were asked for.
        scores: float [B, K, h, w], the map of each class, the convolution's bias included.
        weighted: float [B, K, h, w], the same multiplied by the attention.
        class_token: float [B, D], normalised.

    """

    features: Tensor
    taps: tuple[Tensor, ...]
    scores: Tensor
    weighted: Tensor
    class_token: Tensor


class TransCamMaps(nn.Module):
    """The convolution 3x3 that gives a map for each class.

    Args:
        channels: of the final map.
        classes: K.

    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, classes, 3, padding=1)

    def forward(self, encoder: Any, images: Tensor, taps: Sequence[Layer]) -> BranchAnswers:
        """Return what the branches of an encoder say of normalised images [B, 3, H, W]."""
        model: Conformer = encoder.model
        heard: list[Tensor] = []
        after = model.after_blocks(images, None if model.attention == "none" else heard)
        features = encoder.final(after[-1][0])
        stages = [encoder.layer_number(layer) for layer in taps]
        tapped = tuple(features if n == len(after) - 1 else after[n][0] for n in stages)
        scores = self.conv(features)
        class_token = model.trans_norm(after[-1][1])[:, 0]
        found = weighted(scores, heard, model.attention)
        return BranchAnswers(features, tapped, scores, found, class_token)


def weighted(maps: Tensor, heard: Sequence[Tensor], how: str) -> Tensor:
    """Multiply maps by a transformer's attention, see above.

    Args:
        maps: float [B, K, h, w] of L = h * w patches.
        heard: each block's attention, float [B, 1 + L, 1 + L], the mean over heads.
        how: `forward`, `transposed`, `class_token` or `none`.

    Returns:
        float [B, K, h, w].

    """
    if how == "none":
        return maps
    total = sum(heard, maps.new_zeros(()))
    flat = maps.flatten(2)
    if how == "class_token":
        found = flat * total[:, None, 0, 1:]
    else:
        between = total[:, 1:, 1:]
        found = flat @ (between.transpose(1, 2) if how == "forward" else between)
    return found.unflatten(2, maps.shape[-2:])


def check_for_trans_cam(name: str, encoder: Encoder) -> None:
    """Raise InputError unless an encoder can have TransCAM's heads."""
    model = encoder.model
    if not isinstance(model, Conformer) or model.branch != "conv":
        raise InputError(
            f"{name}: head transcam is for a Conformer, such as conformer_small_patch16, with "
            "branch conv"
        )
    if len(encoder.layers) != len(model.feature_info) or model.feature_info[-1]["reduction"] != 16:
        raise InputError(f"{name}: head transcam is for the last stage, at output_stride 16")
