"""Two results folders side by side: rows matched by settings, trials paired by seed.

A row of one folder and a row of the other belong together if all settings of their trials but the
seed agree; rows that are left are matched by name. For each pair of rows: the difference in IoU
over the seeds of both, and what differs in settings, code and data. Rows that differ in settings
and yet agree in every figure to the bit are an alarm: the setting took no effect, or the results
are not of what they are said to be.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.names import measure_phrase
from reports.results.origins import (
    counted,
    differing,
    differing_settings,
    equal_rows,
    equal_seeds,
    row_settings,
    seeds_text,
    spelt_settings,
)
from reports.results.reading import read_studies
from reports.results.study_record import ConfigurationRecord, StudyRecord, TrialRecord
from reports.statistics import PairedDifference, holm, paired_difference
from reports.storage import Location
from reports.tables.cells import Cell, Column, Table, difference_cell, p_cell, summary_cell
from wsss_core.errors import InputError, nearest, quoted


@dataclass(frozen=True)
class MatchedRow:
    """A configuration of the first results folder and the one of the second it belongs to.

    Attributes:
        first: of the first folder.
        second: of the second.
        settings: dotted key -> its values in the two, where they differ; "(none)" for an absent
            key.
        origins: what differs in code, packages and machines, in words.
        data: which splits hold other images.
        difference: second minus first in the objective at the first study's rule, paired by seed.
        corrected_p: corrected by Holm over all rows.
        equal: over how many seeds of both every figure agrees to the bit.

    """

    first: ConfigurationRecord
    second: ConfigurationRecord
    settings: Mapping[str, tuple[str, str]]
    origins: tuple[str, ...]
    data: tuple[str, ...]
    difference: PairedDifference
    corrected_p: float | None
    equal: int

    @property
    def suspicious(self) -> bool:
        """Whether settings differ and every trial of both agrees to the bit."""
        return bool(self.settings) and 0 < len(self.difference.by_seed) == self.equal

    @property
    def reproduced(self) -> bool:
        """Whether nothing differs, in settings, origins, data or figures."""
        told = self.settings or self.origins or self.data
        return not told and 0 < len(self.difference.by_seed) == self.equal


@dataclass(frozen=True)
class ResultsComparison:
    """Two studies compared.

    Attributes:
        first: the study of the first results folder.
        second: that of the second.
        rows: matched rows, in the first study's order.
        only_first: names of rows that the second lacks.
        only_second: names of rows that the first lacks.

    """

    first: StudyRecord
    second: StudyRecord
    rows: tuple[MatchedRow, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]

    @property
    def alarms(self) -> list[str]:
        """Sentences on rows that differ in settings and agree to the bit, of one folder or both."""
        found = [
            f"{_both(row)}: settings differ ({spelt_settings(row.settings)}), and every figure "
            f"of {seeds_text(row.equal)} agrees to the bit. The setting took no effect, or the "
            "results are not of what they are said to be."
            for row in self.rows
            if row.suspicious
        ]
        for record, which in ((self.first, "first"), (self.second, "second")):
            found += [f"In the {which} folder, {sentence}" for sentence in equal_rows(record)]
        return found


def compare_results(
    first: Location, second: Location, study: str | None = None, *, processes: int = 1
) -> ResultsComparison:
    """Compare a study of one results folder with that of another.

    Args:
        first: a results folder, path or URI.
        second: the other.
        study: the study's name, if a folder holds several.
        processes: how many processes may read at once.

    Raises:
        InputError: a folder holds no such study, or several and none was named; or one with a
            sweep.

    """
    one, other = (_study(where, study, processes) for where in (first, second))
    return compare_records(one, other)


def compare_records(first: StudyRecord, second: StudyRecord) -> ResultsComparison:
    """Compare two studies that were read, see `reports.read_studies`."""
    pairs = list(_matched(first, second))
    differences = [
        paired_difference(
            second.by_seed(b.name, first.objective, rule=first.rule, class_name=first.main_class),
            first.by_seed(a.name, first.objective),
        )
        for a, b in pairs
    ]
    corrected = holm([difference.p for difference in differences])
    rows = tuple(
        _row(first, second, a, b, difference, p)
        for (a, b), difference, p in zip(pairs, differences, corrected, strict=True)
    )
    taken = {a.name for a, _ in pairs}, {b.name for _, b in pairs}
    left = (
        tuple(one.name for one in record.configurations if one.name not in names)
        for record, names in zip((first, second), taken, strict=True)
    )
    return ResultsComparison(first, second, rows, *left)


def comparison_table(comparison: ResultsComparison) -> Table:
    """Build the table: a row per matched pair, with what differs."""
    first, second = comparison.first, comparison.second
    measure = measure_phrase(first.objective, first.rule)
    columns = (
        Column("configuration", "configuration"),
        Column("first", "first", "%", None, True),
        Column("second", "second", "%", None, True),
        Column("difference", "second − first", "points", None, True),
        Column("p", "Holm p", "", None, True),
        Column("equal", "equal seeds", "", None, True),
        Column("differs", "what differs"),
    )
    rows = []
    for row in comparison.rows:
        pairs = len(row.difference.by_seed)
        rows.append(
            (
                Cell(_both(row)),
                summary_cell(
                    first.by_seed(row.first.name, first.objective), first.states(row.first.name)
                ),
                summary_cell(
                    second.by_seed(
                        row.second.name,
                        first.objective,
                        rule=first.rule,
                        class_name=first.main_class,
                    ),
                    second.states(row.second.name),
                ),
                difference_cell(row.difference, first.states(row.first.name)),
                p_cell(row.corrected_p),
                Cell(f"{row.equal} of {pairs}", data={"": row.equal, "pairs": pairs}),
                Cell("; ".join(_what_differs(row)) or "nothing"),
            )
        )
    caption = (
        f"Test split, {measure}; mean ± sample standard deviation over healthy trials. Rows are "
        "matched by their settings, else by name; the difference is paired by seed, with its 95 % "
        "interval. Equal seeds: every figure agrees to the bit."
    )
    notes = [
        f"Only in the {which} folder: {', '.join(names)}."
        for which, names in (("first", comparison.only_first), ("second", comparison.only_second))
        if names
    ]
    name = first.name if first.name == second.name else f"{first.name} and {second.name}"
    return Table("comparison", f"Two runs of {name}", columns, tuple(rows), caption, tuple(notes))


def _study(where: Location, name: str | None, processes: int) -> StudyRecord:
    found = read_studies(where, processes=processes)
    names = list(dict.fromkeys(record.study for record in found))
    if name is None and len(names) > 1:
        raise InputError(
            f"{where} holds {len(names)} studies ({', '.join(names)}); name one by --study"
        )
    chosen = [record for record in found if name in (None, record.study)]
    if not chosen:
        near = f"; nearest: {nearest(name or '', names)!r}" if names else ""
        raise InputError(f"{where} holds no study {quoted(name)}{near}")
    if chosen[0].sweep is not None:
        raise InputError(
            f"{where}: {chosen[0].study} has a sweep; expected a study with one value of each "
            "setting"
        )
    return chosen[0]


def _matched(
    first: StudyRecord, second: StudyRecord
) -> Iterator[tuple[ConfigurationRecord, ConfigurationRecord]]:
    """Yield rows that belong together: by settings, what is left by name."""
    left = {one.name: (one, row_settings(second, one)) for one in second.configurations}
    found: dict[str, ConfigurationRecord] = {}
    for one in first.configurations:
        settings = row_settings(first, one)
        alike = [name for name, (_, others) in left.items() if settings and settings == others]
        if alike:
            # Of several rows of equal settings the one of the same name.
            found[one.name] = left.pop(one.name if one.name in alike else alike[0])[0]
    for one in first.configurations:
        if one.name not in found and one.name in left:
            found[one.name] = left.pop(one.name)[0]
    for one in first.configurations:
        if one.name in found:
            yield one, found[one.name]


def _row(
    first: StudyRecord,
    second: StudyRecord,
    a: ConfigurationRecord,
    b: ConfigurationRecord,
    difference: PairedDifference,
    p: float | None,
) -> MatchedRow:
    trials = first.healthy(a.name), second.healthy(b.name)
    origins = differing([*trials[0], *trials[1]])
    data = tuple(
        words
        for column, words in (
            ("train_fingerprint", "training images"),
            ("evaluation_fingerprint", "tune or test images"),
        )
        if _values(trials[0], column) != _values(trials[1], column)
    )
    return MatchedRow(
        a,
        b,
        differing_settings(row_settings(first, a), row_settings(second, b)),
        tuple(f"{words}: {counted(values)}" for words, values in origins.items()),
        data,
        difference,
        p,
        equal_seeds(*trials)[1],
    )


def _values(trials: Sequence[TrialRecord], column: str) -> set[Any]:
    return {trial.row.get(column) for trial in trials}


def _what_differs(row: MatchedRow) -> list[str]:
    return [
        *([spelt_settings(row.settings)] if row.settings else []),
        *row.data,
        *row.origins,
    ]


def _both(row: MatchedRow) -> str:
    names = row.first.name, row.second.name
    return names[0] if names[0] == names[1] else f"{names[0]} | {names[1]}"
