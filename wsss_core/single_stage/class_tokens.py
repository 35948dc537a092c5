"""A token for each class in a plain ViT, a graph over tokens and patches, and their losses.

After Yang et al., "MoRe: Class Patch Attention Needs Regularization for Weakly Supervised Semantic
Segmentation", AAAI 2025 (arXiv 2412.11076): tokens that start as copies of the class token, a graph
layer that condenses the most similar entities into each (Graph Category Representation), and losses
on the similarity of class tokens and patches (Localization-informed Regularization), with the
temperatures and weights of the authors' code.

Tokens read the patches and the class token here, and are not read by them. So the encoder's maps,
its CAMs and its decoder are those of the encoder alone, in training and after it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_core.backbones import PatchTokens
from wsss_core.data import IGNORED
from wsss_core.errors import InputError
from wsss_core.single_stage.losses import at_least_single
from wsss_core.single_stage.text_network import class_token_vit

IDENTITY_TEMPERATURE, EVIDENCE_TEMPERATURE = 0.07, 0.5


class ClassTokens(nn.Module):
    """A token for each class that goes through a plain ViT's blocks, and a graph layer behind.

    A token has half as many neighbours in the graph as there are classes, and two at least: a
    single one would have the weight 1 whatever the heads learned.

    Args:
        encoder: a plain ViT of timm with a class token.
        classes: K.

    Raises:
        InputError: another encoder.

    """

    def __init__(self, encoder: nn.Module, classes: int) -> None:
        super().__init__()
        if (vit := class_token_vit(encoder)) is None:
            raise InputError("class tokens: expected a plain ViT with a class token")
        with torch.no_grad():
            start = vit.cls_token[0, :1]
            if vit.pos_embed is not None and not vit.no_embed_class:
                start = start + vit.pos_embed[0, :1]
            start = vit.norm_pre(start)
        self.tokens = nn.Parameter(start.expand(classes, -1).clone())
        self.graph = TokenGraph(start.shape[1], max(2, classes // 2))

    @contextmanager
    def within(self, encoder: PatchTokens) -> Iterator[list[Tensor]]:
        """Let the tokens go through an encoder's blocks meanwhile.

        Yields:
            A list that after a pass ends in the tokens behind the last norm, float [B, K, C].

        """
        vit: Any = encoder.vit
        kept: list[Tensor] = []
        count, first = len(self.tokens), vit.blocks[0]

        def joined(module: nn.Module, given: Tensor) -> Tensor:
            own = self.tokens.expand(len(given), -1, -1) if module is first else kept[-1]
            return torch.cat([own.to(given.dtype), given], 1)

        def enter(module: nn.Module, given: Any, named: Any) -> Any:
            tokens = joined(module, given[0])
            reads = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool)
            reads[count:, :count] = False  # the patches do not read the classes' tokens
            return (tokens, *given[1:]), {**named, "attn_mask": reads.to(tokens.device)}

        def enter_norm(module: nn.Module, given: Any) -> Any:
            return (joined(module, given[0]), *given[1:])

        def leave(into: list[Tensor], _: nn.Module, __: Any, output: Tensor) -> Tensor:
            into.append(output[:, :count])
            return output[:, count:]

        normed: list[Tensor] = []
        handles = [one.register_forward_pre_hook(enter, with_kwargs=True) for one in vit.blocks]
        handles += [one.register_forward_hook(partial(leave, kept)) for one in vit.blocks]
        handles.append(vit.norm.register_forward_pre_hook(enter_norm))
        handles.append(vit.norm.register_forward_hook(partial(leave, normed)))
        try:
            with torch.compiler.set_stance("force_eager"):
                yield normed
        finally:
            for handle in handles:
                handle.remove()


class TokenGraph(nn.Module):
    """Class tokens gather from the entities that are most like them.

    The entities are all class tokens and the patches, whose gradient stops here. A token's
    neighbours are the k entities of the largest products h . t / sqrt(C) of its head h and their
    tails t, both linear. It gathers the neighbours' tails through a gate, weighed by the softmax of
    these products, and is normalised:

        T_i <- LayerNorm(T_i + sigmoid(G [T_i; m_i]) * m_i),  m_i = sum_j softmax_j(h_i . t_j) t_j.

    Args:
        width: C.
        neighbours: k; as many as there are entities at most.

    """

    def __init__(self, width: int, neighbours: int) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.head, self.tail = nn.Linear(width, width), nn.Linear(width, width)
        self.gate = nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, patches: Tensor) -> Tensor:
        """Return the tokens float [B, K, C] after they gathered.

        Args:
            tokens: float [B, K, C].
            patches: float [B, L, C].

        """
        tails = self.tail(torch.cat([tokens, patches.detach()], 1))
        products = self.head(tokens) @ tails.transpose(1, 2) / tokens.shape[-1] ** 0.5
        best = products.topk(min(self.neighbours, tails.shape[1]), dim=-1)
        weights = torch.zeros_like(products).scatter(2, best.indices, best.values.softmax(-1))
        message = weights @ tails
        gate = self.gate(torch.cat([tokens, message], -1)).sigmoid()
        found: Tensor = self.norm(tokens + gate * message)
        return found


def token_identity(tokens: Tensor) -> Tensor:
    """Return how little class tokens are told apart: each should be most like itself.

    The cross-entropy of the cosines of an image's class tokens, divided by 0.07, against the
    identity: the mean over images and tokens. Of one class it is 0.

    Args:
        tokens: float [B, K, C].

    """
    unit = F.normalize(at_least_single(tokens), dim=-1)
    with torch.autocast(tokens.device.type, enabled=False):
        cosines = unit @ unit.transpose(1, 2) / IDENTITY_TEMPERATURE
    own = torch.arange(tokens.shape[1], device=tokens.device).expand(len(tokens), -1)
    return F.cross_entropy(cosines.flatten(0, 1), own.flatten())


def token_patch_cosines(tokens: Tensor, patches: Tensor) -> Tensor:
    """Return the cosines of class tokens and patches over the temperature 0.5.

    Args:
        tokens: float [B, K, C].
        patches: float [B, C, h, w].

    Returns:
        float [B, K, h w].

    """
    one = F.normalize(at_least_single(tokens), dim=-1)
    other = F.normalize(at_least_single(patches).flatten(2), dim=1)
    with torch.autocast(tokens.device.type, enabled=False):
        return one @ other / EVIDENCE_TEMPERATURE


def certain_evidence(cosines: Tensor, labels: Tensor, counted: Tensor) -> Tensor:
    """Return how little each class's token singles out the patches that certainly are of the class.

    Of each class with certain patches, -log of its token's softmax over the patches, the mean over
    those; then the mean over such classes of all images. Without one it is 0.

    Args:
        cosines: float [B, K, L], see `token_patch_cosines`.
        labels: int64 [B, L]: class + 1, 0 background, 255 uncertain.
        counted: bool [B, L], False on padding, which is in no softmax.

    """
    # Finite, so that an image of padding alone has a gradient of 0 and not of no number.
    surprise = -cosines.masked_fill(~counted[:, None], -1e9).log_softmax(-1)
    numbers = torch.arange(1, cosines.shape[1] + 1, device=labels.device)
    certain = (labels[:, None] == numbers[:, None]) & counted[:, None]
    sums = surprise.masked_fill(~certain, 0).sum(-1)
    counts = certain.sum(-1)
    each = sums / counts.clamp_min(1)
    return each.sum() / (counts > 0).sum().clamp_min(1)


def uncertain_evidence(cosines: Tensor, labels: Tensor, present: Tensor, counted: Tensor) -> Tensor:
    """Return how little uncertain patches are like present classes' tokens and unlike absent ones.

    Of each uncertain patch, -log of the share that the classes of its image have in the softmax of
    the patch over all class tokens; the mean over such patches of images that hold a class. Without
    one it is 0.

    Args:
        cosines: float [B, K, L], see `token_patch_cosines`.
        labels: int64 [B, L], 255 where it is uncertain.
        present: bool [B, K], the classes that each image holds.
        counted: bool [B, L], False on padding.

    """
    absent = ~present[:, :, None]
    inside = cosines.masked_fill(absent, -torch.inf).logsumexp(1)
    uncertain = (labels == IGNORED) & counted & present.any(1, keepdim=True)
    surprise = (cosines.logsumexp(1) - inside).masked_fill(~uncertain, 0)
    return surprise.sum() / uncertain.sum().clamp_min(1)
