"""The `features` stage: maps of frozen networks, made once and read by every trial."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from studies.stages.features.attaching import attach_caches, cams_of_stored_features
    from studies.stages.features.making import FeatureArtifact, make_missing
    from studies.stages.features.pricing import FeaturePrice, price_features

__all__ = [
    "FeatureArtifact",
    "FeaturePrice",
    "attach_caches",
    "cams_of_stored_features",
    "make_missing",
    "price_features",
]

__getattr__ = lazy_exports(__name__, __file__)
