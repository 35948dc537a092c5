"""Trials and segmenters as runs on an MLflow server, an experiment a study; a run for the page.

A run carries the key of its trial and a digest of its content. An export therefore leaves equal
runs alone. A run whose trial has changed is written anew, as MLflow changes no parameter; then the
old one is deleted, which MLflow can undo.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.export.mlflow_client import LONGEST_PARAMETER, LONGEST_TAG, MlflowClient
from reports.export.naming import distinct, path_like
from reports.export.outcome import Exported, Notes, count_segmenters
from reports.export.runs import ExportRun, FigureName, StudyExport, short_digest
from reports.page.rendering import render_html
from reports.tables.rendering import to_csv, to_markdown

_KEY, _DIGEST, _INFINITE = "wsss.run", "wsss.digest", "wsss.infinite"
_STATUS = {"failed": "FAILED"}
_LIMIT = 250  # the most characters of a name


@dataclass(frozen=True)
class _Content:
    """A run as the server will hold it."""

    name: str
    started: int
    ended: int
    status: str
    params: Sequence[Mapping[str, str]]
    metrics: Sequence[Mapping[str, Any]]
    tags: Mapping[str, str]
    files: Mapping[str, tuple[bytes, str]]

    @property
    def digest(self) -> str:
        """A digest of everything."""
        files = {name: short_digest(content.hex()) for name, (content, _) in self.files.items()}
        return short_digest([self.name, self.started, self.ended, self.status, self.params,
                          self.metrics, dict(self.tags), files])  # fmt: skip


def export_to_mlflow(studies: Sequence[StudyExport], client: MlflowClient) -> Exported:
    """Write each trial and segmenter as a run, and the page of each study as a run with files.

    Args:
        studies: those to write.
        client: the server.

    Raises:
        MlflowError: the server does not answer or refuses; what it holds already stays, and the
            next export goes on from there.

    """
    notes = Notes(studies)
    written: list[ExportRun] = []
    unchanged = 0
    for study in studies:
        experiment = client.experiment(study.name)
        there = _by_key(client.runs(experiment))
        names = _Names.of(study)
        runs = {run.key: run for run in study.runs}
        contents = {key: _run_content(run, names, notes) for key, run in runs.items()}
        if study.view is not None:
            contents[study.key] = _page_content(study)
        for key, content in contents.items():
            if any(_tags(run).get(_DIGEST) == content.digest for run in there.get(key, [])):
                unchanged += key in runs
                continue
            _write(client, experiment, key, content, there.get(key, []), notes)
            written += [runs[key]] if key in runs else []
    segmenters = count_segmenters(written)
    return Exported(client.address, len(written), unchanged, notes.lines, segmenters=segmenters)


@dataclass(frozen=True)
class _Names:
    """The names of a study as MLflow accepts them."""

    figures: Mapping[FigureName, str]
    settings: Mapping[str, str]
    tags: Mapping[str, str]

    @classmethod
    def of(cls, study: StudyExport) -> "_Names":
        settings = {name: name for run in study.runs for name in run.settings}
        tags = {name: f"wsss.{name}" for run in study.runs for name in run.tags}
        return cls(
            distinct(study.figure_names, path_like, _LIMIT),
            distinct(settings, path_like, _LIMIT),
            distinct(tags, path_like, _LIMIT),
        )


def _run_content(run: ExportRun, names: _Names, notes: Notes) -> _Content:
    ended = round(1000 * (run.started + run.seconds))
    params = [
        {"key": names.settings[name], "value": _short(str(value), LONGEST_PARAMETER, notes)}
        for name, value in run.settings.items()
    ]
    points = [
        (names.figures[name], value, epoch)
        for name, curve in run.curves.items()
        for epoch, value in curve
    ]
    points += [(names.figures[name], v, run.last_epoch) for name, v in run.figures.items()]
    # The server would store 1.8e308 in the place of an infinite number.
    infinite = [f"{name} at {step}: {value}" for name, value, step in points if math.isinf(value)]
    notes.add(f"number(s) are infinite and stand in the tag {_INFINITE} alone", len(infinite))
    metrics = [
        {
            "key": name,
            "value": "NaN" if math.isnan(value) else value,
            "timestamp": ended,
            "step": step,
        }
        for name, value, step in points
        if not math.isinf(value)
    ]
    tags = {names.tags[name]: _short(text, LONGEST_TAG, notes) for name, text in run.tags.items()}
    if infinite:
        tags[_INFINITE] = _short("; ".join(infinite), LONGEST_TAG, notes)
    return _Content(
        name=run.name,
        started=round(1000 * run.started),
        ended=ended,
        status=_STATUS.get(run.status, "FINISHED"),
        params=params,
        metrics=metrics,
        tags=tags,
        files={},
    )


def _short(text: str, limit: int, notes: Notes) -> str:
    """Return a text that the server does not cut: what it leaves out is counted and named."""
    if len(text) <= limit:
        return text
    notes.add(f"text(s) are longer than {limit:,} characters and are cut, with a digest of all")
    end = f"... ({len(text):,} characters, digest {short_digest(text)})"
    return text[: limit - len(end)] + end


def _page_content(study: StudyExport) -> _Content:
    """Return the run that holds the study's page: HTML, tables and figures as files."""
    view = study.view
    assert view is not None
    ended = max((round(1000 * (run.started + run.seconds)) for run in study.runs), default=0)
    files = {"report.html": (render_html([view]).encode(), "text/html")}
    for name, table in view.tables.items():
        files[f"tables/{name}.csv"] = to_csv(table).encode(), "text/csv"
        files[f"tables/{name}.md"] = to_markdown(table).encode(), "text/markdown"
    for figure in view.figures.values():
        files[f"figures/{figure.name}.svg"] = figure.svg.encode(), "image/svg+xml"
    said = "\n\n".join((f"# {view.title}", *view.headlines))[:LONGEST_TAG]
    tags = {"wsss.study": study.name[:LONGEST_TAG], "mlflow.note.content": said}
    return _Content("page", ended, ended, "FINISHED", (), (), tags, files)


