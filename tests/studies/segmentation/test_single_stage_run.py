"""Single-stage configurations in a study: planning, a finished run, the decoder's numbers."""

import copy
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors import safe_open

from reports.ledger.parts import read_arrow
from reports.results.reading import read_studies
from reports.results.segments import read_segments
from reports.tables.segments import segmentation_table
from studies.cli.plan_text import describe_plan
from studies.planning.planner import make_plan
from studies.spec.study import Study
from studies.stages.training import initial_network
from studies.store.artifacts import ArtifactStore
from wsss_core.errors import InputError
from wsss_core.segmentation import load_segmenter

Raw = dict[str, Any]

AFA: Raw = {
    "name": "afa",
    "affinity_radius": 1,
    "decoder_options": {"width": 8},
    "refiner_options": {"dilations": [1, 2], "iterations": 2},
    "losses": {"segmentation": {"after": 0}, "affinity": {"after": 0}},
    "predict_scales": [1.0, 2.0],
    "predict_crf": None,
}


def single_stage(tiny: Raw, **more: Any) -> Raw:
    study = copy.deepcopy(tiny)
    study["backbones"]["vit"]["options"]["depth"] = 4
    row = {"name": "AFA", "paradigm": "single-stage", "student": "vit", "recipe": AFA, **more}
    study["configurations"] = [{"paradigm": "single", "student": "vit"}, row]
    return study


def test_a_recipe_brings_training_settings_for_all_that_a_study_does_not_say(tiny: Raw) -> None:
    study = Study.model_validate(single_stage(tiny, recipe="afa"))
    (_, job) = make_plan(study).jobs.values()
    training = job.settings["training"]
    assert (training["epochs"], training["batch_size"], training["learning_rate"]) == (1, 8, 1e-3)
    assert "iterations" not in training
    assert (training["head_multiple"], training["schedule"], training["power"]) == (10, "poly", 1)
    assert list(training["rescale"]) == [0.5, 2.0]
    bare = single_stage(tiny, recipe="afa", training={"rescale": None, "head_multiple": 5})
    bare["training"] = {}
    (_, job) = make_plan(Study.model_validate(bare)).jobs.values()
    training = job.settings["training"]
    assert (training["iterations"], training["batch_size"], training["learning_rate"]) == (
        20_000,
        4,
        6e-5,
    )
    assert training["head_multiple"] == 5
    assert "rescale" not in training


def test_a_change_of_a_recipe_has_a_key_of_its_own_and_other_rows_keep_theirs(tiny: Raw) -> None:
    def keys(**recipe: Any) -> list[str]:
        raw = single_stage(tiny, recipe={**AFA, **recipe})
        plan = make_plan(Study.model_validate(raw))
        return [*plan.jobs, *(job.key for job in plan.segments)]

    first, other = keys(), keys(high=0.6)
    assert first[0] == other[0]
    assert not set(first[1:]) & set(other[1:])
    assert keys() == first


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"recipe": None}, "needs 'recipe'"),
        ({"recipe": "afaa"}, "nearest: 'afa'"),
        ({"recipe": {"name": "afa", "high": 7}}, "high is 7"),
        ({"metric": "cosine"}, "takes no 'metric'"),
        ({"teacher": "cnn", "metric": "cosine"}, "needs 'level'"),
        ({"teacher": "cnn", "projection": "mlp"}, "'projection' needs 'metric'"),
        ({"paradigm": "single"}, "no other takes it"),
        (
            {"teachers": {"cnn": 1, "vit": 1}, "metric": "cosine", "level": "global"},
            "'teachers' applies to teacher-student alone",
        ),
    ],
)
def test_slips_are_refused_in_a_line(tiny: Raw, changed: Raw, said: str) -> None:
    with pytest.raises(ValidationError) as error:
        Study.model_validate(single_stage(tiny, **changed))
    assert said in str(error.value)


