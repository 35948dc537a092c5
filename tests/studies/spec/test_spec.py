"""What a study file may say, and the rows it stands for."""

import itertools
from typing import Any

import pytest
from pydantic import ValidationError

from studies.spec.study import Study

Raw = dict[str, Any]


def names(study: Raw) -> list[str]:
    return [name for name, _ in Study.model_validate(study).named_configurations()]


def problem(study: Raw) -> str:
    with pytest.raises(ValidationError) as caught:
        Study.model_validate(study)
    return str(caught.value)


def test_lists_multiply_out_with_the_first_key_varying_slowest(taught: Raw) -> None:
    taught["configurations"][0] |= {
        "paradigm": ["teacher-student", "co-training"],
        "representation": ["feature", "activation_map"],
        "metric": ["cosine", "l2"],
        "level": ["global", "spatial"],
        "lambda": [0.5, 2],
    }
    expected = []
    for paradigm in ("teacher-student", "co-training"):
        for representation in ("feature", "activation_map"):
            for metric in ("cosine", "l2"):
                for level, weight in itertools.product(("global", "spatial"), (0.5, 2.0)):
                    expected.append((paradigm, representation, metric, level, weight))
    rows = [row for _, row in Study.model_validate(taught).named_configurations()]
    assert [
        (row.paradigm, row.representation, row.metric, row.transfer_level, row.transfer_weight)
        for row in rows
    ] == expected


def test_rows_are_named_by_what_they_compare(tiny: Raw) -> None:
    assert names(tiny) == [
        "CNN alone",
        "ViT alone",
        "taught, cosine global",
        "co-trained, cosine global",
    ]


def test_a_name_tells_the_weight_only_where_rows_differ_in_nothing_else(taught: Raw) -> None:
    entry = taught["configurations"][0]
    taught["configurations"] = [
        {**entry, "lambda": [1, 0.25]},
        {**entry, "metric": "l1", "lambda": 3},
        {**entry, "metric": "l2", "lambda": 1},
    ]
    assert names(taught) == [
        "taught, cosine global, λ 1",
        "taught, cosine global, λ 0.25",
        "taught, L1 global",
        "taught, L2 global",
    ]


def test_a_name_tells_the_representation_and_the_variant_that_are_not_the_default(
    taught: Raw,
) -> None:
    taught["configurations"][0] |= {"representation": "activation_map", "variant": "thesis"}
    assert names(taught) == ["taught, cosine global, activation map, as in the thesis code"]


def test_a_name_tells_the_networks_where_several_pairs_are_aligned(taught: Raw) -> None:
    entry = taught["configurations"][0]
    taught["configurations"] = [entry, {**entry, "student": "cnn", "teacher": "vit"}]
    assert names(taught) == [
        "ViT taught by CNN, cosine global",
        "CNN taught by ViT, cosine global",
    ]


def test_a_given_name_stands_alone_for_one_row_and_before_each_of_several(taught: Raw) -> None:
    entry = taught["configurations"][0]
    taught["configurations"] = [
        {**entry, "name": "ours"},
        {**entry, "name": "ours", "level": ["channel", "spatial"]},
    ]
    assert names(taught) == [
        "ours",
        "ours: taught, cosine channel",
        "ours: taught, cosine spatial",
    ]


def test_a_backbone_without_a_label_is_called_by_its_key(tiny: Raw) -> None:
    del tiny["backbones"]["cnn"]["label"]
    assert names(tiny)[0] == "cnn alone"


def test_words_are_read_in_any_case_and_with_underscores(taught: Raw) -> None:
    taught["configurations"][0] |= {
        "paradigm": "Teacher_Student",
        "metric": "L2",
        "level": "Global",
        "representation": "Activation_Map",
    }
    _, row = Study.model_validate(taught).named_configurations()[0]
    assert (row.paradigm, row.metric, row.transfer_level, row.representation) == (
        "teacher-student",
        "l2",
        "global",
        "activation_map",
    )


def test_relations_need_no_level_and_are_named_without_one(taught: Raw) -> None:
    taught["configurations"][0] |= {"metric": ["AT", "rkd_angle", "cka"], "level": None}
    rows = Study.model_validate(taught).named_configurations()
    assert [row.metric for _, row in rows] == ["at", "rkd_angle", "cka"]
    assert [name for name, _ in rows] == ["taught, AT", "taught, RKD angle", "taught, CKA"]


def test_metrics_of_logits_take_a_temperature(taught: Raw) -> None:
    taught["configurations"][0] |= {
        "metric": ["kl", "dist", "kl_standardised"],
        "representation": "logits",
        "temperature": 2,
    }
    rows = Study.model_validate(taught).named_configurations()
    assert [row.transfer()["temperature"] for _, row in rows] == [2, 2, 2]


def test_transfer_has_its_defaults_where_the_file_is_silent(taught: Raw) -> None:
    _, row = Study.model_validate(taught).named_configurations()[0]
    assert (row.representation, row.transfer_weight, row.variant, row.projection) == (
        "feature",
        1.0,
        None,
        None,
    )
    assert row.transfer() == {
        "metric": "cosine",
        "level": "global",
        "variant": "scaled",
        "representation": "feature",
        "projection": None,
        "layers": None,
        "temperature": 1.0,
        "weight": 1.0,
        "warmup": 0.0,
    }


