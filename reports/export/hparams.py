"""Settings and figures for TensorBoard's HPARAMS tab: one session a trial, in the trial's own run.

TensorBoard reads one list of settings and figures for a whole folder, the first that it finds. So
the list covers every study that the folder holds.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reports.export.runs import ExportRun, FigureName, Setting, StudyExport

LIST_FOLDER = "hparams"
"""The folder of the list of settings and figures."""

_CHOICES = 50  # up to so many texts of a setting are offered as check boxes


def settings_kinds(runs: Sequence[ExportRun]) -> dict[str, type]:
    """Return the kind of each setting: bool, float, or str where trials differ in their kind.

    A setting that is None in some trials and a number in others is a number; one that is None in
    all trials is left out.
    """
    found: dict[str, type] = {}
    for run in runs:
        for name, value in run.settings.items():
            if value is not None:
                kind = float if type(value) is int else type(value)
                found[name] = kind if found.get(name, kind) is kind else str
    return found


def session_start(run: ExportRun, kinds: Mapping[str, type]) -> Any:
    """Return the summary that gives a trial's settings; a number that it has not stays empty."""
    from google.protobuf.struct_pb2 import Value
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    def as_value(kind: type, value: Setting) -> Any:
        if kind is float and value is not None:
            return Value(number_value=float(value))
        if kind is bool and value is not None:
            return Value(bool_value=bool(value))
        return Value(string_value=str(value))

    settings: dict[str, Setting] = {
        name: value
        for name, value in run.settings.items()
        if name in kinds and (value is not None or kinds[name] is str)
    }
    info = plugin_data_pb2.SessionStartInfo(
        hparams={name: as_value(kinds[name], value) for name, value in settings.items()}
        | {"status": Value(string_value=run.status)},
        start_time_secs=run.started,
    )
    return _summary_of(metadata.SESSION_START_INFO_TAG, session_start_info=info)


def session_end(run: ExportRun, ended: float) -> Any:
    """Return the summary that says how a trial ended."""
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    status = api_pb2.STATUS_FAILURE if run.status == "failed" else api_pb2.STATUS_SUCCESS
    info = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=ended)
    return _summary_of(metadata.SESSION_END_INFO_TAG, session_end_info=info)


def settings_list(
    studies: Sequence[StudyExport],
    names: Mapping[FigureName, str],
    kinds: Mapping[str, type],
    before: Path | None,
) -> Any:
    """Return the summary that lists all settings and the main figures.

    Args:
        studies: those of this export.
        names: the tag of each figure.
        kinds: see `settings_kinds`.
        before: an event file with the list of other studies in the folder, if there are any.

    """
    from tensorboard.plugins.hparams import api_pb2, metadata

    values: dict[str, dict[Setting, None]] = {"status": {}}
    for study in studies:
        for run in study.runs:
            for name, value in {**run.settings, "status": run.status}.items():
                if name == "status" or name in kinds:
                    values.setdefault(name, {})[value] = None
    settings = {n: _setting(n, kinds.get(n, str), list(known)) for n, known in values.items()}
    tags = [names[figure] for study in studies for figure in study.main_figures]
    figures = {
        tag: api_pb2.MetricInfo(name=api_pb2.MetricName(group="", tag=tag), display_name=tag)
        for tag in tags
    }
    if before is not None and (known := _listed(before)) is not None:
        for setting in known.hparam_infos:
            settings.setdefault(setting.name, setting)
        for figure in known.metric_infos:
            figures.setdefault(figure.name.tag, figure)
    experiment = api_pb2.Experiment(
        hparam_infos=list(settings.values()), metric_infos=list(figures.values())
    )
    return _summary_of(metadata.EXPERIMENT_TAG, experiment=experiment)


def _setting(name: str, kind: type, values: Sequence[Setting]) -> Any:
    from google.protobuf.struct_pb2 import ListValue, Value
    from tensorboard.plugins.hparams import api_pb2

    types: dict[type, Any] = {float: api_pb2.DATA_TYPE_FLOAT64, bool: api_pb2.DATA_TYPE_BOOL}
    # TensorBoard shows settings in which trials differ first, and the others folded away.
    about: dict[str, Any] = {"name": name, "differs": len(values) > 1}
    choices = sorted({str(value) for value in values})
    if kind is str and len(choices) <= _CHOICES:
        about["domain_discrete"] = ListValue(values=[Value(string_value=c) for c in choices])
    return api_pb2.HParamInfo(type=types.get(kind, api_pb2.DATA_TYPE_STRING), **about)


def _listed(file: Path) -> Any:
    """Read the list that an event file holds; None if it holds none."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.hparams import metadata

    for record in RawEventFileLoader(str(file)).Load():
        for value in Event.FromString(record).summary.value:
            if value.tag == metadata.EXPERIMENT_TAG:
                return metadata.parse_experiment_plugin_data(value.metadata.plugin_data.content)
    return None


def _summary_of(tag: str, **content: Any) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    about = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(**content))
    value = Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)
    return Summary(value=[value])
