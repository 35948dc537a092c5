"""Which layers of two networks an alignment compares, and what can be compared at all."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from wsss_core.backbones import Network, PatchTokens, WholeModel, cell_side
from wsss_core.backbones.attending import attends
from wsss_core.errors import InputError
from wsss_core.plugins import is_plugin
from wsss_core.transfer.names import ALIGNMENT_METRICS, LOGIT_METRICS, RELATIONS
from wsss_core.transfer.representations import of_features


class AlignedLayers(NamedTuple):
    """Which layer of the student meets which of the teacher; None: the final features."""

    student: str | int | None = None
    teacher: str | int | None = None
    weight: float = 1.0

    def __str__(self) -> str:
        sides = (
            "final" if layer is None else repr(layer) for layer in (self.student, self.teacher)
        )
        return " with ".join(sides)


def check_alignment(
    metric: str, level: str, representation: str, projected: bool, pairs: Sequence[AlignedLayers]
) -> None:
    """Raise InputError unless the choices of an alignment can be meant together."""
    whole = not of_features(representation) and metric != "ofa"
    if whole and any(p.student is not None or p.teacher is not None for p in pairs):
        raise InputError(f"layers: {representation} is of the whole network, not of layers")
    if metric in LOGIT_METRICS and representation != "logits":
        others = (name for name in ALIGNMENT_METRICS if name not in LOGIT_METRICS)
        raise InputError(
            f"metric {metric!r} compares logits; {representation} needs one of {', '.join(others)}"
        )
    if metric == "ofa" and any(p.teacher is not None for p in pairs):
        raise InputError("layers: 'ofa' learns from the teacher's logits; name no teacher's layer")
    if metric == "cross_attention" and (representation != "feature" or projected):
        raise InputError(
            "metric 'cross_attention' projects features by itself; give it no projection and no "
            "other representation"
        )
    if metric in RELATIONS and level != "global":
        raise InputError(
            f"level {level!r}: metric {metric!r} says itself what it compares; use global"
        )
    if metric == "at" and representation in ("gram", "logits"):
        raise InputError(f"metric 'at' compares locations; {representation} has none")
    if metric == "vid" and is_plugin(representation):
        raise InputError(
            f"metric 'vid' learns a variance for each channel; those of {representation} "
            "are not known before it runs"
        )
    if representation == "logits":
        if level != "global":
            raise InputError(f"level {level!r}: an image's logits are one vector; use global")
        if projected:
            raise InputError("projection: logits of the same classes need none")


def heard_sides(
    metric: str, representation: str, projected: bool, student: Network, teacher: Network
) -> tuple[bool, bool]:
    """Return whether the attention of the student is needed, and of the teacher.

    Raises:
        InputError: a network without attention that can be compared, or a projection of attention.

    """
    if metric == "cross_attention":
        if not attends(teacher):
            raise InputError(
                "metric 'cross_attention' learns from the attention of a ViT; the teacher has none"
            )
        return False, True
    if representation != "attention":
        return False, False
    heard = attends(student), attends(teacher)
    if heard[0] and projected:
        raise InputError("projection: the student's attention is no map that it could project")
    return heard


def block_number(network: Any, layer: str | int | None) -> int:
    """Return the number of the block that a layer names; -1 stands for the last."""
    if layer is None:
        return -1
    encoder = getattr(network, "encoder", None)
    number = encoder.layer_number(layer) if isinstance(encoder, WholeModel) else layer
    return number if isinstance(number, int) else -1


def attention_width(teacher: Any, layer: str | int | None) -> int:
    """Return heads times channels of a head of a plain ViT's block."""
    encoder = teacher.encoder
    teacher.channels_at(layer)
    block = (
        encoder.vit.blocks[block_number(teacher, layer)]
        if isinstance(encoder, PatchTokens)
        else None
    )
    attention = getattr(block, "attn", None)
    heads, width = (getattr(attention, name, None) for name in ("num_heads", "head_dim"))
    if not isinstance(heads, int) or not isinstance(width, int):
        raise InputError(
            "metric 'cross_attention': expected a teacher whose blocks have one attention of equal "
            f"heads, such as a plain ViT; got a {type(encoder.model).__name__}"
        )
    return heads * width


def layer_cell_side(network: Network, layer: str | int | None) -> int | None:
    """Return the side of a cell of a layer in pixels; None where maps stand for whole images."""
    return cell_side(getattr(network, "encoder", None), layer)
