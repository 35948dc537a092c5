"""The vocabulary of results, and the words of tables, figures and sentences for it."""

from wsss_core.evaluate import Objective, ThresholdRule

RULES = tuple(str(rule) for rule in ThresholdRule)
ORACLES = tuple(str(rule) for rule in ThresholdRule if rule.is_oracle)
MEASURES = tuple(str(objective) for objective in Objective)
FIGURES = (
    *MEASURES,
    "precision",
    "recall",
    "precision_all_images",
    "clear_false_positive_share",
    "accuracy",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
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

TUNED_CHAIN = "tuned chain"
"""The name of a row beside the chains: of each seed the chain that is best on the tune split."""

OPTIMAL = "optimal threshold"
"""The name of an upper bound beside the chains: the plain CAM at each image's best threshold."""

OWN_CHAIN_ROWS = (PLAIN, TUNED_CHAIN, OPTIMAL)
"""Rows that tables of chains have of their own; no chain of a study has these names."""

CHAIN_NAMES = {OPTIMAL: f"{OPTIMAL} (upper bound)"}
"""Chain -> its name in tables and figures, where that is another."""

MEASURE_NAMES = {
    "per_image_iou": "per-image foreground IoU",
    "dataset_iou": "dataset foreground IoU over positive images",
    "dataset_miou": "mIoU with background over positive images",
    "dataset_iou_all_images": "dataset foreground IoU over all images",
    "dataset_miou_all_images": "mIoU with background over all images",
}
SHORT_MEASURE_NAMES = {
    "per_image_iou": "per-image IoU",
    "dataset_iou": "IoU, positive",
    "dataset_miou": "mIoU, positive",
    "dataset_iou_all_images": "IoU, all",
    "dataset_miou_all_images": "mIoU, all",
}
WHICH_IMAGES = (
    "Positive images hold the class, or any class if there are several. Over all images is what a "
    "tool gives that accumulates one confusion matrix: false positives on the other images count."
)
"""The images that pooled measures are over, as sentences for captions."""

OWN_MASKS = "own_masks"
"""The rule of a segmenter's pseudo masks that is tuned on the true masks of its own entry."""

RULE_NAMES = {
    "fixed": "fixed",
    "otsu": "Otsu",
    "gaussian_mixture": "Gaussian mixture",
    "tuned": "tuned",
    OWN_MASKS: "tuned on these masks",
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


def images_of(objective: str) -> str:
    """Return a sentence on the images of a pooled measure, with a space before it; else nothing."""
    return "" if objective == "per_image_iou" else f" {WHICH_IMAGES}"


METRIC_NAMES = {
    "l1": "L1",
    "l2": "L2",
    "kl": "KL",
    "at": "AT",
    "spkd": "SPKD",
    "rkd_distance": "RKD distance",
    "rkd_angle": "RKD angle",
    "pkt": "PKT",
    "cc": "CC",
    "cka": "CKA",
    "vid": "VID",
    "dist": "DIST",
    "kl_standardised": "standardised KL",
    "ofa": "OFA",
    "cross_attention": "partial cross attention",
}
REPRESENTATION_LABELS = {
    "spatial_map": "spatial map",
    "gram": "inner product (Gram)",
    "activation_map": "activation map",
}

NEVER_PREDICTED = "never predicted"
"""The state of a class that a network predicts in no image that holds it: gating has emptied its
maps there."""

UNHEALTHY = ("failed", "collapsed", "missing", "cancelled")
"""The states of trials that no mean includes."""


def measure_phrase(objective: str, rule: str) -> str:
    """Name a measure at a rule's threshold.

    >>> measure_phrase("dataset_iou", "tuned")
    'dataset foreground IoU over positive images at the tuned threshold'
    """
    return f"{MEASURE_NAMES[objective]} at {THRESHOLD_NAMES[rule]}"


CLASSES_IN_SIGHT = 6
"""The most classes whose rows and sentences a page shows unfolded."""


def of_few_classes(sentences: list[str], others: str) -> list[str]:
    """Keep the sentences of as many classes as a page shows, and count the others.

    >>> of_few_classes(["x"] * 8, "{count} further classes are rare.")[5:]
    ['x', '2 further classes are rare.']
    """
    rest = len(sentences) - CLASSES_IN_SIGHT
    return sentences if rest <= 0 else [*sentences[:CLASSES_IN_SIGHT], others.format(count=rest)]
