"""Class activation maps: raw scores of every class at the network's own grid."""

from wsss_core.cams.class_weight_cam import RawScores, class_weight_cams

__all__ = ["RawScores", "class_weight_cams"]
