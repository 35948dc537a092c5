"""The names that tables print for configurations without a name of their own."""

from collections.abc import Callable, Sequence

from reports.names import METRIC_NAMES
from studies.spec.configuration import Configuration, Fusion
from wsss_core.transfer.names import RELATIONS

_FUSION_WORDS = {
    "mean": "mean of",
    "product": "product of",
    "minimum": "minimum of",
    "or": "OR of",
    "and": "AND of",
    "soup": "weight soup of",
}


def fusion_name(fuse: Fusion, members: Sequence[str]) -> str:
    """Return the name that tables print for a fusion without a name of its own.

    Args:
        fuse: the fusion.
        members: the names of its rows.

    """
    seeds = f"{fuse.seeds} seeds of " if fuse.seeds > 1 else ""
    name = f"{_FUSION_WORDS[fuse.how]} {seeds}{' + '.join(members)}"
    return name if fuse.scores == "logits" else f"{name}, mean probability"


_REPRESENTATION_WORDS = {
    "spatial_map": "spatial map",
    "gram": "inner product",
    "activation_map": "activation map",
}

_PROJECTION_WORDS = {
    "none": "no projection",
    "mlp": "MLP",
    "conv1x1": "projected",
    "group_linear": "group-wise linear",
}


def teachers_label(one: Configuration, label: Callable[[str], str]) -> str:
    """Return the names of a configuration's teachers in tables, with weights if there are several.

    Args:
        one: the configuration.
        label: maps a backbone to its name in tables.

    """
    if one.teachers is None:
        return label(one.teacher or "")
    return " + ".join(
        label(name) if weight == 1 else f"{weight:g} {label(name)}"
        for name, weight in one.teachers.items()
    )


def configuration_name(
    one: Configuration, label: Callable[[str], str], *, name_networks: bool
) -> str:
    """Return the name that tables print for a configuration without a name of its own.

    Args:
        one: the configuration to name.
        label: maps a backbone to its name in tables.
        name_networks: name both networks, because the study aligns several pairs.

    """
    student = label(one.student)
    taught = one.paradigm == "teacher-student"
    words = ["taught" if taught else "co-trained"]
    if one.recipe is not None:
        changed = ", ".join(sorted(set(one.recipe) - {"name"}))
        words = [f"{student}, {one.recipe['name']}" + (f" ({changed})" if changed else "")]
        if one.teacher is not None:
            words[0] += f" with {label(one.teacher)}"
        if one.metric is None:
            return words[0]
    elif one.teacher is None:
        how = "alone" if one.decouple is None else "decoupled"
        return f"{student} {how}{', with the images that join' if one.join else ''}"
    elif name_networks:
        words = [f"{student} {'taught by' if taught else 'with'} {teachers_label(one, label)}"]
    metric = METRIC_NAMES.get(str(one.metric), str(one.metric))
    no_level = one.representation == "logits" or one.metric in RELATIONS
    words.append(metric if no_level else f"{metric} {one.transfer_level}")
    if one.representation != "feature":
        words.append(_REPRESENTATION_WORDS.get(str(one.representation), str(one.representation)))
    if one.projection is not None:
        words.append(_PROJECTION_WORDS.get(one.projection, one.projection))
    if one.layers:
        sides = [["last" if n is None else n for n in (p.student, p.teacher)] for p in one.layers]
        words.append("layers " + " ".join(f"{own}–{other}" for own, other in sides))
    if one.variant == "thesis":
        words.append("as in the thesis code")
    if one.gradient in ("student", "teacher"):
        moved = one.student if one.gradient == "student" else one.teacher
        words.append(f"moves {label(str(moved))} alone")
    if one.ema is not None:
        words.append("towards its partner's average")
    if one.join:
        words.append("with the images that join")
    if one.decouple is not None:
        words.append("decoupled")
    return ", ".join(words)
