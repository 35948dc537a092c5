"""What the ledger knows of one study along its dial: its records brought together.

A dial is a setting of the data, such as how often a chimney stands in a clear image; every
configuration is trained anew at each of its values, under the same seeds.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from reports.results.study_record import ConfigurationRecord, StudyRecord
from reports.statistics import PairedDifference, holm, paired_difference
from reports.tables.cells import MEASURE_NAMES
from reports.tables.strategies import RULE_NAMES
from wsss_core.errors import InputError


@dataclass(frozen=True)
class DialRow:
    """One configuration along the dial.

    Attributes:
        configuration: As the first record that plans it describes it.
        iou: Objective at the study's rule, a share, by dial value and seed; healthy trials alone.
        accuracy: Balanced accuracy of the image-level prediction, likewise.
        states: How the trials planned at a dial value ended; empty where none was planned.
        drop: IoU at the lowest dial value less that at the highest, paired by seed.
        corrected_p: Of the drop, by Holm over all configurations.

    """

    configuration: ConfigurationRecord
    iou: Mapping[float, Mapping[int, float]]
    accuracy: Mapping[float, Mapping[int, float]]
    states: Mapping[float, Counter[str]]
    drop: PairedDifference
    corrected_p: float | None


@dataclass(frozen=True)
class Dial:
    """A study along its dial.

    Attributes:
        name: What is varied, e.g. ``P(chimney | clear)``.
        values: Ascending, at least one.
        objective: The IoU definition, one for all values.
        rule: The threshold rule, one for all values.
        rows: A row per configuration, in the plan's order.

    """

    name: str
    values: tuple[float, ...]
    objective: str
    rule: str
    rows: tuple[DialRow, ...]

    @property
    def measure(self) -> str:
        """The main figure, in words, with the rule."""
        return f"{MEASURE_NAMES[self.objective]} at {RULE_NAMES[self.rule]}"


def _checked(records: Sequence[StudyRecord]) -> tuple[str, dict[float, StudyRecord]]:
    by_value: dict[float, StudyRecord] = {}
    for record in records:
        if record.dial is None or record.dial_value is None:
            raise InputError(f"study {record.name}: expected a dial and its value, it has none")
        if record.dial_value in by_value:
            raise InputError(
                f"study {record.name}: expected one record per dial value, "
                f"two are at {record.dial_value:g}"
            )
        by_value[record.dial_value] = record
    for what in ("dial", "objective"):
        found = sorted({str(getattr(record, what)) for record in records})
        if len(found) != 1:
            raise InputError(f"expected records of one {what}, got {', '.join(found) or 'none'}")
    return str(records[0].dial), dict(sorted(by_value.items()))


def read_dial(records: Sequence[StudyRecord]) -> Dial:
    """Bring the records of one study together.

    Args:
        records: One per dial value, in any order.

    Raises:
        InputError: For no record, one without a dial, two at the same value, or records that
            differ in their dial or objective.

    """
    name, by_value = _checked(records)
    # A value without scores tells no rule; where one has no tune split, none is tuned throughout.
    rules = {record.rule for record in by_value.values() if record.classes}
    rule = "fixed" if "fixed" in rules else "tuned"
    known: dict[str, ConfigurationRecord] = {}
    for record in by_value.values():
        for one in record.configurations:
            known.setdefault(one.name, one)
    lowest, highest = min(by_value), max(by_value)
    rows = []
    for one in known.values():
        iou, accuracy = (
            {at: record.by_seed(one.name, figure, rule=rule) for at, record in by_value.items()}
            for figure in (next(iter(by_value.values())).objective, "balanced_accuracy")
        )
        states = {at: record.states(one.name) for at, record in by_value.items()}
        drop = paired_difference(iou[lowest], iou[highest])
        rows.append(DialRow(one, iou, accuracy, states, drop, None))
    corrected = holm([row.drop.p for row in rows])
    return Dial(
        name,
        tuple(by_value),
        next(iter(by_value.values())).objective,
        rule,
        tuple(replace(row, corrected_p=p) for row, p in zip(rows, corrected, strict=True)),
    )
