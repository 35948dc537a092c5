"""Names that people give to folders and files of a data set where this product expects others."""

from collections.abc import Collection
from pathlib import Path

from wsss_core.errors import nearest

LIKELY_NAMES = {
    "train": ("training",),
    "tune": ("val", "valid", "validation", "dev"),
    "test": ("testing",),
    "images": ("img", "imgs", "image", "jpg", "frames", "rgb"),
    "masks": (
        "mask",
        "gt",
        "gts",
        "labels",
        "label",
        "annotations",
        "ground_truth",
        "segmentation",
    ),
    "clear": (
        *("clear", "negative", "negatives", "neg", "good", "ok", "normal", "none", "background"),
        *("empty", "healthy", "non_defective"),
    ),
    "context": ("contexts",),
}
"""What this product calls a folder -> what others call it, in small letters."""

CLASS_FILES = ("classes.yaml", "classes.yml")
"""The list of classes of a data folder, under either ending."""

EXPECTED_FILES = ("classes.yaml", "groups.csv", "labels.csv", "attributes.csv")
"""The files of a data folder that other spellings may be meant as."""


def meant_by(name: str, expected: str, classes: Collection[str] = ()) -> bool:
    """Return whether a folder's name may be meant as another one.

    Args:
        name: the folder's.
        expected: a key of `LIKELY_NAMES`.
        classes: the classes of the data set; "no_smoke" may be meant as clear.

    >>> meant_by("Validation", "tune"), meant_by("no smoke", "clear", ["smoke"])
    (True, True)
    """
    plain = name.casefold().replace("-", "_").replace(" ", "_")
    if name == expected:
        return False
    without = {f"{word}{gap}{one.casefold()}" for word in ("no", "non", "not", "without")
               for gap in ("", "_") for one in classes}  # fmt: skip
    return plain in (expected, *LIKELY_NAMES[expected]) or (
        expected == "clear" and plain in without
    )


def meant_hint(expected: str, names: Collection[str]) -> str:
    """Return '; nearest: ...' for the name that is like the expected one or may be meant by it."""
    near = nearest(expected, names)
    if near is None and expected in LIKELY_NAMES:
        near = next((name for name in sorted(names) if meant_by(name, expected)), None)
        if near is not None:
            return f"; {near!r} may be meant, rename it to {expected!r}"
    return f"; nearest: {near!r}" if near else ""


def misnamed(file: Path) -> str | None:
    """Return which file of a data folder a file with another spelling may be meant as.

    >>> misnamed(Path("DATA/Classes.yml"))
    'classes.yaml'
    """
    if file.name in CLASS_FILES:
        return None
    for expected in EXPECTED_FILES:
        stem, _, suffix = expected.partition(".")
        others = (".yaml", ".yml") if suffix == "yaml" else (".csv", ".txt", ".tsv")
        plain = file.name.casefold()
        if file.name != expected and plain in {f"{stem}{other}" for other in others}:
            return expected
    return None
