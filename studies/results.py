"""The results of studies, opened: frames, tables, figures, pseudo masks, the report."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.ledger import finished_trials, read_table
from reports.names import PLAIN
from reports.storage import Location, below, is_uri, located
from studies.formatting import expected_names
from wsss_core.errors import InputError, quoted

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from reports import ReportFiles
    from reports.results.study_record import StudyRecord
    from reports.tables.printed import PrintedTable
    from studies.masks.folder import MasksMade
    from studies.runner import RunResult
    from studies.status.model import StudyStatus

_TRIAL_COLUMNS = ("started_at", "seconds_training", "seconds_scoring", "device", "error")


def open_results(
    results: Location,
    *,
    store: Location | None = None,
    study: str | None = None,
    processes: int = 1,
) -> "Results":
    """Open a results folder that `wsss run` or `run_study` wrote; it may be of a run that goes on.

    What is read once is kept: open the folder again to see what a run has added.

    Args:
        results: a path or a URI.
        store: the artifact store; None: `store` in the results folder.
        study: the only study to open; None: all that the folder holds.
        processes: how many processes may compute figures at once if there are many trials. More
            than one needs a main script guarded by `if __name__ == "__main__"`.

    Raises:
        InputError: there is no study, or none of that name.

    Example:
        >>> import tempfile
        >>> from studies import run_study
        >>> from studies.spec.loading import load_study
        >>> small = {"data.size": 32, "data.train": 16, "data.tune": 8, "data.test": 8}
        >>> alone = [{"paradigm": "single", "student": "cnn"}]
        >>> changes = {**small, "configurations": alone, "seeds": [0], "training.epochs": 1}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = run_study(load_study("quickstart", changes), folder, in_process=True)
        ...     table = open_results(folder).table("strategies")
        >>> table.frame["configuration"].tolist()
        ['CNN alone']

    """
    opened = Results(
        located(str(results)), None if store is None else located(str(store)), study, processes
    )
    _ = opened.studies
    return opened


@dataclass(frozen=True)
class StatusText:
    """The status of studies, which prints as `wsss status` does.

    Attributes:
        studies: the status of each study, by name.

    """

    studies: "tuple[StudyStatus, ...]"

    def __repr__(self) -> str:
        from studies.status.text import describe_status

        return "\n\n".join(describe_status(status) for status in self.studies)


@dataclass(frozen=True)
class Results:
    """The results of the studies in one folder; `open_results` and `run_study` return them.

    Attributes:
        folder: the results folder, a path or a URI.
        store: the artifact store; None: `store` in that folder.
        study: the only study that is opened; None: all.
        processes: how many processes may compute figures at once.
        run: what `run_study` did; None where the folder was opened.

    """

    folder: Location
    store: Location | None = None
    study: str | None = None
    processes: int = 1
    run: "RunResult | None" = None

    @cached_property
    def studies(self) -> tuple[str, ...]:
        """The names of the studies, sorted."""
        plan = read_table(self.folder, "plan", columns=["study"])
        names = sorted(set(plan["study"]))
        if not names:
            raise InputError(
                f"{self.folder}: no plan in a ledger there; expected a folder that `wsss run` or "
                "run_study wrote"
            )
        if self.study is None:
            return tuple(names)
        return (_one_of("study", self.study, names),)

    @property
    def trials(self) -> "pd.DataFrame":
        """Every planned trial with the plain CAM: how it ended, its configuration, its times.

        The status is ok, failed, collapsed, or missing where the trial has not ended; `error` says
        why a trial failed or collapsed.
        """
        import pandas as pd

        rows: list[dict[str, Any]] = []
        for record in self._records:
            for trial in record.trials.values():
                one = record.configuration(trial.configuration)
                assert one is not None
                rows.append(
                    {
                        "study": record.study,
                        **_sweep_value(record),
                        "configuration": trial.configuration,
                        "seed": trial.seed,
                        **({"fold": trial.fold} if record.folds else {}),
                        "status": trial.status,
                        "paradigm": one.paradigm,
                        "metric": one.metric,
                        "transfer_level": one.transfer_level,
                        "representation": one.representation,
                        "transfer_weight": one.transfer_weight,
                        "student": one.student,
                        "teacher": one.teacher,
                        "trial_key": trial.key,
                        **{name: trial.row.get(name) for name in _TRIAL_COLUMNS},
                    }
                )
        frame = pd.DataFrame(rows)
        frame["started_at"] = pd.to_datetime(frame["started_at"], unit="us", utc=True)
        return frame

    def outcomes(
        self,
        split: str = "test",
        rule: str | None = None,
        *,
        chain: str = PLAIN,
        network: str = "student",
        class_name: str | None = None,
    ) -> "pd.DataFrame":
        """Return the figures of every scored trial, one row a trial.

        A study with folds has a column `fold`; figures are over the images of that fold.

        Args:
            split: "test" or "tune".
            rule: the threshold rule: "tuned", "fixed", "otsu", "dataset_oracle", ...; None: that of
                the study's tables.
            chain: the refinement chain; "none": the plain CAM.
            network: "student", or in co-training "teacher" or "fused".
            class_name: None: the only class, or the mean over classes.

        Returns:
            Figures are shares in [0, 1]. `per_image_iou`, `dataset_iou`, `dataset_miou`,
            `precision` and `recall` are over the images that hold the class (the pooled ones, of
            several classes, any class), `dataset_iou_all_images`, `dataset_miou_all_images` and
            `precision_all_images` over all images; `threshold` is in [0, 1]. A trial without scores
            has no row; `trials` has one for each.

        Raises:
            InputError: no row has such a split, rule, chain, network or class; the message names
                those there are.

        """
        import pandas as pd

        parts = []
        for record in self._records:
            frame = self._outcomes_of(record)
            wanted = {
                "chain": chain,
                "network": network,
                "class_name": record.main_class if class_name is None else class_name,
                "split": split,
                "rule": record.rule if rule is None else rule,
            }
            for column, value in wanted.items():
                if len(frame):
                    _one_of(column, value, frame[column].unique())
                    frame = frame[frame[column] == value]
            parts.append(frame)
        return pd.concat(parts, ignore_index=True)

    def all_outcomes(self) -> "pd.DataFrame":
        """Return a row for every trial, chain, network, class, split and threshold rule."""
        import pandas as pd

        return pd.concat([self._outcomes_of(one) for one in self._records], ignore_index=True)

    @staticmethod
    def _outcomes_of(record: "StudyRecord") -> "pd.DataFrame":
        from reports.results.outcomes import OUTCOME_COLUMNS

        frame = record.outcomes().rename(columns={"refinement": "chain"})
        frame = frame.assign(study=record.study)
        if record.sweep is not None:
            frame.insert(1, "sweep_value", record.sweep_value)
        return frame if len(frame) else frame.reindex(columns=[*frame.columns, *OUTCOME_COLUMNS])

    def segmentation(self) -> "pd.DataFrame":
        """Return a row for each segmenter and seed: how it ended, masks spent, all figures.

        Figures are of the test split, shares in [0, 1], and `false_objects` an image; `segment_key`
        names the trained segmenter in the store. Without segmenters there is no row.
        """
        from reports.results.segments import segment_frame

        records = [(one.study, one.sweep_value, one.segments) for one in self._records]
        return segment_frame(records)

    def table(self, name: str, *, study: str | None = None) -> "PrintedTable":
        """Return a table of the report: "strategies", "thresholds", "trials", ...

        Its methods are `to_markdown`, `to_latex`, `to_csv` and `to_html`; `frame` holds the texts
        of its cells and `numbers` the numbers behind them.

        Args:
            name: one of `table_names()`.
            study: where the folder holds several.

        Raises:
            InputError: the study has no such table; the message names those it has.

        """
        from reports.page.items import study_tables
        from reports.tables.printed import PrintedTable

        builds = study_tables(self._records_of(study))
        return PrintedTable.of(builds[_one_of("table", name, builds)]())

    def table_names(self, *, study: str | None = None) -> tuple[str, ...]:
        """Return the names of a study's tables, in the report's order."""
        from reports.page.items import study_tables

        return tuple(study_tables(self._records_of(study)))

    def warnings(self, *, study: str | None = None) -> tuple[str, ...]:
        """Return what the report warns of: classes that are never predicted, networks at chance.

        Masks that are empty or full throughout and tiny objects are among it.

        Args:
            study: where the folder holds several.

        """
        from reports.page.warnings import study_warnings

        return tuple(text for one in self._records_of(study) for text in study_warnings(one))

    def figure(self, name: str, *, study: str | None = None) -> "Figure":
        """Return a figure of the report, "seeds", "panels", "training", ..., as matplotlib's.

        A notebook shows it; `savefig` writes it.

        Args:
            name: one of `figure_names()`.
            study: where the folder holds several.

        Raises:
            InputError: the study has no such figure, or no data for it.

        """
        from reports.page.items import study_figures

        collects = study_figures(self._records_of(study))
        drawing = collects[_one_of("figure", name, collects)]()
        if drawing is None:
            raise InputError(f"figure {quoted(name)}: the study holds no data for it")
        return drawing.figure()

    def figure_names(self, *, study: str | None = None) -> tuple[str, ...]:
        """Return the names of a study's figures that have data, in the report's order."""
        from reports.page.items import study_figures

        collects = study_figures(self._records_of(study))
        return tuple(name for name, collect in collects.items() if collect() is not None)

    def masks(self, images: str | Path, out: str | Path, **options: Any) -> "MasksMade":
        """Make pseudo masks of a folder of images with a network of the study.

        Args:
            images: the folder of images.
            out: the folder of the masks.
            **options: those of `studies.make_masks`: configuration, seed, chain, rule, threshold,
                uncertain, soft, labels, batch, address, in_process, ...

        """
        from studies.masks.making import make_masks

        options = {"study": self.study, "store": self.store, **options}
        return make_masks(self.folder, images, out, **options)

    def thresholds(self) -> "pd.DataFrame":
        """Return every chosen threshold: a row per configuration, chain, seed, class and rule.

        Shares are in [0, 1], of the test split. `price` is the objective under the dataset oracle
        minus the objective under the rule.
        """
        import pandas as pd

        from reports.listing import threshold_choices

        choices = [threshold_choices(record) for record in self._records]
        return pd.concat(choices, ignore_index=True).rename(columns={"refinement": "chain"})

    def status(self) -> StatusText:
        """Return how many trials are done, running, failed and why, and what is left to do.

        It is read anew with each call, also while another process runs the study.
        """
        from studies.status.reading import Watcher

        return StatusText(tuple(Watcher(self.folder, self.store, self.study).look()))

    def report(self, out: str | Path | None = None, *, anonymous: bool = False) -> "ReportFiles":
        """Write the report: the page, its tables and figures.

        Args:
            out: the folder to write; None: `report` in the results folder.
            anonymous: leave out the names of machines, folders and people.

        Raises:
            InputError: `out` is not given and the results are at a URI, or it cannot be written.

        """
        from reports import make_report

        if out is None and is_uri(self.folder):
            raise InputError(f"{self.folder}: expected out=, a folder of this machine")
        folder = Path(below(self.folder, "report") if out is None else out)
        return make_report(self.folder, folder, processes=self.processes, anonymous=anonymous)

    @cached_property
    def _records(self) -> "list[StudyRecord]":
        from reports.results.reading import read_studies

        records = read_studies(self.folder, processes=self.processes)
        return [record for record in records if record.study in self.studies]

    def _records_of(self, study: str | None) -> "list[StudyRecord]":
        """Return the records of one study."""
        if study is None and len(self.studies) > 1:
            raise InputError(
                f"{self.folder}: several studies are there; expected study=, one of "
                f"{', '.join(self.studies)}"
            )
        name = self.studies[0] if study is None else _one_of("study", study, self.studies)
        return [record for record in self._records if record.study == name]

    def __repr__(self) -> str:
        plan = read_table(self.folder, "plan", columns=["study", "trial_key"])
        statuses = finished_trials(self.folder)
        keys = plan.loc[plan["study"].isin(self.studies), "trial_key"]
        states = Counter(statuses.get(key, "missing") for key in keys)
        ended = ", ".join(f"{count} {state}" for state, count in states.items())
        return f"Results({str(self.folder)!r}): {', '.join(self.studies)}; trials: {ended}"


def _sweep_value(record: "StudyRecord") -> dict[str, float | None]:
    return {} if record.sweep is None else {"sweep_value": record.sweep_value}


def _one_of(what: str, name: str, known: Iterable[str]) -> str:
    """Return a name, or raise and name those there are."""
    there = list(map(str, known))
    if name not in there:
        raise InputError(f"{what} {quoted(name)}: {expected_names(there, name)}")
    return name
