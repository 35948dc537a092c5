"""A small study with names and numbers that tools dislike, and a server that answers as MLflow."""

import json
import math
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from reports.export.runs import StudyExport
from reports.ledger.parts import write_part
from reports.results.reading import read_studies

NAMES = {
    "CNN alone": "=1+1",
    "ViT alone": "λ = 20 % (mean)|x",
    "cosine global": "λ: 20 % [mean] x",
    "cosine channel": "../a/b",
}
STATES = {("L2 global", 1): "failed", ("L1 global", 1): "collapsed", ("co-training", 1): "missing"}
DIVERGED = "0401" + "ab" * 6
"""The key of a trial, cosine spatial under seed 1, whose losses become infinite and NaN."""

LOSSES = ((1, 0.5), (2, math.inf), (3, math.nan))


def write_history(results: Path, key: str) -> None:
    rows = [
        {"trial_key": key, "epoch": epoch, "loss": loss, "classification_loss": 0.25,
         "transfer_loss": loss, "seconds": 2.0}
        for epoch, loss in LOSSES
    ]  # fmt: skip
    write_part(results, "history", key, rows)


@pytest.fixture(scope="session")
def awkward(build_ledger, tmp_path_factory) -> Path:
    results = tmp_path_factory.mktemp("awkward")
    build_ledger(results, names=NAMES, states=STATES, seeds=(0, 1), counts=(2, 3))
    write_history(results, DIVERGED)
    return results


@pytest.fixture(scope="session")
def without_page(awkward) -> list[StudyExport]:
    """The study as it is exported, without the page, whose figures take seconds to draw."""
    return [StudyExport("strategies", read_studies(awkward))]


# What a server of MLflow 3.17.2 accepts and how it refuses, tried with requests to a real one.
_NAME = re.compile(r"^[/\w.\- :]*$")
_MOST = {"metrics": 1000, "params": 100, "tags": 100}


class RefusedError(Exception):
    def __init__(self, code: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.code, self.kind = code, kind


@dataclass
class FakeMlflow:
    """The state of a server: its experiments by id and runs by id, and the headers that came."""

    address: str = ""
    experiments: dict[str, dict[str, Any]] = field(default_factory=dict)
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    headers: list[dict[str, str]] = field(default_factory=list)
    refuse_after: int | None = None
    login: str | None = None
    page: int = 5
    artifacts: str = "mlflow-artifacts:/"

    def active(self) -> list[dict[str, Any]]:
        return [run for run in self.kept.values() if run["info"]["lifecycle_stage"] == "active"]

    def run_of(self, **tags: str) -> dict[str, Any]:
        wanted = {f"wsss.{name}": value for name, value in tags.items()}
        (found,) = (run for run in self.active() if wanted.items() <= run["tags"].items())
        return found

    def answer(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        what = urlsplit(path).path
        if method == "PUT":
            self.files[unquote(what.partition("/artifacts/")[2])] = body
            return {}
        said = json.loads(body) if body else {}
        name = what.removeprefix("/api/2.0/mlflow/").replace("/", "_").replace("-", "_")
        if method == "GET":
            return self.by_name(parse_qs(urlsplit(path).query)["experiment_name"][0])
        if self.refuse_after is not None:
            self.refuse_after -= 1
            if self.refuse_after < 0:
                raise RefusedError(500, "INTERNAL_ERROR", "the disk is full")
        return getattr(self, name)(said)

    def by_name(self, name: str) -> dict[str, Any]:
        for experiment in self.experiments.values():
            if experiment["name"] == name:
                return {"experiment": experiment}
        raise RefusedError(404, "RESOURCE_DOES_NOT_EXIST", f"Could not find experiment {name}")

    def experiments_create(self, said: dict[str, Any]) -> dict[str, Any]:
        number = str(len(self.experiments) + 1)
        self.experiments[number] = {
            "experiment_id": number, "name": said["name"], "lifecycle_stage": "active"
        }  # fmt: skip
        return {"experiment_id": number}

    def runs_create(self, said: dict[str, Any]) -> dict[str, Any]:
        number = f"run{len(self.kept)}"
        where = f"{self.artifacts}{said['experiment_id']}/{number}/artifacts"
        info = {
            "run_id": number, "run_name": said["run_name"], "status": "RUNNING",
            "artifact_uri": where, "lifecycle_stage": "active",
        }  # fmt: skip
        self.kept[number] = {
            "info": info, "experiment": said["experiment_id"], "params": {}, "metrics": [],
            "tags": {tag["key"]: tag["value"] for tag in said["tags"]},
        }  # fmt: skip
        return {"run": {"info": info}}

    def runs_log_batch(self, said: dict[str, Any]) -> dict[str, Any]:
        run = self.kept[said["run_id"]]
        for kind, most in _MOST.items():
            entries = said.get(kind, [])
            if len(entries) > most:
                raise RefusedError(400, "INVALID_PARAMETER_VALUE", f"at most {most} {kind}")
            for entry in entries:
                self.log_entry(run, kind, entry)
        return {}

    def log_entry(self, run: dict[str, Any], kind: str, entry: dict[str, Any]) -> None:
        key, value = entry["key"], entry["value"]
        odd = any(part in ("", ".", "..") for part in key.split("/"))
        if not _NAME.match(key) or odd or len(key) > 250:
            raise RefusedError(400, "INVALID_PARAMETER_VALUE", f"Invalid value {key}")
        if kind == "metrics":
            number = float(value)
            # An infinite number is not refused: it is stored as another.
            number = math.copysign(1.7976931348623157e308, number) if math.isinf(number) else number
            run["metrics"].append((key, number, entry["step"]))
        elif kind == "params":
            if run["params"].setdefault(key, value[:6000]) != value[:6000]:
                raise RefusedError(400, "INVALID_PARAMETER_VALUE", "Changing param values")
        else:
            run["tags"][key] = value[:8000]

    def runs_search(self, said: dict[str, Any]) -> dict[str, Any]:
        found = [r for r in self.active() if r["experiment"] in said["experiment_ids"]]
        start = int(said.get("page_token", 0))
        runs = [
            {
                "info": r["info"],
                "data": {"tags": [{"key": k, "value": v} for k, v in r["tags"].items()]},
            }
            for r in found[start : start + self.page]
        ]
        more = start + self.page < len(found)
        return {"runs": runs} | ({"next_page_token": str(start + self.page)} if more else {})

    def runs_update(self, said: dict[str, Any]) -> dict[str, Any]:
        self.kept[said["run_id"]]["info"] |= {"status": said["status"]}
        return {}

    def runs_delete(self, said: dict[str, Any]) -> dict[str, Any]:
        self.kept[said["run_id"]]["info"]["lifecycle_stage"] = "deleted"
        return {}


@pytest.fixture
def mlflow() -> Iterator[FakeMlflow]:
    state = FakeMlflow()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            state.headers.append(dict(self.headers))
            try:
                if state.login is not None and self.headers.get("Authorization") != state.login:
                    raise RefusedError(401, "UNAUTHENTICATED", "who are you?")
                code, said = 200, state.answer(self.command, self.path, body)
            except RefusedError as refused:
                code, said = refused.code, {"error_code": refused.kind, "message": str(refused)}
            content = json.dumps(said).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.address = f"http://127.0.0.1:{server.server_address[1]}"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()
