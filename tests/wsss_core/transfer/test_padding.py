"""Padding is no evidence: to a classifier's logits, to PCM, and to alignments."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from wsss_core.backbones import Output, cell_weights
from wsss_core.transfer import Alignment, TeacherStudent, transfer_loss
from wsss_core.transfer.evidence import chosen_cells
from wsss_core.transfer.relations import linear_cka, relation_loss, similarity_preserving

SIZE = 32


def padded_to(rows: int, columns: int) -> torch.Tensor:
    valid = torch.zeros(1, 1, SIZE, SIZE)
    valid[..., :rows, :columns] = 1
    return valid


def test_a_cells_weight_is_the_share_of_its_pixels_that_are_of_an_image():
    valid = (torch.rand(2, 1, 21, 30, generator=torch.Generator().manual_seed(0)) < 0.6).float()
    found = cell_weights(valid, (3, 4), 8)
    for image in range(2):
        for row in range(3):
            for column in range(4):
                cell = valid[image, 0, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
                expected = float(cell.mean())  # 24 and 32 px: the last cells end at the border
                assert float(found[image, 0, row, column]) == pytest.approx(expected, abs=1e-6)


def test_the_logits_pool_over_cells_by_their_share_of_the_image(cnn):
    network = cnn(size=SIZE, classes=2).eval()
    images, valid = torch.rand(2, 3, SIZE, SIZE), padded_to(20, 32).expand(2, -1, -1, -1)
    with torch.no_grad():
        output = network(images, valid=valid)
        mean = network.mean + 0 * images
        as_mean_colour = network(torch.where(valid > 0, images, mean)).features
    weights = np.zeros((4, 4))
    weights[:2], weights[2] = 1, 0.5  # cells of 8 px: 20 rows are two and a half
    pooled = np.einsum("bchw,hw->bc", as_mean_colour.numpy(), weights) / weights.sum()
    expected = pooled @ network.head.weight.detach().numpy().T + network.head.bias.detach().numpy()
    np.testing.assert_allclose(output.logits.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("head", ["linear", "pcm"])
def test_what_lies_on_padding_changes_nothing(cnn, head):
    network = cnn(size=SIZE, head=head).train()
    images, valid = torch.rand(3, 3, SIZE, SIZE), padded_to(16, 24).expand(3, -1, -1, -1)
    other = torch.where(valid > 0, images, torch.rand_like(images))
    one, two = network(images, valid=valid), network(other, valid=valid)
    assert torch.equal(one.logits, two.logits)
    if head == "pcm":
        assert torch.equal(one.consistency, two.consistency)


def test_without_padding_a_map_of_ones_is_the_plain_mean(cnn):
    network = cnn(size=SIZE, head="pcm").train()
    images = torch.rand(3, 3, SIZE, SIZE)
    plain = network(images)
    told = network(images, valid=torch.ones(3, 1, SIZE, SIZE))
    torch.testing.assert_close(plain.logits, told.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(plain.consistency, told.consistency, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(plain.activation_maps, told.activation_maps, atol=1e-5, rtol=1e-4)


def test_pcm_gathers_no_score_from_padding(cnn):
    network = cnn(size=SIZE, head="pcm").eval()
    maps = torch.zeros(1, 1, 4, 4)
    maps[..., 2:, :] = 5.0  # scores on padding alone
    features = torch.rand(1, 32, 4, 4)
    low = torch.rand(1, network.encoder.channels_at(-2), 4, 4)
    cells = cell_weights(padded_to(16, 32), (4, 4), 8)
    with torch.no_grad():
        refined = network.refinement(maps, torch.rand(1, 3, 32, 32), low, features, cells)
    assert float(refined[..., :2, :].abs().max()) == 0


KEPT = (2, 3)
"""Rows and columns of a grid of 4 x 4 that are of the image."""


def alignment_of(student, teacher, **given) -> Alignment:
    torch.manual_seed(0)
    return Alignment(student, teacher, **given)


def of_output(features: torch.Tensor) -> Output:
    maps, logits = features[:, :1], features.mean((2, 3))[:, :1]
    return Output(features, maps, logits)


@pytest.fixture
def maps() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features of both networks at 4 x 4, padded to KEPT cells, and the map of valid pixels."""
    random = torch.Generator().manual_seed(0)
    own, other = (torch.randn(3, 32, 4, 4, generator=random) for _ in range(2))
    return own, other, padded_to(16, 24).expand(3, -1, -1, -1)


def cropped(features: torch.Tensor) -> torch.Tensor:
    return features[:, :, : KEPT[0], : KEPT[1]]


