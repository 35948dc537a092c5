"""Runs of Weights & Biases, written offline: no key and no network; `wandb sync` uploads them.

The id of a run derives from its trial, so a run that is uploaded again is the same run there.
"""

import io
import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from reports.export.folders import ExportFolder
from reports.export.naming import distinct, identifier_path
from reports.export.outcome import Exported, Notes, count_segmenters, needed
from reports.export.runs import ExportRun, FigureName, StudyExport, short_digest
from reports.tables.cells import Table
from wsss_core.errors import InputError, as_input_error

_RUNS = "wandb"
"""The folder that wandb makes for its runs."""

_DIGEST = "wsss-digest"
"""A file beside a run's own, with the digest of its trial: an equal trial is not written again."""

_KEPT = ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR")
"""The environment variables that only say where wandb keeps files of its own."""

_NOT_IN_PROJECTS = r"/\#?%:"
_LONGEST_NAME, _LONGEST_TAG = 128, 64


def export_to_wandb(studies: Sequence[StudyExport], folder: ExportFolder) -> Exported:
    """Write trials and segmenters as offline runs, the page's tables and figures as another.

    Args:
        studies: those to write.
        folder: the folder in which wandb makes its folder `wandb`.

    Raises:
        InputError: the package wandb is not installed, or it cannot write its files.

    """
    wandb = needed("wandb", "wandb")
    notes = Notes(studies)
    written: list[ExportRun] = []
    unchanged = 0
    for study in studies:
        names = distinct(study.figure_names, identifier_path)
        settings = {name: name for run in study.runs for name in run.settings}
        tags = {("tag", name): f"wsss_{name}" for run in study.runs for name in run.tags}
        keys = distinct({**settings, **tags}, identifier_path)
        kept = []
        for run in study.runs:
            config: dict[str, Any] = {keys[name]: value for name, value in run.settings.items()}
            config |= {keys["tag", name]: text for name, text in run.tags.items()}
            about = {
                "id": run.key,
                "project": _project(study.name),
                "name": run.name[:_LONGEST_NAME],
                "group": run.group[:_LONGEST_NAME],
                "job_type": run.kind,
                "tags": [run.status, f"seed {run.tags['seed']}"],
                "config": config,
            }
            digest = short_digest([about, _points(run, names)])
            log = partial(_log, run=run, names=names)
            made = _written(wandb, folder, about, digest, log)
            unchanged += not made
            written += [run] * made
            kept += _folders(folder, run.key)
        if study.view is not None:
            kept += _write_page(wandb, study, folder)
        folder.replace(study.name, kept)
    step = f"wandb sync {shlex.quote(str(folder.path / _RUNS))}/offline-run-*"
    segmenters, where = count_segmenters(written), str(folder.path / _RUNS)
    return Exported(where, len(written), unchanged, notes.lines, step, segmenters)


def _project(name: str) -> str:
    """Return a study's name without the characters that no project may have."""
    return "".join("-" if c in _NOT_IN_PROJECTS else c for c in name)[:_LONGEST_NAME]


def _points(run: ExportRun, names: Mapping[FigureName, str]) -> list[object]:
    figures = {names[name]: value for name, value in run.figures.items()}
    return [figures, {names[name]: list(curve) for name, curve in run.curves.items()}]


def _log(logged: Any, run: ExportRun, names: Mapping[FigureName, str]) -> None:
    """Log the curves epoch by epoch, and the figures as the run's summary."""
    by_epoch: dict[int, dict[str, float]] = {}
    for name, curve in run.curves.items():
        for epoch, value in curve:
            by_epoch.setdefault(epoch, {})[names[name]] = value
    for epoch, values in sorted(by_epoch.items()):
        logged.log(values, step=epoch)
    logged.summary.update({names[name]: value for name, value in run.figures.items()})


def _write_page(wandb: Any, study: StudyExport, folder: ExportFolder) -> list[str]:
    """Write a run with the tables and figures of a study's page; return its folders."""
    view = study.view
    assert view is not None
    about = {
        "id": study.key,
        "project": _project(study.name),
        "name": "page",
        "job_type": "page",
        "notes": "\n\n".join((view.title, *view.headlines)),
    }
    svgs = [figure.svg for figure in view.figures.values()]
    digest = short_digest([about, [str(table) for table in view.tables.values()], svgs])

    def log(logged: Any) -> None:
        shown: dict[str, Any] = {}
        for name, table in view.tables.items():
            shown[f"tables/{name}"] = _table(wandb, table)
        for name, figure in view.figures.items():
            picture = Image.open(io.BytesIO(figure.png()[0]))
            shown[f"figures/{name}"] = wandb.Image(picture, caption=figure.caption)
        logged.log(shown)

    _written(wandb, folder, about, digest, log)
    return _folders(folder, study.key)


def _table(wandb: Any, table: Table) -> Any:
    headers = distinct({column.key: column.header for column in table.columns}, str)
    rows = [[cell.text for cell in row] for row in table.rows]
    return wandb.Table(columns=list(headers.values()), data=rows)


def _folders(folder: ExportFolder, key: str) -> list[str]:
    """Return the folders of a run, the newest last."""
    found = (folder.path / _RUNS).glob(f"offline-run-*-{key}")
    return [f"{_RUNS}/{path.name}" for path in sorted(found)]


def _written(
    wandb: Any,
    folder: ExportFolder,
    about: Mapping[str, Any],
    digest: str,
    log: Callable[[Any], None],
) -> bool:
    """Write a run unless an equal one is there; return whether it was written."""
    before = [folder.path / name for name in _folders(folder, about["id"])]
    if any(_digest_in(path) == digest for path in before):
        return False
    for path in before:
        shutil.rmtree(path, ignore_errors=True)
    # What wandb tells of the machine is of the one that exports, which trained nothing.
    settings = wandb.Settings(
        mode="offline",
        console="off",
        silent=True,
        disable_git=True,
        save_code=False,
        host="",
        x_save_requirements=False,
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
    )
    said = f"{folder.path}: wandb cannot write there"
    folder.make()
    with as_input_error(said, wandb.errors.Error, OSError), _no_variables():
        run = wandb.init(dir=str(folder.path), settings=settings, reinit="create_new", **about)
        failed = "failed" in about.get("tags", ())
        try:
            log(run)
        except BaseException:
            failed = True
            raise
        finally:
            run.finish(exit_code=int(failed))
    found = _folders(folder, about["id"])
    if not found:
        raise InputError(f"{said}: it made no folder offline-run-*-{about['id']}")
    folder.write(f"{found[-1]}/{_DIGEST}", digest.encode())
    return True


def _digest_in(path: Path) -> str | None:
    try:
        return (path / _DIGEST).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


@contextmanager
def _no_variables() -> Iterator[None]:
    """Hide wandb's own environment variables: they would rename runs, or switch them off."""
    names = [name for name in os.environ if name.startswith("WANDB_") and name not in _KEPT]
    hidden = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(hidden)
