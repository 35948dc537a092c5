"""Out of memory: half as many images at once, the same gradient, and no trace of the attempt."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.wsss_core.broken_off import BrokenOffError, break_off_after
from wsss_core.training import EpochRecord, TrainingSettings, train
from wsss_core.training.micro_batches import batch_gradients
from wsss_core.transfer import Alignment, CoTraining, Paradigm, Single, TeacherStudent
from wsss_core.transfer.paradigms import Losses

SETTINGS = TrainingSettings(
    epochs=4, batch_size=7, learning_rate=3e-3, lr_schedule="cosine", lr_warmup=0.2, flip=True
)
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), np.uint8)
LABELS = np.random.default_rng(1).random((12, 1)) < 0.5

OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


def limited(
    paradigm: Paradigm, most: int, *, when: str = "before", error: RuntimeError | None = None
) -> Paradigm:
    """A paradigm that cannot take more than `most` images at once: before, after or in backward."""
    compute, error = paradigm.losses, error or OUT_OF_MEMORY[0]

    def fail(*_: Tensor) -> None:
        raise error

    def losses(images: Tensor, labels: Tensor, progress: float = 1.0) -> Losses:
        large = len(images) > most
        if large and when == "before":
            fail()
        found = compute(images, labels, progress)
        if large and when == "after":
            fail()
        if large:
            found.total.register_hook(fail)
        return found

    paradigm.losses = losses
    return paradigm


class Small(Paradigm):
    """A network without BatchNorm in double precision; its loss is a mean over images."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3, stride=2, dtype=torch.float64)
        self.head = nn.Linear(4, 1, dtype=torch.float64)
        self.networks = {}
        self.shown: list[int] = []
        self.steps = 0

    def losses(self, images: Tensor, labels: Tensor, progress: float = 1.0) -> Losses:
        self.shown.append(len(images))
        hidden = self.conv(images.double()).tanh().mean((2, 3))
        classification = F.binary_cross_entropy_with_logits(self.head(hidden), labels.double())
        transfer = hidden.square().mean()
        return Losses(classification + progress * transfer, classification, transfer)

    def after_step(self) -> None:
        self.steps += 1


@pytest.fixture
def paradigm(cnn, vit) -> Callable[[str], Paradigm]:
    """A paradigm of tiny networks, the same at each call."""

    def build(kind: str) -> Paradigm:
        if kind == "BatchNorm":
            return Single(cnn())
        student = vit(proj_drop_rate=0.1)
        if kind == "dropout":
            return Single(student)
        teacher = cnn()
        alignment = Alignment(student, teacher, metric="l2", level="spatial")
        if kind == "teacher-student":
            return TeacherStudent(student, teacher, alignment, 0.7)
        return CoTraining(student, teacher, alignment, 0.7, gradient="student", ema=0.8)

    return build


KINDS = ["BatchNorm", "dropout", "teacher-student", "co-training with an average"]


def numbers(history: list[EpochRecord]) -> list[tuple[float, float, float | None]]:
    return [(r.loss, r.classification_loss, r.transfer_loss) for r in history]


def equal_to_the_bit(one: Paradigm, other: Paradigm) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return set(ours) == set(theirs) and all(torch.equal(ours[n], theirs[n]) for n in ours)


