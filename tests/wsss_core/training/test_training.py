"""The training loop: what a paradigm is shown, what the optimizer does, what is reported."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wsss_core.errors import InputError
from wsss_core.progress import hearing_progress
from wsss_core.training.loop import CollapseError, TrainingSettings, train
from wsss_core.transfer import Losses, Paradigm, Single


class Recorder(Paradigm):
    """Learns one number, its gradient always 1, and keeps every batch it is shown.

    Args:
        loss: the loss of a batch, by its number; by default the mean label.

    """

    def __init__(self, loss: Callable[[int, Tensor], float] | None = None) -> None:
        super().__init__()
        self.number = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.networks = {}
        self.loss = loss or (lambda _batch, labels: float(labels.mean()))
        self.images: list[np.ndarray] = []
        self.labels: list[np.ndarray] = []
        self.numbers: list[float] = []
        self.modes: list[bool] = []
        self.progress: list[float] = []
        self.steps_ended: list[int] = []

    def losses(self, images: Tensor, labels: Tensor, progress: float = 1.0) -> Losses:
        self.progress.append(progress)
        value = self.loss(len(self.images), labels)
        shown = (images.permute(0, 2, 3, 1) * 255).round().to(torch.uint8)
        self.images.append(shown.numpy().copy())
        self.labels.append(labels.numpy().copy())
        self.numbers.append(self.number.item())
        self.modes.append(self.training)
        total = value + self.number.sum() - self.number.detach().sum()
        return Losses(total, torch.tensor(2 * value), torch.tensor(3 * value))

    def after_step(self) -> None:
        self.steps_ended.append(len(self.images))


COUNT = 10
LABELS = (np.arange(COUNT) % 3 == 0)[:, None]


def pictures() -> np.ndarray:
    """Ten images of noise; the first pixel of image i is i, so each is known again."""
    images = np.random.default_rng(0).integers(50, 256, (COUNT, 4, 6, 3), np.uint8)
    images[:, 0, 0] = images[:, 0, -1] = np.arange(COUNT)[:, None]
    return images


def recorded(settings: TrainingSettings, *, seed: int = 0, images=None, **more) -> Recorder:
    recorder = Recorder(**more)
    train(recorder, pictures() if images is None else images, LABELS, settings, seed=seed)
    return recorder


def order(recorder: Recorder) -> list[list[int]]:
    return [[int(image[0, 0, 0]) for image in batch] for batch in recorder.images]


def test_each_image_is_seen_exactly_once_an_epoch_the_last_smaller_batch_included():
    batches = order(recorded(TrainingSettings(epochs=3, batch_size=4)))
    assert [len(batch) for batch in batches] == [4, 4, 2] * 3
    for epoch in range(3):
        seen = [number for batch in batches[3 * epoch : 3 * epoch + 3] for number in batch]
        assert sorted(seen) == list(range(COUNT))


def test_each_epoch_has_an_order_of_its_own():
    batches = order(recorded(TrainingSettings(epochs=3, batch_size=COUNT)))
    assert len({tuple(batch) for batch in batches}) == 3


def test_labels_go_with_their_images():
    recorder = recorded(TrainingSettings(epochs=2, batch_size=4, flip=True))
    for numbers, labels in zip(order(recorder), recorder.labels, strict=True):
        np.testing.assert_array_equal(labels, LABELS[numbers].astype(np.float32))


def test_another_seed_is_another_order():
    settings = TrainingSettings(epochs=1, batch_size=4)
    assert order(recorded(settings, seed=0)) != order(recorded(settings, seed=1))


def test_the_batches_of_a_seed_do_not_depend_on_the_configuration():
    """Trials are paired by seed: a configuration that draws more random numbers changes nothing."""

    def draws(_batch: int, labels: Tensor) -> float:
        torch.rand(17)
        np.random.rand(5)
        return float(labels.mean())

    plain = TrainingSettings(epochs=2, batch_size=4, flip=True)
    other = TrainingSettings(
        epochs=5, batch_size=4, flip=True, learning_rate=0.1, lr_schedule="cosine", lr_warmup=0.3
    )
    one, two = recorded(plain), recorded(other, loss=draws)
    for first, second in zip(one.images, two.images[: len(one.images)], strict=True):
        np.testing.assert_array_equal(first, second)


def test_flipping_changes_no_order():
    plain = recorded(TrainingSettings(epochs=2, batch_size=4))
    flipped = recorded(TrainingSettings(epochs=2, batch_size=4, flip=True))
    assert order(plain) == order(flipped)


def test_without_flips_every_image_is_shown_as_it_is():
    images = pictures()
    recorder = recorded(TrainingSettings(epochs=2, batch_size=4))
    for numbers, batch in zip(order(recorder), recorder.images, strict=True):
        np.testing.assert_array_equal(batch, images[numbers])


def test_a_flip_mirrors_left_and_right_and_falls_on_half_of_the_images():
    images = pictures()
    recorder = recorded(TrainingSettings(epochs=40, batch_size=COUNT, flip=True))
    mirrored = []
    for numbers, batch in zip(order(recorder), recorder.images, strict=True):
        for number, image in zip(numbers, batch, strict=True):
            as_it_is = np.array_equal(image, images[number])
            assert as_it_is != np.array_equal(image, images[number][:, ::-1])
            mirrored.append(not as_it_is)
    # 400 fair coins: five standard deviations are 50.
    assert 150 < sum(mirrored) < 250


def test_read_only_memory_mapped_images_are_flipped_and_left_as_they_are(tmp_path):
    file = tmp_path / "images.npy"
    np.save(file, pictures())
    before = file.read_bytes()
    mapped = np.load(file, mmap_mode="r")
    settings = TrainingSettings(epochs=2, batch_size=4, flip=True)
    from_file, from_memory = recorded(settings, images=mapped), recorded(settings)
    for one, other in zip(from_file.images, from_memory.images, strict=True):
        np.testing.assert_array_equal(one, other)
    assert file.read_bytes() == before


def test_images_in_memory_are_left_as_they_are():
    images = pictures()
    recorded(TrainingSettings(epochs=2, batch_size=4, flip=True), images=images)
    np.testing.assert_array_equal(images, pictures())


def test_each_step_is_that_of_adamw_at_the_rate_of_its_schedule():
    """Under a constant gradient of 1 AdamW steps by its rate; its decay shrinks the number."""
    settings = TrainingSettings(
        epochs=3,
        batch_size=4,
        learning_rate=0.1,
        weight_decay=0.2,
        lr_schedule="cosine",
        lr_warmup=0.25,
    )
    recorder = recorded(settings)
    expected = [0.0]
    for step in range(8):
        rate = settings.rate(step, 9)
        expected.append(expected[-1] * (1 - rate * 0.2) - rate / (1 + 1e-8))
    assert recorder.numbers == pytest.approx(expected, rel=1e-9)


def test_an_epochs_losses_are_means_over_its_images_not_over_its_batches():
    recorder = Recorder()
    history = train(recorder, pictures(), LABELS, TrainingSettings(epochs=2, batch_size=4), seed=0)
    share = LABELS.mean()
    for record in history:
        losses = (record.loss, record.classification_loss, record.transfer_loss)
        assert losses == pytest.approx((share, 2 * share, 3 * share), rel=1e-6)


def test_epochs_are_reported_in_order_as_they_end():
    reported = []
    settings = TrainingSettings(epochs=3, batch_size=4)
    history = train(Recorder(), pictures(), LABELS, settings, seed=0, on_epoch=reported.append)
    assert reported == history
    assert [record.epoch for record in history] == [0, 1, 2]


def test_each_batch_is_progress():
    heard: list[int] = []
    with hearing_progress(lambda: heard.append(1)):
        recorder = recorded(TrainingSettings(epochs=3, batch_size=4))
    assert len(heard) == len(recorder.images) == 9


def test_the_paradigm_learns_in_training_mode_and_is_left_in_evaluation_mode():
    recorder = recorded(TrainingSettings(epochs=2, batch_size=4))
    assert all(recorder.modes)
    assert not recorder.training


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_run_with_the_epochs_before_it(value):
    settings = TrainingSettings(epochs=5, batch_size=4)
    with pytest.raises(CollapseError, match=f"the loss became {value} in epoch 3") as collapse:
        recorded(settings, loss=lambda batch, labels: value if batch == 7 else 0.5)
    assert [record.loss for record in collapse.value.history] == [0.5, 0.5]


@pytest.mark.parametrize(("images", "labels"), [(COUNT, COUNT - 1), (0, 0)])
def test_labels_that_do_not_fit_the_images_are_an_error_that_names_both_counts(images, labels):
    with pytest.raises(InputError, match=f"got {images} images, {labels} labels"):
        train(Recorder(), pictures()[:images], LABELS[:labels], TrainingSettings(), seed=0)


def test_a_paradigm_is_told_the_share_of_steps_done_and_the_end_of_each_step():
    paradigm = Recorder()
    settings = TrainingSettings(epochs=2, batch_size=4)
    train(paradigm, pictures(), np.ones((COUNT, 1), bool), settings, seed=0)
    assert paradigm.progress == pytest.approx([step / 6 for step in range(6)])
    assert paradigm.steps_ended == [1, 2, 3, 4, 5, 6]


def test_bfloat16_runs_the_networks_and_leaves_weights_and_losses_in_float32(cnn):
    images = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)
    labels = np.arange(6)[:, None] % 2 == 0
    losses = {}
    for precision in ("fp32", "bf16"):
        network = cnn()
        settings = TrainingSettings(epochs=1, batch_size=3, precision=precision)
        (record,) = train(Single(network), images, labels, settings, seed=0)
        losses[precision] = record.loss
        assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], abs=0.02)


@pytest.mark.parametrize("computes_in_it", [True, False])
def test_auto_is_bfloat16_only_where_a_gpu_computes_in_it(computes_in_it, monkeypatch):
    def supported(including_emulation: bool = True) -> bool:
        return computes_in_it or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert TrainingSettings().autocasts("cuda:1") == computes_in_it
    assert not TrainingSettings().autocasts("cpu")
    assert not TrainingSettings(precision="fp32").autocasts("cuda")
    assert TrainingSettings(precision="bf16").autocasts("cuda")