def test_a_single_seed_may_stand_without_brackets(tiny: Raw) -> None:
    tiny["seeds"] = 7
    assert Study.model_validate(tiny).seeds == [7]


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("data.train", 1, "greater than or equal to 2"),
        ("data.size", 8, "greater than or equal to 16"),
        ("data.smoke", 1.0, "less than 1"),
        ("data.chimney_given_smoke", 1.5, "less than or equal to 1"),
        ("data.source", "foldr", "'scenes', 'folder'"),
        ("backbones", {}, "at least 1 item"),
        ("backbones.cnn.output_stride", 4, "8, 16 or 32"),
        ("training.epochs", 0, "greater than or equal to 1"),
        ("training.batch_size", 0, "greater than or equal to 1"),
        ("training.learning_rate", 0, "greater than 0"),
        ("training.learning_rate", float("inf"), "finite"),
        ("training.weight_decay", -0.1, "greater than or equal to 0"),
        ("training.schedule", "stair", "'constant', 'cosine', 'step' or 'poly'"),
        ("training.warmup", 1.0, "less than 1"),
        ("backbones.vit.training", {"epochs": 0}, "greater than or equal to 1"),
        ("cam", {"normalisation": "softmax"}, "'min_max', 'max' or 'sigmoid'"),
        ("thresholds", {"fixed": 1.1}, "less than or equal to 1"),
        ("thresholds", {"objective": "miou"}, "'per_image_iou'"),
        ("seeds", [], "at least 1 item"),
        ("seeds", [0, 1, 0], "holds a seed twice"),
        ("seeds", [-1], "greater than or equal to 0"),
        ("configurations", [], "at least 1 item"),
        ("panels", -1, "greater than or equal to 0"),
        ("resources.cpus", 0, "greater than or equal to 1"),
        ("resources.gpus", 2, "0, a share of one GPU, or 1: a trial uses one GPU at most"),
        ("resources.gpus", -1.0, "0, a share of one GPU, or 1"),
        ("resources.memory_gb", 0, "greater than 0"),
        ("study", "two words", "should match pattern"),
        ("study", "../up", "should match pattern"),
    ],
)
def test_a_value_out_of_its_range_is_refused(tiny: Raw, path: str, value: Any, said: str) -> None:
    *parents, last = path.split(".")
    at = tiny
    for step in parents:
        at = at[step]
    at[last] = value
    assert said in problem(tiny)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metric": "cosin"}, "expected cosine, l1, l2, kl, at, spkd, rkd_distance, rkd_angle"),
        ({"level": "pixel"}, "expected global, channel, spatial or a plug-in"),
        ({"metric": ["l2", "at"], "level": "channel"}, "'level' does not apply to the metric at"),
        (
            {"metric": ["kl", "at"], "temperature": 2},
            "metrics kl, dist, kl_standardised, ofa alone",
        ),
        ({"representation": "logit"}, "expected feature, spatial_map"),
        ({"paradigm": "mutual"}, "'single', 'teacher-student' or 'co-training'"),
        ({"variant": "paper"}, "'scaled' or 'thesis'"),
        ({"projection": "mlq"}, "expected conv1x1, mlp, group_linear, none"),
        ({"lambda": -1}, "greater than or equal to 0"),
        ({"lambda": [1.0, float("nan")]}, "finite"),
        ({"lambda": []}, "at least 1 item"),
        ({"metric": []}, "at least 1 item"),
        ({"level": []}, "at least 1 item"),
        ({"representation": []}, "at least 1 item"),
        ({"paradigm": []}, "at least 1 item"),
        ({"name": ""}, "at least 1 character"),
        ({"metric": None}, "teacher-student needs 'metric'"),
        ({"level": None}, "teacher-student needs 'level'"),
        ({"teacher": None}, "teacher-student needs 'teacher'"),
        ({"paradigm": ["single", "co-training"]}, "'single' cannot share an entry"),
        ({"student": "vitt"}, "'vitt' is no backbone of this study; nearest: 'vit'"),
        ({"student": ""}, "'' is no backbone of this study; nearest: "),
        ({"teacher": "cn"}, "'cn' is no backbone of this study; nearest: 'cnn'"),
        ({"levle": "global"}, "unknown key 'levle'; nearest: 'level'"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused(
    taught: Raw, change: Raw, said: str
) -> None:
    taught["configurations"][0] |= change
    assert said in problem(taught)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("teacher", "cnn"),
        ("metric", "l1"),
        ("level", "global"),
        ("representation", "feature"),
        ("lambda", 1),
        ("variant", "scaled"),
        ("projection", "none"),
    ],
)
def test_a_single_network_takes_nothing_of_transfer(tiny: Raw, key: str, value: Any) -> None:
    tiny["configurations"] = [{"paradigm": "single", "student": "vit", key: value}]
    assert f"paradigm 'single' takes no {key!r}" in problem(tiny)


def test_two_rows_of_one_name_are_refused(tiny: Raw) -> None:
    tiny["configurations"].append(tiny["configurations"][1] | {"training": {"epochs": 2}})
    assert "two configurations are called 'ViT alone'; give them a `name`" in problem(tiny)


def test_a_checked_study_does_not_change(tiny: Raw) -> None:
    study = Study.model_validate(tiny)
    with pytest.raises(ValidationError, match="frozen"):
        study.training.epochs = 9  # type: ignore[misc]
