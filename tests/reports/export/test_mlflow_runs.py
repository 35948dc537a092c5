"""Runs at an MLflow server, by a server that keeps the rules of the real one, and by a real one."""

import base64
import json
import os
import re
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from reports.export import export_results
from reports.export.mlflow_client import MlflowClient, batches
from reports.export.mlflow_runs import export_to_mlflow
from reports.export.runs import StudyExport
from reports.ledger.parts import read_table, write_part
from reports.results.reading import read_studies
from wsss_core.errors import InputError

DIVERGED = "0401" + "ab" * 6  # cosine spatial, seed 1; its losses are 0.5, infinite and NaN

VARIABLES = ("TRACKING_URI", "TRACKING_TOKEN", "TRACKING_USERNAME", "TRACKING_PASSWORD")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(f"MLFLOW_{name}", raising=False)


def basic(pair):
    return "Basic " + base64.b64encode(pair.encode()).decode()


def export(studies, mlflow):
    return export_to_mlflow(studies, MlflowClient(mlflow.address))


def export_folder(results, mlflow):
    return export([StudyExport("strategies", read_studies(results))], mlflow)


def metrics(run):
    return {(key, step): value for key, value, step in run["metrics"]}


def test_a_run_holds_the_settings_scores_and_curves_of_its_trial(without_page, mlflow):
    exported = export(without_page, mlflow)
    assert (exported.runs, exported.unchanged) == (15, 0)
    (record,) = without_page[0].records
    trial = record.trials["λ = 20 % (mean)|x", 1]
    run = mlflow.run_of(trial_key=trial.key)
    assert run["info"] | {"artifact_uri": ""} == {
        "run_id": run["info"]["run_id"], "run_name": "λ = 20 % (mean)|x, seed 1",
        "status": "FINISHED", "artifact_uri": "", "lifecycle_stage": "active",
    }  # fmt: skip
    assert run["params"]["learning_rate"] == "0.001"
    assert run["params"]["teacher"] == "None"
    assert run["tags"]["wsss.configuration"] == "λ = 20 % (mean)|x"
    assert run["tags"]["wsss.seed"] == "1"
    found = metrics(run)
    rows = trial.figures.outcomes.to_dict("records")
    assert len(rows) == 8
    for row in rows:
        at = f"{row['split']}/{row['rule']}/per_image_iou"
        assert found[at, 12] == row["per_image_iou"]
    assert [step for key, step in found if key == "train/loss"] == list(range(1, 13))


def test_a_failed_trial_is_a_failed_run_with_its_error(without_page, mlflow):
    export(without_page, mlflow)
    run = mlflow.run_of(status="failed")
    assert run["info"]["status"] == "FAILED"
    assert run["tags"]["wsss.error"].startswith("RuntimeError: out of memory")


def test_an_infinite_loss_is_a_text_and_said_and_never_another_number(without_page, mlflow):
    exported = export(without_page, mlflow)
    run = mlflow.run_of(trial_key=DIVERGED)
    assert max(abs(v) for v in metrics(run).values() if v == v) < 1e300
    assert run["tags"]["wsss.infinite"] == "train/loss at 2: inf; train/transfer_loss at 2: inf"
    assert str(metrics(run)["train/loss", 3]) == "nan"
    assert "2 number(s) are infinite and stand in the tag wsss.infinite alone" in exported.notes


def test_an_export_again_doubles_nothing(without_page, mlflow):
    export(without_page, mlflow)
    kept = json.dumps(mlflow.kept)
    exported = export(without_page, mlflow)
    assert (exported.runs, exported.unchanged) == (0, 15)
    assert json.dumps(mlflow.kept) == kept
    assert len(mlflow.active()) == 15


