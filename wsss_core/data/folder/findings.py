"""What a look at a data set found: faults, likely mistakes and notes, each counted, one a line."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePath
from typing import Any, Self

from wsss_core.data.image_set import SPLITS
from wsss_core.errors import InputError, visible

EXAMPLES = 3
"""As many files are named of those that a finding counts."""

SHARED_GROUPS = "groups lie in several splits"
"""What is said of groups whose images are not independent across splits."""


class Severity(StrEnum):
    """How bad a finding is.

    Attributes:
        REFUSED: the data cannot be used; `wsss data check` and `wsss run` end with an error.
        WARNING: the data can be used, and may be read otherwise than they are meant.
        NOTE: a fact that a reader of the results should know.

    """

    REFUSED = "refused"
    WARNING = "warning"
    NOTE = "note"


class FindingKind(StrEnum):
    """What a finding is about; findings of one severity and split are listed in this order."""

    LAYOUT = "layout"
    NAMES = "names"
    CLASSES = "classes"
    LABELS = "labels"
    GROUPS = "groups"
    SOURCES = "sources"
    PASSED_OVER = "passed over"
    UNREADABLE = "unreadable"
    PAIRING = "image and mask"
    SIZES = "sizes"
    ORIENTATION = "orientation"
    PAGES = "pages"
    TRANSPARENCY = "transparency"
    BIT_DEPTH = "bit depth"
    MASK_VALUES = "mask values"
    EDGES = "grey edges"
    OBJECT_SHARE = "object share"
    SMALL_OBJECTS = "small objects"
    DUPLICATES = "duplicates"
    TWINS = "near twins"
    SPURIOUS = "spurious correlation"


@dataclass(frozen=True)
class Remedies:
    """Where a user changes what a finding is about.

    Attributes:
        values: what makes an ignored value a class.
        groups: what names the group of an image.
        lacking: what an image without a group does not have.

    """

    values: str = "list it in classes.yaml"
    groups: str = "name their frames in groups.csv"
    lacking: str = "a line in groups.csv"


FOLDER_REMEDIES = Remedies()
"""Those of a data folder."""

PUBLISHED_REMEDIES = Remedies(
    "the keys `values` and `least_area` of `data:` decide what is ignored; change them",
    "name their frames in a table for the key `labels` of `data:` (columns file, classes, group)",
    "a group",
)
"""Those of published sets that are read in place."""


@dataclass(frozen=True)
class DataFinding:
    """One thing that a look at a data set found, over all the files that it concerns.

    Attributes:
        kind: what it is about.
        severity: how bad it is.
        text: what is wrong and what to do, on one line, without the files' names.
        count: how many files, classes or groups it concerns.
        split: the split that it is about; None for the whole data set.
        examples: at most `EXAMPLES` of what it concerns, usually paths.
        pattern: what the names of all of them have in common, e.g. "*_mask.png"; may be empty.

    """

    kind: FindingKind
    severity: Severity
    text: str
    count: int = 1
    split: str | None = None
    examples: tuple[str, ...] = ()
    pattern: str = ""

    @classmethod
    def counted(
        cls,
        kind: FindingKind,
        severity: Severity,
        text: str,
        names: Iterable[str | Path],
        split: str | None = None,
    ) -> Self:
        """Return a finding about these files, counted, with examples and a pattern of the names."""
        written = [str(name) for name in names]
        return cls(
            kind,
            severity,
            text,
            len(written),
            split,
            tuple(written[:EXAMPLES]),
            common_pattern(written) if len(written) > 1 else "",
        )

    def concerned(self) -> str:
        """Return the examples and how many more there are.

        >>> names = [f"test/masks/{number}_mask.png" for number in range(1000)]
        >>> found = DataFinding.counted(FindingKind.PAIRING, Severity.REFUSED, "no image", names)
        >>> found.concerned()[46:]
        'test/masks/2_mask.png and 997 more, all *_mask.png'
        """
        listed = ", ".join(self.examples)
        if (more := self.count - len(self.examples)) <= 0 or not self.examples:
            return listed
        return f"{listed} and {more:,} more" + (f", all {self.pattern}" if self.pattern else "")

    def describe(self) -> str:
        """Return what is wrong, then the files."""
        return f"{self.text}: {self.concerned()}" if self.examples else self.text

    def headline(self) -> str:
        """Return the line of an error: the first file, what is wrong, how many more there are."""
        if not self.examples:
            return f"{self.split}: {self.text}" if self.split else self.text
        more = f" (and {self.count - 1:,} more" if self.count > 1 else ""
        more += f", all {self.pattern}" if more and self.pattern else ""
        return f"{self.examples[0]}: {self.text}{more}{')' if more else ''}"

    def record(self) -> dict[str, Any]:
        """Return plain values for JSON or a table, see `from_record`."""
        return {
            "kind": str(self.kind),
            "severity": str(self.severity),
            "split": self.split,
            "count": self.count,
            "examples": list(self.examples),
            "pattern": self.pattern,
            "text": self.text,
        }


@dataclass(frozen=True)
class DataFindings:
    """All findings about a data set, the worst first.

    Attributes:
        listed: sorted by severity, split and kind; each once.

    """

    listed: tuple[DataFinding, ...] = ()

    @classmethod
    def of(cls, findings: Iterable[DataFinding]) -> Self:
        """Sort findings; of equal ones one is kept."""
        return cls(tuple(sorted(dict.fromkeys(findings), key=_order)))

    def __iter__(self) -> Iterator[DataFinding]:
        return iter(self.listed)

    def __len__(self) -> int:
        return len(self.listed)

    def with_severity(self, severity: Severity) -> tuple[DataFinding, ...]:
        """Return the findings of one severity."""
        return tuple(found for found in self.listed if found.severity is severity)

    def without_shared_groups(self) -> Self:
        """Return the findings for folds, which pool the splits and keep groups in one role."""
        return type(self)(tuple(one for one in self.listed if SHARED_GROUPS not in one.text))

    def tally(self) -> str:
        """Return how many findings there are of each severity.

        >>> pages = DataFinding(FindingKind.PAGES, Severity.WARNING, "the first page is read")
        >>> DataFindings.of([pages]).tally()
        '1 warning'
        """
        counts = {severity: len(self.with_severity(severity)) for severity in Severity}
        words = {
            Severity.REFUSED: ("fault", "faults"),
            Severity.WARNING: ("warning", "warnings"),
            Severity.NOTE: ("note", "notes"),
        }
        said = [f"{count} {words[s][count > 1]}" for s, count in counts.items() if count]
        return ", ".join(said) or "nothing found"

    def lines(self) -> list[str]:
        """Return a table, one finding a line: severity, split, count, what is wrong, the files."""
        rows = [
            (
                str(one.severity),
                one.split or "-",
                f"{one.count:,}",
                visible(one.describe(), kept=""),
            )
            for one in self.listed
        ]
        widths = [max((len(row[at]) for row in rows), default=0) for at in range(3)]
        return [
            f"{severity:{widths[0]}}  {split:{widths[1]}}  {count:>{widths[2]}}  {text}"
            for severity, split, count, text in rows
        ]

    def raise_refused(self, hint: str = "") -> None:
        """Raise the first fault in one line, if there is any.

        Args:
            hint: where the others are listed, if there are more.

        Raises:
            InputError: the data cannot be used.

        """
        refused = self.with_severity(Severity.REFUSED)
        if not refused:
            return
        first, more = refused[0], len(refused) - 1
        line = first.headline()
        if more:
            line += f"; and {more} more fault{'s' if more > 1 else ''}"
            line += f", see {hint}" if hint else ""
        raise InputError(line)


class FindingCollector:
    """Counts what it is told, and makes one finding of all that was told for the same reason."""

    def __init__(self) -> None:
        self._texts: dict[tuple[FindingKind, Severity, str | None, str], str] = {}
        self._names: dict[tuple[FindingKind, Severity, str | None, str], list[str]] = {}

    def add(
        self,
        kind: FindingKind,
        severity: Severity,
        text: str,
        name: str | Path,
        split: str | None = None,
        *,
        reason: str | None = None,
    ) -> None:
        """Count a file.

        Args:
            kind: see `DataFinding`.
            severity: see `DataFinding`.
            text: see `DataFinding`; of one reason the first text is kept.
            name: the file.
            split: see `DataFinding`.
            reason: what the texts of equal findings share; None: the text.

        """
        key = kind, severity, split, reason or text
        self._texts.setdefault(key, text)
        self._names.setdefault(key, []).append(str(name))

    def refuse(self, kind: FindingKind, text: str, name: str | Path, reason: str = "") -> None:
        """Count a file that makes the data unusable; its path says which split it is of."""
        self.add(kind, Severity.REFUSED, text, name, reason=reason or None)

    def findings(self) -> list[DataFinding]:
        """Return a finding for each reason, in the order in which they were first told."""
        return [
            DataFinding.counted(kind, severity, self._texts[key], names, split)
            for key, names in self._names.items()
            for kind, severity, split, _ in (key,)
        ]


def common_pattern(names: Iterable[str]) -> str:
    """Return what the names of files have in common, folders left out, or nothing.

    A word or a number that the names share only in part is left to the star.

    >>> common_pattern(["masks/a_01_mask.png", "masks/a_02_mask.png"])
    'a_*_mask.png'
    >>> common_pattern(["a.jpg", "b.png"])
    ''
    """
    found = sorted({PurePath(name).name for name in names})
    if len(found) < 2:
        return found[0] if found else ""
    start = _shared_start(found).rstrip("0123456789")
    rest = [name[len(start) :] for name in found]
    if any(name[:1].isalpha() for name in rest):
        start = start[: len(start) - len(_letters_at_start(start[::-1]))]
        rest = [name[len(start) :] for name in found]
    end = _shared_start([name[::-1] for name in rest])[::-1]
    end = end[len(_letters_at_start(end)) :]
    return f"{start}*{end}" if start or end else ""


def _shared_start(names: list[str]) -> str:
    first, last = min(names), max(names)
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return "".join(letter for letter, _ in same)


def _letters_at_start(text: str) -> str:
    return "".join(itertools.takewhile(str.isalnum, text))


def _order(found: DataFinding) -> tuple[int, int, int]:
    split = SPLITS.index(found.split) if found.split in SPLITS else -1
    return list(Severity).index(found.severity), split, list(FindingKind).index(found.kind)
