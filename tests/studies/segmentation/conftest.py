"""A study of seconds with segmenters, and its finished run."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TINY_SEGMENT: dict[str, Any] = {
    "model": {
        "model": "unet",
        "encoder": "resnet18",
        "encoder_options": {"channels": [4, 4, 8, 8]},
        "options": {"decoder_channels": [8, 8, 8, 4, 4]},
    },
    "training": {
        "steps": 4,
        "batch_size": 4,
        "optimizer": "adamw",
        "learning_rate": 0.002,
        "record_every": 2,
    },
    "entries": {
        "pseudo masks": {"labels": {"configuration": "CNN alone", "rule": "otsu"}},
        "pseudo masks, views": {
            "labels": {"configuration": "CNN alone", "rule": "otsu"},
            "predict": {"scales": [1.0, 2.0], "flip": True, "crf": "psa"},
        },
        "of the chain": {"labels": {"configuration": "CNN alone", "chain": "PAR"}},
        "4 masks": {"labels": {"masks": 4}},
        "4 masks + pseudo masks": {"labels": {"masks": 4, "configuration": "CNN alone"}},
        "fully supervised": {"labels": "masks"},
        "4 masks, own level": {
            "labels": {"masks": 4, "configuration": "CNN alone", "rule": "own_masks"}
        },
    },
}


@pytest.fixture
def segmented(tiny: dict[str, Any]) -> dict[str, Any]:
    """The tiny study with segmenters; change it as you like."""
    study = copy.deepcopy(tiny)
    study["configurations"] = [study["configurations"][0]]
    study["chains"] = {"PAR": [{"par": {"iterations": 2}}]}
    study["segment"] = copy.deepcopy(TINY_SEGMENT)
    return study


@pytest.fixture(scope="module")
def ran_segments(
    tmp_path_factory: pytest.TempPathFactory, shared_tiny: dict[str, Any], run: Callable
) -> Any:
    """The finished run of the tiny study with segmenters."""
    study = copy.deepcopy(shared_tiny)
    study["configurations"] = [study["configurations"][0]]
    study["chains"] = {"PAR": [{"par": {"iterations": 2}}]}
    study["segment"] = copy.deepcopy(TINY_SEGMENT)
    folder: Path = tmp_path_factory.mktemp("segments")
    return run(study, folder / "results")
