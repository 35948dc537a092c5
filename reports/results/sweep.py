"""A study's sweep: the records of its values brought together.

A sweep varies one setting of the data, such as how often a chimney stands in a clear image. Every
configuration is trained anew at each value, under the same seeds.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from reports.names import measure_phrase
from reports.pairing import Pair
from reports.results.study_record import ConfigurationRecord, StudyRecord
from reports.statistics import PairedDifference, holm, paired_difference
from wsss_core.errors import InputError


@dataclass(frozen=True)
class SweepRow:
    """One configuration over the sweep.

    Attributes:
        configuration: as in the first record that plans it.
        iou: the objective at the study's rule, shares by value and seed; healthy trials only.
        accuracy: balanced accuracy of the image-level prediction, shares by value and seed.
        states: how the trials planned at a value ended; empty if none was planned.
        drop: IoU at the lowest value minus IoU at the highest, paired by seed.
        corrected_p: of the drop, corrected by Holm over all configurations.

    """

    configuration: ConfigurationRecord
    iou: Mapping[float, Mapping[Pair, float]]
    accuracy: Mapping[float, Mapping[Pair, float]]
    states: Mapping[float, Counter[str]]
    drop: PairedDifference
    corrected_p: float | None = None


@dataclass(frozen=True)
class SweepRecord:
    """A study over its sweep.

    Attributes:
        name: the setting that is varied, e.g. `P(chimney | clear)`.
        values: ascending, at least one.
        objective: the IoU definition, the same for all values.
        rule: the threshold rule, the same for all values.
        rows: a row per configuration, in the plan's order.

    """

    name: str
    values: tuple[float, ...]
    objective: str
    rule: str
    rows: tuple[SweepRow, ...]

    @property
    def measure(self) -> str:
        """The main figure and its rule in words."""
        return measure_phrase(self.objective, self.rule)


def _by_value(records: Sequence[StudyRecord]) -> dict[float, StudyRecord]:
    by_value: dict[float, StudyRecord] = {}
    for record in records:
        if record.sweep is None or record.sweep_value is None:
            raise InputError(f"study {record.name}: expected a sweep and its value, it has none")
        if record.sweep_value in by_value:
            raise InputError(
                f"study {record.name}: expected one record per value of the sweep, "
                f"two are at {record.sweep_value:g}"
            )
        by_value[record.sweep_value] = record
    for attribute in ("sweep", "objective"):
        found = sorted({str(getattr(record, attribute)) for record in records})
        if len(found) != 1:
            raise InputError(
                f"expected records of one {attribute}, got {', '.join(found) or 'none'}"
            )
    return dict(sorted(by_value.items()))


def read_sweep(records: Sequence[StudyRecord]) -> SweepRecord:
    """Bring the records of one study's sweep together.

    Args:
        records: one per value, in any order.

    Raises:
        InputError: there is no record, one has no sweep, two have the same value, or they differ in
            their sweep or objective.

    """
    by_value = _by_value(records)
    first = records[0]
    # A record without scores has no rule; one without tuned thresholds makes all rules fixed.
    rules = {record.rule for record in by_value.values() if record.classes}
    rule = "fixed" if "fixed" in rules else "tuned"
    known: dict[str, ConfigurationRecord] = {}
    for record in by_value.values():
        for one in record.configurations:
            known.setdefault(one.name, one)
    rows = [_row(by_value, one, first.objective, rule) for one in known.values()]
    corrected = holm([row.drop.p for row in rows])
    return SweepRecord(
        str(first.sweep),
        tuple(by_value),
        first.objective,
        rule,
        tuple(replace(row, corrected_p=p) for row, p in zip(rows, corrected, strict=True)),
    )


def _row(
    by_value: Mapping[float, StudyRecord], one: ConfigurationRecord, objective: str, rule: str
) -> SweepRow:
    iou, accuracy = (
        {at: record.by_seed(one.name, figure, rule=rule) for at, record in by_value.items()}
        for figure in (objective, "balanced_accuracy")
    )
    states = {at: record.states(one.name) for at, record in by_value.items()}
    drop = paired_difference(iou[min(by_value)], iou[max(by_value)])
    return SweepRow(one, iou, accuracy, states, drop)
