"""The studies that come with the package: what their files say of them.

A shipped file begins with a comment: a line that says what the study is about, then paragraphs,
some of which begin with a word of their own (`Asks`, `Found`, `Cost`, `Command`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from studies.spec.loading import load_study, required_keys, shipped_studies
from wsss_core.errors import InputError, nearest, quoted
from wsss_core.text_files import read_yaml

_PARAGRAPH = re.compile(r"([A-Z][a-z]+)\s{2,}(\S.*)")


@dataclass(frozen=True)
class StudySize:
    """How much a study, or a variant of it, runs.

    Attributes:
        variant: the variant's name; None for the study as it is.
        needs: keys that have to be given with `--set`.
        configurations: of the study's table, multiplied out.
        seeds: how many; with `decide` the first ones, of all rows.
        values: how many of its sweep, or folds; 1 without either.
        searched: configurations that a search tries before; 0 without one.
        chains: refinement chains beside the plain CAM.
        changes: keys of the study that the variant changes.

    """

    variant: str | None
    needs: tuple[str, ...]
    configurations: int
    seeds: int
    values: int
    searched: int
    chains: int
    changes: tuple[str, ...] = ()

    @property
    def trials(self) -> int:
        """Trials of the study's configurations, those of its search left out."""
        return self.configurations * self.seeds * self.values


@dataclass(frozen=True)
class ShippedStudy:
    """A shipped study.

    Attributes:
        name: to run it by.
        file: its YAML file.
        title: the question it asks.
        header: the comment at the head of its file, without the signs of a comment.
        cost: what the header says of it.
        size: of the study as it is.
        variants: the sizes of its variants, in the file's order.

    """

    name: str
    file: str
    title: str
    header: str
    cost: str
    size: StudySize
    variants: tuple[StudySize, ...]

    @property
    def time(self) -> str:
        """The part of `cost` that names a time; all of it where it names none."""
        found = re.search(r"(?:about )?[\d.,]+ (?:second|minute|hour|day)s?\b[^.:;]*", self.cost)
        return found[0] if found else self.cost


def shipped_study(name: str) -> ShippedStudy:
    """Return what a shipped study's file says of it.

    Raises:
        InputError: no study of this name is shipped.

    """
    files = shipped_studies()
    if name not in files:
        near = nearest(name, files, 0.4)
        hint = f"did you mean {near!r}?" if near else f"shipped: {', '.join(files)}"
        raise InputError(f"{quoted(name)} is not a shipped study; {hint}")
    raw = read_yaml(files[name])
    header = _header(files[name].read_text(encoding="utf-8"))
    return ShippedStudy(
        name=name,
        file=str(files[name]),
        title=raw["title"],
        header=header,
        cost=paragraphs(header).get("Cost", ""),
        size=_size(name),
        variants=tuple(
            _size(name, variant, changes) for variant, changes in raw.get("variants", {}).items()
        ),
    )


def _header(text: str) -> str:
    """Return the comment that a file begins with."""
    lines = re.match(r"(?:#.*\n)*", text)
    return "\n".join(
        line[1:].removeprefix(" ") for line in (lines[0] if lines else "").splitlines()
    )


def paragraphs(header: str) -> dict[str, str]:
    r"""Return the paragraphs of a header that begin with a word of their own, by this word.

    >>> paragraphs("A title.\n\nCost     10 runs:\n         an hour.\nQuick    wsss run x")
    {'Cost': '10 runs: an hour.', 'Quick': 'wsss run x'}
    """
    found: dict[str, str] = {}
    last = None
    for line in header.splitlines():
        if begun := _PARAGRAPH.match(line):
            last, found[begun[1]] = begun[1], begun[2]
        elif last is not None and line.startswith("    "):
            found[last] += f" {line.strip()}"
        else:
            last = None
    return found


def _size(name: str, variant: str | None = None, changes: Iterable[str] = ()) -> StudySize:
    """Return the size of a study; what must be given is given as if it were there."""
    variants = [variant] if variant else []
    needs = required_keys(name, variants)
    study = load_study(name, [f"{key}=GIVEN" for key in needs], variants)
    return StudySize(
        variant=variant,
        needs=tuple(needs),
        configurations=len(study.named_configurations()),
        seeds=study.decide.first_seeds if study.decide else len(study.seeds),
        values=len(study.sweep.values) if study.sweep else study.fold_count or 1,
        searched=study.search.trials if study.search else 0,
        chains=len(study.chains),
        changes=tuple(changes),
    )
