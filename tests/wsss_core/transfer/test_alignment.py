"""What of two networks is aligned, and when a projection stands between them."""

import pytest
import torch

from wsss_core.backbones import Output
from wsss_core.errors import InputError
from wsss_core.transfer import Alignment, transfer_loss

GLOBAL_L2 = {"metric": "l2", "level": "global"}


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def projected(alignment: Alignment, maps: torch.Tensor) -> torch.Tensor:
    """A 1x1 convolution written as what it is: one matrix applied at each location."""
    matrix = alignment.projections[0].weight[:, :, 0, 0]
    assert alignment.projections[0].bias is not None
    return torch.einsum("tc,bchw->bthw", matrix, maps) + alignment.projections[0].bias.view(
        -1, 1, 1
    )


def outputs(student, teacher, images) -> tuple[Output, Output]:
    return student.eval()(images), teacher.eval()(images)


def test_features_are_projected_to_the_teachers_channels_by_default(vit, cnn, images):
    student, teacher = vit(), cnn()
    alignment = Alignment(student, teacher, **GLOBAL_L2)
    ours, theirs = outputs(student, teacher, images)
    expected = transfer_loss(projected(alignment, ours.features), theirs.features, **GLOBAL_L2)
    assert theirs.features.shape[1] != ours.features.shape[1]
    torch.testing.assert_close(alignment(ours, theirs), expected)


def test_activation_maps_are_aligned_as_they_are_by_default(vit, cnn, images):
    student, teacher = vit(classes=3), cnn(classes=3)
    alignment = Alignment(student, teacher, representation="activation_map", **GLOBAL_L2)
    ours, theirs = outputs(student, teacher, images)
    expected = transfer_loss(ours.activation_maps, theirs.activation_maps, **GLOBAL_L2)
    assert list(alignment.parameters()) == []
    assert alignment(ours, theirs) == expected


def test_the_thesis_projects_the_students_features_to_the_teachers_activation_maps(
    vit, cnn, images
):
    student, teacher = vit(classes=3), cnn(classes=3)
    alignment = Alignment(
        student, teacher, representation="activation_map", projection="conv1x1", **GLOBAL_L2
    )
    ours, theirs = outputs(student, teacher, images)
    maps = projected(alignment, ours.features)
    torch.testing.assert_close(
        alignment(ours, theirs), transfer_loss(maps, theirs.activation_maps, **GLOBAL_L2)
    )


def test_features_of_equal_width_can_be_aligned_without_a_projection(vit, images):
    student, teacher = vit(seed=0), vit(seed=1)
    alignment = Alignment(student, teacher, projection="none", **GLOBAL_L2)
    ours, theirs = outputs(student, teacher, images)
    assert alignment(ours, theirs) == transfer_loss(ours.features, theirs.features, **GLOBAL_L2)


def test_the_metric_level_and_variant_asked_for_are_the_ones_computed(vit, images):
    student, teacher = vit(seed=0), vit(seed=1)
    asked = {"metric": "L1", "level": "Spatial", "variant": "THESIS"}
    alignment = Alignment(student, teacher, projection="none", **asked)
    ours, theirs = outputs(student, teacher, images)
    assert alignment(ours, theirs) == transfer_loss(ours.features, theirs.features, **asked)


def test_features_of_unequal_width_without_a_projection_are_an_error_that_names_both(vit, cnn):
    with pytest.raises(InputError, match=r"24 channels of the student with 32 of the teacher"):
        Alignment(vit(), cnn(), projection="none", **GLOBAL_L2)


def test_activation_maps_of_unequal_numbers_of_classes_are_an_error(vit, cnn):
    with pytest.raises(InputError, match=r"2 channels of the student with 1 of the teacher"):
        Alignment(vit(classes=2), cnn(), representation="activation_map", **GLOBAL_L2)


def test_the_all_pairs_channel_cosine_needs_no_projection(vit, cnn, images):
    student, teacher = vit(), cnn()
    names = {"metric": "COSINE", "level": "channel", "variant": "thesis"}
    alignment = Alignment(student, teacher, projection="none", **names)
    ours, theirs = outputs(student, teacher, images)
    assert alignment(ours, theirs) == transfer_loss(ours.features, theirs.features, **names)


@pytest.mark.parametrize("key", ["metric", "level", "variant", "representation", "projection"])
def test_an_unknown_name_is_an_error_before_anything_is_trained(vit, cnn, key):
    with pytest.raises(InputError, match=f"{key} 'grams' is unknown; expected one of"):
        Alignment(vit(), cnn(), **{**GLOBAL_L2, key: "grams"})
