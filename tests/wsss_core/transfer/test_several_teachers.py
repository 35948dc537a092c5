"""A student of several frozen teachers, beside the loss towards each of them alone."""

import pytest
import torch

from wsss_core.errors import InputError
from wsss_core.transfer import Alignment, SeveralTeachers, TeacherStudent

SHARES = (0.5, 2.0)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def alignment_of(student, teacher, **given) -> Alignment:
    torch.manual_seed(0)
    return Alignment(student, teacher, **given)


HOW = [
    {"metric": "cosine", "level": "global"},
    {"metric": "l2", "level": "global", "representation": "attention"},
    {"metric": "ofa", "representation": "logits", "layers": [{"student": 0}, {}]},
]


@pytest.mark.parametrize("how", HOW)
def test_the_loss_is_the_weighted_sum_of_the_losses_towards_each_teacher(vit, cnn, images, how):
    teachers = [cnn(), cnn(seed=2)]
    labels = torch.tensor([[1.0], [0.0], [1.0], [1.0]])
    each = []
    for teacher in teachers:
        student = vit()
        alone = TeacherStudent(student, teacher, alignment_of(student, teacher, **how), 1.0)
        each.append(alone.eval().losses(images, labels))
    student = vit()
    alignments = [alignment_of(student, teacher, **how) for teacher in teachers]
    paradigm = SeveralTeachers(student, teachers, alignments, SHARES, 3.0, lambda_warmup=0.5).eval()
    found = paradigm.losses(images, labels, 0.25)
    expected = sum(w * one.transfer for w, one in zip(SHARES, each, strict=True))
    torch.testing.assert_close(found.transfer, expected)
    torch.testing.assert_close(found.classification, each[0].classification)
    torch.testing.assert_close(found.total, each[0].classification + 0.5 * 3.0 * expected)


def test_each_teacher_normalises_images_as_it_was_trained(vit, cnn, images):
    teachers = [cnn(), cnn(mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.5))]
    student = vit()
    alignments = [alignment_of(student, one, metric="cka") for one in teachers]
    paradigm = SeveralTeachers(student, teachers, alignments, (1.0, 1.0), 1.0).eval()
    features = [
        one.encoder((images - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1))
        for one, mean, std in (
            (teachers[0], torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])),
            (teachers[1], torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.5, 0.5])),
        )
    ]
    for place, expected in enumerate(features):
        found = paradigm._answer(place, images, None)
        torch.testing.assert_close(found.features, expected, atol=1e-5, rtol=1e-5)


def test_the_student_and_the_projections_learn_and_the_teachers_stay(vit, cnn, images):
    student, teachers = vit(), [cnn(), cnn(seed=2)]
    alignments = [alignment_of(student, one, metric="cosine", level="global") for one in teachers]
    paradigm = SeveralTeachers(student, teachers, alignments, SHARES, 1.0).train()
    before = [{k: v.clone() for k, v in one.state_dict().items()} for one in teachers]
    paradigm.losses(images, torch.ones(4, 1)).total.backward()
    assert not any(module.training for one in teachers for module in one.modules())
    for teacher, kept in zip(teachers, before, strict=True):
        assert all(torch.equal(value, kept[name]) for name, value in teacher.state_dict().items())
        assert all(p.grad is None for p in teacher.parameters())
    learning = {id(p) for p in paradigm.trainable_parameters()}
    assert learning == {id(p) for m in (student, *alignments) for p in m.parameters()}
    # A ViT's last norm of the class token is not read by the map.
    assert all(p.grad is not None for one in alignments for p in one.parameters())


def test_padding_is_told_to_all_teachers_and_to_no_loss(vit, cnn):
    student, teachers = vit(size=32), [cnn(size=32), cnn(size=32, seed=2)]
    alignments = [alignment_of(student, one, metric="l2", level="spatial") for one in teachers]
    paradigm = SeveralTeachers(student, teachers, alignments, SHARES, 1.0).eval()
    images, valid = torch.rand(2, 3, 32, 32), torch.ones(2, 1, 32, 32)
    valid[..., 16:] = 0
    other = torch.where(valid > 0, images, torch.rand_like(images))
    losses = [
        paradigm.losses(one, torch.ones(2, 1), 1.0, valid).transfer for one in (images, other)
    ]
    torch.testing.assert_close(losses[0], losses[1])


@pytest.mark.parametrize("shares", [(1.0,), (1.0, 0.0)])
def test_teachers_without_a_weight_are_refused(vit, cnn, shares):
    student, teachers = vit(), [cnn(), cnn(seed=2)]
    alignments = [alignment_of(student, one, metric="cka") for one in teachers]
    with pytest.raises(InputError, match="expected an alignment and a weight above 0 for each"):
        SeveralTeachers(student, teachers, alignments, shares, 1.0)
