"""How a training run trains, in a line, and how many images it takes."""

import math
from collections.abc import Mapping
from typing import Any

VIEW_KEYS = ("sampling", "rescale", "jitter", "randaugment", "cutmix")
"""The settings of training that decide which views a network sees."""


def images_taken(training: Mapping[str, Any], count: int, epochs: int) -> int:
    """Return how many images the steps of some epochs took, repetitions counted.

    Args:
        training: the settings of a training run.
        count: of training images.
        epochs: that were begun.

    """
    batch_size = int(training["batch_size"])
    batches = math.ceil(count / batch_size)
    full, rest = divmod(min(epochs * batches, training.get("iterations") or math.inf), batches)
    return int(full * count + rest * batch_size)


def recipe_line(training: Mapping[str, Any]) -> str:
    """Return the settings of a training run as `wsss plan` prints them.

    >>> recipe_line({"learning_rate": 0.01, "weight_decay": 5e-4, "warmup": 0, "batch_size": 8,
    ...     "schedule": "poly", "iterations": 20000, "rescale": [0.5, 2.0]})
    'AdamW, rate 0.01, poly (0.9), weight decay 0.0005, 20000 steps of 8, rescale 0.5 to 2'
    """
    sgd = training.get("optimizer") == "sgd"
    parts = [f"SGD (momentum {training.get('momentum', 0.9):g})" if sgd else "AdamW"]
    rate = f"rate {training['learning_rate']:g}"
    if "head_multiple" in training:
        rate += f" (heads x {training['head_multiple']:g})"
    schedule = str(training["schedule"])
    if schedule == "poly":
        schedule += f" ({training.get('power', 0.9):g})"
    if training["warmup"]:
        schedule += f" after a warm-up of {100 * training['warmup']:g} % of the steps"
    parts += [rate, schedule, f"weight decay {training['weight_decay']:g}"]
    if iterations := training.get("iterations"):
        parts.append(f"{iterations} steps of {training['batch_size']}")
    else:
        parts.append(f"{training['epochs']} epochs in batches of {training['batch_size']}")
    return ", ".join([*parts, *_views(training)])


def _views(training: Mapping[str, Any]) -> list[str]:
    said = []
    if training.get("sampling") == "balanced":
        said.append("classes balanced")
    if factors := training.get("rescale"):
        said.append(f"rescale {factors[0]:g} to {factors[1]:g}")
    if training.get("flip"):
        said.append("flips")
    if jitter := training.get("jitter"):
        said.append("jitter " + "/".join(f"{strength:g}" for strength in jitter))
    if operations := training.get("randaugment"):
        said.append(f"RandAugment {operations[0]} x {operations[1]}")
    if share := training.get("cutmix"):
        said.append(f"CutMix of {100 * share:g} %")
    if decay := training.get("ema"):
        said.append(f"weights averaged ({decay:g})")
    return said
