"""How well each patch of an image matches a class in words, by CLIP, as weights for its CAM.

CLIP (Radford et al., ICML 2021, arXiv 2103.00020) embeds images and sentences in one space. Its
patch tokens were never trained to lie there, only the token of the whole image was, which is why
they are poor weights without care; the thesis's attempt (cosine similarity on the 7 x 7 patches of
ViT-B/32, arXiv 2507.21959) failed. Both ways to read patches are offered under `tokens`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from wsss_core.errors import InputError

Rule = Literal["softmax", "min_max"]
Tokens = Literal["last", "value"]

_ROUNDING = 1e-5  # how far below 0 another refiner's float32 may end


def clip_similarity(
    model: Any,
    processor: Any,
    images: NDArray[np.uint8],
    prompts: Mapping[str, Sequence[str]],
    background: Sequence[str] = (),
    *,
    rule: Rule = "softmax",
    tokens: Tokens = "last",
    batch_size: int = 32,
    device: str = "cpu",
) -> NDArray[np.float32]:
    """Measure how well each patch matches each class.

    Every image is brought to CLIP's own square size and normalisation. It is squeezed, not
    cropped: the weights have to cover all of it.

    Args:
        model: CLIPModel, see `wsss_core.refine.foundation.models.load_foundation`; it is put into
            evaluation mode and on `device`.
        processor: its processor.
        images: uint8 [N, H, W, 3], RGB.
        prompts: sentences for each class. The embeddings of a class's sentences are normalised,
            averaged and normalised again (prompt ensemble, CLIP section 3.1.4).
        background: sentences for what the classes are not. They stay apart, because what they name
            (sky, buildings) has no common mean.
        rule: how similarities become weights, see `similarity_weights`.
        tokens: `last` projects the patch tokens of the last layer as CLIP projects the image's
            token. `value` lets each patch of the last layer attend to itself alone (MaskCLIP, Zhou
            et al., ECCV 2022, arXiv 2112.01071), which keeps it local.
        batch_size: images at a time.
        device: where the model runs.

    Returns:
        float32 [N, K, h, w], 0-1, at CLIP's patch grid; classes in the order of `prompts`.

    Raises:
        InputError: images of another type, a class without prompts, an unknown name, or no
            background for `softmax`.

    """
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise InputError(
            f"images: expected uint8 [N, H, W, 3], got {images.dtype} {list(images.shape)}"
        )
    for name, value, known in (("rule", rule, Rule), ("tokens", tokens, Tokens)):
        if value not in get_args(known):
            raise InputError(f"{name} {value!r}: expected one of {', '.join(get_args(known))}")
    if not prompts:
        raise InputError("prompts: expected at least one class, got none")
    for name, sentences in prompts.items():
        if isinstance(sentences, str) or not sentences:
            raise InputError(f"prompts of class {name!r}: expected a list of sentences")
    if isinstance(background, str) or (rule == "softmax" and not background):
        raise InputError("background: expected a list of prompts for what the classes are not")
    model.eval().to(device)
    with torch.inference_mode():
        classes = torch.stack(
            [
                F.normalize(embed_texts(model, processor, sentences, device).mean(dim=0), dim=0)
                for sentences in prompts.values()
            ]
        )
        rest = embed_texts(model, processor, background, device) if background else classes[:0]
        scale = float(model.logit_scale.exp())
        weights = [
            similarity_weights(
                embed_patches(model, processor, images[start : start + batch_size], tokens, device),
                classes,
                rest,
                rule=rule,
                scale=scale,
            ).cpu()
            for start in range(0, len(images), batch_size)
        ]
    side = model.config.vision_config.image_size // model.config.vision_config.patch_size
    empty = torch.zeros(0, len(prompts), side, side)
    return torch.cat(weights or [empty]).numpy()


def similarity_weights(
    patches: Tensor, classes: Tensor, background: Tensor, *, rule: Rule, scale: float = 100.0
) -> Tensor:
    """Turn embeddings into weights.

    - `softmax`: the probability of the class against the background sentences, each a rival of its
      own: exp(s c_k) / (exp(s c_k) + sum_b exp(s c_b)), with cosines c. Other classes are no rivals
      here; which class a pixel has is for the CAMs to say, and a class added changes no other's
      weights.
    - `min_max`: the cosine, brought to [0, 1] over each image and class, as in the thesis. It needs
      no background, and loses the scale: an image without the class has a patch of weight 1 too. A
      constant map becomes 1, which weighs nothing.

    Args:
        patches: float [N, h, w, D], unit vectors.
        classes: float [K, D], unit vectors.
        background: float [B, D], unit vectors.
        rule: which of the two.
        scale: s, what CLIP multiplies cosines by (100 in the published models).

    Returns:
        float [N, K, h, w], 0-1.

    """
    cosine = torch.einsum("nhwd,kd->nkhw", patches, classes)
    if rule == "min_max":
        lowest, highest = (cosine.amin((2, 3), keepdim=True), cosine.amax((2, 3), keepdim=True))
        span = highest - lowest
        return torch.where(span > 0, (cosine - lowest) / span.clamp_min(1e-12), 1.0)
    rivals = torch.einsum("nhwd,bd->nbhw", patches, background)
    return torch.sigmoid(scale * cosine - (scale * rivals).logsumexp(dim=1, keepdim=True))


def weight_cams(scores: Tensor, similarity: Tensor) -> Tensor:
    """Multiply CAMs by weights, resized to their grid (bilinear, align_corners=False).

    Args:
        scores: float [N, K, H, W], not negative: a small weight would raise a negative score.
        similarity: float [N, K, h, w], 0-1, see `clip_similarity`.

    Returns:
        float32 [N, K, H, W].

    Raises:
        InputError: shapes that do not fit, or a negative score.

    """
    if scores.ndim != 4 or similarity.ndim != 4 or scores.shape[:2] != similarity.shape[:2]:
        raise InputError(
            "scores, similarity: expected [N, K, H, W] and [N, K, h, w], got "
            f"{list(scores.shape)} and {list(similarity.shape)}"
        )
    if scores.numel() and not scores.min() >= -_ROUNDING:  # NaN fails too
        raise InputError(
            f"scores: expected no negative value (normalise them first), got {scores.min():.6g}"
        )
    weights = F.interpolate(
        similarity.float(), scores.shape[2:], mode="bilinear", align_corners=False
    )
    return scores.float() * weights


def embed_texts(model: Any, processor: Any, texts: Sequence[str], device: str) -> Tensor:
    """Embed sentences as unit vectors, float32 [len(texts), D]."""
    inputs = processor.tokenizer(
        list(texts), padding=True, truncation=True, return_tensors="pt"
    ).to(device)
    pooled = model.text_model(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
    ).pooler_output
    return F.normalize(model.text_projection(pooled), dim=-1)


def embed_patches(
    model: Any, processor: Any, images: NDArray[np.uint8], tokens: Tokens, device: str
) -> Tensor:
    """Embed the patches of images as unit vectors, float32 [N, h, w, D]."""
    side = model.config.vision_config.image_size
    pixels = processor.image_processor(
        torch.from_numpy(np.array(images)).permute(0, 3, 1, 2),
        input_data_format="channels_first",
        size={"height": side, "width": side},
        do_center_crop=False,
        return_tensors="pt",
    )["pixel_values"].to(device)
    vision = model.vision_model
    output = vision(pixel_values=pixels, output_hidden_states=tokens == "value")
    states = output.last_hidden_state
    if tokens == "value":
        layer, states = vision.encoder.layers[-1], output.hidden_states[-2]
        attention = layer.self_attn
        states = states + attention.out_proj(attention.v_proj(layer.layer_norm1(states)))
        states = states + layer.mlp(layer.layer_norm2(states))
    # The first token is the whole image's.
    embedded = F.normalize(model.visual_projection(vision.post_layernorm(states[:, 1:])), dim=-1)
    grid = side // model.config.vision_config.patch_size
    return embedded.unflatten(1, (grid, grid))
