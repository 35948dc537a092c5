"""Warnings at the head of a page: results that look like findings about maps and are none."""

from reports.names import MEAN_OF_CLASSES, THRESHOLD_NAMES, of_few_classes
from reports.results.comparisons import at_chance, balanced_accuracy
from reports.results.origins import equal_rows
from reports.results.score_rows import TINY
from reports.results.study_record import StudyRecord
from reports.tables.cells import never_predicted_notes, points

MANY = 0.5
"""The share of a configuration's masks from which empty or full ones are warned of."""

MOST_NAMED = 6
"""The most configurations that a sentence names."""


def study_warnings(record: StudyRecord) -> list[str]:
    """Say which classes are never predicted, who is at chance, which masks are empty or full.

    Returns:
        Sentences, plain text; of a study with a sweep they begin with its value.

    """
    found = [
        *(
            f"{note} The oracles see them ungated. wsss masks --labels gates by known labels."
            for note in never_predicted_notes(record)
        ),
        *_chance(record),
        *_degenerate_masks(record),
        *_tiny_objects(record),
        *(f"{said} The setting took no effect, or was not applied." for said in equal_rows(record)),
    ]
    if record.sweep_value is None:
        return found
    return [f"At {record.sweep_value:g}: {sentence}" for sentence in found]


def _listed(names: list[str]) -> str:
    """Join names; beyond `MOST_NAMED` they are counted."""
    rest = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _chance(record: StudyRecord) -> list[str]:
    names = [one.name for one in record.configurations if at_chance(record, one.name)]
    if not names:
        return []
    found = [
        accuracy
        for name in names
        for class_name in record.classes
        if class_name != MEAN_OF_CLASSES
        and (accuracy := balanced_accuracy(record, name, class_name)) is not None
    ]
    low, high = (points(end(one.mean for one in found)) for end in (min, max))
    reached = f"{low}\u00a0%" if low == high else f"{low} to {high}\u00a0%"
    every = len(names) == len(record.configurations)
    who = "every configuration" if every and len(names) > 1 else _listed(names)
    return [
        f"At chance: {who}. Of no class does the 95\u00a0% interval of the balanced accuracy over "
        f"test images lie above 50\u00a0% (it is {reached}), so the maps follow no class, and no "
        "headline names such a network the best."
    ]


def _degenerate_masks(record: StudyRecord) -> list[str]:
    """Count the masks without any pixel of a class, and those without any other pixel."""
    sentences = []
    for kind, held in (("empty", "images_with_class"), ("full", "images")):
        counted = "images_with_class_empty" if kind == "empty" else "images_full"
        who = []
        for one in record.configurations:
            there, of = (
                sum(record.by_seed(one.name, figure).values()) for figure in (counted, held)
            )
            if of and there >= MANY * of:
                who.append(f"{one.name}: {there:.0f} of {of:.0f}")
        if who:
            which = "that hold a class" if kind == "empty" else "of the test split"
            meaning = "no pixel of a class" if kind == "empty" else "no pixel of background"
            sentences.append(
                f"Masks at {THRESHOLD_NAMES[record.rule]} that are {kind} throughout ({meaning}), "
                f"of the images {which}, over healthy seeds: {_listed(who)}."
            )
    return sentences


def _tiny_objects(record: StudyRecord) -> list[str]:
    sentences = []
    for name in record.classes:
        if name == MEAN_OF_CLASSES:
            continue
        tiny, held = (
            max(
                (
                    int(value)
                    for one in record.configurations
                    for value in record.by_seed(one.name, figure, class_name=name).values()
                ),
                default=0,
            )
            for figure in ("images_with_tiny_object", "images_with_class")
        )
        if tiny:
            sentences.append(
                f"In {tiny} of the {held} test images that hold {name}, it covers less than "
                f"{100 * TINY:g}\u00a0% of the pixels. The per-image IoU counts each of them like "
                "any other image."
            )
    return of_few_classes(sentences, "{count} further classes have such images too.")
