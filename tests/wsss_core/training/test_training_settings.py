"""The learning rate over a run, and settings that make no sense."""

import math

import pytest

from wsss_core.errors import InputError
from wsss_core.training.loop import TrainingSettings


def test_a_constant_rate_stays():
    settings = TrainingSettings(learning_rate=3e-4)
    assert [settings.rate(step, 10) for step in range(10)] == [3e-4] * 10


def test_a_cosine_falls_from_the_highest_rate_towards_0_over_all_steps():
    settings = TrainingSettings(learning_rate=3e-4, lr_schedule="cosine")
    for step in range(50):
        closed_form = 3e-4 * math.cos(math.pi * step / 100) ** 2  # cos^2(x/2) = (1 + cos x)/2
        assert settings.rate(step, 50) == pytest.approx(closed_form, rel=1e-12)


def test_a_cosine_keeps_its_form_at_tiny_rates():
    settings = TrainingSettings(learning_rate=1e-11, lr_schedule="cosine")
    assert settings.rate(1, 4) == pytest.approx(1e-11 * (2 + math.sqrt(2)) / 4, rel=1e-12)


def test_a_step_schedule_falls_by_its_factor_at_each_milestone():
    settings = TrainingSettings(
        learning_rate=1.0, lr_schedule="step", milestones=(0.25, 0.5, 0.9), decay=0.2
    )
    rates = [settings.rate(step, 20) for step in range(20)]
    expected = [0.2 ** sum(step >= at for at in (5, 10, 18)) for step in range(20)]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "step"])
def test_the_warm_up_rises_linearly_to_the_highest_rate(schedule):
    settings = TrainingSettings(learning_rate=1.0, lr_schedule=schedule, lr_warmup=0.2)
    rising = [settings.rate(step, 20) for step in range(4)]
    assert rising == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert settings.rate(4, 20) == 1.0


def test_after_a_warm_up_the_cosine_takes_the_rest_of_the_steps():
    settings = TrainingSettings(learning_rate=1.0, lr_schedule="cosine", lr_warmup=0.5)
    assert settings.rate(15, 20) == pytest.approx(0.5)
    assert settings.rate(19, 20) == pytest.approx(math.cos(math.pi * 9 / 20) ** 2)


def test_the_whole_run_may_be_warm_up():
    settings = TrainingSettings(learning_rate=1.0, lr_schedule="cosine", lr_warmup=1.0)
    assert [settings.rate(step, 4) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("milestones", (0.5, 0.5), "rising shares between 0 and 1"),
        ("milestones", (0.5, 1.0), "rising shares between 0 and 1"),
        ("decay", 0.0, "above 0, 1 at most"),
        ("precision", "fp16", "one of auto, fp32, bf16"),
        ("epochs", 0, "1 or more"),
        ("batch_size", 0, "1 or more"),
        ("learning_rate", 0.0, "a finite number above 0"),
        ("learning_rate", -1e-4, "a finite number above 0"),
        ("learning_rate", math.nan, "a finite number above 0"),
        ("learning_rate", math.inf, "a finite number above 0"),
        ("weight_decay", -0.1, "a finite number, 0 or more"),
        ("weight_decay", math.nan, "a finite number, 0 or more"),
        ("lr_schedule", "linear", "one of constant, cosine, step, poly"),
        ("lr_warmup", 1.5, "0 to 1"),
        ("lr_warmup", math.nan, "0 to 1"),
    ],
)
def test_a_value_out_of_its_range_is_an_error_that_names_it(name, value, expected):
    with pytest.raises(InputError) as error:
        TrainingSettings(**{name: value})
    assert str(error.value) == f"{name} is {value!r}; expected {expected}"