@pytest.mark.parametrize("representation", ["feature", "spatial_map", "gram"])
@pytest.mark.parametrize(
    ("metric", "level"),
    [("cosine", "global"), ("cosine", "channel"), ("cosine", "spatial"), ("l1", "global"),
     ("l2", "channel"), ("l2", "spatial")],
)  # fmt: skip
def test_maps_are_compared_over_the_cells_of_the_image_alone(
    cnn, maps, representation, metric, level
):
    if (metric, level, representation) == ("cosine", "spatial", "spatial_map"):
        pytest.skip("the cosine of single numbers")
    own, other, valid = maps
    student, teacher = cnn(size=SIZE), cnn(size=SIZE, seed=1)
    given = {"metric": metric, "level": level, "representation": representation}
    alignment = alignment_of(student, teacher, projection="none", **given)
    found = alignment(of_output(own), of_output(other), (SIZE, SIZE), valid)
    parts = [cropped(features) for features in (own, other)]
    if representation == "spatial_map":
        parts = [features.mean(1, keepdim=True) for features in parts]
    if representation == "gram":
        flat = [features.flatten(2) for features in parts]
        parts = [(f @ f.transpose(1, 2) / f.shape[-1]).unsqueeze(-1) for f in flat]
    expected = transfer_loss(*parts, metric=metric, level=level)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("metric", ["at", "spkd", "cka", "rkd_distance", "pkt"])
def test_relations_are_those_of_the_cells_of_the_image_alone(cnn, maps, metric):
    own, other, valid = maps
    alignment = alignment_of(cnn(size=SIZE), cnn(size=SIZE, seed=1), metric=metric)
    found = alignment(of_output(own), of_output(other), (SIZE, SIZE), valid)
    parts = [cropped(features) for features in (own, other)]
    expected = {
        "at": lambda: relation_loss(*parts, relation="at"),
        "spkd": lambda: similarity_preserving(*parts),
        "cka": lambda: linear_cka(*parts),
        "rkd_distance": lambda: relation_loss(
            *[p.mean((2, 3))[..., None, None] for p in parts], relation="rkd_distance"
        ),
        "pkt": lambda: relation_loss(
            *[p.mean((2, 3))[..., None, None] for p in parts], relation="pkt"
        ),
    }[metric]()
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def test_images_padded_differently_are_compared_each_over_its_own_cells(cnn, maps):
    own, other, _ = maps
    kept = [(4, 4), (2, 3), (3, 1)]
    valid = torch.cat([padded_to(8 * rows, 8 * columns) for rows, columns in kept])
    alignment = alignment_of(
        cnn(size=SIZE), cnn(size=SIZE, seed=1), metric="l2", level="spatial", projection="none"
    )
    found = alignment(of_output(own), of_output(other), (SIZE, SIZE), valid)
    each = [
        transfer_loss(own[i : i + 1, :, :r, :c], other[i : i + 1, :, :r, :c], metric="l2",
                      level="spatial")
        for i, (r, c) in enumerate(kept)
    ]  # fmt: skip
    torch.testing.assert_close(found, torch.stack(each).mean(), atol=1e-6, rtol=1e-5)


def test_no_gradient_reaches_features_on_padding(cnn, maps):
    own, other, valid = (tensor.clone() for tensor in maps)
    own.requires_grad_()
    alignment = alignment_of(cnn(size=SIZE), cnn(size=SIZE, seed=1), metric="l2", level="global")
    alignment(of_output(own), of_output(other), (SIZE, SIZE), valid).backward()
    assert float(own.grad[:, :, KEPT[0] :].abs().max()) == 0
    assert float(own.grad[:, :, : KEPT[0], : KEPT[1]].abs().max()) > 0


def test_an_image_smaller_than_half_a_cell_still_has_a_cell():
    weights = cell_weights(padded_to(3, 3), (4, 4), 8)
    assert chosen_cells(weights).sum() == 1


def test_both_networks_are_told_of_the_same_padding(cnn, vit):
    student, teacher = vit(size=SIZE), cnn(size=SIZE)
    paradigm = TeacherStudent(
        student, teacher, Alignment(student, teacher, metric="cosine", level="global"), 1.0
    )
    seen = []
    for network in (student, teacher):
        network.register_forward_pre_hook(
            lambda module, given, named: seen.append((given[0], named["valid"])), with_kwargs=True
        )
    images, valid = torch.rand(2, 3, SIZE, SIZE), padded_to(16, 24).expand(2, -1, -1, -1)
    losses = paradigm.losses(images, torch.ones(2, 1), 1.0, valid)
    assert losses.total.isfinite()
    assert all(one is images and told is valid for one, told in seen)
    assert len(seen) == 2
    plain = F.binary_cross_entropy_with_logits(
        student(images, valid=valid).logits, torch.ones(2, 1)
    )
    torch.testing.assert_close(losses.classification, plain)
