"""torch.compile: the same training up to rounding, and networks that all else can use."""

import shutil

import numpy as np
import pytest
import torch

from wsss_core.cams import CamSettings, cams
from wsss_core.training.loop import TrainingSettings, train
from wsss_core.transfer import Alignment, CoTraining, Paradigm, Single, TeacherStudent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler"),
]

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 16, 16, 3), np.uint8)
LABELS = np.random.default_rng(1).random((10, 1)) < 0.5


def build(kind: str, cnn, vit) -> Paradigm:
    if kind == "pcm":
        return Single(cnn(head="pcm"))
    student, teacher = vit(), cnn()
    alignment = Alignment(student, teacher, metric="l2", level="spatial")
    if kind == "teacher-student":
        return TeacherStudent(student, teacher, alignment, 0.7)
    return CoTraining(student, teacher, alignment, 0.7, gradient="student", ema=0.8)


@pytest.mark.parametrize("kind", ["pcm", "teacher-student", "co-training with an average"])
def test_compiled_training_is_training_up_to_rounding(kind, cnn, vit):
    """Batches of 4, 4 and 2: another shape, which must not end it."""
    torch.compiler.reset()
    found = []
    for compiled in (False, True):
        paradigm = build(kind, cnn, vit)
        settings = TrainingSettings(epochs=2, batch_size=4, learning_rate=1e-3, compile=compiled)
        history = train(paradigm, IMAGES, LABELS, settings, seed=0)
        found.append((paradigm, [(r.loss, r.transfer_loss or 0.0) for r in history]))
    (plain, losses), (compiled, compiled_losses) = found
    np.testing.assert_allclose(compiled_losses, losses, rtol=1e-3)
    assert set(compiled.state_dict()) == set(plain.state_dict())


@pytest.mark.parametrize("method", ["class_weight", "grad_cam", "attention"])
def test_cams_of_a_compiled_network_are_those_of_its_weights(method, cnn, vit):
    torch.compiler.reset()
    paradigm = build("teacher-student", cnn, vit)
    settings = TrainingSettings(epochs=1, batch_size=5, learning_rate=1e-3, compile=True)
    train(paradigm, IMAGES, LABELS, settings, seed=0)
    trained = paradigm.networks["student"]
    plain = vit()
    plain.load_state_dict(trained.state_dict())
    plain.eval()
    found, expected = (cams(net, IMAGES, CamSettings(method)) for net in (trained, plain))
    np.testing.assert_allclose(found.maps, expected.maps, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.logits, expected.logits, rtol=1e-3, atol=1e-5)
