"""Labels of pixels in the middle of a training, CAMs on the fly, and the balanced loss."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from wsss_core.backbones import Network
from wsss_core.refine import par
from wsss_core.single_stage import (
    LabelMaker,
    MapsOnTheFly,
    SingleStageSettings,
    balanced_segmentation_loss,
    maps_on_the_fly,
    two_threshold_labels,
)


def test_a_pixel_is_a_class_background_or_unknown_by_two_thresholds() -> None:
    # Two classes at five pixels; the second class is not in the image.
    maps = torch.tensor([[[[0.9, 0.5, 0.3, 0.1, 0.0]], [[1.0, 1.0, 1.0, 1.0, 1.0]]]])
    maker = LabelMaker(SingleStageSettings(high=0.7, low=0.4, refiner="none", shrink=1))
    found = MapsOnTheFly(maps, None, (1, 5))
    images = torch.zeros(1, 3, 1, 5)
    labels = maker(images, found, torch.tensor([[True, False]]))
    assert labels.tolist() == [[[1, 255, 0, 0, 0]]]
    both = maker(images, found, torch.tensor([[True, True]]))
    assert both.tolist() == [[[2, 2, 2, 2, 2]]]


def test_each_class_has_a_background_score_of_its_own_that_falls_by_a_cosine() -> None:
    # The background's score is that of the class with the largest map; both maps lie between.
    maps = torch.tensor([[[[0.65, 0.5, 0.65, 0.1]], [[0.1, 0.62, 0.66, 0.0]]]])
    settings = SingleStageSettings(high=0.7, low=0.4, high_end=(0.7, 0.5), refiner="none", shrink=1)
    maker, found = LabelMaker(settings), MapsOnTheFly(maps, None, (1, 4))
    images, present = torch.zeros(1, 3, 1, 4), torch.tensor([[True, True]])
    assert maker(images, found, present, None, "cam", 0.0).tolist() == [[[255, 255, 255, 0]]]
    # Half way the second class's score is 0.6.
    assert maker(images, found, present, None, "cam", 0.5).tolist() == [[[255, 2, 2, 0]]]
    alone = torch.tensor([[True, False]])
    assert maker(images, found, alone, None, "cam", 1.0).tolist() == [[[255, 255, 255, 0]]]


def test_an_image_without_a_class_is_background_and_padding_is_unknown() -> None:
    maker = LabelMaker(SingleStageSettings(refiner="none", shrink=1))
    found = MapsOnTheFly(torch.ones(1, 2, 2, 2), None, (2, 2))
    valid = torch.tensor([[[[1.0, 0.0], [1.0, 1.0]]]])
    labels = maker(torch.zeros(1, 3, 2, 2), found, torch.zeros(1, 2, dtype=torch.bool), valid)
    assert labels.tolist() == [[[0, 255], [0, 0]]]


def test_labels_that_the_two_scores_disagree_on_are_unknown() -> None:
    high = torch.tensor([[[[0.9, 0.9, 0.1]], [[0.1, 0.1, 0.9]]]])
    low = torch.tensor([[[[0.9, 0.2, 0.1]], [[0.1, 0.8, 0.9]]]])
    assert two_threshold_labels(high, low).tolist() == [[[0, 255, 1]]]


def test_par_refines_the_softmax_of_each_image_at_half_the_size() -> None:
    torch.manual_seed(0)
    images, maps = torch.rand(2, 3, 8, 8), torch.rand(2, 2, 8, 8)
    present = torch.tensor([[True, False], [True, True]])
    settings = SingleStageSettings(
        high=0.6, low=0.3, refiner_options={"dilations": (1, 2), "iterations": 3}
    )
    labels = LabelMaker(settings)(images, MapsOnTheFly(maps, None, (1, 1)), present)
    for image, (picture, scores, there) in enumerate(zip(images, maps, present, strict=True)):
        classes = [0, *(1 + k for k in range(2) if there[k])]
        winners = []
        for background in (0.6, 0.3):
            whole = torch.cat([torch.full((1, 8, 8), background), scores])[classes]
            small = F.interpolate(whole[None], (4, 4), mode="bilinear").softmax(1)
            shrunk = F.interpolate(picture[None], (4, 4), mode="bilinear")
            refined = par(shrunk, small, dilations=(1, 2), iterations=3)
            best = F.interpolate(refined, (8, 8), mode="bilinear").argmax(1)[0]
            winners.append(torch.tensor(classes)[best])
        expected = torch.where(winners[0] > 0, winners[0], torch.where(winners[1] == 0, 0, 255))
        assert torch.equal(labels[image], expected)


def test_propagated_labels_are_those_of_scores_that_the_affinity_has_moved() -> None:
    # Cells 0 and 1 are alike, 2 and 3 are alike; the class shows in cell 0 alone.
    maps = torch.tensor([[[[1.0, 0.0, 0.0, 0.0]]]])
    affinity = torch.block_diag(torch.ones(2, 2), torch.ones(2, 2))[None]
    settings = SingleStageSettings(high=0.45, low=0.35, refiner="none", shrink=1)
    found = MapsOnTheFly(maps, affinity, (1, 4))
    images, present = torch.zeros(1, 3, 1, 4), torch.tensor([[True]])
    assert LabelMaker(settings)(images, found, present).tolist() == [[[1, 0, 0, 0]]]
    # Moved: softmax(.45, 1) = .366, .634 and softmax(.45, 0) = .611, .389; their mean is a class.
    moved = LabelMaker(settings)(images, found, present, source="propagated")
    assert moved.tolist() == [[[1, 1, 0, 0]]]


def test_cams_on_the_fly_are_those_of_a_loop_over_scales_and_flips(
    vit: Callable[..., Network],
) -> None:
    network = vit(size=16, classes=2)
    torch.nn.init.normal_(network.encoder.vit.pos_embed)
    network.train()
    images = torch.rand(2, 3, 16, 16)
    found = maps_on_the_fly(network, images, (1.0, 2.0), flip=True)
    assert network.training
    assert not found.maps.requires_grad
    total = torch.zeros(2, 2, 16, 16)
    network.eval()
    with torch.no_grad():
        whole = network.encoder.vit.pos_embed
        grid = whole[:, 1:].reshape(1, 2, 2, 24).permute(0, 3, 1, 2)
        larger = F.interpolate(grid, (4, 4), mode="bicubic", antialias=True, align_corners=False)
        for side, embedding in ((16, grid), (32, larger)):
            tokens = embedding.flatten(2).transpose(1, 2)
            network.encoder.vit.pos_embed.data = torch.cat([whole[:, :1], tokens], 1)
            network.encoder.vit.patch_embed.set_input_size((side, side))
            shown = F.interpolate(images, (side, side), mode="bilinear")
            views = [network(shown).activation_maps, network(shown.flip(-1)).activation_maps]
            views = [F.interpolate(view, (16, 16), mode="bilinear") for view in views]
            total += torch.maximum(views[0], views[1].flip(-1)).relu()
    low = total.amin((2, 3), keepdim=True)
    expected = (total - low) / ((total - low).amax((2, 3), keepdim=True) + 1e-5)
    torch.testing.assert_close(found.maps, expected, atol=1e-4, rtol=1e-4)


def test_cams_on_the_fly_move_no_statistics_of_a_cnn(cnn: Callable[..., Network]) -> None:
    network = cnn().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    maps_on_the_fly(network, torch.rand(2, 3, 16, 16), (1.0, 0.5), flip=True)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_background_and_classes_weigh_alike_however_many_pixels_they_have() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(1, 3, 2, 4))
    labels = np.array([[[0, 0, 0, 0], [0, 1, 2, 255]]])
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    flat = p[0].reshape(3, 8)
    background = -np.log(flat[0, :5]).mean()
    classes = -(np.log(flat[1, 5]) + np.log(flat[2, 6])) / 2
    found = balanced_segmentation_loss(torch.from_numpy(logits), torch.from_numpy(labels))
    assert float(found) == pytest.approx((background + classes) / 2)
    none = balanced_segmentation_loss(torch.zeros(1, 3, 1, 1), torch.full((1, 1, 1), 255))
    assert float(none) == 0
