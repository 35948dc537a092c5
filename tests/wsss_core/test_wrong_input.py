"""Public functions on arrays and tensors say in a sentence what they expected."""

import numpy as np
import pytest
import torch

from wsss_core import cams, evaluate, refine
from wsss_core.errors import InputError

MAPS = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
COUNTS = np.ones((2, 256), np.int64)
LOGITS = np.array([1.0, 2.0])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: cams.grad_cam(MAPS, MAPS[:1]), "activation and gradient: expected [B, C, h, w]"),
        (
            lambda: cams.layer_cam(MAPS[0], MAPS[0]),
            "activation and gradient: expected [B, C, h, w]",
        ),
        (
            lambda: cams.normalise_maps(MAPS[0, 0, 0], "max"),
            "maps: expected floats [..., h, w], got",
        ),
        (
            lambda: cams.normalise_maps(MAPS.int(), "raw"),
            "maps: expected floats [..., h, w], got tor",
        ),
        (
            lambda: cams.normalise_maps(MAPS, "mean"),
            "normalisation 'mean': expected one of raw, max",
        ),
        (
            lambda: cams.merge([MAPS], (4, 5), "mean"),
            "merge 'mean': expected one of normalised_mean",
        ),
        (lambda: cams.merge([], (4, 5), "sum_max"), "views: expected [N, K, h, w] of the same N"),
        (lambda: cams.merge([MAPS, MAPS[:1]], (4, 5), "sum_max"), "views: expected [N, K, h, w]"),
        (lambda: cams.fuse([]), "maps to fuse: expected the same N and K of all, got []"),
        (lambda: cams.fuse([MAPS[0]]), "maps to fuse: expected the same N and K of all"),
        (lambda: cams.gate(MAPS, torch.ones(3, 2)), "keep: expected the shape [2, 3]"),
        (
            lambda: evaluate.confusion_ratio(COUNTS, COUNTS[:1], 5),
            "background: expected the foregro",
        ),
        (lambda: evaluate.confusion_ratio(COUNTS, COUNTS, 256), "level: expected 0-255, got 256"),
        (lambda: evaluate.reliance(LOGITS, LOGITS[:1], LOGITS), "without_object: expected [N] as"),
        (
            lambda: evaluate.reliance(LOGITS, LOGITS, LOGITS[None]),
            "without_context: expected [N] as",
        ),
        (lambda: evaluate.normalise(np.ones(3), "max"), "maps: expected [..., H, W] with at least"),
        (
            lambda: evaluate.normalise([[1, np.nan]], "max"),
            "scores: expected finite float32 values",
        ),
        (lambda: evaluate.quantise([[0, 1.5]]), "scores: expected values in [0, 1], got 0 to 1.5"),
        (lambda: evaluate.resize(np.ones((2, 2)), (0, 2)), "size: expected two positive integers"),
        (lambda: refine.par(MAPS, MAPS * torch.nan), "par expects finite images and scores"),
        (lambda: refine.par(MAPS, MAPS[:, :, :2]), "par expects scores of the images' number and"),
        (lambda: refine.par(MAPS.byte(), MAPS), "par expects floats"),
        (
            lambda: refine.random_walk(MAPS * torch.nan, MAPS[:, :2] * 0, beta=8, squarings=1),
            "random",
        ),
    ],
)
def test_the_message_says_what_was_expected(call, said):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
