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
from typing import Any

from torch import Tensor, nn

from wsss_core.backbones.cells import pooled
from wsss_core.backbones.conformer.conformer import Conformer
from wsss_core.backbones.encoder import Encoder
from wsss_core.backbones.names import Layer
from wsss_core.backbones.network import Network, Output
from wsss_core.errors import InputError


class TransCamNetwork(Network):
    """A Conformer's convolutional branch with TransCAM's two heads.

    Arguments are those of `Network`. `head` is the linear layer of the class token.
    """

    def __init__(
        self,
        encoder: Any,
        channels: int,
        classes: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        super().__init__(encoder, channels, classes, mean, std)
        self.conv_head = nn.Conv2d(channels, classes, 3, padding=1)
        self.head = nn.Linear(encoder.model.embed_dim, classes)

    def forward(
        self, images: Tensor, taps: Sequence[Layer] = (), valid: Tensor | None = None
    ) -> Output:
        """See `Network`; the maps are those of the convolution 3x3, weighted by the attention.

        A logit is the mean of the map without attention and the class token's logit together.
        """
        normalised = (images - self.mean) / self.std
        if valid is not None:
            normalised = normalised * valid
        model: Conformer = self.encoder.model
        heard: list[Tensor] = []
        after = model.after_blocks(normalised, None if model.attention == "none" else heard)
        features = self.encoder.final(after[-1][0])
        stages = [self.encoder.layer_number(layer) for layer in taps]
        tapped = tuple(features if n == len(after) - 1 else after[n][0] for n in stages)
        maps = self.conv_head(features)
        class_token = model.trans_norm(after[-1][1])[:, 0]
        logits = pooled(maps, self._cells(valid, features)) + self.head(class_token)
        return Output(features, weighted(maps, heard, model.attention), logits, tapped)


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
