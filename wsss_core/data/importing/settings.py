"""What an import is asked to do, and how its options are written."""

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from wsss_core.data.formats import SPLIT_WORDS, FormatOptions
from wsss_core.data.image_set import SPLITS
from wsss_core.errors import InputError, check_printable, checked_path, quoted


@dataclass(frozen=True)
class SourceSettings:
    """One source of an import.

    Attributes:
        path: a folder or an annotation file.
        name: what its images are said to come from.
        format: the name of its format; None: recognised.
        options: how it is read.
        classes: class -> its names in the source; None: all, as they are.
        labels: "format" (what the format says), "masks" (what the masks hold), or a CSV file.
        take: class -> how many images that hold it; empty: everything.

    """

    path: Path
    name: str
    format: str | None = None
    options: FormatOptions = field(default_factory=FormatOptions)
    classes: Mapping[str, Sequence[str]] | None = None
    labels: Literal["format", "masks"] | Path = "format"
    take: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class SplitSettings:
    """How images are split; at most one of the first three is given.

    Attributes:
        shares: split -> share of all images, by group.
        lists: split -> a file that lists images.
        names: split -> the source's own splits that it is made of.
        tune: how many images of another split become tune, by group: a share below 1, or a number.
        tune_from: that split.

    """

    shares: Mapping[str, float] = field(default_factory=dict)
    lists: Mapping[str, Path] = field(default_factory=dict)
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    tune: float | None = None
    tune_from: str = "train"


@dataclass(frozen=True)
class ImportSettings:
    """A whole import.

    Attributes:
        sources: where the images come from.
        destination: the data folder to write; not used where sources are read in place.
        split: how they are split.
        group_by: "group" (frames, clips, cities) or "camera": what is kept together.
        least_area: the least pixels of a class in a mask for the image to hold it.
        orientation: whether an EXIF orientation is applied or ignored; None: as the mask's size
            tells, and refused where it does not.
        assume_absent: whether a class of which a source says nothing is absent there.
        drop_twins: whether near copies across splits are left out.
        link: whether image files are linked, not copied.
        anew: whether a half import is thrown away.
        seed: of the random choices.

    """

    sources: tuple[SourceSettings, ...]
    destination: Path = Path()
    split: SplitSettings = field(default_factory=SplitSettings)
    group_by: Literal["group", "camera"] = "group"
    least_area: int = 1
    orientation: Literal["apply", "ignore"] | None = None
    assume_absent: bool = False
    drop_twins: bool = False
    link: bool = False
    anew: bool = False
    seed: int = 0


def name_sources(texts: Sequence[str]) -> list[tuple[str, Path]]:
    """Return name and path of each source, from texts that are a path or NAME=PATH.

    A source without a name is called as its folder, or its file without the suffix. Of several
    with the same name each gets its letter.

    >>> [name for name, _ in name_sources(["/data/SMOKE5K", "r=/data/RISE", "/more/SMOKE5K"])]
    ['SMOKE5K_A', 'r', 'SMOKE5K_C']
    """
    named = [_named(text) for text in texts]
    names = [name for name, _ in named]
    return [
        (f"{name}_{letter}" if names.count(name) > 1 else name, path)
        for (name, path), letter in zip(named, string.ascii_uppercase * len(named), strict=False)
    ]


def _named(text: str) -> tuple[str, Path]:
    name, equals, rest = text.partition("=")
    if equals and name and "/" not in name and not Path(text).exists():
        return name, checked_path(rest)
    path = checked_path(text)
    return path.stem if path.is_file() else path.name or "source", path


def parse_splits(texts: Sequence[str], tune: str | None = None) -> SplitSettings:
    """Return how to split, from the texts of `--split` and `--tune`.

    `train=0.7,tune=0.1,test=0.2` gives shares, `train=train.txt,tune=val.txt` files that list
    images, `tune=val,test=test+val2` names of the source's own splits. `100`, `0.1` and `test:0.1`
    say how much of train, or of test, becomes tune.

    Raises:
        InputError: a text is none of these, kinds are mixed, or shares do not add up to 1.

    >>> parse_splits(["train=0.7,tune=0.1", "test=0.2"]).shares
    {'train': 0.7, 'tune': 0.1, 'test': 0.2}
    >>> parse_splits(["test=val"], "0.1").names
    {'test': ('val',)}
    """
    expected = "expected e.g. train=0.7,tune=0.1,test=0.2, train=train.txt, or test=val"
    shares: dict[str, float] = {}
    lists: dict[str, Path] = {}
    names: dict[str, tuple[str, ...]] = {}
    for part in (part for text in texts for part in text.split(",")):
        split, equals, value = (word.strip() for word in part.partition("="))
        split = SPLIT_WORDS.get(split.lower(), split)
        if not equals or not value or split not in SPLITS:
            raise InputError(f"split {quoted(part)}, {expected}")
        if split in {**shares, **lists, **names}:
            raise InputError(f"split {split} is given twice, {expected}")
        share = _share(value)
        if share is not None:
            shares[split] = share
        elif checked_path(value).is_file():
            lists[split] = checked_path(value)
        elif Path(value).suffix:
            raise InputError(f"split {split}: {value}: no such file, {expected}")
        else:
            check_printable(value, "split", allowed="")
            names[split] = tuple(word.strip() for word in value.split("+"))
    if sum(map(bool, (shares, lists, names))) > 1:
        raise InputError(f"splits {quoted(', '.join(texts))} mix shares, files and names")
    if shares and not 0.999 < sum(shares.values()) < 1.001:
        raise InputError(f"shares {shares} of the splits, expected a sum of 1")
    amount, source = _tune(tune) if tune is not None else (None, "train")
    return SplitSettings(shares, lists, names, amount, source)


def _share(value: str) -> float | None:
    try:
        share = float(value)
    except ValueError:
        return None
    if not 0 <= share <= 1:
        raise InputError(f"share {value} of a split, expected 0 to 1")
    return share


def _tune(text: str) -> tuple[float, str]:
    before, colon, amount = text.rpartition(":")
    split = before if colon else "train"
    try:
        number = float(amount)
    except ValueError:
        number = 0.0
    if split not in ("train", "test") or not (0 < number < 1 or (number >= 1 and number % 1 == 0)):
        raise InputError(
            f"tune {quoted(text)}, expected a number of images or a share, e.g. 100, "
            "0.1 or test:0.1"
        )
    return number, split


def parse_take(texts: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return source -> class -> number from the texts of `--take`.

    Raises:
        InputError: a text is not like B=smoke:19, or says the same twice.

    >>> parse_take(["B=smoke:19", "C=clear:107"])
    {'B': {'smoke': 19}, 'C': {'clear': 107}}
    """
    taken: dict[str, dict[str, int]] = {}
    for text in texts:
        source, equals, rest = text.partition("=")
        name, colon, number = rest.rpartition(":")
        if not (equals and colon and source and name and number.isascii() and number.isdigit()):
            raise InputError(f"take {quoted(text)}, expected e.g. B=smoke:19 or C=clear:107")
        if name in taken.setdefault(source, {}) or int(number) < 1:
            raise InputError(f"take {quoted(text)}, expected each class once, at least 1 image")
        taken[source][name] = int(number)
    return taken
