"""What a user should know of the weights that networks start from, before anything is trained."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from studies.planning import TrainingJob
from studies.stages.training import initial_network
from wsss_core.backbones import timm_config
from wsss_core.plugins import is_plugin

logger = logging.getLogger(__name__)


def log_initial_weights(pending: Iterable[TrainingJob]) -> None:
    """Warn of networks of which a part starts at random, and of a mean and std that may be others.

    Each distinct network is named once. Only those with `partial_weights` are built.

    Args:
        pending: the training runs that are left.

    Raises:
        InputError: a weights file does not fit.

    """
    seen: set[str] = set()
    for job in pending:
        for role in job.trained_roles:
            backbone, file = job.settings[role], job.weights[role]
            if file in ("none", "pretrained") or is_plugin(backbone["model"]):
                continue
            if (signature := repr(backbone)) in seen:
                continue
            seen.add(signature)
            for line in _about(job, role):
                logger.warning("warning: %s: %s", backbone["model"], line)


def _about(job: TrainingJob, role: str) -> Iterator[str]:
    backbone, file = job.settings[role], job.weights[role]
    if backbone["partial_weights"]:
        alike = replace(job, settings={**job.settings, "seed": 0})
        loaded = initial_network(alike, role, file).initial_weights
        if loaded is not None and loaded.missing:
            yield str(loaded)
    if "mean" not in backbone:
        yield from _normalised_as_others(backbone["model"])


def _normalised_as_others(model: str) -> Iterator[str]:
    """Yield a line if published weights of a bare model do not share its mean and std."""
    if "." in model:
        return
    import timm  # loaded by now: the networks were built

    own = timm_config(model)
    others: dict[str, Any] = {
        tag.partition(".")[2]: timm.get_pretrained_cfg(tag)
        for tag in timm.list_pretrained(f"{model}.*")
    }
    tags = [
        tag
        for tag, config in others.items()
        if (tuple(config.mean), tuple(config.std)) != (tuple(own.mean), tuple(own.std))
    ]
    if tags:
        yield (
            f"images are normalised with mean {list(own.mean)} and std {list(own.std)}; weights "
            f"of {', '.join(tags[:3])} take others: name the tag of the weights in `model` "
            f"({model}.{tags[0]}), or give `mean` and `std`"
        )
