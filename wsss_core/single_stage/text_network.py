"""CLIP's image encoder as a network whose classes are sentences; nothing of it is trained.

The class token's embedding is compared with those of sentences by the cosine, times CLIP's scale.
The logit of a class is its log-odds against the background sentences,

    logit_k = s cos(x, t_k) - log sum_b exp(s cos(x, t_b)),

so that its sigmoid is the softmax of the class among them (Lin et al., "CLIP is Also an Efficient
Segmenter", CVPR 2023, arXiv 2212.09506, section 3.1). An activation map holds the same log-odds of
each patch token. A Grad-CAM of a logit at the last block differs from that of the softmax by a
factor for each image and class.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_core.backbones import Layer, Network, Output, PatchTokens
from wsss_core.errors import InputError
from wsss_core.refine import embed_texts, load_foundation


class TextAnswer(NamedTuple):
    """What CLIP says of B images.

    Attributes:
        features: float [B, C, h, w], patch tokens after the last norm.
        taps: the maps of inner layers that were asked for.
        classes: float [B, K], scaled cosines of the class token with the classes.
        rivals: float [B, R], with the background sentences.

    """

    features: Tensor
    taps: tuple[Tensor, ...]
    classes: Tensor
    rivals: Tensor


class TextNetwork(Network):
    """A frozen CLIP image encoder, classified by the embeddings of sentences.

    The embeddings and the projection are buffers, so a file of the network holds all that it needs.
    They are filled up with zeros to the width C of the encoder, so their shapes are known before a
    text encoder is read.

    Args:
        network: over a plain ViT with a class token and CLIP's architecture; its encoder is taken.
        rivals: R, how many background sentences there are.

    Raises:
        InputError: another encoder.

    """

    texts: Tensor
    projection: Tensor
    scale: Tensor

    def __init__(self, network: Network, rivals: int) -> None:
        encoder = network.encoder
        if class_token_vit(encoder) is None or network.neck is not None:
            raise InputError(
                "CAMs of text: expected CLIP's image encoder, a plain ViT with a class token, such "
                "as vit_base_patch16_clip_quickgelu_224, with head: linear and no neck"
            )
        mean, std = (tuple(one.flatten().tolist()) for one in (network.mean, network.std))
        super().__init__(encoder, network.channels, network.classes, mean, std)
        self.initial_weights = network.initial_weights
        width = network.channels
        self.register_buffer("texts", torch.zeros(network.classes + rivals, width))
        self.register_buffer("projection", torch.zeros(width, width))
        self.register_buffer("scale", torch.ones(()))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.head.requires_grad_(False)
        self.encoder.requires_grad_(False)
        self.frozen = tuple(self.encoder.modules())
        self.train(network.training)

    def read_texts(
        self, folder: Path, classes: Mapping[str, Sequence[str]], rivals: Sequence[str]
    ) -> None:
        """Take over the embeddings of sentences from the CLIP that the encoder is of.

        Args:
            folder: of a CLIP that transformers saved.
            classes: sentences for each class; a class's embeddings are normalised, averaged and
                normalised again (prompt ensemble).
            rivals: sentences for what the classes are not; each is a rival of its own.

        Raises:
            InputError: a folder without a whole CLIP, or one of another width.

        """
        model, processor = load_foundation("clip", folder)
        weight = model.visual_projection.weight
        width, own = int(weight.shape[0]), self.channels
        if int(weight.shape[1]) != own or width > own:
            raise InputError(
                f"text encoder {folder}: its CLIP projects {weight.shape[1]} channels to {width}; "
                f"expected {own} of the backbone, to as many or fewer"
            )
        with torch.no_grad():
            means = [
                F.normalize(embed_texts(model, processor, given, "cpu").mean(0), dim=0)
                for given in classes.values()
            ]
            both = torch.cat([torch.stack(means), embed_texts(model, processor, rivals, "cpu")])
            self.texts.copy_(F.pad(both, (0, own - width)))
            self.projection.copy_(F.pad(weight, (0, 0, 0, own - width)))
            self.scale.copy_(model.logit_scale.exp())

    def compared(self, tokens: Tensor) -> Tensor:
        """Return the scaled cosines of tokens [..., C] with all sentences, float [..., K + R]."""
        embedded = F.normalize(F.linear(tokens, self.projection), dim=-1)
        return self.scale * F.linear(embedded, self.texts)

    def answers(
        self, images: Tensor, taps: Sequence[Layer] = (), valid: Tensor | None = None
    ) -> TextAnswer:
        """Return what CLIP says of images, see `Network.forward`."""
        normalised = (images - self.mean) / self.std
        if valid is not None:
            normalised = normalised * valid
        with normed_tokens(self.encoder) as kept:
            if taps:
                features, found = self.encoder.with_taps(normalised, tuple(taps))
            else:
                features, found = self.encoder(normalised), ()
        both = self.compared(kept[-1][:, 0])
        return TextAnswer(features, found, both[:, : self.classes], both[:, self.classes :])

    def forward(
        self, images: Tensor, taps: Sequence[Layer] = (), valid: Tensor | None = None
    ) -> Output:
        """See `Network.forward`; logits and activation maps are log-odds against the background."""
        answer = self.answers(images, taps, valid)
        logits = answer.classes - answer.rivals.logsumexp(1, keepdim=True)
        of_patches = self.compared(answer.features.movedim(1, -1))
        rivals = of_patches[..., self.classes :].logsumexp(-1, keepdim=True)
        maps = (of_patches[..., : self.classes] - rivals).movedim(-1, 1)
        return Output(answer.features, maps, logits, answer.taps)


def class_token_vit(encoder: nn.Module) -> Any:
    """Return the plain ViT of timm with a class token that an encoder is; None of any other."""
    vit = encoder.vit if isinstance(encoder, PatchTokens) else None
    return None if getattr(vit, "cls_token", None) is None else vit


@contextmanager
def normed_tokens(encoder: nn.Module) -> Iterator[list[Tensor]]:
    """Yield the tokens after a plain ViT's last norm, float [B, T, C], of each call meanwhile.

    The last of a pass is that of the last block; class and register tokens come first.
    """
    assert isinstance(encoder, PatchTokens)
    kept: list[Tensor] = []
    handle = encoder.vit.norm.register_forward_hook(lambda _, __, output: kept.append(output))
    try:
        yield kept
    finally:
        handle.remove()
