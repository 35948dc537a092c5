"""Networks whose encoder stays as it is: necks, and their maps computed once and read from files.

>>> from wsss_core.features import NECKS
>>> NECKS
('conv1x1', 'mlp', 'conv', 'transformer')
"""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.features.caches import FeatureCache, OutputCache, ViewStack
    from wsss_core.features.feature_cams import cam_views, cams_from_features
    from wsss_core.features.making import (
        FEATURES_FILE,
        StoredOutputs,
        check_float16,
        make_features,
        make_outputs,
        read_outputs,
    )
    from wsss_core.features.names import NECKS, NeckName
    from wsss_core.features.necks import add_neck

__all__ = [
    "FEATURES_FILE",
    "NECKS",
    "FeatureCache",
    "NeckName",
    "OutputCache",
    "StoredOutputs",
    "ViewStack",
    "add_neck",
    "cam_views",
    "cams_from_features",
    "check_float16",
    "make_features",
    "make_outputs",
    "read_outputs",
]

__getattr__ = lazy_exports(__name__, __file__)
