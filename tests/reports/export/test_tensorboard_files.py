"""Event files as TensorBoard's own reader and HPARAMS plugin understand them."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorboard")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata

from reports.export import export_results
from reports.export.folders import ExportFolder
from reports.export.runs import StudyExport
from reports.export.tensorboard_files import export_to_tensorboard
from reports.ledger.parts import write_part
from reports.results.reading import read_studies

LOSSES = ((1, 0.5), (2, math.inf), (3, math.nan))


@pytest.fixture(scope="module")
def exported(awkward, tmp_path_factory):
    return export_results(awkward, "tensorboard", out=tmp_path_factory.mktemp("tensorboard"))


@pytest.fixture(scope="module")
def logdir(exported):
    return Path(exported.where)


def accumulated(folder):
    read = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0, "images": 0})
    return read.Reload()


def scalars(folder):
    read = accumulated(folder)
    return {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def hparams(folder, tag):
    content = accumulated(folder).SummaryMetadata(tag).plugin_data.content
    parse = {
        metadata.SESSION_START_INFO_TAG: metadata.parse_session_start_info_plugin_data,
        metadata.SESSION_END_INFO_TAG: metadata.parse_session_end_info_plugin_data,
        metadata.EXPERIMENT_TAG: metadata.parse_experiment_plugin_data,
    }
    return parse[tag](content)


def trial_folders(logdir):
    return {path.name for path in (logdir / "strategies").iterdir()}


def test_every_score_is_read_back_to_the_precision_of_32_bit(logdir, awkward):
    (record,) = read_studies(awkward)
    trial = record.trials["λ = 20 % (mean)|x", 0]
    found = scalars(logdir / "strategies" / "λ = 20 % (mean)-x, seed 0")
    compared = 0
    for row in trial.figures.outcomes.to_dict("records"):
        tag = f"{row['split']}/{row['rule']}/per_image_iou"
        assert found[tag] == [(12, float(np.float32(row["per_image_iou"])))]
        compared += 1
    assert compared == 8


def test_curves_keep_infinite_losses_and_those_that_are_no_number(logdir):
    found = scalars(logdir / "strategies" / "cosine spatial, seed 1")["train/loss"]
    assert [step for step, _ in found] == [1, 2, 3]
    np.testing.assert_array_equal([value for _, value in found], [loss for _, loss in LOSSES])


def test_an_absent_transfer_loss_is_no_curve(logdir):
    assert "train/transfer_loss" not in scalars(logdir / "strategies" / "=1+1, seed 0")
    assert "train/transfer_loss" in scalars(logdir / "strategies" / "cosine spatial, seed 0")


def test_every_trial_that_ended_is_one_session_with_its_settings_and_status(logdir):
    assert len(trial_folders(logdir)) == 16  # 15 of 16 trials ended; the last folder is the page
    failed = logdir / "strategies" / "L2 global, seed 1"
    start = hparams(failed, metadata.SESSION_START_INFO_TAG)
    assert start.hparams["configuration"].string_value == "L2 global"
    assert start.hparams["transfer_weight"].number_value == 0.5
    assert start.hparams["status"].string_value == "failed"
    assert hparams(failed, metadata.SESSION_END_INFO_TAG).status == api_pb2.STATUS_FAILURE


def test_a_number_that_a_trial_has_not_is_left_empty(logdir):
    start = hparams(logdir / "strategies" / "=1+1, seed 0", metadata.SESSION_START_INFO_TAG)
    assert "transfer_weight" not in start.hparams
    assert start.hparams["teacher"].string_value == "None"


def test_the_list_of_settings_names_what_differs_and_the_main_figure_under_each_rule(logdir):
    listed = hparams(logdir / "hparams", metadata.EXPERIMENT_TAG)
    differs = {info.name: info.differs for info in listed.hparam_infos}
    assert differs["transfer_weight"]
    assert not differs["learning_rate"]
    tags = [info.name.tag for info in listed.metric_infos]
    assert tags[0] == "test/tuned/per_image_iou"
    assert "test/fixed/per_image_iou" in tags
    assert set(tags) <= set(scalars(logdir / "strategies" / "=1+1, seed 0"))


def test_the_page_s_tables_and_figures_are_texts_and_pictures(logdir):
    read = accumulated(logdir / "strategies" / "page")
    tags = read.Tags()["tensors"]
    assert {"headlines", "tables/strategies", "tables/trials", "figures/seeds"} <= set(tags)
    width, height, png = read.Tensors("figures/seeds")[0].tensor_proto.string_val
    assert png.startswith(b"\x89PNG")
    # The size stands in the file's header.
    assert (int(width), int(height)) == tuple(np.frombuffer(png[16:24], ">u4"))


def test_an_export_again_gives_equal_bytes(logdir, awkward):
    def files():
        return {path: path.read_bytes() for path in logdir.rglob("*") if path.is_file()}

    before = files()
    export_results(awkward, "tensorboard", out=logdir)
    assert files() == before


def test_trials_that_are_no_longer_planned_are_removed_and_other_studies_stay(awkward, tmp_path):
    (record,) = read_studies(awkward)
    folder = ExportFolder(tmp_path, "tensorboard")
    export_to_tensorboard([StudyExport("one", [record]), StudyExport("two", [record])], folder)
    few = {at: trial for at, trial in record.all_trials.items() if trial.seed == 0}
    changed = dataclasses.replace(record, all_trials=few, seeds=(0,))
    export_to_tensorboard([StudyExport("one", [changed])], ExportFolder(tmp_path, "tensorboard"))
    assert len(list((tmp_path / "one").iterdir())) == 9
    assert len(list((tmp_path / "two").iterdir())) == 16
    listed = hparams(tmp_path / "hparams", metadata.EXPERIMENT_TAG)
    assert "transfer_weight" in {info.name for info in listed.hparam_infos}


def test_a_number_too_large_for_32_bit_is_said(build_ledger, tmp_path):
    build_ledger(tmp_path / "results", seeds=(0,), states={}, counts=(2, 3))
    key = "0000" + "ab" * 6
    rows = [{"trial_key": key, "epoch": 1, "loss": 1e39, "classification_loss": 1e39,
             "transfer_loss": None, "seconds": 1.0}]  # fmt: skip
    write_part(tmp_path / "results", "history", key, rows)
    studies = [StudyExport("strategies", read_studies(tmp_path / "results"))]
    exported = export_to_tensorboard(studies, ExportFolder(tmp_path / "out", "tensorboard"))
    assert any(note.startswith("2 number(s) are too large") for note in exported.notes)
    loss = scalars(tmp_path / "out" / "strategies" / "CNN alone, seed 0")["train/loss"]
    assert loss == [(1, math.inf)]


def test_what_is_left_out_is_counted(exported):
    assert exported.runs == 15
    assert "1 planned trial(s) have not ended and are left out" in exported.notes