def _tags(run: Mapping[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag.get("value", "") for tag in run.get("data", {}).get("tags", [])}


def _by_key(runs: Iterator[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        if key := _tags(run).get(_KEY):
            found.setdefault(key, []).append(run)
    return found


def _write(
    client: MlflowClient,
    experiment: str,
    key: str,
    content: _Content,
    before: Sequence[Mapping[str, Any]],
    notes: Notes,
) -> None:
    """Write a run whole, its digest last; then delete the runs that it replaces."""
    first = {_KEY: key, **_notes_of_people(before)}
    made = client.call(
        "runs/create",
        {
            "experiment_id": experiment,
            "run_name": content.name,
            "start_time": content.started,
            "tags": [{"key": name, "value": text} for name, text in first.items()],
        },
    )["run"]["info"]
    run = made["run_id"]
    tags = [{"key": name, "value": text} for name, text in content.tags.items()]
    client.log(run, params=content.params, metrics=content.metrics, tags=tags)
    kept_by_server = str(made.get("artifact_uri", "")).startswith("mlflow-artifacts:")
    for name, (data, kind) in content.files.items() if kept_by_server else ():
        client.upload(made["artifact_uri"], name, data, kind)
    if content.files and not kept_by_server:
        notes.add("page(s) are left out: the server takes no files over HTTP (--serve-artifacts)")
    client.call("runs/update", {"run_id": run, "status": content.status, "end_time": content.ended})
    client.log(run, tags=[{"key": _DIGEST, "value": content.digest}])
    for old in before:
        client.call("runs/delete", {"run_id": old["info"]["run_id"]})
    notes.add("run(s) had changed and are written anew; the old ones are deleted", len(before))


def _notes_of_people(before: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the tags that people gave to runs which are now replaced."""
    return {
        name: text
        for run in before
        for name, text in _tags(run).items()
        if name == "mlflow.note.content" or not name.startswith(("wsss.", "mlflow."))
    }
