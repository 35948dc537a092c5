from collections.abc import Callable
from typing import Any

import pytest

from wsss_core.backbones import Network
from wsss_core.segmentation import SegmenterSettings
from wsss_core.single_stage import SingleStage, build_single_stage, prepare, recipe_of


@pytest.fixture
def plain_stage(vit: Callable[..., Network]) -> Callable[..., SingleStage]:
    """The recipe `plain` of a tiny ViT for two classes at 32 px, with what is changed in it."""

    def build(**changes: Any) -> SingleStage:
        options = {"width": 8}
        given = {"name": "plain", "decoder_options": options, "refiner": "none"}
        _, settings = recipe_of({**given, **changes})
        network = prepare(vit(classes=2, size=32, depth=4), settings)
        decoder = SegmenterSettings("large_fov", "vit_tiny_patch16_224", options=options)
        return build_single_stage(
            {"student": network}, settings, {"student": decoder}, image_size=32
        )

    return build