@pytest.mark.parametrize(
    ("most", "expected", "parts"),
    [(7, None, [7]), (6, 4, [4, 3]), (3, 2, [2, 2, 2, 1]), (1, 1, [1] * 7)],
)
@pytest.mark.parametrize("when", ["before", "after", "in backward"])
def test_the_gradient_is_that_of_the_whole_batch(most, expected, parts, when):
    images, labels = torch.rand(7, 3, 8, 8), (torch.arange(7) % 2)[:, None]
    whole, small = Small(), limited(Small(), most, when=when)
    mean = whole.losses(images, labels)
    mean.total.backward()
    terms = batch_gradients(
        small,
        lambda part: small.losses(images[part], labels[part]),
        np.arange(7),
        None,
        device="cpu",
        what="this",
    )
    for ours, theirs in zip(small.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(terms.sums, 7 * torch.stack(mean).detach())
    assert terms.micro_batch == expected
    assert small.shown[-len(parts) :] == parts


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_training_in_micro_batches_gives_the_weights_and_losses_of_whole_batches(error):
    whole, small = Small(), limited(Small(), 3, error=error)
    expected = train(whole, IMAGES, LABELS, SETTINGS, seed=3)
    history = train(small, IMAGES, LABELS, SETTINGS, seed=3)
    for ours, theirs in zip(small.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(numbers(history), numbers(expected), rtol=1e-12)
    assert small.steps == whole.steps == 4 * 2
    assert [record.micro_batch for record in history] == [2] * 4
    assert [record.micro_batch for record in expected] == [None] * 4


def test_a_smaller_last_batch_stays_whole_where_it_fits():
    small = Small()
    settings = replace(SETTINGS, batch_size=10)
    train(limited(small, 6), IMAGES, LABELS, settings, seed=3)
    assert small.shown == [5, 5, 2] * 4


@pytest.mark.ci
@pytest.mark.parametrize("kind", KINDS)
def test_an_attempt_that_failed_late_leaves_no_trace(paradigm, kind):
    """BatchNorm's statistics and the random numbers had moved on; the one cut short before has not.

    Were anything of the failed pass kept, the two would differ.
    """
    ends = {}
    for when in ("before", "after", "in backward"):
        trained = limited(paradigm(kind), 4, when=when)
        ends[when] = trained, train(trained, IMAGES, LABELS, SETTINGS, seed=3)
    first, history = ends["before"]
    for other, records in (ends["after"], ends["in backward"]):
        assert equal_to_the_bit(first, other)
        assert numbers(records) == numbers(history)


@pytest.mark.ci
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("then", [2, 100], ids=["as before", "memory to spare"])
def test_a_run_that_goes_on_keeps_its_micro_batches_and_equals_the_uninterrupted_one(
    tmp_path: Path, paradigm, kind, then
):
    whole = limited(paradigm(kind), 2)
    expected = train(whole, IMAGES, LABELS, SETTINGS, seed=3)
    checkpoint = tmp_path / "checkpoint.pt"

    with pytest.raises(BrokenOffError):
        train(
            limited(paradigm(kind), 2), IMAGES, LABELS, SETTINGS, seed=3,
            checkpoint=checkpoint, on_epoch=break_off_after(2),
        )  # fmt: skip
    resumed = limited(paradigm(kind), then)
    history = train(resumed, IMAGES, LABELS, SETTINGS, seed=3, checkpoint=checkpoint)
    assert equal_to_the_bit(resumed, whole)
    assert numbers(history) == numbers(expected)
    assert [record.micro_batch for record in history] == [2] * 4


def test_memory_that_runs_out_later_changes_the_steps_from_there_on():
    small = Small()
    compute, calls = small.losses, []

    def losses(images: Tensor, labels: Tensor, progress: float = 1.0) -> Losses:
        calls.append(len(images))
        if len(calls) > 3 and len(images) > 4:
            raise OUT_OF_MEMORY[0]
        return compute(images, labels, progress)

    small.losses = losses
    history = train(small, IMAGES, LABELS, SETTINGS, seed=3)
    assert calls == [7, 5, 7, 5, 3, 2] + [3, 2, 2, 3, 2] * 2
    assert [record.micro_batch for record in history] == [None, 3, 3, 3]


def test_one_image_that_does_not_fit_is_an_error_that_names_sizes_and_a_way_out():
    with pytest.raises(torch.OutOfMemoryError) as raised:
        train(limited(Small(), 0), IMAGES[:, :, :8], LABELS, SETTINGS, seed=3)
    said = str(raised.value)
    assert "training on images of 8 x 16 px (batch_size 7) runs out of memory even with one" in said
    assert "`resources: gpus`" in said


def test_another_error_is_no_reason_to_try_again():
    small = Small()
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        train(limited(small, 4, error=error), IMAGES, LABELS, SETTINGS, seed=3)
    assert small.shown == []
