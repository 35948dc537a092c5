"""Refinement of class scores into masks that follow the picture."""

from wsss_core.refine.crf.dense_crf import PRESETS, CrfSettings, dense_crf, unary_probabilities

__all__ = ["PRESETS", "CrfSettings", "dense_crf", "unary_probabilities"]
