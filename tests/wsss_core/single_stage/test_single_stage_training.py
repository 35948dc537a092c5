"""The paradigm single-stage: its loss term by term, frozen parts, resuming to the bit, parts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.wsss_core.broken_off import BrokenOffError, break_off_after
from wsss_core.backbones import Network
from wsss_core.errors import InputError
from wsss_core.segmentation import SegmenterSettings
from wsss_core.single_stage import (
    SingleStage,
    affinity_labels,
    affinity_loss,
    balanced_segmentation_loss,
    build_single_stage,
    prepare,
    recipe_of,
)
from wsss_core.training import TrainingSettings, train

TINY_AFA: dict[str, Any] = {
    "name": "afa",
    "affinity_radius": 1,
    "decoder_options": {"width": 8, "dropout": 0.0},
    "refiner_options": {"dilations": (1, 2), "iterations": 2},
}


@pytest.fixture
def afa(vit: Callable[..., Network]) -> Callable[..., SingleStage]:
    def build(**changes: Any) -> SingleStage:
        _, settings = recipe_of({**TINY_AFA, **changes})
        network = prepare(vit(classes=2, size=32, depth=4), settings)
        decoder = SegmenterSettings(
            settings.decoder, "vit_tiny_patch16_224", options=settings.decoder_options
        )
        return build_single_stage(
            {"student": network}, settings, {"student": decoder}, image_size=32
        )

    return build


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.rand(3, 3, 32, 32), torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])


def test_classification_is_alone_until_the_recipe_says_more(
    afa: Callable[..., SingleStage],
) -> None:
    paradigm = afa().eval()
    images, labels = batch()
    found = paradigm.losses(images, labels, progress=0.1)
    features = paradigm.student.encoder((images - paradigm.student.mean) / paradigm.student.std)
    logits = features.amax((2, 3)) @ paradigm.student.head.weight.T
    expected = F.multilabel_soft_margin_loss(logits, labels)
    torch.testing.assert_close(found.total, expected)


def test_the_loss_is_the_sum_of_its_terms_by_hand(afa: Callable[..., SingleStage]) -> None:
    paradigm = afa(losses={"affinity": {"weight": 0.3}, "segmentation": {"weight": 0.7}}).eval()
    images, labels = batch()
    found = paradigm.losses(images, labels, progress=0.2)
    made: list[torch.Tensor] = []
    branch = paradigm.branches["student"]
    keep = branch.make_labels
    branch.make_labels = lambda *a: made.append(keep(*a)) or made[-1]  # type: ignore
    paradigm.losses(images, labels, progress=0.2)
    (refined,) = made
    logits = paradigm.segmenter(images)
    segmentation = balanced_segmentation_loss(logits, refined)
    cells = refined[:, ::8, ::8]
    from wsss_core.backbones.attending import listening

    with listening(paradigm.student.encoder) as heard:
        paradigm.student(images)
    assert branch.affinity is not None
    affinity = affinity_loss(branch.affinity(heard, 16), affinity_labels(cells, 1))
    expected = found.classification + 0.7 * segmentation + 0.3 * affinity
    torch.testing.assert_close(found.total, expected)
    paradigm.losses(images, labels, progress=0.31)
    assert len(made) == 3  # the decoder's labels are made of propagated CAMs besides


def test_norms_and_bias_stay_and_all_else_learns(afa: Callable[..., SingleStage]) -> None:
    paradigm = afa()
    images, labels = batch()
    before = {name: value.clone() for name, value in paradigm.state_dict().items()}
    settings = TrainingSettings(epochs=2, batch_size=3, learning_rate=0.01)
    pixels = (images.permute(0, 2, 3, 1) * 255).byte().numpy()
    train(paradigm, pixels, labels.numpy() > 0, settings, seed=0)
    after = paradigm.state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in same if "norm" in name} == same - {
        "branches.student.network.head.bias"
    }
    assert "branches.student.network.head.bias" in same
    moved = set(before) - same
    assert {
        "branches.student.head.classifier.weight",
        "branches.student.affinity.join.weight",
        "branches.student.network.head.weight",
    } <= moved
    assert {
        f"branches.student.network.encoder.vit.blocks.{n}.attn.qkv.weight" for n in range(4)
    } <= moved


def test_a_cnn_takes_a_recipe_without_affinity_and_none_with(
    cnn: Callable[..., Network],
) -> None:
    changes = {"propagated_after": None, "losses": {"affinity": None}, "norms": "trained"}
    decoder = SegmenterSettings("large_fov", "resnet18", options={"width": 8})
    for given in (changes, {}):
        _, settings = recipe_of({**TINY_AFA, "decoder": "large_fov", **given})
        network = prepare(cnn(classes=2, size=32), settings)
        given_to = {"student": network}, settings, {"student": decoder}
        if settings.learns_affinity:
            with pytest.raises(InputError):
                build_single_stage(*given_to, image_size=32)
            continue
        paradigm = build_single_stage(*given_to, image_size=32)
        paradigm.losses(*batch()).total.backward()
        assert paradigm.segmenter.head.classifier.weight.grad is not None


@pytest.mark.ci
def test_a_training_that_resumes_ends_in_the_same_bits(
    afa: Callable[..., SingleStage], tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)
    labels = np.random.default_rng(1).random((6, 2)) > 0.5
    settings = TrainingSettings(
        epochs=3, batch_size=3, learning_rate=0.01, flip=True, rescale=(0.5, 2.0), ema=0.9
    )
    given: dict[str, Any] = {"decoder_options": {"width": 8}}  # with dropout
    whole = afa(**given)
    train(whole, images, labels, settings, seed=0)

    file, stop = tmp_path / "checkpoint.pt", break_off_after(2)
    with pytest.raises(BrokenOffError):
        train(afa(**given), images, labels, settings, seed=0, checkpoint=file, on_epoch=stop)
    again = afa(**given)
    train(again, images, labels, settings, seed=0, checkpoint=file)
    for (name, one), other in zip(
        whole.state_dict().items(), again.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name