def test_a_trial_that_changed_is_written_anew_and_keeps_what_people_noted(
    build_ledger, mlflow, tmp_path
):
    build_ledger(tmp_path, seeds=(0,), states={}, counts=(2, 3))
    export_folder(tmp_path, mlflow)
    key = "0000" + "ab" * 6
    before = mlflow.run_of(trial_key=key)
    before["tags"] |= {"mlflow.note.content": "look at this", "favourite": "yes"}
    row = read_table(tmp_path, "trials", keys=[key]).iloc[0].to_dict()
    known = {name: value for name, value in row.items() if value == value and value is not None}
    write_part(tmp_path, "trials", key, [known | {"host": "elsewhere"}])
    exported = export_folder(tmp_path, mlflow)
    assert exported.unchanged == 7
    after = mlflow.run_of(trial_key=key)
    assert after["info"]["run_id"] != before["info"]["run_id"]
    assert after["tags"]["wsss.host"] == "elsewhere"
    assert after["tags"]["mlflow.note.content"] == "look at this"
    assert after["tags"]["favourite"] == "yes"


def test_an_export_that_was_broken_off_goes_on_and_leaves_no_half_run(without_page, mlflow):
    mlflow.refuse_after = 20
    with pytest.raises(InputError, match=r"answers 500 to .*: the disk is full"):
        export(without_page, mlflow)
    mlflow.refuse_after = None
    export(without_page, mlflow)
    assert len(mlflow.active()) == 15
    assert all("wsss.digest" in run["tags"] for run in mlflow.active())
    assert "RUNNING" not in {run["info"]["status"] for run in mlflow.active()}


def test_long_settings_are_said_and_end_in_a_digest(build_ledger, mlflow, tmp_path):
    build_ledger(tmp_path, seeds=(0,), states={}, counts=(2, 3))
    key = "0000" + "ab" * 6
    row = read_table(tmp_path, "trials", keys=[key]).iloc[0].to_dict()
    known = {name: value for name, value in row.items() if value == value and value is not None}
    settings = json.dumps({"classes": ["x" * 7000]})
    write_part(tmp_path, "trials", key, [known | {"settings": settings}])
    exported = export_folder(tmp_path, mlflow)
    assert "1 text(s) are longer than 6,000 characters and are cut, with a digest of all" in (
        exported.notes
    )
    value = mlflow.run_of(trial_key=key)["params"]["classes"]
    assert len(value) <= 6000
    assert re.search(r"xxx\.\.\. \(7,004 characters, digest [0-9a-f]{16}\)$", value)


@pytest.mark.parametrize("kept_at", ["mlflow-artifacts:/", "s3://bucket/"])
def test_the_page_is_a_run_with_files_where_the_server_takes_some(
    awkward, mlflow, monkeypatch, kept_at
):
    mlflow.artifacts = kept_at
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.address)
    exported = export_results(awkward, "mlflow")
    assert exported.runs == 15
    assert len(mlflow.active()) == 16
    names = {name.partition("/artifacts/")[2] for name in mlflow.files}
    if kept_at.startswith("s3"):
        assert names == set()
        assert any("takes no files over HTTP" in note for note in exported.notes)
        return
    assert {"report.html", "tables/strategies.csv", "figures/seeds.svg"} <= names
    assert any(content.startswith(b"<!") for content in mlflow.files.values())


@pytest.mark.parametrize(
    ("variables", "before", "header"),
    [
        ({"TOKEN": "t0ken"}, "", "Bearer t0ken"),
        ({"USERNAME": "ann", "PASSWORD": "pw:é"}, "", basic("ann:pw:é")),
        ({}, "ann:p%40w@", basic("ann:p@w")),
    ],
)
def test_it_logs_in_as_mlflow_does(without_page, mlflow, monkeypatch, variables, before, header):
    for name, value in variables.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    mlflow.login = header
    client = MlflowClient(mlflow.address.replace("//", f"//{before}"))
    assert export_to_mlflow(without_page, client).where == mlflow.address


def test_a_refused_login_names_the_variables_and_no_secret(without_page, mlflow, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "s3cret")
    mlflow.login = "Bearer other"
    with pytest.raises(InputError, match=r"refuses access \(401\); set MLFLOW_TRACK") as caught:
        export(without_page, mlflow)
    assert "s3cret" not in str(caught.value)


