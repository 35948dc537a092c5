"""The relations by the names that study files give them."""

from collections.abc import Callable

import torch
from torch import Tensor

from wsss_core.errors import InputError
from wsss_core.transfer.relations.attention import attention_transfer
from wsss_core.transfer.relations.congruence import correlation_congruence
from wsss_core.transfer.relations.kernel_alignment import linear_cka
from wsss_core.transfer.relations.label_relations import class_relations
from wsss_core.transfer.relations.neighbours import probabilistic_transfer
from wsss_core.transfer.relations.relational import relational_angle, relational_distance
from wsss_core.transfer.relations.similarity import similarity_preserving
from wsss_core.transfer.relations.standardisation import standardised_kl

_OF_MAPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "at": attention_transfer,
    "spkd": similarity_preserving,
    "rkd_distance": relational_distance,
    "rkd_angle": relational_angle,
    "pkt": probabilistic_transfer,
    "cc": correlation_congruence,
    "cka": linear_cka,
}
_OF_LOGITS = {"dist": class_relations, "kl_standardised": standardised_kl}

OF_EMBEDDINGS = ("rkd_distance", "rkd_angle", "pkt", "cc")
"""The relations that their papers define on an embedding of each image."""

ON_ONE_GRID = ("at", "vid")
"""The relations that compare location with location."""


def relation_loss(
    student: Tensor, teacher: Tensor, *, relation: str, temperature: float = 1.0
) -> Tensor:
    """Return a relation's loss between two maps; see `wsss_core.transfer.relations`.

    Args:
        student: float [B, C, H, W].
        teacher: float [B, C', H', W'].
        relation: a name of `wsss_core.transfer.RELATIONS` but "vid", "ofa" and "cross_attention",
            which learn; see `wsss_core.transfer.relations`.
        temperature: T of "dist" and "kl_standardised".

    Raises:
        InputError: another name, or shapes that do not meet.

    """
    # Autocast would multiply in half precision, which inner products of images do not fit.
    with torch.autocast(student.device.type, enabled=False):
        if relation in _OF_LOGITS:
            return _OF_LOGITS[relation](student, teacher, temperature=temperature)
        if relation in _OF_MAPS:
            return _OF_MAPS[relation](student, teacher)
    known = ", ".join((*_OF_MAPS, *_OF_LOGITS))
    raise InputError(f"relation {relation!r} is unknown; expected one of {known}")
