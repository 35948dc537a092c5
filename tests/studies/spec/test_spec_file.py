"""From a file and `--set` changes to a study, and what a one-line error says."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from studies.spec.loading import load_study, shipped_studies
from studies.spec.study import Study
from wsss_core.errors import InputError

Raw = dict[str, Any]
Write = Callable[[Raw], str]


def problem(spec: str, *changes: str) -> str:
    with pytest.raises(InputError) as caught:
        load_study(spec, changes)
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_a_file_gives_the_study_it_writes_down(tiny: Raw, write_study: Write) -> None:
    assert load_study(write_study(tiny)) == Study.model_validate(tiny)


@pytest.mark.parametrize(
    ("change", "attribute", "value"),
    [
        ("training.epochs=5", "training.epochs", 5),
        ("training.flip=true", "training.flip", True),
        ("training.learning_rate=1e-2", "training.learning_rate", 0.01),
        ("seeds=[3, 4]", "seeds", [3, 4]),
        ("seeds=3", "seeds", [3]),
        ("title=a = b", "title", "a = b"),
        ("configurations.1.lambda=[1, 2]", "configurations.1.transfer_weight", [1.0, 2.0]),
        ("configurations.0.student=vit", "configurations.0.student", "vit"),
        ("backbones.cnn.training.epochs=9", "backbones.cnn.training.epochs", 9),
        ("cam={normalisation: max}", "cam.normalisation", "max"),
    ],
)
def test_set_changes_one_place_and_leaves_the_rest(
    tiny: Raw, write_study: Write, change: str, attribute: str, value: Any
) -> None:
    tiny["configurations"] = tiny["configurations"][1:] + tiny["configurations"][:1]
    tiny["configurations"][0]["name"] = "first"
    before = Study.model_validate(tiny).model_dump()
    after = load_study(write_study(tiny), [change]).model_dump()
    *parents, last = [int(step) if step.isdigit() else step for step in attribute.split(".")]
    changed: Any = after
    unchanged: Any = before
    for step in parents:
        changed, unchanged = changed[step], unchanged[step]
    assert changed[last] == value
    unchanged[last] = value
    assert after == before


def test_the_last_of_two_changes_of_a_key_counts(tiny: Raw, write_study: Write) -> None:
    study = load_study(write_study(tiny), ["training.epochs=2", "training.epochs=3"])
    assert study.training.epochs == 3


def test_set_makes_a_section_that_the_file_leaves_out(tiny: Raw, write_study: Write) -> None:
    assert load_study(write_study(tiny), ["thresholds.fixed=0.5"]).thresholds.fixed == 0.5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("epochs", "--set 'epochs': expected key=value"),
        ("=3", "--set '=3': expected key=value"),
        ("seeds=[0", "--set seeds: '[0': not valid YAML: line 2"),
        ("title.short=x", "--set title.short: 'short' lies inside a plain value"),
        ("configurations.4.name=x", "--set configurations.4.name: expected an index below 4"),
        ("configurations.last=x", "expected an index below 4, got 'last'"),
    ],
)
def test_a_change_that_has_no_place_is_named(
    tiny: Raw, write_study: Write, change: str, said: str
) -> None:
    assert said in problem(write_study(tiny), change)


@pytest.mark.parametrize(
    ("change", "key", "nearest"),
    [
        ("trainin.epochs=1", "trainin", "training"),
        ("training.epoch=1", "epoch", "epochs"),
        ("data.chimney_given_smok=1", "chimney_given_smok", "chimney_given_smoke"),
        ("backbones.vit.option={}", "option", "options"),
        ("backbones.vit.training.lerning_rate=1", "lerning_rate", "learning_rate"),
        ("configurations.2.lamda=1", "lamda", "lambda"),
        ("thresholds.fix=0.3", "fix", "fixed"),
        ("resources.gpu=1", "gpu", "gpus"),
    ],
)
def test_an_unknown_key_names_the_file_and_the_nearest_key(
    tiny: Raw, write_study: Write, change: str, key: str, nearest: str
) -> None:
    file = write_study(tiny)
    said = problem(file, change)
    assert said.startswith(f"{file}: ")
    assert said.endswith(f"unknown key {key!r}; nearest: {nearest!r}")


def test_an_unknown_key_like_no_other_lists_what_there_is(tiny: Raw, write_study: Write) -> None:
    said = problem(write_study(tiny), "cam.xyz=1")
    known = "method, layers, scales, flip, merge, normalisation, gating"
    assert said.endswith(f"cam: unknown key 'xyz'; expected: {known}")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ("training.epochs=0", "training.epochs: expected greater than or equal to 1, got 0"),
        ("data.size=1", "data.size: expected greater than or equal to 16, got 1"),
        ("data={source: folder}", "data.root: missing; this key must be given"),
        ("data={size: 32}", "data: expected a source: scenes, folder or plugin"),
        ("configurations.2.metric=cosin", "configurations[2].metric: expected cosine"),
        ("configurations.2.metric=[l1, l3]", "configurations[2].metric[1]: expected cosine"),
        ("configurations.2.lambda=-1", "configurations[2].lambda: expected greater than"),
        ("backbones.cnn.stage=[1]", "backbones.cnn.stage: expected a valid string"),
        ("resources.gpus=many", "resources.gpus: expected auto, packed, 0"),
    ],
)
def test_a_wrong_value_is_named_by_its_place_in_the_file(
    tiny: Raw, write_study: Write, change: str, place: str
) -> None:
    file = write_study(tiny)
    assert problem(file, change).startswith(f"{file}: {place}")


def test_several_problems_are_one_line_that_names_their_places(
    tiny: Raw, write_study: Write
) -> None:
    said = problem(write_study(tiny), "training.epochs=0", "training.batch_size=0", "panels=-1")
    assert said.endswith("got 0 (and 2 more: training.batch_size, panels)")


def test_a_value_of_question_marks_must_be_given(tiny: Raw, write_study: Write) -> None:
    tiny["backbones"]["cnn"]["weights"] = "???"
    file = write_study(tiny)
    wanted = "backbones.cnn.weights"
    assert problem(file) == f"{file}: {wanted} has no value yet; give it with --set {wanted}=VALUE"
    assert load_study(file, [f"{wanted}=w.pth"]).backbones["cnn"].weights == "w.pth"


def test_question_marks_in_a_list_are_found_by_their_index(tiny: Raw, write_study: Write) -> None:
    tiny["seeds"] = [0, "???"]
    assert "seeds.1 has no value yet" in problem(write_study(tiny))


def test_a_byte_order_mark_is_not_part_of_the_first_key(tiny: Raw, tmp_path: Path) -> None:
    file = tmp_path / "notepad.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + yaml.safe_dump(tiny).encode())
    assert load_study(str(file)).study == "tiny"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"study: [1", "not valid YAML: "),
        (b"a: b: c", "line 1"),
        (b"study: \xff\xfe", "not a text in UTF-8: 'utf-8' codec"),
        (b"", "expected keys such as study, data, backbones; got None"),
        (b"- a\n- b", "expected keys such as study, data, backbones; got ['a', 'b']"),
        (b"study: !!python/object/apply:os.getcwd []", "not valid YAML: "),
    ],
)
def test_a_file_that_is_no_study_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "broken.yaml"
    file.write_bytes(content)
    assert re.match(rf"{re.escape(str(file))}: .*{re.escape(said)}", problem(str(file)))


def test_an_unknown_study_names_the_nearest_shipped_one() -> None:
    said = problem("smoke_crop")
    assert said == "'smoke_crop' is neither a file nor a shipped study; did you mean 'smoke_crops'?"


def test_an_unknown_study_like_no_other_lists_the_shipped_ones() -> None:
    assert problem("zzz").endswith(f"shipped: {', '.join(shipped_studies())}")


@pytest.mark.parametrize("name", shipped_studies())
def test_every_shipped_study_is_whole_once_its_open_values_are_given(name: str) -> None:
    text = shipped_studies()[name].read_text(encoding="utf-8")
    raw = yaml.safe_load(text)
    raw.pop("variants", None)
    changes = [f"{key}=given" for key in _open_values(raw)]
    study = load_study(name, changes)
    assert study.study == name
    assert len(study.named_configurations()) + len(study.resolved_chains()) >= 2


VARIANTS = [
    (name, variant)
    for name, file in shipped_studies().items()
    for variant in yaml.safe_load(file.read_text(encoding="utf-8")).get("variants", {})
]


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_every_variant_of_a_shipped_study_is_whole_once_its_open_values_are_given(
    name: str, variant: str
) -> None:
    raw = yaml.safe_load(shipped_studies()[name].read_text(encoding="utf-8"))
    changed = {**raw, **raw["variants"][variant]}
    changed.pop("variants")
    changes = [f"{key}=given" for key in _open_values(changed)]
    study = load_study(name, changes, [variant])
    assert study.study == f"{name}-{variant}"


def test_a_variant_changes_what_it_names_and_set_has_the_last_word(tmp_path: Path) -> None:
    raw = yaml.safe_load(shipped_studies()["thesis/lambda"].read_text(encoding="utf-8"))
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(raw), encoding="utf-8")
    quick = load_study(str(file), [], ["quick"])
    assert (quick.seeds, quick.training.epochs, quick.training.batch_size) == ([0], 2, 32)
    assert load_study(str(file), ["training.epochs=3"], ["quick"]).training.epochs == 3


def test_an_unknown_variant_names_the_nearest() -> None:
    with pytest.raises(InputError, match="no variant 'quik'; did you mean 'quick'"):
        load_study("thesis/lambda", [], ["quik"])


def _open_values(value: Any, path: str = "") -> list[str]:
    if isinstance(value, dict):
        return [
            found for key, inner in value.items() for found in _open_values(inner, f"{path}{key}.")
        ]
    return [path[:-1]] if value == "???" else []


def test_a_key_given_twice_is_an_error_that_names_it_and_its_line(tmp_path: Path) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text("study: a\ntitle: b\nstudy: c\n")
    assert re.search(r"line 3, .*'study' is given twice", problem(str(file)))


def test_an_option_without_a_value_is_an_error(tiny: Raw, write_study: Write) -> None:
    said = problem(write_study(tiny), "backbones.vit.options={depth:4}")
    assert said.endswith("backbones.vit.options: option 'depth:4' has no value")


@pytest.mark.parametrize(
    ("section", "old", "new", "value"),
    [
        ("", "dial", "sweep", {"key": "data.smoke", "values": [0.3, 0.7]}),
        ("training", "schedule", "lr_schedule", "cosine"),
        ("training", "warmup", "lr_warmup", 0.25),
    ],
)
def test_a_file_in_older_spelling_is_read_as_in_the_new_one(
    tmp_path: Path, tiny: Raw, section: str, old: str, new: str, value: Any
) -> None:
    studies = []
    for key in (old, new):
        raw = copy.deepcopy(tiny)
        (raw[section] if section else raw)[key] = value
        file = tmp_path / f"{key}.yaml"
        file.write_text(yaml.safe_dump(raw), encoding="utf-8")
        dot = f"{section}." if section else ""
        changes = [] if isinstance(value, dict) else [f"{dot}{new}={value}", f"{dot}{old}={value}"]
        studies.append(load_study(str(file), changes))
    assert studies[0] == studies[1]


def test_a_problem_is_named_by_the_words_of_the_file(tmp_path: Path, tiny: Raw) -> None:
    tiny["dial"] = {"key": "data.smoke", "values": [0.3, 0.7]}
    file = tmp_path / "old.yaml"
    file.write_text(yaml.safe_dump(tiny), encoding="utf-8")
    assert "old.yaml: dial.values: expected" in problem(str(file), "sweep.values=much")
    assert "old.yaml: training.warmup: " in problem(str(file), "training.warmup=2")


def test_a_change_of_what_an_anchor_repeats_changes_one_place(tmp_path: Path, tiny: Raw) -> None:
    text = yaml.safe_dump(tiny)
    file = tmp_path / "anchors.yaml"
    shared = "  twin: {model: resnet18, training: &t {epochs: 2}}\n"
    shared += "  other: {model: resnet18, training: *t}\n"
    file.write_text(text.replace("backbones:\n", f"backbones:\n{shared}", 1))
    study = load_study(str(file), ["backbones.twin.training.epochs=5"])
    epochs = [study.backbones[name].training.epochs for name in ("twin", "other")]
    assert epochs == [5, 2]
