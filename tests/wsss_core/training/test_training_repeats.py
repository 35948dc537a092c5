"""A training run is a function of settings, seed and data, broken off or not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.wsss_core.broken_off import BrokenOffError, break_off_after
from wsss_core.training import EpochRecord, TrainingSettings, train
from wsss_core.transfer import Alignment, CoTraining, Paradigm, Single, TeacherStudent

SETTINGS = TrainingSettings(
    epochs=4, batch_size=5, learning_rate=3e-3, lr_schedule="cosine", lr_warmup=0.2, flip=True
)
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), np.uint8)
LABELS = np.random.default_rng(1).random((12, 1)) < 0.5
KINDS = ["cnn", "pcm", "vit with dropout", "teacher-student", "co-training", "average, warm-up"]


@pytest.fixture
def paradigm(cnn, vit) -> Callable[[str], Paradigm]:
    """A paradigm of tiny networks, the same at each call."""

    def build(kind: str) -> Paradigm:
        if kind == "cnn":
            return Single(cnn())
        if kind == "pcm":
            return Single(cnn(head="pcm"))
        student = vit(proj_drop_rate=0.1)
        if kind == "vit with dropout":
            return Single(student)
        teacher = cnn()
        alignment = Alignment(student, teacher, metric="l2", level="spatial")
        if kind == "average, warm-up":
            return CoTraining(
                student, teacher, alignment, 0.7, lambda_warmup=0.6, gradient="student", ema=0.8
            )
        paradigms = {"teacher-student": TeacherStudent, "co-training": CoTraining}
        return paradigms[kind](student, teacher, alignment, 0.7)

    return build


def losses(history: list[EpochRecord]) -> list[tuple[float, float, float | None]]:
    return [(r.loss, r.classification_loss, r.transfer_loss) for r in history]


def equal_to_the_bit(one: Paradigm, other: Paradigm) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return set(ours) == set(theirs) and all(torch.equal(ours[n], theirs[n]) for n in ours)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_result_to_the_bit(paradigm, kind):
    one, again = paradigm(kind), paradigm(kind)
    first = train(one, IMAGES, LABELS, SETTINGS, seed=3)
    torch.rand(100)  # what was drawn before does not matter
    second = train(again, IMAGES, LABELS, SETTINGS, seed=3)
    assert losses(first) == losses(second)
    assert equal_to_the_bit(one, again)


@pytest.mark.parametrize("kind", KINDS)
def test_another_seed_gives_another_result(paradigm, kind):
    one, other = paradigm(kind), paradigm(kind)
    first = train(one, IMAGES, LABELS, SETTINGS, seed=3)
    second = train(other, IMAGES, LABELS, SETTINGS, seed=4)
    assert losses(first) != losses(second)
    assert not equal_to_the_bit(one, other)


def test_the_seed_decides_dropout(paradigm):
    """With one batch of all images in evaluation order, dropout is all that is random."""
    whole = TrainingSettings(epochs=1, batch_size=12)
    same = np.repeat(IMAGES[:1], 12, axis=0)
    labels = np.ones((12, 1), dtype=bool)
    results = [
        losses(train(paradigm("vit with dropout"), same, labels, whole, seed=s)) for s in (0, 0, 1)
    ]
    assert results[0] == results[1] != results[2]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("epochs", [1, 3])
def test_a_run_broken_off_and_resumed_equals_the_uninterrupted_one_to_the_bit(
    tmp_path, paradigm, kind, epochs
):
    whole = paradigm(kind)
    expected = train(whole, IMAGES, LABELS, SETTINGS, seed=3)
    checkpoint = tmp_path / "folder" / "checkpoint.pt"
    with pytest.raises(BrokenOffError):
        train(
            paradigm(kind),
            IMAGES,
            LABELS,
            SETTINGS,
            seed=3,
            checkpoint=checkpoint,
            on_epoch=break_off_after(epochs),
        )
    torch.rand(100)
    resumed, reported = paradigm(kind), []
    history = train(
        resumed,
        IMAGES,
        LABELS,
        SETTINGS,
        seed=3,
        checkpoint=checkpoint,
        on_epoch=reported.append,
    )
    assert equal_to_the_bit(resumed, whole)
    assert losses(history) == losses(expected)
    assert [record.epoch for record in reported] == list(range(epochs, 4))


def test_a_finished_run_is_restored_and_not_trained_again(tmp_path, paradigm):
    checkpoint = tmp_path / "checkpoint.pt"
    done, restored = paradigm("cnn"), paradigm("cnn")
    history = train(done, IMAGES, LABELS, SETTINGS, seed=3, checkpoint=checkpoint)
    written = checkpoint.read_bytes()
    again = train(restored, IMAGES, LABELS, SETTINGS, seed=3, checkpoint=checkpoint)
    assert again == history
    assert equal_to_the_bit(restored, done)
    assert checkpoint.read_bytes() == written


def test_a_checkpoint_changes_no_result_and_leaves_nothing_beside_itself(tmp_path, paradigm):
    with_file, without = paradigm("cnn"), paradigm("cnn")
    train(with_file, IMAGES, LABELS, SETTINGS, seed=3, checkpoint=tmp_path / "checkpoint.pt")
    train(without, IMAGES, LABELS, SETTINGS, seed=3)
    assert equal_to_the_bit(with_file, without)
    assert list(Path(tmp_path).iterdir()) == [tmp_path / "checkpoint.pt"]


def test_a_checkpoint_holds_tensors_and_plain_values_alone(tmp_path, paradigm):
    file = tmp_path / "checkpoint.pt"
    train(paradigm("cnn"), IMAGES, LABELS, SETTINGS, seed=3, checkpoint=file)
    state = torch.load(file, weights_only=True)  # refuses anything that could run code
    assert len(state["history"]) == SETTINGS.epochs
