"""Rows that are fused of others: which networks they are made of, and the controls of taught rows.

A taught network has seen what another network sees. Two networks trained apart and fused have both
views too, so a row beside each taught one says whether it is the teaching that helps, or having two
opinions.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from studies.spec.configuration import FUSED, SOUP, Configuration, Fusion, FusionName
from studies.spec.configuration_names import fusion_name
from studies.spec.settings import TrainingChange
from wsss_core.errors import nearest, quoted

Named: TypeAlias = tuple[str, Configuration]
"""A configuration with its name."""

_ON_ONE_ARCHITECTURE = ("label", "weights", "partial_weights", "training")
"""The settings of a backbone in which the networks of a weight soup may differ."""


def is_alone(one: Configuration) -> bool:
    """Return whether a row is a network alone, taught by the labels of its images as they are."""
    return one.paradigm == "single" and one.decouple is None and one.targets is None


def named_alone(
    rows: Sequence[Named],
) -> Callable[[str, TrainingChange, bool], str | None]:
    """Return what names the row of a network alone, by its backbone, training and joined images.

    A row of the same joined images comes before one without, then one of the same training before
    one of the study's; None where there is none.
    """
    alone = {(one.student, one.training, one.join): name for name, one in rows if is_alone(one)}
    plain = TrainingChange()

    def name(backbone: str, training: TrainingChange, join: bool) -> str | None:
        ways = ((how, joins) for joins in (join, False) for how in (training, plain))
        found = (alone.get((backbone, *way)) for way in ways)
        return next((row for row in found if row is not None), None)

    return name


def control_fusions(rows: Sequence[Named], ways: Sequence[FusionName]) -> list[Configuration]:
    """Return a fusion of two networks trained apart for each pair that rows align, in their order.

    Args:
        rows: the study's rows. A network that a row has alone is that row's, else its backbone's.
        ways: how each pair is fused.

    """
    named, plain = named_alone(rows), TrainingChange()

    def network(backbone: str, training: TrainingChange) -> str:
        return named(backbone, training, False) or backbone

    pairs = {
        (network(one.student, one.training), network(one.teacher, plain)): None
        for _, one in rows
        if one.teacher is not None and one.teacher != one.student
    }
    there = {(tuple(one.fuse.of), one.fuse.how) for _, one in rows if one.fuse is not None}
    return [
        Configuration(paradigm=FUSED, student="", fuse=Fusion(of=list(pair), how=how))
        for pair in pairs
        for how in ways
        if (pair, how) not in there
    ]


def members_of(
    fuse: Fusion, rows: Mapping[str, Configuration], backbones: Mapping[str, Any], where: str
) -> list[Named]:
    """Return what a fusion is made of, in its order.

    Args:
        fuse: the fusion.
        rows: the rows of the study by name.
        backbones: the backbones of the study by name, each with its settings.
        where: the key of the fusion in messages.

    Raises:
        ValueError: a name that is neither a row nor a backbone, a row that is itself fused, or a
            soup of different architectures.

    """
    found = []
    for name in fuse.of:
        one = rows.get(name)
        if one is None and name in backbones:
            found.append((name, Configuration(paradigm="single", student=name)))
            continue
        if one is None:
            near = nearest(name, [*rows, *backbones], 0)
            raise ValueError(
                f"{where}.of {quoted(name)} is neither a row nor a backbone of this study; "
                f"nearest: {near!r}"
            )
        if one.fuse is not None:
            raise ValueError(
                f"{where}.of {quoted(name)} is itself fused; name the rows that it is made of"
            )
        found.append((name, one))
    if fuse.how == SOUP:
        built = {
            name: backbones[one.student].model_dump(exclude=set(_ON_ONE_ARCHITECTURE))
            for name, one in found
        }
        first, *others = built
        other = next((name for name in others if built[name] != built[first]), None)
        if other is not None:
            raise ValueError(
                f"{where}: a soup averages weights of one architecture; the networks of "
                f"{quoted(first)} and {quoted(other)} differ"
            )
    return found


def with_fusions(
    rows: Sequence[tuple[str, Configuration, bool]],
    controls: Sequence[FusionName],
    backbones: Mapping[str, Any],
    label: Callable[[str], str],
    seeds: int,
) -> list[Named]:
    """Return the rows of a study in order, fused ones with their name and their first network.

    Args:
        rows: name and configuration of each row, and whether the name is the study file's own;
            the name of a fused row that has none is empty.
        controls: how controls are fused that the file does not list.
        backbones: the backbones of the study by name.
        label: maps a backbone to its name in tables.
        seeds: how many seeds the study has.

    Raises:
        ValueError: see `members_of`; more seeds a result than there are.

    """
    listed = [(name, one) for name, one, _ in rows]
    added = control_fusions(listed, controls)
    everything = [*rows, *(("", one, False) for one in added)]
    by_name = {name: one for name, one in listed if name}
    found = []
    for place, (given, one, own) in enumerate(everything):
        if one.fuse is None:
            found.append((given, one))
            continue
        where = "controls" if place >= len(rows) else f"fuse of {quoted(given or one.fuse.of)}"
        if one.fuse.seeds > seeds:
            raise ValueError(f"{where}: seeds {one.fuse.seeds}, the study has {seeds}")
        members = members_of(one.fuse, by_name, backbones, where)
        names = [
            name if name in by_name else f"{label(member.student)} alone"
            for name, member in members
        ]
        name = given if own else fusion_name(one.fuse, names)
        if given and not own:
            name = f"{given}: {name}"
        found.append((name, one.model_copy(update={"student": members[0][1].student})))
    return found
