"""Weights files in a study: what was loaded is said, mean and std are those of the weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import timm
import torch
from safetensors.torch import save_file

from reports.ledger.parts import read_table
from reports.results.reading import read_studies
from reports.tables.strategies import strategies_table
from studies.planning.job import TrainingJob
from studies.planning.plan import Plan
from studies.planning.planner import make_plan
from studies.spec.loading import load_study
from studies.spec.study import Study
from studies.stages.training import initial_network, load_network
from wsss_core.errors import InputError

Raw = dict[str, Any]
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def state_of(study: Raw) -> dict[str, torch.Tensor]:
    backbone = study["backbones"]["vit"]
    size = study["data"]["size"]
    options = {**backbone["options"], "num_classes": 0, "img_size": size}
    return timm.create_model(backbone["model"], **options).state_dict()


@pytest.fixture
def vit_alone(tiny: Raw, tmp_path: Path) -> Raw:
    """The tiny study's ViT, which starts from a file of its own folder."""
    tiny["configurations"] = [{"paradigm": "single", "student": "vit"}]
    (tmp_path / "weights").mkdir()
    file = tmp_path / "weights" / "vit.safetensors"
    save_file(state_of(tiny), file)
    tiny["backbones"]["vit"]["weights"] = str(file)
    return tiny


def planned(study: Raw) -> Plan:
    return make_plan(Study.model_validate(study))


def only_job(study: Raw) -> TrainingJob:
    (job,) = planned(study).jobs.values()
    return job


def test_weights_loaded_in_part_are_counted_in_the_run_and_on_the_page(
    vit_alone: Raw, tmp_path: Path, run: Callable[..., Any]
) -> None:
    expected = len(state_of(vit_alone))
    torch.save({"pos_embed": state_of(vit_alone)["pos_embed"]}, tmp_path / "one.pth")
    vit_alone["backbones"]["vit"] |= {
        "weights": str(tmp_path / "one.pth"),
        "partial_weights": True,
    }
    finished = run(vit_alone, tmp_path / "results")
    said = f"1 of {expected} tensors come from one.pth; the rest start at random: cls_token;"
    assert [line for line in finished.said if said in line and line.startswith("warning: ")]
    (kept,) = read_table(tmp_path / "results", "trials")["random_parts"]
    assert said in kept
    (record,) = read_studies(tmp_path / "results")
    notes = strategies_table(record).notes
    assert [note for note in notes if said in note and note.startswith("ViT alone began with")]


def test_and_of_a_teacher_that_no_row_reports(
    taught: Raw, tmp_path: Path, run: Callable[..., Any]
) -> None:
    stem = timm.create_model("resnet18", channels=[4, 8, 16, 32]).state_dict()
    torch.save({"bn1.weight": stem["bn1.weight"]}, tmp_path / "one.pth")
    taught["backbones"]["cnn"] |= {"weights": str(tmp_path / "one.pth"), "partial_weights": True}
    run(taught, tmp_path / "results")
    (kept,) = read_table(tmp_path / "results", "trials")["random_parts"]
    assert kept.startswith("resnet18: 1 of ")


def test_whole_weights_leave_no_note(
    vit_alone: Raw, tmp_path: Path, run: Callable[..., Any]
) -> None:
    vit_alone["backbones"]["vit"]["partial_weights"] = True
    finished = run(vit_alone, tmp_path / "results")
    assert not [line for line in finished.said if "at random" in line]
    (kept,) = read_table(tmp_path / "results", "trials")["random_parts"]
    assert pd.isna(kept)
    (record,) = read_studies(tmp_path / "results")
    assert "part of its weights" not in " ".join(strategies_table(record).notes)


