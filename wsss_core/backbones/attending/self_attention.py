"""The attention of a transformer's blocks, read where the network computes it.

Queries and keys are read where timm calls `scaled_dot_product_attention`, so they are what the
network used, with its normalisation of both, rotary embedding, relative positions, masks and
shared key heads, and its fused kernel and result stay as they are. Differential attention
(arXiv 2410.05258) calls it twice, and the second counts negatively. Kinds that no kernel knows,
such as the talking heads of CaiT (arXiv 2103.17239) and the gated positions of ConViT
(arXiv 2103.10697), are read where their weights go through dropout, right before they meet the
values.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from wsss_core.backbones.encoder import PatchTokens
from wsss_core.errors import InputError

ATTENDING = frozenset(
    {
        "beit",
        "cait",
        "conformer",
        "convit",
        "deepseek_vit",
        "deit",
        "eva",
        "gemma4_vit",
        "naflexvit",
        "qwen3_vit",
        "tnt",
        "vision_transformer",
        "vision_transformer_hybrid",
        "vision_transformer_relpos",
        "vision_transformer_sam",
        "vitamin",
    }
)
"""timm's modules whose blocks attend between the patches of the map, row by row."""

_OTHERS = {
    "crossvit": "its two branches have patches of different sizes",
    "hiera": "it reorders its patches and attends on several grids",
    "swin_transformer": "it attends within windows on several grids",
    "swin_transformer_v2": "it attends within windows on several grids",
    "swin_transformer_v2_cr": "it attends within windows on several grids",
    "volo": "its first blocks weigh neighbours without comparing patches",
    "xcit": "it attends between channels, not between patches",
}


