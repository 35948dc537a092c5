"""Keys of a study that freeze a part of a network, and choose how its maps are kept."""

from studies.spec.frozen.entries import Caches, NeckEntry, TrainedEntry, refuse_parts

__all__ = ["Caches", "NeckEntry", "TrainedEntry", "refuse_parts"]
