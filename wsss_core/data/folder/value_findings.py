"""Findings about the values of a split's masks, compared with each other."""

from collections import defaultdict
from collections.abc import Sequence

from wsss_core.data.folder.class_list import FolderClasses
from wsss_core.data.folder.examination import ExaminedImage
from wsss_core.data.folder.findings import DataFinding, FindingKind, Severity
from wsss_core.data.folder.label_findings import place_of

_MOST_NAMED = 6  # values that a finding lists


def value_findings(
    images: Sequence[ExaminedImage], classes: FolderClasses, split: str
) -> list[DataFinding]:
    """Return a warning if the masks of a single class have different values for it.

    Each such mask holds 0 and one other value. They are read alike, which is right for 0 and 1
    beside 0 and 255, and wrong for the numbers of several classes.

    Args:
        images: of the split.
        classes: what its masks mean.
        split: the split.

    """
    if classes.mask_values is not None or classes.threshold is not None:
        return []
    found: dict[int, list[ExaminedImage]] = defaultdict(list)
    for image in images:
        for value in () if image.mask is None else image.mask.stored:
            if value != 0 and value not in classes.ignored:
                found[value].append(image)
    if len(found) < 2:
        return []
    usual = max(found, key=lambda value: len(found[value]))
    values = sorted(found)
    listed = ", ".join(f"{value} in {len(found[value]):,}" for value in values[:_MOST_NAMED])
    more = f" and {len(values) - _MOST_NAMED} more values" if len(values) > _MOST_NAMED else ""
    return [
        DataFinding.counted(
            FindingKind.MASK_VALUES,
            Severity.WARNING,
            f"masks have different values for {classes.names[0]} ({listed}{more}), all read as it; "
            f"if they are several classes or void, say so in classes.yaml; others than {usual}",
            [
                place_of(image, split)
                for value in values
                if value != usual
                for image in found[value]
            ],
            split,
        )
    ]
