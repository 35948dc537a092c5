"""ToCo's contrast of an image with local crops: the loss by hand, where crops lie, its average."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.wsss_core.broken_off import BrokenOffError, break_off_after
from wsss_core.errors import InputError
from wsss_core.single_stage import (
    SingleStage,
    SingleStageSettings,
    crop_contrast,
    cut_out,
    draw_crops,
)
from wsss_core.training import TrainingSettings, train

RNG = np.random.default_rng(0)


def test_the_contrast_is_that_of_a_loop_over_crops() -> None:
    whole, local = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 5, 4))
    negative = np.array([[0, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool)
    each = []
    for image in range(3):
        likely = []
        for crop in range(5):
            a, b = whole[image], local[image, crop]
            likely.append(np.exp(a @ b / np.linalg.norm(a) / np.linalg.norm(b) / 0.5))
        against = sum(one for one, bad in zip(likely, negative[image], strict=True) if bad)
        each += [
            -np.log(one / (one + against))
            for one, bad in zip(likely, negative[image], strict=True)
            if not bad
        ]
    given = [torch.from_numpy(one).requires_grad_() for one in (whole, local)]
    bad = torch.from_numpy(negative)
    assert len(each) == 8
    assert crop_contrast(*given, bad).item() == pytest.approx(np.mean(each))
    assert torch.autograd.gradcheck(lambda one, other: crop_contrast(one, other, bad), given)
    assert crop_contrast(*given, torch.ones_like(bad)).item() == 0


def test_crops_are_centred_where_no_class_is_sure_and_their_kind_is_their_mean() -> None:
    settings = SingleStageSettings(crops=6, crop_side=4)
    best = torch.ones(2, 12, 12)
    labels = torch.ones(2, 12, 12, dtype=torch.long)
    best[0, 6, 7] = 0.69  # the only unsure pixel of the first image
    labels[1, :, :6] = 0  # the second is sure everywhere; the right half is padding
    valid = torch.ones(2, 1, 12, 12)
    valid[1, :, :, 6:] = 0
    labels[1, 0, 5] = 255
    torch.manual_seed(0)
    found = draw_crops(best, labels, settings, valid)
    assert found.corners.shape == (2, 6, 2)
    assert (found.corners[0] == torch.tensor([4, 5])).all()
    assert not found.negative[0].any()
    for (row, column), negative in zip(
        found.corners[1].tolist(), found.negative[1].tolist(), strict=True
    ):
        assert column <= 3  # centred left of the padding
        assert 0 <= row <= 8
        inside = labels[1, row : row + 4, column : column + 4].numpy()
        mean = np.where(inside == 255, 1, np.where(inside > 0, 2, 0)).mean()
        assert negative == (mean <= 0.2)
    torch.manual_seed(0)
    again = draw_crops(best, labels, settings, valid)
    assert torch.equal(found.corners, again.corners)


def test_crops_are_cut_at_their_corners() -> None:
    images = torch.rand(2, 3, 8, 8)
    corners = torch.tensor([[[0, 1], [4, 4]], [[2, 3], [0, 0]]])
    found = cut_out(images, corners, 4)
    assert found.shape == (2, 2, 3, 4, 4)
    assert torch.equal(found[1, 0], images[1, :, 2:6, 3:7])


@pytest.fixture
def toco(plain_stage: Callable[..., SingleStage]) -> Callable[..., SingleStage]:
    losses = {"auxiliary": 1, "crop_contrast": 0.5, "segmentation": None}
    given = {"crops": 3, "crop_side": 16, "crop_widths": [12, 6, 10], "losses": losses}
    return lambda **changes: plain_stage(**{**given, **changes})


def test_the_image_is_compared_with_its_crops_through_the_average_of_their_projector(
    toco: Callable[..., SingleStage], monkeypatch: pytest.MonkeyPatch
) -> None:
    paradigm = toco().eval()
    branch = paradigm.branches["student"]
    torch.nn.init.normal_(branch.crops.whole.last.weight)  # apart from the crops' projector
    images, labels = torch.rand(2, 3, 32, 32), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    kept: list[Any] = []
    make = branch.labels
    monkeypatch.setattr(branch, "labels", lambda *a: kept.append(make(*a)) or kept[-1])
    found = paradigm.losses(images, labels, 0.5)
    crops = kept[0].crops
    mixed = crops._replace(negative=torch.tensor([[True, False, False], [False] * 3]))
    contrast = branch.crops(paradigm.student, images, token_of(paradigm, images), mixed)
    vit = copy.deepcopy(paradigm.student.encoder.vit)
    vit.set_input_size(img_size=(16, 16))
    shown = torch.stack(
        [
            images[i, :, r : r + 16, c : c + 16]
            for i in range(2)
            for r, c in crops.corners[i].tolist()
        ]
    )
    normal = (shown - paradigm.student.mean) / paradigm.student.std
    local = branch.crops.local(vit.forward_features(normal)[:, 0]).unflatten(0, (2, 3))
    whole = branch.crops.whole(token_of(paradigm, images))
    torch.testing.assert_close(contrast, crop_contrast(whole, local, mixed.negative))
    own = crop_contrast(whole, local, crops.negative)
    torch.testing.assert_close(found.total, found.classification + 0.5 * own)


def token_of(paradigm: SingleStage, images: torch.Tensor) -> torch.Tensor:
    network = paradigm.student
    found: torch.Tensor = network.encoder.vit.forward_features(
        (images - network.mean) / network.std
    )
    return found[:, 0]


def test_the_average_moves_by_a_tenth_after_each_step(toco: Callable[..., SingleStage]) -> None:
    paradigm = toco()
    crops = paradigm.branches["student"].crops
    before = crops.whole.last.weight.clone()
    with torch.no_grad():
        crops.local.last.weight.add_(1.0)
    paradigm.after_step()
    torch.testing.assert_close(crops.whole.last.weight, before + 0.1)
    learned = {id(p) for p in paradigm.trainable_parameters()}
    assert id(crops.local.last.weight) in learned
    assert id(crops.whole.last.weight) not in learned
    assert any(".crops.whole." in name for name in paradigm.state_dict())  # a checkpoint has it


@pytest.mark.ci
def test_a_training_with_crops_and_tokens_of_classes_resumes_to_the_bit(
    toco: Callable[..., SingleStage], tmp_path: Path
) -> None:
    """The running average of the projector and the drawn places of crops are part of it."""
    losses = {"auxiliary": 1, "crop_contrast": 0.5, "class_tokens": 1, "certain_evidence": 0.2}
    images = RNG.integers(0, 256, (4, 32, 32, 3), np.uint8)
    labels = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], bool)
    settings = TrainingSettings(epochs=3, batch_size=2, learning_rate=0.01)
    whole, file = toco(losses=losses), tmp_path / "checkpoint.pt"
    train(whole, images, labels, settings, seed=0)

    broken, stop = toco(losses=losses), break_off_after(2)
    with pytest.raises(BrokenOffError):
        train(broken, images, labels, settings, seed=0, checkpoint=file, on_epoch=stop)
    again = toco(losses=losses)
    train(again, images, labels, settings, seed=0, checkpoint=file)
    state = again.state_dict()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_crops_that_do_not_fit_are_refused_in_a_line(toco: Callable[..., SingleStage]) -> None:
    for changes, said in (
        ({"crop_side": 12}, "a multiple of the patch of 8 px, 32 at most"),
        ({"crop_side": 40}, "32 at most"),
        ({"losses": {"crop_contrast": 0.5}}, "crop_contrast needs the loss 'auxiliary'"),
        ({"crop_widths": [1, 2]}, "three whole numbers"),
    ):
        with pytest.raises(InputError, match=said):
            toco(**changes)
