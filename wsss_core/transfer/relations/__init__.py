"""Alignments of the field that compare relations: between images, classes or locations.

========================================  ===============  ========================================
function                                  key `metric`     compares
========================================  ===============  ========================================
`attention_transfer`                      at               where each image's energy lies
`similarity_preserving`                   spkd             each image's similarities to the batch
`relational_distance`                     rkd_distance     distances between images, over their mean
`relational_angle`                        rkd_angle        angles between triplets of images
`probabilistic_transfer`                  pkt              each image's probable neighbours
`correlation_congruence`                  cc               kernel values of pairs of images
`linear_cka`                              cka              centred inner products of images
`VariationalInformation`                  vid              the teacher's map, given the student's
`class_relations`                         dist             scores of classes, and of images
`standardised_kl`                         kl_standardised  standardised scores of classes
`one_for_all`, `LogitBranch`              ofa              scores of branches and of the teacher
`PartialCrossAttention`                   cross_attention  the teacher's attention and a projection
========================================  ===============  ========================================

`class_relations`, `standardised_kl` and `one_for_all` take logits, all others maps [B, C, h, w]. A
loss between images compares those of one batch: it sees more with a larger batch, and a batch of
one image has nothing to compare and costs 0. Of equal maps each loss is 0, except VID, which is a
log-likelihood, OFA, which is a cross-entropy, and those that project first. `MinibatchCKA` measures
CKA over many batches.

Losses that do not change with a map's scale have no direction where there is nothing but rounding
(see `NEGLIGIBLE` in `wsss_core.transfer.relations.batches`). They give no gradient there.
"""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.transfer.relations.attention import attention_transfer
    from wsss_core.transfer.relations.by_name import relation_loss
    from wsss_core.transfer.relations.congruence import correlation_congruence
    from wsss_core.transfer.relations.cross_attention import PartialCrossAttention
    from wsss_core.transfer.relations.kernel_alignment import MinibatchCKA, linear_cka
    from wsss_core.transfer.relations.label_relations import class_relations
    from wsss_core.transfer.relations.logit_branches import LogitBranch, one_for_all
    from wsss_core.transfer.relations.neighbours import probabilistic_transfer
    from wsss_core.transfer.relations.relational import relational_angle, relational_distance
    from wsss_core.transfer.relations.similarity import similarity_preserving
    from wsss_core.transfer.relations.standardisation import standardised_kl, standardised_logits
    from wsss_core.transfer.relations.variational import VariationalInformation

__all__ = [
    "LogitBranch",
    "MinibatchCKA",
    "PartialCrossAttention",
    "VariationalInformation",
    "attention_transfer",
    "class_relations",
    "correlation_congruence",
    "linear_cka",
    "one_for_all",
    "probabilistic_transfer",
    "relation_loss",
    "relational_angle",
    "relational_distance",
    "similarity_preserving",
    "standardised_kl",
    "standardised_logits",
]

__getattr__ = lazy_exports(__name__, __file__)