def test_plan_check_counts_what_is_loaded(
    vit_alone: Raw, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`wsss plan --check` and `wsss run` share the preflight."""
    from studies.preflight import preflight
    from studies.store.artifacts import ArtifactStore

    torch.save({"pos_embed": state_of(vit_alone)["pos_embed"]}, tmp_path / "one.pth")
    vit_alone["backbones"]["vit"] |= {
        "weights": str(tmp_path / "one.pth"),
        "partial_weights": True,
    }
    plan, store = planned(vit_alone), ArtifactStore(tmp_path / "store")
    preflight(plan, plan.pending(store), store, tmp_path / "results")
    assert "tensors come from one.pth; the rest start at random" in caplog.text


def test_mean_and_std_are_given_with_the_backbone(vit_alone: Raw) -> None:
    vit_alone["backbones"]["vit"] |= {"mean": IMAGENET[0], "std": IMAGENET[1]}
    job = only_job(vit_alone)
    network = initial_network(job, "student", job.weights["student"])
    assert network.mean.flatten().tolist() == pytest.approx(IMAGENET[0])
    assert network.std.flatten().tolist() == pytest.approx(IMAGENET[1])


def test_a_trained_network_is_loaded_with_them(
    vit_alone: Raw, tmp_path: Path, run: Callable[..., Any]
) -> None:
    vit_alone["backbones"]["vit"] |= {"mean": IMAGENET[0], "std": IMAGENET[1]}
    finished = run(vit_alone, tmp_path / "results")
    (job,) = finished.plan.jobs.values()
    network = load_network(finished.store, job, "student")
    assert network.std.flatten().tolist() == pytest.approx(IMAGENET[1])


def test_what_lies_with_the_weights_is_taken_and_makes_another_key(vit_alone: Raw) -> None:
    before = only_job(vit_alone)
    config = {
        "architecture": "vit_tiny_patch16_224",
        "pretrained_cfg": {"tag": "dino", "mean": IMAGENET[0], "std": IMAGENET[1]},
    }
    beside = Path(before.weights["student"]).with_name("config.json")
    beside.write_text(json.dumps(config))
    after = only_job(vit_alone)
    assert after.key != before.key
    network = initial_network(after, "student", after.weights["student"])
    assert network.mean.flatten().tolist() == pytest.approx(IMAGENET[0])
    vit_alone["backbones"]["vit"] |= {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5]}
    assert only_job(vit_alone).settings["student"]["mean"] == [0.1, 0.2, 0.3]


def test_metadata_of_a_safetensors_file_say_the_same(vit_alone: Raw, tmp_path: Path) -> None:
    about = json.dumps({"mean": IMAGENET[0], "std": IMAGENET[1]})
    file = tmp_path / "with_metadata.safetensors"
    save_file(state_of(vit_alone), file, {"format": "pt", "pretrained_cfg": about})
    vit_alone["backbones"]["vit"]["weights"] = str(file)
    assert only_job(vit_alone).settings["student"]["std"] == IMAGENET[1]


@pytest.mark.parametrize(
    "config",
    [
        {"architecture": "vit_tiny_patch16_224", "pretrained_cfg": {"mean": [0.5] * 3}},
        {"architecture": "vit_tiny_patch16_224", "mean": [0.1] * 3, "std": [0.1] * 3},
        {"architecture": "resnet50", "pretrained_cfg": {"mean": [0.1] * 3, "std": [0.1] * 3}},
        ["no mapping"],
    ],
)
def test_a_configuration_that_says_nothing_new_changes_no_key(vit_alone: Raw, config: Any) -> None:
    before = only_job(vit_alone)
    beside = Path(before.weights["student"]).with_name("config.json")
    beside.write_text(json.dumps(config))
    assert only_job(vit_alone).key == before.key


def test_a_mean_that_is_no_three_numbers_is_refused(vit_alone: Raw) -> None:
    beside = Path(vit_alone["backbones"]["vit"]["weights"]).with_name("config.json")
    beside.write_text(json.dumps({"pretrained_cfg": {"mean": [0.5], "std": [0.5] * 3}}))
    with pytest.raises(InputError, match="expected three numbers each"):
        planned(vit_alone)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mean": [0.5] * 3}, "mean and std are given together"),
        ({"mean": [123.7, 116.3, 103.5], "std": [0.5] * 3}, "less than or equal to 1"),
        ({"mean": [0.5] * 3, "std": [0.0, 0.5, 0.5]}, "greater than 0"),
        ({"mean": [0.5] * 2, "std": [0.5] * 3}, "at least 3 items"),
        ({"position_grid": [8, 8, 1]}, "at most 2 items"),
        ({"weights": "none", "position_grid": [8, 8]}, "position_grid is for a weights file"),
        ({"stage": "layer2", "final_norm": False}, "final_norm is of the last stage"),
    ],
)
def test_what_normalises_nothing_is_refused(vit_alone: Raw, given: Raw, said: str) -> None:
    vit_alone["backbones"]["vit"] |= given
    with pytest.raises(ValueError, match=said):
        Study.model_validate(vit_alone)


def test_a_file_under_a_bare_name_whose_tags_disagree_is_pointed_out(
    vit_alone: Raw, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from studies.preflight.initial_weights import log_initial_weights

    vit_alone["backbones"]["vit"]["model"] = "vit_small_patch16_224"
    log_initial_weights([only_job(vit_alone)])
    assert "mean [0.5, 0.5, 0.5]" in caplog.text
    assert "weights of dino take others" in caplog.text
    caplog.clear()
    vit_alone["backbones"]["vit"]["model"] = "vit_small_patch16_224.dino"
    log_initial_weights([only_job(vit_alone)])
    vit_alone["backbones"]["vit"] |= {"model": "vit_small_patch16_224"}
    vit_alone["backbones"]["vit"] |= {"mean": [0.5] * 3, "std": [0.5] * 3}
    log_initial_weights([only_job(vit_alone)])
    assert caplog.text == ""


def test_a_rectangle_is_loaded_by_its_grid(vit_alone: Raw, tmp_path: Path) -> None:
    """2 x 8 patches for the 4 x 4 of 32 px."""
    state = state_of(vit_alone)
    torch.save(state, tmp_path / "rectangle.pth")
    vit_alone["backbones"]["vit"]["weights"] = str(tmp_path / "rectangle.pth")
    square = only_job(vit_alone)
    vit_alone["backbones"]["vit"]["position_grid"] = [2, 8]
    job = only_job(vit_alone)
    assert job.key != square.key
    network = initial_network(job, "student", job.weights["student"])
    embedding = network.encoder.vit.pos_embed
    assert torch.equal(embedding[:, :1], state["pos_embed"][:, :1])
    assert not torch.equal(embedding, state["pos_embed"])


def test_the_new_keys_are_read_from_a_file(
    vit_alone: Raw, write_study: Callable[[Raw], str]
) -> None:
    vit_alone["backbones"]["vit"] |= {"mean": [0.5] * 3, "std": [0.25] * 3}
    study = load_study(write_study(vit_alone), ["backbones.vit.std=[0.2,0.2,0.2]"])
    assert study.backbones["vit"].std == [0.2, 0.2, 0.2]
