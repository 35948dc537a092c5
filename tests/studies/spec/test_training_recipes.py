"""Recipes in study files: what a key holds, what changes what, what is refused, what is printed."""

import copy
from typing import Any

import pytest
from pydantic import ValidationError

from studies.planning import ImageSplits, TrainingJob, recipe_line
from studies.planning.planner import make_plan
from studies.spec.settings import Training, TrainingChange, training_in_key
from studies.spec.study import Study
from wsss_core.training.settings import TrainingSettings

NEW = {
    "sampling": "balanced",
    "rescale": [0.5, 2.0],
    "jitter": [0.3, 0.3, 0.3, 0.1],
    "randaugment": [2, 9],
    "cutmix": 0.5,
    "iterations": 100,
    "optimizer": "sgd",
    "head_multiple": 10,
    "ema": 0.99,
}
OLD = {"epochs", "batch_size", "learning_rate", "weight_decay", "schedule", "warmup", "milestones",
       "decay", "flip", "precision", "compile"}  # fmt: skip


def test_a_key_holds_what_it_held_before_there_was_a_choice():
    assert set(training_in_key(Training())) == OLD
    spelt_out = Training(optimizer="adamw", head_multiple=1, rescale=None, sampling="shuffled")
    assert training_in_key(spelt_out) == training_in_key(Training())


@pytest.mark.parametrize("name", NEW)
def test_a_key_holds_what_is_chosen_and_the_settings_come_back_from_it(name):
    held = training_in_key(Training(**{name: NEW[name]}))
    assert set(held) == OLD | {name} | ({"momentum"} & set(held))
    given = NEW[name]
    given = tuple(given) if isinstance(given, list) else given
    assert getattr(TrainingSettings.from_config(**held), name) == given


def test_a_setting_without_effect_is_in_no_key():
    assert training_in_key(Training(momentum=0.5, power=2)) == training_in_key(Training())
    assert training_in_key(Training(optimizer="sgd", momentum=0.5))["momentum"] == 0.5
    assert training_in_key(Training(lr_schedule="poly", power=2))["power"] == 2


def test_a_change_wins_and_null_turns_off_what_the_study_turns_on():
    study = Training(rescale=(0.5, 2), optimizer="sgd", ema=0.9)
    held = training_in_key(study, TrainingChange(ema=0.5), TrainingChange(rescale=None, flip=None))
    assert held == training_in_key(Training(optimizer="sgd", ema=0.5))


def test_epochs_of_a_configuration_replace_the_iterations_of_the_study_and_the_reverse():
    by_steps = training_in_key(Training(iterations=500), TrainingChange(epochs=2))
    assert by_steps == training_in_key(Training(epochs=2))
    held = training_in_key(Training(epochs=2), TrainingChange(iterations=500))
    assert held["iterations"] == 500


@pytest.mark.parametrize("section", [Training, TrainingChange])
@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"epochs": 2, "iterations": 5}, "epochs and iterations"),
        ({"rescale": [2.0, 0.5]}, "rescale is"),
        ({"rescale": 0.5}, "rescale"),
        ({"jitter": [0.3, 0.3, 0.3, 0.9]}, "jitter is"),
        ({"randaugment": [2, 99]}, "randaugment is"),
        ({"cutmix": 1.5}, "cutmix is"),
        ({"optimizer": "lamb"}, "optimizer"),
        ({"sampling": "even"}, "sampling"),
        ({"iterations": 0}, "iterations"),
        ({"ema": 1.0}, "ema"),
        ({"rescales": [0.5, 2]}, "unknown key 'rescales'; nearest: 'rescale'"),
    ],
)
def test_a_bad_value_is_an_error_that_names_its_key(section, given, named):
    with pytest.raises(ValidationError, match=named.replace("'", "['\"]")):
        section.model_validate(given)


def tiny_with(tiny: dict[str, Any], **training: Any) -> Study:
    study = copy.deepcopy(tiny)
    study["training"] = {"batch_size": 8, **training}
    return Study.model_validate(study)


def test_a_plan_knows_how_many_passes_iterations_make(tiny):
    jobs = make_plan(tiny_with(tiny, iterations=7)).jobs.values()
    # 24 training images in batches of 8: three steps a pass.
    assert {(j.settings["training"]["iterations"], j.settings["training"]["epochs"]) for j in jobs} == {(7, 3)}  # fmt: skip  # noqa: E501


def test_each_option_is_another_training(tiny):
    keys = [set(make_plan(tiny_with(tiny)).jobs)]
    for name, value in NEW.items():
        keys.append(set(make_plan(tiny_with(tiny, **{name: value})).jobs))
    assert len(set().union(*keys)) == sum(map(len, keys))


def test_the_images_of_steps_are_counted():
    def taken(epochs: int, **training: int) -> int:
        job = TrainingJob("k", {"training": {"batch_size": 8, **training}}, ImageSplits(32, {}))
        return job.images_taken(20, epochs)

    assert taken(3) == 60
    assert taken(3, iterations=7) == 20 + 20 + 8
    assert taken(1, iterations=7) == 20


def test_the_line_of_a_plan_names_every_option():
    line = recipe_line(training_in_key(Training(**NEW, lr_schedule="poly", flip=True)))
    for said in ("SGD (momentum 0.9)", "heads x 10", "poly (0.9)", "100 steps of 8",
                 "classes balanced", "rescale 0.5 to 2", "flips", "jitter 0.3/0.3/0.3/0.1",
                 "RandAugment 2 x 9", "CutMix of 50 %", "weights averaged (0.99)"):  # fmt: skip
        assert said in line


def test_wsss_plan_prints_how_each_configuration_is_trained(wsss, write_study, tiny):
    tiny = copy.deepcopy(tiny)
    tiny["training"] |= {"rescale": [0.5, 2.0]}
    tiny["configurations"] = tiny["configurations"][:2]
    tiny["configurations"][1]["training"] = {"rescale": None, "optimizer": "sgd"}
    said = wsss("plan", write_study(tiny), "--results", "/nowhere/results").out
    lines = said.splitlines()
    at = lines.index("training:")
    assert lines[at + 1].startswith("  AdamW, rate 0.001")
    assert lines[at + 1].endswith("rescale 0.5 to 2")
    assert lines[at + 2] == "    CNN alone"
    assert lines[at + 3].startswith("  SGD")
    assert "rescale" not in lines[at + 3]
    assert lines[at + 4] == "    ViT alone"


def test_a_bad_recipe_ends_the_command_with_one_line(wsss, write_study, tiny):
    tiny = copy.deepcopy(tiny)
    tiny["training"] |= {"rescale": [2, 0.5]}
    ended = wsss("plan", write_study(tiny), "--results", "/nowhere/results")
    assert ended.code == 2
    assert "rescale is (2.0, 0.5); expected two factors above 0" in ended.err
    assert ended.err.strip().count("\n") == 0
