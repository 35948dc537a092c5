"""The result of an export, and what it could not carry over as it is."""

import importlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType

from reports.export.runs import ExportRun, StudyExport
from wsss_core.errors import InputError


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Attributes:
        where: the folder, file or address that now holds it.
        runs: the number of trials and segmenters written.
        unchanged: the number of those that were there already, equal.
        notes: one line for each kind of thing that the tool does not hold as the ledger does.
        next_step: the command that opens it.
        segmenters: how many of the `runs` are segmenters.

    """

    where: str
    runs: int
    unchanged: int = 0
    notes: tuple[str, ...] = ()
    next_step: str = ""
    segmenters: int = 0


def count_segmenters(runs: Iterable[ExportRun]) -> int:
    """Return how many runs are segmenters."""
    return sum(run.kind == "segmenter" for run in runs)


class Notes:
    """Counts what an export leaves out or writes in another way, one line for each reason."""

    def __init__(self, studies: Sequence[StudyExport]) -> None:
        self._counts: Counter[str] = Counter()
        for study in studies:
            self.add("planned trial(s) have not ended and are left out", study.waiting)
            said = "planned segmenter(s) have not ended and are left out"
            self.add(said, study.waiting_segmenters)
            undefined = sum(run.undefined for run in study.runs)
            self.add("score(s) are not defined (NaN) and are left out", undefined)

    def add(self, reason: str, count: int = 1) -> None:
        """Count things; the reason follows their number in the line."""
        if count:
            self._counts[reason] += count

    @property
    def lines(self) -> tuple[str, ...]:
        """One line for each reason."""
        return tuple(f"{count:,} {reason}" for reason, count in self._counts.items())


def needed(module: str, extra: str) -> ModuleType:
    """Import a module of an optional extra.

    Raises:
        InputError: its package is not installed; the message names the extra.

    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        if (error.name or "").partition(".")[0] != package:
            raise
        raise InputError(
            f"the export to {extra} needs the package {package}: "
            f"pip install 'wsss-studies[{extra}]'"
        ) from error
