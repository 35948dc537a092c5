"""The vocabulary of knowledge transfer, as study files write it; loading it loads no torch.

The names are explained in `wsss_core.transfer.losses` (metrics, levels, variants),
`wsss_core.transfer.relations` (relations), `wsss_core.transfer.representations` (representations,
projections) and `wsss_core.transfer.paradigms` (paradigms, gradients).
"""

from typing import Literal, get_args

from wsss_core.errors import InputError
from wsss_core.plugins import is_plugin

MetricName = Literal["cosine", "l1", "l2", "kl"]
RelationName = Literal[
    "at",
    "spkd",
    "rkd_distance",
    "rkd_angle",
    "pkt",
    "cc",
    "cka",
    "vid",
    "dist",
    "kl_standardised",
    "ofa",
    "cross_attention",
]
TransferLevelName = Literal["global", "channel", "spatial"]
VariantName = Literal["scaled", "thesis"]
RepresentationName = Literal[
    "feature", "spatial_map", "gram", "activation_map", "attention", "logits"
]
ProjectionName = Literal["conv1x1", "mlp", "group_linear", "none"]
ParadigmName = Literal["single", "teacher-student", "co-training"]
GradientName = Literal["both", "student", "teacher"]

METRICS: tuple[str, ...] = get_args(MetricName)
"""The metrics that compare two maps vector by vector, at a level."""
RELATIONS: tuple[str, ...] = get_args(RelationName)
"""The metrics of the field that say themselves what is compared, and so take no level."""
ALIGNMENT_METRICS = (*METRICS, *RELATIONS)
"""All that the key `metric` may name."""
LOGIT_METRICS = ("kl", "dist", "kl_standardised", "ofa")
"""The metrics that compare logits alone; they take a temperature."""
OF_MORE_THAN_MAPS = ("ofa", "cross_attention")
"""The relations that need more than two maps: the labels, or the attention of the teacher."""
TRANSFER_LEVELS: tuple[str, ...] = get_args(TransferLevelName)
VARIANTS: tuple[str, ...] = get_args(VariantName)
REPRESENTATIONS: tuple[str, ...] = get_args(RepresentationName)
PROJECTIONS: tuple[str, ...] = get_args(ProjectionName)
PARADIGMS: tuple[str, ...] = get_args(ParadigmName)
GRADIENTS: tuple[str, ...] = get_args(GradientName)

TAKE_PLUGINS = ("metric", "representation", "projection")
"""The choices that may also be a researcher's own, "module:attribute"."""


def known_name(choice: str, name: str, names: tuple[str, ...]) -> str:
    """Return a name in lower case, a plug-in's as it is.

    >>> known_name("metric", "L2", METRICS)
    'l2'

    Args:
        choice: the key that the name is given for, such as "metric".
        name: as it was written.
        names: those known.

    Raises:
        InputError: the name is none of these.

    """
    if choice in TAKE_PLUGINS and is_plugin(name):
        return name
    if str(name).lower() not in names:
        raise InputError(f"{choice} {name!r} is unknown; expected one of {', '.join(names)}")
    return str(name).lower()