def test_two_networks_of_one_stage_are_planned_as_one_training_run(tiny: Raw) -> None:
    aligned = {"teacher": "cnn", "metric": "cosine", "level": ["global", "channel"]}
    raw = single_stage(tiny, name=None, **aligned)
    study = Study.model_validate(raw)
    plan = make_plan(study)
    jobs = [job for job in plan.jobs.values() if job.paradigm == "single-stage"]
    assert [job.trained_roles for job in jobs] == [("student", "teacher")] * 2
    assert all(job.parent is None for job in jobs)
    assert [job.settings["transfer"]["level"] for job in jobs] == ["global", "channel"]
    assert len(plan.segments) == 2


def test_a_plan_says_that_a_decoder_is_trained_with_its_classifier(
    tiny: Raw, tmp_path: Path
) -> None:
    plan = make_plan(Study.model_validate(single_stage(tiny)))
    said = describe_plan(plan, ArtifactStore(tmp_path), tmp_path)
    assert "segmenters, 0 segmentation runs to do:" in said
    assert "to be scored, trained with its classifier; image labels, in one stage (afa)" in said


def test_two_students_of_one_backbone_begin_apart_and_the_first_as_alone(tiny: Raw) -> None:
    plan = make_plan(Study.model_validate(single_stage(tiny, teacher="vit")))
    alone, job = plan.jobs.values()
    one, other = (
        initial_network(job, role, "none").state_dict() for role in ("student", "teacher")
    )
    assert not torch.equal(one["head.weight"], other["head.weight"])
    assert torch.equal(one["head.weight"], initial_network(alone, "student", "none").head.weight)