def test_a_deleted_experiment_is_named_with_its_cure(without_page, mlflow):
    mlflow.experiments["7"] = {
        "experiment_id": "7", "name": "strategies", "lifecycle_stage": "deleted"
    }  # fmt: skip
    with pytest.raises(InputError, match=r"was deleted there; restore it .*--experiment-id 7"):
        export(without_page, mlflow)


def test_a_server_that_is_down_is_said(without_page):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(InputError, match=rf"127\.0\.0\.1:{port}: no MLflow server answers there"):
        export_to_mlflow(without_page, MlflowClient(f"http://127.0.0.1:{port}"))


@pytest.mark.parametrize(
    "address",
    ["file:///tmp/mlruns", "mlruns", "sqlite:///x.db", "http://", "http://host:x", "http://[::1"],
)
def test_other_addresses_are_refused(awkward, address):
    with pytest.raises(InputError, match=r"--uri .*: (expected the address|no address)"):
        export_results(awkward, "mlflow", uri=address)


@pytest.mark.parametrize(
    ("code", "headers", "body", "said"),
    [
        (200, {}, b"<html>", "not as an MLflow server does"),
        (302, {"Location": "https://elsewhere/"}, b"", "redirects to https://elsewhere/"),
        (404, {}, b"<html>", "answers 404 to experiments/get-by-name"),
    ],
)
def test_another_web_server_is_told_apart(code, headers, body, said):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(code)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request).start()
        client = MlflowClient(f"http://127.0.0.1:{server.server_address[1]}")
        with pytest.raises(InputError, match=said):
            client.experiment("study")


def test_batches_stay_below_the_limits_and_lose_nothing():
    entries = [{"key": f"k{n}", "value": "x" * 5000} for n in range(250)]
    found = list(batches(entries, 100))
    assert [entry for batch in found for entry in batch] == entries
    assert all(len(batch) <= 100 and len(json.dumps(batch)) < 1_000_000 for batch in found)


READ = """
import json, sys
import mlflow
client = mlflow.MlflowClient(sys.argv[1])
experiment = client.get_experiment_by_name("strategies")
found = {}
for run in client.search_runs([experiment.experiment_id]):
    points = client.get_metric_history(run.info.run_id, "train/loss")
    files = [file.path for file in client.list_artifacts(run.info.run_id)]
    found[run.data.tags.get("wsss.trial_key", "page")] = [
        run.info.status, run.data.params, run.data.metrics,
        [[p.step, str(p.value)] for p in points], files,
    ]
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    "WSSS_MLFLOW_PYTHON" not in os.environ,
    reason="WSSS_MLFLOW_PYTHON names no Python that has mlflow",
)
def test_a_real_server_holds_what_was_exported(awkward, tmp_path):
    python = os.environ["WSSS_MLFLOW_PYTHON"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
         "--workers", "1", "--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db",
         "--artifacts-destination", str(tmp_path / "files")],
        cwd=tmp_path, env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                exported = export_results(awkward, "mlflow", uri=address)
                break
            except InputError as error:
                if "no MLflow server answers" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(1)
        again = export_results(awkward, "mlflow", uri=address)
        said = subprocess.run(
            [python, "-c", READ, address], capture_output=True, text=True, check=True
        )
    finally:
        server.terminate()
        server.wait()
    assert (exported.runs, again.runs, again.unchanged) == (15, 0, 15)
    found = json.loads(said.stdout.splitlines()[-1])
    assert "report.html" in found.pop("page")[4]
    assert len(found) == 15
    (record,) = read_studies(awkward)
    for trial in record.trials.values():
        if trial.figures is not None:
            held = found[trial.key][2]
            expected = trial.figure("per_image_iou", rule="tuned", class_name="smoke")
            assert held["test/tuned/per_image_iou"] == expected
    assert found[DIVERGED][3] == [[1, "0.5"], [3, "nan"]]
