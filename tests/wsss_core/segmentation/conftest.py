"""Small segmenters and scenes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wsss_core.refine import load_foundation
from wsss_core.segmentation import (
    LabelledImages,
    SamSegmenter,
    Segmenter,
    SegmenterSettings,
    build_segmenter,
)

TINY_VIT = {"patch_size": 8, "embed_dim": 24, "depth": 4, "num_heads": 3}


@pytest.fixture
def setr() -> Callable[..., Segmenter]:
    """A SETR of width 16 over a ViT of width 24 and patch 8."""

    def build(
        model: str = "setr_naive",
        *,
        classes: int = 1,
        size: int = 16,
        seed: int = 0,
        **options: Any,
    ) -> Segmenter:
        torch.manual_seed(seed)
        settings = SegmenterSettings(
            model,
            "vit_tiny_patch16_224",
            options={"width": 16, **options},
            encoder_options=TINY_VIT,
        )
        return build_segmenter(settings, classes=classes, image_size=size)

    return build


@pytest.fixture(scope="session")
def lively(checkpoint, tmp_path_factory) -> Callable[[str], Path]:
    """The folder of a tiny SAM or SAM 2 whose image encoder has an influence on its masks.

    SAM's own random weights are of 1e-10, so that images would not matter.
    """
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            model, processor = load_foundation("sam", checkpoint(kind))
            torch.manual_seed(0)
            with torch.no_grad():
                for name, weight in model.vision_encoder.named_parameters():
                    if weight.ndim == 2 and name.endswith("weight"):
                        torch.nn.init.normal_(weight, std=0.3)
            made[kind] = tmp_path_factory.mktemp(kind)
            model.save_pretrained(made[kind])
            processor.save_pretrained(made[kind])
        return made[kind]

    return folder


@pytest.fixture
def sam(lively) -> Callable[..., SamSegmenter]:
    """A tiny SAM or SAM 2, from a folder."""

    def build(
        kind: str = "sam", *, classes: int = 1, seed: int = 0, **options: Any
    ) -> SamSegmenter:
        if options.get("image_encoder") == "lora":
            pytest.importorskip("peft")
        torch.manual_seed(seed)
        settings = SegmenterSettings("sam", weights=str(lively(kind)), options=options)
        built = build_segmenter(settings, classes=classes, image_size=32)
        assert isinstance(built, SamSegmenter)
        return built

    return build


@pytest.fixture
def squares() -> LabelledImages:
    """Twelve pictures of 16 px, each with a bright square, its outline void."""
    random = np.random.default_rng(0)
    images = random.integers(0, 80, (12, 16, 16, 3), np.uint8)
    masks = np.zeros((12, 16, 16), np.uint8)
    for image, mask in zip(images, masks, strict=True):
        row, column = random.integers(0, 8, 2)
        mask[row : row + 8, column : column + 8] = 255
        mask[row + 1 : row + 7, column + 1 : column + 7] = 1
        image[mask > 0] += 150
    return LabelledImages(images, masks)