def weclip(tiny: Raw, weights: Any, **recipe: Any) -> Raw:
    """A study of a row that trains a decoder on the tiny CLIP's image encoder."""
    study = copy.deepcopy(tiny)
    options = {"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2, "mlp_ratio": 1.0}
    model = "vit_base_patch16_clip_quickgelu_224"
    study["backbones"] = {"clip": {"model": model, "options": options, "weights": str(weights)}}
    given: Raw = {
        "name": "weclip",
        "prompt": "a {}.",
        "background_words": ["sky", "tree"],
        "attention_blocks": 2,
        "affinity_radius": 2,
        "decoder_options": {"width": 8, "layers": 1, "heads": 2},
        "refiner_options": {"dilations": [1, 2], "iterations": 2},
        **recipe,
    }
    row = {"name": "WeCLIP", "paradigm": "single-stage", "student": "clip", "recipe": given}
    study["configurations"] = [row]
    return study


@pytest.mark.ci
def test_weclip_is_refused_before_anything_runs_without_its_texts(
    tiny: Raw,
    checkpoint: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def said(weights: Any, **recipe: Any) -> str:
        with pytest.raises(InputError) as error:
            make_plan(Study.model_validate(weclip(tiny, weights, **recipe)))
        assert "\n" not in str(error.value)
        return str(error.value)

    file = checkpoint("clip") / "model.safetensors"
    assert "recipe weclip: the backbone's weights are none" in said("none")
    alone = tmp_path / "model.safetensors"
    alone.write_bytes(file.read_bytes())
    assert f"folder {tmp_path} has no config.json; expected a CLIP checkpoint" in said(alone)
    assert "recipe weclip: prompts: 'steam' is no class" in said(file, prompts={"steam": ["a"]})
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "transformers" else find(name)
    )
    assert "needs the package transformers" in said(file)


@pytest.mark.slow
def test_weclip_trains_a_decoder_and_its_classifier_is_clip_itself(
    shared_tiny: Raw, checkpoint: Callable[[str], Path], tmp_path: Path, run: Callable
) -> None:
    pytest.importorskip("transformers")
    file = checkpoint("clip") / "model.safetensors"
    ran = run(weclip(shared_tiny, file), tmp_path / "results")
    (trial,) = read_arrow(ran.results, "trials").to_pylist()
    assert trial["status"] == "ok"
    (record,) = read_segments(ran.results, "tiny")
    assert record.single_stage == "weclip"
    assert record.runs[0].status == "ok"
    (job,) = ran.plan.jobs.values()
    network = initial_network(job, "student", "none")
    with safe_open(ran.results / "store" / "train" / job.key / "student.safetensors", "pt") as kept:
        network.load_state_dict({name: kept.get_tensor(name) for name in kept.keys()})  # noqa: SIM118
    again = initial_network(job, "student", str(file))
    theirs, own = again.state_dict(), network.state_dict()
    assert all(torch.equal(theirs[name], value) for name, value in own.items())
    folder = ran.results / "store" / "segment" / record.runs[0].segment_key
    segmenter = load_segmenter(folder / "segmenter.safetensors")
    assert segmenter(torch.rand(1, 3, 32, 32)).shape == (1, 2, 32, 32)


@pytest.fixture(scope="module")
def ran_afa(tmp_path_factory: pytest.TempPathFactory, shared_tiny: Raw, run: Callable) -> Any:
    folder: Path = tmp_path_factory.mktemp("single_stage")
    return run(single_stage(shared_tiny), folder / "results")


@pytest.mark.ci
def test_cams_are_scored_as_a_trial_and_the_decoder_as_a_segmenter(ran_afa: Any) -> None:
    trials = {
        row["configuration"]: row for row in read_arrow(ran_afa.results, "trials").to_pylist()
    }
    assert {row["status"] for row in trials.values()} <= {"ok", "collapsed"}
    (record,) = read_segments(ran_afa.results, "tiny")
    (ended,) = record.runs
    assert (record.entry, record.configuration, record.rule) == ("AFA", "AFA", "tuned")
    assert record.single_stage == "afa"
    assert ended.status == "ok"
    assert ended.row["masks_spent"] == 0
    assert ended.row["seconds_training"] == trials["AFA"]["seconds_training"]
    (study,) = read_studies(ran_afa.results)
    table = segmentation_table(study)
    places = {column.key: place for place, column in enumerate(table.columns)}
    (row,) = table.rows
    minutes = row[places["minutes"]].data[""]
    assert minutes == pytest.approx(trials["AFA"]["seconds_training"] / 60)
    assert row[places["labels"]].text == "image labels, in one stage (afa)"


@pytest.mark.ci
def test_the_decoders_numbers_are_those_of_its_saved_file_over_two_scales_by_hand(
    ran_afa: Any,
) -> None:
    (record,) = read_segments(ran_afa.results, "tiny")
    (ended,) = record.runs
    folder = ran_afa.results / "store" / "segment" / ended.segment_key
    segmenter = load_segmenter(folder / "segmenter.safetensors")
    assert segmenter.class_names == ("smoke",)
    test = ran_afa.plan.image_sets[0].source.read("test", 32)
    images = torch.from_numpy(np.asarray(test.images)).permute(0, 3, 1, 2).float()
    total: Any = 0
    with torch.no_grad():
        for side in (32, 64):
            shown = torch.nn.functional.interpolate(images, (side, side), mode="bilinear")
            shown = shown.round() / 255
            for flipped in (False, True):
                logits = segmenter(shown.flip(-1) if flipped else shown)
                small = torch.nn.functional.interpolate(logits, (32, 32), mode="bilinear")
                found = small.softmax(1)
                total = total + (found.flip(-1) if flipped else found)
    predicted = total.argmax(1).numpy()
    scores = read_arrow(ran_afa.results, "segment_scores").to_pylist()
    rows = {(row["image"], row["class_number"]): row["pixels"] for row in scores}
    for index, name in enumerate(test.identifiers):
        truth = test.mask(index)
        for number in (0, 1):
            expected = [int(((truth == number) & (predicted[index] == k)).sum()) for k in (0, 1)]
            assert rows[name, number] == expected
