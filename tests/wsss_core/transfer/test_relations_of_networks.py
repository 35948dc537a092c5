"""Relations between two networks, as a study's `metric` names them."""

import pytest
import torch

from wsss_core.errors import InputError
from wsss_core.transfer import RELATIONS, Alignment, TeacherStudent
from wsss_core.transfer.relations import relation_loss

LOGITS = ("dist", "kl_standardised")
FROM_MAPS = [name for name in RELATIONS if name not in ("ofa", "cross_attention")]
OF_EMBEDDINGS = ("rkd_distance", "rkd_angle", "pkt", "cc")


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def representation_of(relation: str) -> str:
    return "logits" if relation in LOGITS else "feature"


@pytest.mark.parametrize("relation", [name for name in FROM_MAPS if name != "vid"])
def test_a_relation_needs_no_projection_and_is_the_one_computed(vit, cnn, images, relation):
    student, teacher = vit(classes=3).eval(), cnn(classes=3).eval()
    name = representation_of(relation)
    alignment = Alignment(student, teacher, metric=relation.upper(), representation=name)
    ours, theirs = student(images), teacher(images)
    maps = (ours.logits, theirs.logits) if name == "logits" else (ours.features, theirs.features)
    if relation in OF_EMBEDDINGS:
        maps = (maps[0].mean((2, 3)), maps[1].mean((2, 3)))
    assert list(alignment.parameters()) == []
    expected = relation_loss(*maps, relation=relation)
    torch.testing.assert_close(alignment(ours, theirs), expected)


@pytest.mark.parametrize("representation", ["feature", "gram", "activation_map", "spatial_map"])
def test_vid_learns_a_variance_for_each_channel_of_the_teacher(vit, cnn, images, representation):
    student, teacher = vit(classes=3).eval(), cnn(classes=3).eval()
    alignment = Alignment(student, teacher, metric="vid", representation=representation)
    alignment(student(images), teacher(images)).backward()
    channels = {"feature": 32, "gram": 32, "activation_map": 3, "spatial_map": 1}
    (variance,) = alignment.variances
    assert variance.alpha.shape == (channels[representation],)
    assert variance.alpha.grad is not None
    assert (variance.alpha.grad != 0).all()


def test_vid_of_logits_learns_a_variance_for_each_class(vit, cnn, images):
    student, teacher = vit(classes=3).eval(), cnn(classes=3).eval()
    alignment = Alignment(student, teacher, metric="vid", representation="logits")
    assert alignment(student(images), teacher(images)).isfinite()
    assert alignment.variances[0].alpha.shape == (3,)


@pytest.mark.parametrize("relation", FROM_MAPS)
def test_a_few_steps_of_a_taught_student_lower_the_relation(vit, cnn, images, relation):
    # The batch is fixed and the networks normalise nothing by it, so the loss has to fall.
    student, teacher = vit(classes=3), cnn(classes=3)
    alignment = Alignment(
        student, teacher, metric=relation, representation=representation_of(relation)
    )
    paradigm = TeacherStudent(student, teacher, alignment, transfer_weight=1.0).train()
    parameters = list(paradigm.trainable_parameters())
    assert all(p.requires_grad for p in alignment.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    labels = torch.zeros(4, 3)
    transfers = []
    for _ in range(12):
        optimizer.zero_grad()
        losses = paradigm.losses(images, labels)
        assert losses.transfer is not None
        transfers.append(losses.transfer.item())
        losses.transfer.backward()
        optimizer.step()
    assert transfers[-1] < transfers[0]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"metric": "at", "level": "channel"}, "level 'channel': metric 'at' says itself"),
        ({"metric": "dist"}, "metric 'dist' compares logits; feature needs one of cosine, l1, l2"),
        ({"metric": "at", "representation": "logits"}, "'at' compares locations; logits has none"),
        ({"metric": "vid", "projection": "none"}, "use 'conv1x1' or 'mlp'"),
    ],
)
def test_a_relation_that_cannot_be_meant_is_refused(vit, cnn, changed, said):
    with pytest.raises(InputError, match=said):
        Alignment(vit(), cnn(), **changed)
