"""The vocabulary of results, and the words of tables, figures and sentences for it."""

from wsss_core.evaluate import Objective, ThresholdRule

RULES = tuple(str(rule) for rule in ThresholdRule)
ORACLES = tuple(str(rule) for rule in ThresholdRule if rule.is_oracle)
MEASURES = tuple(str(objective) for objective in Objective)
FIGURES = (
    *MEASURES,
    "precision",
    "recall",
    "clear_false_positive_share",
    "accuracy",
    "balanced_accuracy",
)
"""The figures of an outcome: shares in [0, 1]."""

DECISIVE_PACKAGES = ("torch", "torchvision", "timm", "numpy")
"""The packages whose versions decide numbers: trials of one row should agree in them."""

MEAN_OF_CLASSES = "mean over classes"
"""The class name of rows that hold the mean over several classes."""

ANY_CLASS = "any class"
"""The class name of scores that compare the highest score of several classes with any mask."""

PLAIN = "none"
"""The name of the plain CAM, where a chain's name is expected."""

OPTIMAL = "optimal threshold"
"""The name of an upper bound beside the chains: the plain CAM at each image's best threshold."""

CHAIN_NAMES = {OPTIMAL: f"{OPTIMAL} (upper bound)"}
"""Chain -> its name in tables and figures, where that is another."""

MEASURE_NAMES = {
    "per_image_iou": "per-image foreground IoU",
    "dataset_iou": "dataset foreground IoU",
    "dataset_miou": "dataset mIoU",
}
SHORT_MEASURE_NAMES = {
    "per_image_iou": "per-image IoU",
    "dataset_iou": "dataset IoU",
    "dataset_miou": "dataset mIoU",
}

RULE_NAMES = {
    "fixed": "fixed",
    "otsu": "Otsu",
    "gaussian_mixture": "Gaussian mixture",
    "tuned": "tuned",
    "dataset_oracle": "dataset oracle",
    "image_oracle": "per-image oracle",
}
THRESHOLD_NAMES = {
    "fixed": "the fixed threshold",
    "tuned": "the tuned threshold",
    "dataset_oracle": "the dataset oracle's threshold",
    "image_oracle": "the per-image oracle's thresholds",
}
"""Rule -> the threshold it chooses, as a phrase within a sentence."""

METRIC_NAMES = {"l1": "L1", "l2": "L2", "kl": "KL"}
REPRESENTATION_LABELS = {
    "spatial_map": "spatial map",
    "gram": "inner product (Gram)",
    "activation_map": "activation map",
}

UNHEALTHY = ("failed", "collapsed", "missing")
"""The states of trials that no mean includes."""


def measure_phrase(objective: str, rule: str) -> str:
    """Name a measure at a rule's threshold.

    >>> measure_phrase("dataset_iou", "tuned")
    'dataset foreground IoU at the tuned threshold'
    """
    return f"{MEASURE_NAMES[objective]} at {THRESHOLD_NAMES[rule]}"
