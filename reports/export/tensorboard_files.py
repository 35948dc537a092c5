"""Event files for TensorBoard: a folder for each trial and segmenter, with its HPARAMS.

TensorBoard keeps numbers as 32-bit floats. A file is written whole, and equal ledgers give equal
bytes. The records are those of TFRecord: a length, a payload and a CRC-32C of each.
"""

import io
import math
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from reports.export.folders import ExportFolder
from reports.export.hparams import (
    LIST_FOLDER,
    session_end,
    session_start,
    settings_kinds,
    settings_list,
)
from reports.export.naming import distinct, folder_name
from reports.export.outcome import Exported, Notes, count_segmenters
from reports.export.runs import ExportRun, FigureName, StudyExport
from reports.tables.rendering import escape_markdown, to_markdown

_EVENTS = "events.out.tfevents.0000000000.wsss"
_PAGE = "page"
"""The run that holds the tables and figures of a study's page."""

_LARGEST = 3.4028234663852886e38  # the largest finite 32-bit float


def export_to_tensorboard(studies: Sequence[StudyExport], folder: ExportFolder) -> Exported:
    """Write trials and segmenters as runs of TensorBoard, the page's tables and figures as another.

    Args:
        studies: those to write; what the folder holds of other studies stays.
        folder: TensorBoard's `--logdir`.

    Raises:
        InputError: the folder cannot be written.

    """
    notes = Notes(studies)
    names = distinct({n: t for s in studies for n, t in s.figure_names.items()}, str, 1000)
    kinds = settings_kinds([run for study in studies for run in study.runs])
    # The list of settings has a folder beside those of the studies.
    inside = distinct({None: LIST_FOLDER} | {s.name: s.name for s in studies}, folder_name, 120)
    for study in studies:
        runs = distinct({run.key: run.name for run in study.runs}, folder_name, 120)
        for run in study.runs:
            events = _run_events(run, names, kinds, notes)
            folder.write(f"{inside[study.name]}/{runs[run.key]}/{_EVENTS}", _records(events))
        folder.write(f"{inside[study.name]}/{_PAGE}/{_EVENTS}", _records(_page_events(study)))
        inner = [*runs.values(), _PAGE]
        folder.replace(study.name, [f"{inside[study.name]}/{name}" for name in inner])
    listed = folder.path / LIST_FOLDER / _EVENTS
    others = folder.studies - {study.name for study in studies}
    summary = settings_list(studies, names, kinds, listed if others and listed.exists() else None)
    folder.write(f"{LIST_FOLDER}/{_EVENTS}", _records([_event(0.0, summary=summary)]))
    written = [run for study in studies for run in study.runs]
    step = f"tensorboard --logdir {shlex.quote(str(folder.path))}"
    segmenters = count_segmenters(written)
    return Exported(str(folder.path), len(written), 0, notes.lines, step, segmenters)


def _records(events: Iterable[Any]) -> bytes:
    from tensorboard.summary.writer.record_writer import RecordWriter

    sink = io.BytesIO()
    writer = RecordWriter(sink)
    for event in events:
        writer.write(event.SerializeToString(deterministic=True))
    return sink.getvalue()


def _event(time: float, step: int = 0, **content: Any) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event

    return Event(wall_time=time, step=step, **content)


def _summary(tag: str, **content: Any) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=tag, **content)])


def _run_events(
    run: ExportRun,
    names: Mapping[FigureName, str],
    kinds: Mapping[str, type],
    notes: Notes,
) -> Iterator[Any]:
    """Yield the events of a trial, in the order of their times."""
    ended = run.started + run.seconds
    yield _event(run.started, file_version="brain.Event:2")
    yield _event(run.started, summary=session_start(run, kinds))
    spent = run.curves.get(("train", "seconds"), ())
    clock, times = run.started, {}
    for epoch, seconds in spent:
        clock += seconds if math.isfinite(seconds) else 0.0
        times[epoch] = clock
    for name, curve in run.curves.items():
        for epoch, value in curve:
            yield _event(times[epoch], epoch, summary=_scalar(names[name], value, notes))
    for name, value in run.figures.items():
        yield _event(ended, run.last_epoch, summary=_scalar(names[name], value, notes))
    yield _event(ended, summary=_text("settings", _as_markdown(run.settings)))
    yield _event(ended, summary=_text("tags", _as_markdown(run.tags)))
    yield _event(ended, summary=session_end(run, ended))


def _scalar(tag: str, value: float, notes: Notes) -> Any:
    if _LARGEST < abs(value) < math.inf:
        notes.add("number(s) are too large for TensorBoard's 32-bit floats and become infinite")
        value = math.copysign(math.inf, value)
    return _summary(tag, simple_value=value)


def _as_markdown(values: Mapping[str, object]) -> str:
    lines = ["| name | value |", "| :--- | :--- |"]
    lines += [f"| {escape_markdown(n)} | {escape_markdown(str(v))} |" for n, v in values.items()]
    return "\n".join(lines)


def _text(tag: str, text: str) -> Any:
    from tensorboard.plugins.text import metadata
    from tensorboard.util import tensor_util

    tensor = tensor_util.make_tensor_proto([text.encode()])
    return _summary(tag, metadata=metadata.create_summary_metadata("", ""), tensor=tensor)


def _image(tag: str, png: bytes, size: tuple[int, int], about: str) -> Any:
    from tensorboard.plugins.image import metadata
    from tensorboard.util import tensor_util

    content = [str(size[0]).encode(), str(size[1]).encode(), png]
    tensor = tensor_util.make_tensor_proto(content)
    return _summary(tag, metadata=metadata.create_summary_metadata("", about), tensor=tensor)


def _page_events(study: StudyExport) -> Iterator[Any]:
    """Yield the tables of the study's page as Markdown and its figures as pictures."""
    time = max((run.started + run.seconds for run in study.runs), default=0.0)
    yield _event(time, file_version="brain.Event:2")
    if study.view is None:
        return
    said = "\n\n".join((f"# {study.view.title}", *study.view.headlines))
    yield _event(time, summary=_text("headlines", said))
    for name, table in study.view.shown.items():
        text = f"**{table.title}**\n\n{to_markdown(table)}"
        yield _event(time, summary=_text(f"tables/{name}", text))
    for name, figure in study.view.figures.items():
        png, size = figure.png()
        yield _event(time, summary=_image(f"figures/{name}", png, size, figure.caption))
