"""Fine-tuning of SAM and SAM 2 as a segmenter that needs no prompt.

The mask decoder is trained on the prompt encoder's empty embeddings (finetune-SAM, Gu et al., arXiv
2404.09957); the image encoder is frozen, gets adapters (`lora`, as in SAMed, arXiv 2304.13785), or
is trained. The mask decoder gives a logit for each class; the background's logit is 0, so that one
class is a binary mask and cross-entropy its binary cross-entropy.

Two details differ from a call of the published model. SAM 2 in evaluation mode puts another mask in
the place of an unstable one, which training does not see; that is switched off. And gradients reach
the image encoder only if it has parameters to train.
"""

from collections.abc import Iterator
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_core.errors import InputError, as_input_error
from wsss_core.refine import load_foundation
from wsss_core.segmentation.lora import add_lora
from wsss_core.segmentation.segmenter import NormalisedSegmenter, resized
from wsss_core.segmentation.settings import SegmenterSettings

ImageEncoderTraining = Literal["frozen", "lora", "trained"]
IMAGE_ENCODER_TRAININGS: tuple[str, ...] = get_args(ImageEncoderTraining)


class SamSegmenter(NormalisedSegmenter):
    """SAM or SAM 2 without prompts.

    Args:
        model: SamModel or Sam2Model, see `wsss_core.refine.load_foundation`; changed in place.
        processor: its processor, which tells mean and std.
        classes: K, without the background; at most as many as the decoder has masks to a prompt
            (3), or 1 for its single mask.
        image_encoder: "frozen", "lora" or "trained".
        rank: r of the adapters.
        alpha: see `add_lora`.

    Raises:
        InputError: more classes than masks, or an unknown training of the image encoder.

    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        classes: int,
        *,
        image_encoder: ImageEncoderTraining = "frozen",
        rank: int = 4,
        alpha: float | None = None,
    ) -> None:
        prepared = processor.image_processor
        super().__init__(classes, prepared.image_mean, prepared.image_std)
        masks = int(model.mask_decoder.num_multimask_outputs)
        if not 1 <= classes <= masks:
            raise InputError(f"segmenter sam: {classes} classes, expected 1 to {masks}")
        if image_encoder not in IMAGE_ENCODER_TRAININGS:
            known = ", ".join(IMAGE_ENCODER_TRAININGS)
            raise InputError(f"image_encoder {image_encoder!r}: expected one of {known}")
        self.keeps_proportions = type(model).__name__ == "SamModel"
        self.side = int(model.config.prompt_encoder_config.image_size)
        if hasattr(model.mask_decoder, "dynamic_multimask_via_stability"):
            model.mask_decoder.dynamic_multimask_via_stability = False
        model.requires_grad_(False)
        if image_encoder == "lora":
            add_lora(model, _attention_kinds(), rank=rank, alpha=alpha)
        elif image_encoder == "trained":
            model.vision_encoder.requires_grad_(True)
        model.mask_decoder.requires_grad_(True)
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return logits float [B, K + 1, H, W]; the background's are 0."""
        found = self.model(pixel_values=self.prepared(images), multimask_output=self.classes > 1)
        masks = self.at_image_size(found.pred_masks[:, 0, : self.classes], images)
        return torch.cat([torch.zeros_like(masks[:, :1]), masks], 1)

    def prepared(self, images: Tensor) -> Tensor:
        """Return images as the model takes them, float [B, 3, S, S], as its processor would.

        SAM's keep their proportions and are padded with zeros, right and below. SAM 2's are
        squashed to a square.
        """
        height, width = self.fitted(images)
        small = F.interpolate(
            images, (height, width), mode="bilinear", align_corners=False, antialias=True
        )
        return F.pad(self.normalised(small), (0, self.side - width, 0, self.side - height))

    def fitted(self, images: Tensor) -> tuple[int, int]:
        """Return the height and width that images have within the model's square."""
        height, width = images.shape[-2:]
        if not self.keeps_proportions:
            return self.side, self.side
        scale = self.side / max(height, width)
        return int(height * scale + 0.5), int(width * scale + 0.5)

    def at_image_size(self, masks: Tensor, images: Tensor) -> Tensor:
        """Return the model's mask logits [B, M, h, w] without padding, at the images' size."""
        if self.keeps_proportions:
            height, width = self.fitted(images)
            masks = resized(masks, (self.side, self.side))[..., :height, :width]
        return resized(masks, (int(images.shape[-2]), int(images.shape[-1])))

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters of the mask decoder."""
        yield from self.model.mask_decoder.parameters()


def build_sam_segmenter(settings: SegmenterSettings, classes: int, image_size: int) -> SamSegmenter:
    """Build SAM or SAM 2 from a folder or a hub's name.

    Args:
        settings: `weights`, and as options the keyword arguments of `SamSegmenter`.
        classes: K, without the background.
        image_size: not used, because images of any size are resized to the model's.

    Raises:
        InputError: see `load_foundation` and `SamSegmenter`.

    """
    if settings.weights in ("none", "pretrained"):
        raise InputError("segmenter sam needs weights: a folder or a hub's name")
    model, processor = load_foundation("sam", settings.weights)
    with as_input_error(f"segmenter sam with options {dict(settings.options)}", TypeError):
        return SamSegmenter(model, processor, classes, **settings.options)


def _attention_kinds() -> tuple[type[nn.Module], ...]:
    from transformers.models.sam.modeling_sam import SamVisionAttention
    from transformers.models.sam2.modeling_sam2 import Sam2MultiScaleAttention

    return SamVisionAttention, Sam2MultiScaleAttention
