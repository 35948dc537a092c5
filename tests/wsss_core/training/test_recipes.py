"""Recipes of the field: optimizers, rates, averages, samplings and views, in whole trainings."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.wsss_core.broken_off import BrokenOffError, break_off_after
from wsss_core.backbones import Network
from wsss_core.errors import InputError
from wsss_core.training import TrainingSettings, WeightAverage, train
from wsss_core.training.optimizers import head_and_encoders
from wsss_core.transfer import Alignment, CoTraining, Losses, Paradigm, Single, TeacherStudent

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), np.uint8)
LABELS = np.random.default_rng(1).random((12, 1)) < 0.5
WHOLE = TrainingSettings(
    iterations=8,
    batch_size=5,
    learning_rate=0.01,
    lr_schedule="poly",
    lr_warmup=0.2,
    flip=True,
    optimizer="sgd",
    weight_decay=5e-4,
    head_multiple=10,
    ema=0.8,
    sampling="balanced",
    rescale=(0.5, 2.0),
    jitter=(0.3, 0.3, 0.3, 0.1),
    randaugment=(2, 9),
    cutmix=0.5,
)


class OneNumber(Paradigm):
    """A number that learns from a gradient of its own choice, and keeps what it was."""

    def __init__(self, gradient: Callable[[int], float] = lambda step: 1.0) -> None:
        super().__init__()
        self.number = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.networks = {}
        self.gradient, self.values, self.labels = gradient, [0.0], []
        self.images: list[Tensor] = []

    def losses(self, images, labels, progress=1.0, valid=None) -> Losses:
        loss = self.gradient(len(self.values) - 1) * self.number.sum()
        self.labels.append(labels)
        self.images.append(images)
        return Losses(loss, loss, None)

    def after_step(self) -> None:
        self.values.append(self.number.item())


def gradients(step: int) -> float:
    return [1.0, -0.5, 2.0, 0.3, -1.2, 0.7, 0.1, -0.4, 1.1][step]


def test_sgd_with_momentum_and_decay_is_its_formula():
    settings = TrainingSettings(
        epochs=3, batch_size=4, optimizer="sgd", learning_rate=0.1, weight_decay=0.2, momentum=0.8
    )
    paradigm = OneNumber(gradients)
    train(paradigm, IMAGES, LABELS, settings, seed=0)
    weight, velocity = 0.0, 0.0
    for step in range(9):
        velocity = 0.8 * velocity + gradients(step) + 0.2 * weight
        weight -= 0.1 * velocity
        assert paradigm.values[step + 1] == pytest.approx(weight, rel=1e-9)


def test_poly_falls_as_computed_by_hand():
    settings = TrainingSettings(learning_rate=0.1, lr_schedule="poly")
    rates = [settings.rate(step, 20000) for step in (0, 5000, 10000, 19999)]
    # 0.75^0.9 and 0.5^0.9 by logarithms; 0.00005^0.9 = 10^-3.870927
    assert rates == pytest.approx([0.1, 0.0771903, 0.0535887, 1.34609e-5], rel=1e-4)
    linear = replace(settings, power=1.0, lr_warmup=0.2)
    assert [linear.rate(step, 10) for step in range(10)] == pytest.approx(
        [0.05, 0.1, 0.1, 0.0875, 0.075, 0.0625, 0.05, 0.0375, 0.025, 0.0125]
    )


@pytest.mark.parametrize(("iterations", "steps"), [(2, [2]), (3, [3]), (7, [3, 3, 1])])
def test_iterations_are_the_steps_of_a_training_and_its_schedule_ends_with_them(iterations, steps):
    settings = TrainingSettings(
        epochs=50, iterations=iterations, batch_size=5, lr_schedule="cosine", weight_decay=0
    )
    paradigm = OneNumber()
    history = train(paradigm, IMAGES, LABELS, settings, seed=0)
    assert len(paradigm.values) - 1 == iterations
    assert [record.epoch for record in history] == list(range(len(steps)))
    moved = -np.diff(paradigm.values)  # AdamW under a constant gradient moves by its rate
    expected = [settings.rate(step, iterations) for step in range(iterations)]
    np.testing.assert_allclose(moved, expected, rtol=1e-6)


def test_the_losses_of_a_pass_cut_short_are_means_over_the_images_it_took():
    paradigm = OneNumber(lambda step: 0.0)
    losses = iter([1.0, 2.0, 6.0, 5.0])
    paradigm.losses = lambda images, labels, progress: Losses(
        *[0 * paradigm.number.sum() + next(losses)] * 2, None
    )
    settings = TrainingSettings(iterations=4, batch_size=5)
    history = train(paradigm, IMAGES, LABELS, settings, seed=0)
    assert [r.loss for r in history] == pytest.approx([(5 * 1 + 5 * 2 + 2 * 6) / 12, 5.0])


def test_balanced_sampling_shows_classes_as_often_and_labels_go_with_their_images():
    labels = np.zeros((200, 1), bool)
    labels[:8] = True
    images = np.zeros((200, 2, 2, 3), np.uint8)
    images[labels[:, 0]] = 255
    settings = TrainingSettings(epochs=4, batch_size=50, sampling="balanced")
    paradigm = OneNumber()
    train(paradigm, images, labels, settings, seed=0)
    shown = torch.cat(paradigm.labels)
    assert shown.shape == (800, 1)
    assert abs(float(shown.mean()) - 0.5) < 0.1
    assert torch.equal(torch.cat(paradigm.images).amax((1, 2, 3)), shown[:, 0])


def test_encoders_and_all_that_is_none_learn_at_rates_of_their_own(cnn, vit):
    student, teacher = vit(), cnn()
    paradigm = CoTraining(
        student, teacher, Alignment(student, teacher, metric="l2", level="spatial"), 0.7
    )
    groups = head_and_encoders(paradigm, 10)
    ids = [{id(p) for p in group.parameters} for group in groups]
    names = {id(p): name for name, p in paradigm.named_parameters()}
    assert [group.multiple for group in groups] == [1, 10]
    assert {names[i].split(".")[1] for i in ids[0]} == {"encoder"}
    assert {names[i] for i in ids[1]} == {
        *(f"{role}.head.{part}" for role in ("student", "teacher") for part in ("weight", "bias")),
        *(f"alignment.projections.0.{part}" for part in ("weight", "bias")),
    }
    assert ids[0] | ids[1] == set(names)


def test_a_step_with_groups_is_that_of_torch_with_two_rates(cnn):
    settings = TrainingSettings(
        epochs=1, batch_size=12, learning_rate=0.01, optimizer="sgd", head_multiple=10
    )
    ours, theirs = Single(cnn()), Single(cnn())
    train(ours, IMAGES, LABELS, settings, seed=0)
    network = theirs.student.train()
    order = np.random.default_rng([0, 0]).permutation(12)
    pixels = torch.from_numpy(IMAGES[order]).permute(0, 3, 1, 2).float() / 255
    labels = torch.from_numpy(LABELS[order]).float()
    groups = [
        {"params": list(network.encoder.parameters()), "lr": 0.01},
        {"params": list(network.head.parameters()), "lr": 0.1},
    ]
    optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=0.01)
    nn.functional.binary_cross_entropy_with_logits(network(pixels).logits, labels).backward()
    optimizer.step()
    for (name, one), other in zip(
        ours.student.state_dict().items(), theirs.student.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4, msg=name)


def test_a_head_rate_needs_an_encoder_to_tell_the_head_from(cnn):
    paradigm = Single(cnn())
    whole = nn.Module()
    paradigm.networks = {"student": whole}
    with pytest.raises(InputError, match=r"^head_multiple is 10; .* \(Module\) has no `encoder`"):
        head_and_encoders(paradigm, 10)


def test_the_average_is_that_of_a_list_of_all_weights():
    module = nn.BatchNorm1d(2)
    random = torch.Generator().manual_seed(0)
    average, kept = WeightAverage(module, 0.7), []
    expected = None
    for step in range(1, 8):
        with torch.no_grad():
            module.weight.copy_(torch.randn(2, generator=random))
            module.num_batches_tracked += 1
        kept.append(module.weight.detach().double().clone())
        share = min(0.7, (step - 1) / step)
        expected = kept[0] if expected is None else share * expected + (1 - share) * kept[-1]
        average.update(step)
        if step <= 3:  # 1 - 1/3 is still below the decay
            plain = torch.stack(kept).mean(0).float()
            torch.testing.assert_close(average.average["weight"], plain)
    torch.testing.assert_close(average.average["weight"], expected.float())
    assert int(average.average["num_batches_tracked"]) == 7
    average.put_in()
    torch.testing.assert_close(module.weight.detach(), expected.float())


def test_the_network_that_is_left_is_the_average_of_the_one_that_learned(cnn):
    plain = replace(WHOLE, ema=None)
    learned: list[dict[str, Tensor]] = []

    class Watched(Single):
        def after_step(self) -> None:
            learned.append({n: v.clone() for n, v in self.student.state_dict().items()})

    train(Watched(cnn()), IMAGES, LABELS, plain, seed=3)
    averaged = Single(cnn())
    train(averaged, IMAGES, LABELS, WHOLE, seed=3)
    expected = {n: v.double() for n, v in learned[0].items()}
    for step, state in enumerate(learned[1:], 2):
        share = min(0.8, 1 - 1 / step)
        expected = {n: share * v + (1 - share) * state[n] for n, v in expected.items()}
    for name, value in averaged.student.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, expected[name].float(), atol=1e-6, rtol=1e-5)


@pytest.fixture
def paradigm(cnn, vit) -> Callable[[str], Paradigm]:
    def build(kind: str) -> Paradigm:
        if kind == "pcm":
            return Single(cnn(head="pcm"))
        student, teacher = vit(proj_drop_rate=0.1), cnn()
        if kind == "vit":
            return Single(student)
        alignment = Alignment(student, teacher, metric="cosine", level="channel")
        if kind == "teacher-student":
            return TeacherStudent(student, teacher, alignment, 0.7)
        return CoTraining(student, teacher, alignment, 0.7, gradient="student", ema=0.8)

    return build


KINDS = [
    "vit",
    *(
        pytest.param(kind, marks=pytest.mark.ci)
        for kind in ("pcm", "teacher-student", "co-training")
    ),
]


def equal(one: Paradigm, other: Paradigm) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return set(ours) == set(theirs) and all(torch.equal(ours[n], theirs[n]) for n in ours)


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_with_every_option_that_is_broken_off_ends_in_the_same_bits(
    tmp_path, paradigm, kind
):
    whole, resumed = paradigm(kind), paradigm(kind)
    expected = train(whole, IMAGES, LABELS, WHOLE, seed=3)
    file, stop = tmp_path / "checkpoint.pt", break_off_after(2)
    with pytest.raises(BrokenOffError):
        train(paradigm(kind), IMAGES, LABELS, WHOLE, seed=3, checkpoint=file, on_epoch=stop)
    torch.rand(100)
    history = train(resumed, IMAGES, LABELS, WHOLE, seed=3, checkpoint=file)
    assert equal(whole, resumed)
    assert [r.loss for r in history] == [r.loss for r in expected]
    # Broken off again, all is there: weights, average, the optimizer's two groups.
    restored = paradigm(kind)
    assert not equal(whole, restored)
    train(restored, IMAGES, LABELS, WHOLE, seed=3, checkpoint=file)
    assert equal(whole, restored)


@pytest.mark.ci
def test_a_checkpoint_without_an_average_does_not_pass_for_one_with_it(tmp_path, paradigm):
    file = tmp_path / "checkpoint.pt"
    train(paradigm("vit"), IMAGES, LABELS, replace(WHOLE, ema=None), seed=3, checkpoint=file)
    anew, fresh = paradigm("vit"), paradigm("vit")
    train(anew, IMAGES, LABELS, WHOLE, seed=3, checkpoint=file)
    train(fresh, IMAGES, LABELS, WHOLE, seed=3)
    assert equal(anew, fresh)


class Mean(Paradigm):
    """A network in double precision without BatchNorm, which takes few images at once."""

    def __init__(self, most: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.networks, self.most = nn.Conv2d(3, 1, 3, dtype=torch.float64), {}, most

    def losses(self, images, labels, progress=1.0, valid=None) -> Losses:
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        valid = torch.ones_like(images[:, :1]) if valid is None else valid
        scores = self.conv((images * valid).double()).mean((1, 2, 3))
        loss = nn.functional.binary_cross_entropy_with_logits(scores, labels[:, 0].double())
        return Losses(loss, loss, None)


@pytest.mark.ci
@pytest.mark.parametrize("most", [4, 2, 1])
def test_micro_batches_take_the_views_of_the_whole_batch(most):
    settings = replace(WHOLE, head_multiple=1.0)
    whole, small = Mean(12), Mean(most)
    expected = train(whole, IMAGES, LABELS, settings, seed=3)
    history = train(small, IMAGES, LABELS, settings, seed=3)
    for one, other in zip(small.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    assert [r.loss for r in history] == pytest.approx([r.loss for r in expected], rel=1e-9)


def test_a_network_that_has_to_see_all_pixels_is_refused_before_the_first_step(cnn):
    class Whole(Network):
        def forward(self, images, taps=()):
            raise AssertionError("a step was taken")

    network = cnn()
    network.__class__ = Whole
    with pytest.raises(InputError, match=r"^rescale .* expected a Whole whose `forward` takes"):
        train(Single(network), IMAGES, LABELS, WHOLE, seed=0)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("iterations", 0, "1 or more"),
        ("optimizer", "adam", "one of adamw, sgd"),
        ("momentum", 1.0, "0 or more, below 1"),
        ("power", 0.0, "a finite number above 0"),
        ("head_multiple", -1.0, "a finite number above 0"),
        ("ema", 1.0, "above 0, below 1"),
    ],
)
def test_a_bad_value_is_a_line_that_names_it(name, value, expected):
    with pytest.raises(InputError) as error:
        TrainingSettings(**{name: value})
    assert str(error.value) == f"{name} is {value!r}; expected {expected}"