class SelfAttention(NamedTuple):
    """One block's attention, as it was asked for.

    Attributes:
        query: float [B, heads, T, d] of T tokens, the last L of them patches.
        key: float [B, heads, T, d], or of fewer heads, which queries then share.
        bias: float [B or 1, heads or 1, T or 1, T], added before the softmax, or bool, where False
            hides a token; or None.
        scale: factor of the product of query and key; None: d ** -0.5.
        share: factor of the whole, negative for what differential attention takes away.
        value: float [B, heads, T, d], or of fewer heads, as keys; None: unknown.

    """

    query: Tensor
    key: Tensor
    bias: Tensor | None
    scale: float | None
    share: Tensor | float = 1.0
    value: Tensor | None = None

    @property
    def tokens(self) -> int:
        """How many tokens attend to each other."""
        return self.key.shape[-2]

    def is_between(self, maps: Tensor, prefix: int) -> bool:
        """Return whether it is between the patches of maps, with or without a prefix of tokens."""
        queries = (self.query.shape[0], self.query.shape[-2])
        return queries == (len(maps), self.tokens) and _fits(self.tokens, maps, prefix)

    def spread(self, maps: Tensor, prefix: int) -> Tensor:
        """Multiply maps float [B, K, L] by the mean over heads between patches: [B, K, L].

        Of that mean, float [B, L, L], a row sums to 1 at most; it is never held. The maps stand
        where values would; the prefix tokens have the score 0.

        Args:
            maps: a score for each class and patch.
            prefix: how many tokens come before the patches.

        """
        heads, width = self.query.shape[1], self.query.shape[-1]
        # Values as wide as keys: fused kernels take no others.
        value = maps.new_zeros(len(maps), self.tokens, max(width, maps.shape[1]))
        value[:, prefix:, : maps.shape[1]] = maps.transpose(1, 2)
        bias = self.bias
        if bias is not None and bias.shape[-2] > 1:
            bias = bias[..., prefix:, :]
        spread = F.scaled_dot_product_attention(
            self.query[:, :, prefix:],
            self.key.repeat_interleave(heads // self.key.shape[1], 1),
            value[:, None].expand(-1, heads, -1, -1),
            bias,
            scale=self.scale,
        )
        return spread.mean(1)[..., : maps.shape[1]].transpose(1, 2) * self.share

    def between(self, prefix: int) -> Tensor:
        """Return the weights between patches, float [B, heads, L, L]; a row sums to 1 at most.

        Half precision is computed in float32.

        Args:
            prefix: how many tokens come before the patches.

        """
        half = self.query.dtype in (torch.float16, torch.bfloat16)
        query, key = (t.float() if half else t for t in (self.query[:, :, prefix:], self.key))
        scale = query.shape[-1] ** -0.5 if self.scale is None else self.scale
        with torch.autocast(query.device.type, enabled=False):
            key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
            products = query @ key.mT * scale
        bias = self.bias
        if bias is not None:
            bias = bias[..., prefix:, :] if bias.shape[-2] > 1 else bias
            hidden = bias.dtype == torch.bool
            products = products.masked_fill(~bias, -torch.inf) if hidden else products + bias
        return products.softmax(-1)[..., prefix:] * self.share


class WindowAttention(NamedTuple):
    """One block's attention within square windows, as of SAM (arXiv 2304.02643).

    Attributes:
        within: the attention, with the windows of all images as its batch.
        side: of a window in patches. Windows are filled up beyond the map's last row and column.

    """

    within: SelfAttention
    side: int

    def is_between(self, maps: Tensor, prefix: int) -> bool:
        """Return whether its windows are those of maps."""
        rows, columns = (-(-n // self.side) for n in maps.shape[-2:])
        return len(self.within.query) == len(maps) * rows * columns

    def spread_over(self, maps: Tensor) -> Tensor:
        """Multiply maps float [B, K, h, w] by the mean over heads between the patches of a window.

        Patches beyond the map have the score 0.
        """
        height, width = maps.shape[-2:]
        side = self.side
        padded = F.pad(maps, (0, -width % side, 0, -height % side))
        windows = padded.unfold(2, side, side).unfold(3, side, side)  # [B, K, rows, columns, ...]
        batch, classes, rows, columns = windows.shape[:4]
        flat = windows.permute(0, 2, 3, 1, 4, 5).reshape(-1, classes, side * side)
        found = self.within.spread(flat, 0).reshape(batch, rows, columns, classes, side, side)
        whole = found.permute(0, 3, 1, 4, 2, 5).reshape(batch, classes, rows * side, -1)
        return whole[..., :height, :width]


class HeadMean(NamedTuple):
    """One block's attention as weights.

    Attributes:
        weights: float [B, T, T], the mean over heads.

    """

    weights: Tensor

    @property
    def tokens(self) -> int:
        """How many tokens attend to each other."""
        return self.weights.shape[-1]

    def is_between(self, maps: Tensor, prefix: int) -> bool:
        """Return whether it is between the patches of maps, with or without a prefix of tokens."""
        square = self.weights.shape == (len(maps), self.tokens, self.tokens)
        return square and _fits(self.tokens, maps, prefix)

    def spread(self, maps: Tensor, prefix: int) -> Tensor:
        """Multiply maps float [B, K, L] by the weights between patches: [B, K, L]."""
        return maps @ self.weights[:, prefix:, prefix:].transpose(1, 2)

    def between(self, prefix: int) -> Tensor:
        """Return the weights between patches, float [B, 1, L, L]."""
        weights = self.weights[:, None, prefix:, prefix:]
        return weights.float() if weights.dtype in (torch.float16, torch.bfloat16) else weights


Attention = SelfAttention | WindowAttention | HeadMean


def _fits(tokens: int, maps: Tensor, prefix: int) -> bool:
    return tokens - maps.shape[-2] * maps.shape[-1] in (0, prefix)


def _model_of(encoder: nn.Module) -> tuple[Any, str]:
    """Return an encoder's timm model, and the name of timm's module that defines it."""
    own = "vit" if isinstance(encoder, PatchTokens) else "extractor"
    model: Any = getattr(encoder, own, encoder)
    return model, type(model).__module__.rpartition(".")[2]


def attending_model(encoder: nn.Module, asked: str = "method attention") -> Any:
    """Return an encoder's timm model.

    Args:
        encoder: of a network.
        asked: begins the error.

    Raises:
        InputError: its blocks do not attend between the patches of its map; the error says why.

    """
    model, module = _model_of(encoder)
    if module not in ATTENDING:
        why = _OTHERS.get(
            module, "it has no attention between the patches of its map in each block"
        )
        raise InputError(
            f"{asked}: expected a ViT, got a {type(model).__name__}: {why}; "
            "it can have class_weight, grad_cam or layer_cam"
        )
    return model


def attends(network: Any) -> bool:
    """Return whether a network's blocks attend between the patches of its map.

    Args:
        network: one of this package, or a plug-in, which counts as a CNN if it has no `encoder`
            over a ViT of timm.

    Raises:
        InputError: a transformer that attends in another way, and so is neither ViT nor CNN.

    """
    encoder = getattr(network, "encoder", None)
    if not isinstance(encoder, nn.Module):
        return False
    model, module = _model_of(encoder)
    if module in _OTHERS:
        raise InputError(
            f"attention: expected a ViT or a CNN, got a {type(model).__name__}: {_OTHERS[module]}"
        )
    return module in ATTENDING


class _Listening(TorchFunctionMode):
    """Hears calls of `scaled_dot_product_attention`.

    Attributes:
        heard: them, in order.
        shares: of the next calls, while a module of differential attention runs.
        window: the heads and side of the windows, while a module of SAM runs; a side of 0 stands
            for the whole map.

    """

    def __init__(self, heard: list[Attention]) -> None:
        super().__init__()
        self.heard = heard
        self.shares: list[Tensor | float] = []
        self.window: tuple[int, int] | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            asked = _as_asked(*args, **kwargs)
            if self.shares:
                asked = asked._replace(share=self.shares.pop(0))
            self.heard.append(asked if self.window is None else _windowed(asked, *self.window))
        return func(*args, **kwargs)


def _as_asked(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    **others: Any,
) -> SelfAttention:
    if is_causal:
        shape = (query.shape[-2], key.shape[-2])
        attn_mask = torch.ones(shape, dtype=torch.bool, device=query.device).tril()[None, None]
    return SelfAttention(query, key, attn_mask, scale, value=value)


def _windowed(asked: SelfAttention, heads: int, side: int) -> Attention:
    """Return an attention whose batch and heads were one axis, [B * heads, T, d]."""

    def apart(tensor: Tensor) -> Tensor:
        return tensor.unflatten(0, (-1, heads))

    bias = None if asked.bias is None else apart(asked.bias)
    value = None if asked.value is None else apart(asked.value)
    split = asked._replace(query=apart(asked.query), key=apart(asked.key), bias=bias, value=value)
    return WindowAttention(split, side) if side else split


@contextmanager
def listening(encoder: nn.Module) -> Iterator[list[Attention]]:
    """Yield the attention of every block that runs meanwhile, in order.

    Blocks that would attend step by step (`TIMM_FUSED_ATTN=0`) do so fused meanwhile, which differs
    by rounding alone.
    """
    modules: list[Any] = list(encoder.modules())
    apart = [module for module in modules if getattr(module, "fused_attn", True) is False]
    heard: list[Attention] = []
    mode = _Listening(heard)
    with ExitStack() as stack:
        for module in modules:
            for handle in _hooks(module, mode):
                stack.callback(handle.remove)
        for module in apart:
            module.fused_attn = True
            stack.callback(setattr, module, "fused_attn", False)
        with mode:
            yield heard


def _hooks(module: Any, mode: _Listening) -> Iterator[Any]:
    """Hook a module that a call of the kernel alone would not explain."""
    if hasattr(module, "_compute_lambda"):

        def differ(*_: Any) -> None:
            mode.shares = [1.0, -module._compute_lambda().detach()]

        yield module.register_forward_pre_hook(differ)
    attn = getattr(module, "attn", None)
    if type(module).__module__ == "timm.models.vision_transformer_sam" and attn is not None:

        def enter(*_: Any) -> None:
            mode.window = (attn.num_heads, module.window_size)

        def leave(*_: Any) -> None:
            mode.window = None

        yield attn.register_forward_pre_hook(enter)
        yield attn.register_forward_hook(leave)
    dropout = getattr(module, "attn_drop", None)
    if isinstance(dropout, nn.Module) and not hasattr(module, "fused_attn"):

        def weigh(_: Any, inputs: Any, weights: Tensor) -> None:
            if weights.dim() == 4:
                mode.heard.append(HeadMean(weights.mean(1)))

        yield dropout.register_forward_hook(weigh)
