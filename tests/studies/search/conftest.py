"""A study that searches, of seconds."""

from typing import Any

import pytest

Raw = dict[str, Any]


@pytest.fixture
def searching(tiny: Raw) -> Raw:
    tiny["configurations"] = tiny["configurations"][:2]
    tiny["panels"] = 0
    tiny["search"] = {
        "student": "vit",
        "teacher": "cnn",
        "trials": 3,
        "seeds": [8, 9],
        "confirm": 2,
        "space": {
            "metric": ["cosine", "L1"],
            "level": ["global", "spatial"],
            "representation": ["feature", "activation_map"],
            "lambda": {"low": 0.1, "high": 10},
            "learning_rate": {"low": 1e-4, "high": 1e-2},
        },
    }
    return tiny
