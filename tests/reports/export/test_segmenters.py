"""Segmenters in every export: their rows, figures worked out by hand, names and tags."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from reports.export import export_results
from reports.export.mlflow_client import MlflowClient
from reports.export.mlflow_runs import export_to_mlflow
from reports.export.runs import StudyExport
from reports.ledger.parts import write_part
from reports.names import MEAN_OF_CLASSES
from reports.results.reading import read_studies

# Pixels by true and predicted class, the background first. The object's IoU is 35 / 50 over the
# image that holds it and 35 / 60 over both.
ONE_CLASS = (((50, 10), (5, 35)), ((90, 10), (0, 0)))
TWO_CLASSES = (((20, 0, 0), (0, 8, 2), (5, 0, 5)),)
STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OK, FAILED, MISSING = "c0" * 8, "c1" * 8, "c2" * 8


def plan_row(study, entry, seed, key, **about):
    return {
        "study": study, "entry": entry, "position": about.pop("position", 0), "seed": seed,
        "segment_key": f"5e{key}", "scores_key": key, "model": "unet, resnet18", "steps": 4,
        "overlap": 0.5, "prediction": "{}", "settings": "{}", "artifacts": "[]", **about,
    }  # fmt: skip


def ended_row(entry, seed, key, status, **about):
    settings = {"entry": entry, "model": {"model": "unet"}, "training": {"steps": 4}}
    return {
        "scores_key": key, "segment_key": f"5e{key}", "entry": entry, "seed": seed,
        "status": status, "settings": json.dumps(settings), "package_version": "0.1.0",
        "packages": "{}", "started_at": STARTED, "host": "laptop", "seconds_scoring": 0.5, **about,
    }  # fmt: skip


def score_rows(key, classes, images):
    names = ("background", *classes)
    return [
        {
            "scores_key": key, "image": f"{index}.png", "group": f"{index}.png", "class_name": name,
            "class_number": number, "pixels": list(pixels), "boundary_hits": 1,
            "boundary_union": 2, "objects": 1, "found": 1, "predicted": 1, "false_objects": 0,
        }
        for index, image in enumerate(images)
        for number, (name, pixels) in enumerate(zip(names, image, strict=True))
    ]  # fmt: skip


def write_segmenters(results: Path, classes=("smoke",), images=ONE_CLASS):
    write_part(results, "segments", "strategies", [
        plan_row("strategies", "4 masks, λ", 0, OK, masks="4"),
        plan_row("strategies", "4 masks, λ", 1, FAILED, masks="4"),
        plan_row("strategies", "of CNN alone", 0, MISSING, configuration="CNN alone",
                 refinement="none", rule="otsu", position=1),
    ])  # fmt: skip
    write_part(results, "segment_scores", OK, score_rows(OK, classes, images))
    done = {"masks_spent": 4, "masks_trained": 4, "seconds_training": 2.0, "loss": 0.25}
    write_part(results, "segmented", OK, [ended_row("4 masks, λ", 0, OK, "ok", **done)])
    error = {"error": "RuntimeError: /home/me/masks are gone"}
    failed = ended_row("4 masks, λ", 1, FAILED, "failed", **error)
    write_part(results, "segmented", FAILED, [failed])


@pytest.fixture(scope="module")
def results(build_ledger, tmp_path_factory) -> Path:
    results = tmp_path_factory.mktemp("segmenters")
    build_ledger(results, seeds=(0, 1), states={}, counts=(2, 3))
    write_segmenters(results)
    return results


@pytest.fixture(scope="module")
def study(results) -> StudyExport:
    return StudyExport("strategies", read_studies(results))


def segmenters(study):
    return {run.name: run for run in study.runs if run.kind == "segmenter"}


def read(folder, name):
    # Every text as it stands in the file.
    return pd.read_csv(folder / f"{name}.csv", dtype=str, keep_default_na=False)


def test_a_segmenter_that_ended_is_a_run_with_its_settings_figures_and_tags(study):
    found = segmenters(study)
    assert list(found) == ["4 masks, λ, seed 0", "4 masks, λ, seed 1"]
    run = found["4 masks, λ, seed 0"]
    place = {"segmenter": "4 masks, λ", "seed": 0, "trained_on": "4 true masks"}
    assert place.items() <= run.settings.items()
    assert run.settings["training.steps"] == 4
    figures = {name[2]: value for name, value in run.figures.items() if name[0] == "test"}
    assert {name[:2] for name in run.figures} >= {("test", "segmenter"), ("run", "loss")}
    assert figures["dataset_iou"] == 35 / 50
    assert figures["dataset_iou_all_images"] == 35 / 60
    assert figures["pixel_accuracy"] == 175 / 200
    assert figures["object_recall"] == 1
    assert run.figures["run", "masks_spent"] == 4
    assert (run.group, run.tags["scores_key"], run.tags["seed"]) == ("4 masks, λ", OK, "0")
    assert (run.started, run.seconds) == (STARTED.timestamp(), 2.5)


def test_a_failed_segmenter_keeps_its_error_and_one_that_waits_is_counted(study):
    failed = segmenters(study)["4 masks, λ, seed 1"]
    assert (failed.status, failed.error) == ("failed", "RuntimeError: /home/me/masks are gone")
    assert [name for name in failed.figures if name[0] == "test"] == []
    assert (study.waiting, study.waiting_segmenters) == (0, 1)


def test_keys_and_names_are_those_of_one_run(study):
    assert len({run.key for run in study.runs}) == len(study.runs) == 18
    assert ("test", "segmenter", "per_image_iou") in study.main_figures
    assert study.main_figures[0] == ("test", "tuned", "per_image_iou")


def test_of_several_classes_each_has_its_figures_and_the_mean_has_no_name(build_ledger, tmp_path):
    build_ledger(tmp_path, seeds=(0,), states={}, counts=(2, 3))
    write_segmenters(tmp_path, ("smoke", "fire"), TWO_CLASSES)
    study = StudyExport("strategies", read_studies(tmp_path))
    figures = segmenters(study)["4 masks, λ, seed 0"].figures
    assert figures["class smoke", "test", "segmenter", "dataset_iou"] == 8 / 10
    assert figures["class fire", "test", "segmenter", "dataset_iou"] == 5 / 12
    assert figures["test", "segmenter", "dataset_iou"] == pytest.approx((8 / 10 + 5 / 12) / 2)
    assert ("test", "segmenter", "foreground_miou") in figures
    assert ("class fire", "test", "segmenter", "foreground_miou") not in figures
    export_results(tmp_path, "csv", out=tmp_path / "csv")
    scores = read(tmp_path / "csv", "segment_scores")
    assert list(scores["class_name"]) == ["smoke", "fire", MEAN_OF_CLASSES]
    assert [value == "" for value in scores["foreground_miou"]] == [True, True, False]


def test_csv_has_every_planned_segmenter_and_the_scores_of_those_that_ended(results, tmp_path):
    exported = export_results(results, "csv", out=tmp_path)
    assert (exported.runs, exported.segmenters) == (18, 2)
    found = read(tmp_path, "segments")
    assert list(found["status"]) == ["ok", "failed", "missing"]
    assert list(found["segmenter"]) == ["4 masks, λ", "4 masks, λ", "of CNN alone"]
    assert list(found["masks_spent"]) == ["4.0", "", ""]
    assert list(found["configuration"]) == ["", "", "CNN alone"]
    assert found["started_at"][0].startswith("2026-01-02 03:04:05")
    assert json.loads(found["settings"][0])["training"] == {"steps": 4}
    scores = read(tmp_path, "segment_scores")
    assert list(scores["scores_key"]) == [OK]
    assert list(scores["class_name"]) == ["smoke"]
    assert list(scores["dataset_iou"]) == [repr(35 / 50)]


def test_an_anonymous_export_names_no_machine_or_folder_of_a_segmenter(results, tmp_path):
    export_results(results, "csv", out=tmp_path, anonymous=True)
    found = read(tmp_path, "segments")
    assert list(found["host"]) == ["host-1", "host-1", ""]
    assert "/home/me" not in (tmp_path / "segments.csv").read_text()


def test_mlflow_holds_a_run_of_each_segmenter(study, mlflow):
    exported = export_to_mlflow([study], MlflowClient(mlflow.address))
    assert (exported.runs, exported.segmenters) == (18, 2)
    assert "1 planned segmenter(s) have not ended and are left out" in exported.notes
    run = mlflow.run_of(scores_key=OK)
    assert run["info"]["run_name"] == "4 masks, λ, seed 0"
    assert run["params"]["trained_on"] == "4 true masks"
    found = {key: value for key, value, _ in run["metrics"]}
    assert found["test/segmenter/dataset_iou_all_images"] == 35 / 60
    assert mlflow.run_of(scores_key=FAILED)["info"]["status"] == "FAILED"
    assert export_to_mlflow([study], MlflowClient(mlflow.address)).unchanged == 18


def test_tensorboard_has_a_folder_of_each_segmenter(study, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from reports.export.folders import ExportFolder
    from reports.export.tensorboard_files import export_to_tensorboard

    exported = export_to_tensorboard([study], ExportFolder(tmp_path, "tensorboard"))
    assert (exported.runs, exported.segmenters) == (18, 2)
    read = EventAccumulator(str(tmp_path / "strategies" / "4 masks, λ, seed 0")).Reload()
    (point,) = read.Scalars("test/segmenter/dataset_iou")
    assert point.value == pytest.approx(35 / 50)


@pytest.mark.ci
def test_wandb_has_a_run_of_each_segmenter(study, tmp_path):
    pytest.importorskip("wandb")
    from reports.export.folders import ExportFolder
    from reports.export.wandb_offline import export_to_wandb

    few = {at: one for at, one in study.records[0].all_trials.items() if at[:2] == ("CNN alone", 0)}
    small = StudyExport("strategies", [replace(study.records[0], all_trials=few, seeds=(0,))])
    exported = export_to_wandb([small], ExportFolder(tmp_path, "wandb"))
    assert (exported.runs, exported.segmenters) == (3, 2)
    key = segmenters(small)["4 masks, λ, seed 0"].key
    (run,) = (tmp_path / "wandb").glob(f"offline-run-*-{key}")
    (file,) = run.glob("*.wandb")
    content = file.read_bytes()
    assert all(text.encode() in content for text in ("segmenter", "4 masks, λ", OK))
    again = export_to_wandb([small], ExportFolder(tmp_path, "wandb"))
    assert (again.runs, again.unchanged) == (0, 3)
