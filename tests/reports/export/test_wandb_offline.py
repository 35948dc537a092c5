"""Offline runs of wandb, read back from its own files."""

import json
import math
import struct

import pytest

pytest.importorskip("wandb")
from wandb.proto import wandb_internal_pb2

from reports.export import export_results
from reports.results.reading import read_studies

pytestmark = pytest.mark.ci


def records(content):
    """The records of a log of LevelDB: blocks of 32 KiB, each part with CRC, length and kind."""
    at, whole = 7, b""
    while at + 7 <= len(content):
        left = 32768 - at % 32768
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        if left < 7 or kind == 0:
            at += left
            continue
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield wandb_internal_pb2.Record.FromString(whole)
            whole = b""


def entries(items):
    return {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in items}


@pytest.fixture(scope="module")
def runs(awkward, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wandb")
    assert export_results(awkward, "wandb", out=folder).runs == 15
    found = {}
    for file in folder.glob("wandb/offline-run-*/run-*.wandb"):
        every = list(records(file.read_bytes()))
        (run,) = (record.run for record in every if record.WhichOneof("record_type") == "run")
        found[run.display_name] = (run, every)
    return folder, found


def test_a_run_holds_settings_curves_and_scores(runs, awkward):
    _, found = runs
    (record,) = read_studies(awkward)
    run, every = found["λ = 20 % (mean)|x, seed 1"]
    config = {i.key: json.loads(i.value_json) for i in run.config.update}
    assert config["learning_rate"] == 0.001
    assert config["teacher"] is None
    assert config["wsss_trial_key"] == "0101" + "ab" * 6
    assert (run.project, run.run_group) == ("strategies", "λ = 20 % (mean)|x")
    losses = [entries(r.history.item) for r in every if r.HasField("history")]
    assert [line["_step"] for line in losses] == list(range(1, 13))
    summary = {}
    for one in every:
        if one.HasField("summary"):
            summary |= entries(one.summary.update)
    trial = record.trials["λ = 20 % (mean)|x", 1]
    expected = trial.figure("per_image_iou", rule="tuned", class_name="smoke")
    assert summary["test/tuned/per_image_iou"] == expected


def test_losses_that_are_infinite_or_no_number_stay(runs):
    _, found = runs
    _, every = found["cosine spatial, seed 1"]
    losses = [entries(r.history.item)["train/loss"] for r in every if r.HasField("history")]
    assert (losses[0], losses[1]) == (0.5, math.inf)
    assert math.isnan(losses[2])


def test_a_failed_trial_ends_with_an_error_and_no_run_names_this_machine(runs):
    _, found = runs
    _, every = found["L2 global, seed 1"]
    assert [r.exit.exit_code for r in every if r.HasField("exit")] == [1]
    assert {run.host for run, _ in found.values()} == {""}


def test_an_export_again_doubles_nothing(runs, awkward, monkeypatch):
    folder, _ = runs
    before = {path: path.stat().st_mtime_ns for path in folder.glob("wandb/offline-run-*/*.wandb")}
    monkeypatch.setenv("WANDB_MODE", "disabled")
    exported = export_results(awkward, "wandb", out=folder)
    assert (exported.runs, exported.unchanged) == (0, 15)
    after = {path: path.stat().st_mtime_ns for path in folder.glob("wandb/offline-run-*/*.wandb")}
    assert after == before
