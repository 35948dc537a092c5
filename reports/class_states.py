"""Cells of a class that a network never predicts: the state in place of an IoU of empty maps."""

from dataclasses import replace

from reports.names import MEASURES, NEVER_PREDICTED, PLAIN
from reports.pairing import Pair
from reports.results.study_record import StudyRecord
from reports.tables.cells import Cell

STATE = "never-predicted"


def with_class_state(
    cell: Cell,
    record: StudyRecord,
    configuration: str,
    class_name: str,
    figure: str,
    *,
    chain: str = PLAIN,
) -> Cell:
    """Return the cell of a figure of a class, marked if its maps are empty by gating.

    An IoU becomes `never predicted`, or names how many of its trials never predict the class. No
    such cell is the best of its column, whatever it holds: what marks nothing has no false
    positives either. Numbers for CSV stay.

    Args:
        cell: the cell as it is otherwise.
        record: the study.
        configuration: the configuration of its row.
        class_name: the class of its row.
        figure: the figure that it shows.
        chain: the chain of its row.

    """
    seeds = record.never_predicted(configuration, class_name, chain=chain)
    if not seeds:
        return cell
    if figure not in MEASURES:
        return replace(cell, rank=None)
    healthy = len(record.healthy(configuration, chain))
    if len(seeds) == healthy:
        return replace(cell, text=NEVER_PREDICTED, rank=None, state=STATE)
    text = f"{cell.text} ({len(seeds)} of {healthy} {NEVER_PREDICTED})"
    return replace(cell, text=text, rank=None)


def never_predicted_notes(record: StudyRecord) -> list[str]:
    """Name the classes that configurations never predict, a sentence a class."""
    notes = []
    for name in record.classes if len(record.classes) == 1 else record.classes[:-1]:
        who = []
        for one in record.configurations:
            seeds = record.never_predicted(one.name, name)
            if seeds and len(seeds) == len(record.healthy(one.name)):
                who.append(one.name)
            elif seeds:
                who.append(f"{one.name} (seed{'s' * (len(seeds) > 1)} {_listed(seeds)})")
        if who:
            notes.append(
                f"{NEVER_PREDICTED.capitalize()}: {name}, in none of the {_held(record, name)} "
                f"test images that hold it, by {'; '.join(who)}. Gating by the prediction "
                "(cam.gating: predicted) leaves its maps empty there, so their IoU of 0 is no "
                "finding about the maps."
            )
    return notes


def _listed(seeds: list[Pair]) -> str:
    return ", ".join(map(str, seeds))


def _held(record: StudyRecord, name: str) -> int:
    return max(
        int(held)
        for one in record.configurations
        for held in record.by_seed(one.name, "images_with_class", class_name=name).values()
    )
