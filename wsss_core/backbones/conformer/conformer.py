"""Conformer (Peng et al., ICCV 2021, arXiv 2105.03889) as a model of timm's kind.

Maps of a ResNet and tokens of a ViT go side by side through blocks that couple them. There is no
position embedding. Tensors bear the names of the authors' files, so published weights are read as
they are. `branch` says whose map a network over the model has: "conv" (of 1,024 channels in
Conformer-S) or "transformer" (tokens on their grid).
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_core.backbones.conformer.blocks import Bottleneck, TransformerBlock
from wsss_core.backbones.conformer.coupling import CoupledBlock

ATTENTION = ("forward", "transposed", "class_token", "none")
"""What TransCAM's code can multiply its maps by, see `wsss_core.backbones.conformer.trans_cam`."""

STEM = 64
"""Channels of the stem."""


class Conformer(nn.Module):
    """A Conformer with its two classifiers.

    Args:
        num_classes: outputs of each classifier; 0: there are none.
        channel_ratio: channels of the first stage in multiples of 64; each later stage doubles.
        embed_dim: of a token.
        depth: blocks, a multiple of 3; the first is not coupled.
        num_heads: of the attention.
        mlp_ratio: hidden features of a token's perceptron in multiples of `embed_dim`.
        drop_path_rate: of the last block, growing from 0.
        patch_size: of a token in pixels.
        branch: whose map `forward_features` stands for.
        output_stride: pixels per location of the final convolutional map: 16, as TransCAM has it,
            or 32, as the authors classify with.
        attention: what TransCAM's heads multiply their maps by, see `trans_cam`.
        img_size: images of any multiple of the patch are taken.
        in_chans: 3.

    Raises:
        ValueError: a depth or output stride that is not one of these.

    """

    num_prefix_tokens = 1

    def __init__(
        self,
        num_classes: int = 1000,
        channel_ratio: float = 4,
        embed_dim: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.1,
        patch_size: int = 16,
        branch: Literal["conv", "transformer"] = "conv",
        output_stride: int = 16,
        attention: str = "forward",
        img_size: Any = None,
        in_chans: int = 3,
    ) -> None:
        super().__init__()
        if depth < 3 or depth % 3:
            raise ValueError(f"depth {depth}: expected a multiple of 3")
        if branch not in ("conv", "transformer"):
            raise ValueError(f"branch {branch!r}: expected conv or transformer")
        if output_stride not in (16, 32):
            raise ValueError(f"output_stride {output_stride}: expected 16 or 32")
        if patch_size != 16:
            raise ValueError(f"patch_size {patch_size}: expected 16, at which the branches meet")
        if attention not in ATTENTION:
            raise ValueError(f"attention {attention!r}: expected one of {', '.join(ATTENTION)}")
        if embed_dim % num_heads:
            raise ValueError(f"num_heads {num_heads} does not divide embed_dim {embed_dim}")
        self.num_classes, self.branch, self.patch_size = num_classes, branch, patch_size
        self.embed_dim, self.attention = embed_dim, attention
        rates = [drop_path_rate * block / (depth - 1) for block in range(depth)]
        width = int(STEM * channel_ratio)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.conv1 = nn.Conv2d(in_chans, STEM, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.conv_1 = Bottleneck(STEM, width, project=True)
        self.trans_patch_conv = nn.Conv2d(STEM, embed_dim, patch_size // 4, patch_size // 4)
        self.trans_1 = TransformerBlock(embed_dim, num_heads, mlp_ratio, rates[0])
        self.block_names = []
        channels = width
        info = [{"num_chs": width, "reduction": 4, "module": "conv_1"}]
        for number in range(2, depth + 1):
            stage = max(0, (number - 1) // (depth // 3))
            out_channels = width * 2**stage
            last = number == depth
            name = f"conv_trans_{number}"
            block = CoupledBlock(
                channels,
                out_channels,
                stride=1 if channels == out_channels else 2,
                patch=patch_size // 4 // 2**stage,
                dim=embed_dim,
                heads=num_heads,
                mlp_ratio=mlp_ratio,
                drop_path=rates[number - 1],
                last_stride=output_stride // 16 if last else None,
            )
            self.add_module(name, block)
            self.block_names.append(name)
            reduction = output_stride if last else 4 * 2**stage
            info.append({"num_chs": out_channels, "reduction": reduction, "module": name})
            channels = out_channels
        self.trans_norm = nn.LayerNorm(embed_dim)
        self.conv_channels = channels
        self.num_features = channels if branch == "conv" else embed_dim
        if branch == "transformer":
            info = [{**one, "num_chs": embed_dim, "reduction": patch_size} for one in info]
            info[0]["module"] = "trans_1"
        self.feature_info = info
        self.reset_classifier(num_classes)
        self.apply(_start)
        nn.init.trunc_normal_(self.cls_token, std=0.02)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Give both branches new classifiers, or none."""
        self.num_classes = num_classes
        self.conv_cls_head: nn.Module = nn.Identity()
        self.trans_cls_head: nn.Module = nn.Identity()
        if num_classes:
            self.conv_cls_head = nn.Linear(self.conv_channels, num_classes)
            self.trans_cls_head = nn.Linear(self.embed_dim, num_classes)

    def get_classifier(self) -> nn.Module:
        """Return the classifier of the branch."""
        return self.conv_cls_head if self.branch == "conv" else self.trans_cls_head

    def set_input_size(self, img_size: Any = None, patch_size: Any = None) -> None:
        """Take images of another size, which needs no change."""

    def prune_intermediate_layers(
        self, indices: Sequence[int], prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Cut off the blocks after the last of some; the norm of tokens stays."""
        kept = max(indices)
        for name in self.block_names[kept:]:
            delattr(self, name)
        self.block_names = self.block_names[:kept]
        return list(indices)

    def after_blocks(
        self, images: Tensor, heard: list[Tensor] | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """Return maps [B, C, h, w] and tokens [B, 1 + L, D], not normalised, after every block.

        Args:
            images: float [B, 3, H, W], normalised.
            heard: gets each block's attention, float [B, 1 + L, 1 + L], the mean over heads.

        Raises:
            ValueError: sides that are no multiples of the patch.

        """
        if images.shape[-2] % self.patch_size or images.shape[-1] % self.patch_size:
            raise ValueError(f"expected images of a multiple of {self.patch_size} px")
        stem = F.max_pool2d(F.relu(self.bn1(self.conv1(images))), 3, 2, 1)
        maps = self.conv_1(stem)[0]
        patches = self.trans_patch_conv(stem).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), patches], dim=1)
        tokens = self.trans_1(tokens, heard)
        found = [(maps, tokens)]
        for name in self.block_names:
            maps, tokens = self.get_submodule(name)(maps, tokens, heard)
            found.append((maps, tokens))
        return found

    def forward_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the final maps [B, C, h, w] and normalised tokens [B, 1 + L, D]."""
        maps, tokens = self.after_blocks(images)[-1]
        return maps, self.trans_norm(tokens)

    def forward_intermediates(
        self,
        images: Tensor,
        indices: Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Return the branch's maps [B, C, h, w] after some blocks, as timm's models do."""
        after = self.after_blocks(images)
        wanted = range(len(after)) if indices is None else [n % len(after) for n in sorted(indices)]
        rows = images.shape[-2] // self.patch_size
        inner = []
        for number in wanted:
            maps, tokens = after[number]
            if self.branch == "transformer":
                tokens = self.trans_norm(tokens) if norm else tokens
                maps = tokens[:, 1:].transpose(1, 2).unflatten(2, (rows, -1))
            inner.append(maps)
        if intermediates_only:
            return inner
        maps, tokens = after[-1]
        return (maps, self.trans_norm(tokens)), inner

    def forward_head(self, features: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the logits of both branches, [B, K] each."""
        maps, tokens = features
        return self.conv_cls_head(maps.mean((-2, -1))), self.trans_cls_head(tokens[:, 0])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of both branches, [B, K] each; the authors classify by their sum."""
        return self.forward_head(self.forward_features(images))


def _start(module: nn.Module) -> None:
    """Draw a module's first weights as the authors do."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
