"""All figures at every threshold: IoU in each definition, precision and recall."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from reports.names import ANY_CLASS, MEAN_OF_CLASSES, MEASURES
from reports.results.score_rows import ScoreRows
from wsss_core.evaluate import SCORE_LEVELS, Curve, HistogramStack, MultiClassStack, Objective

CURVES = (*MEASURES, "precision", "recall", "precision_all_images")
CURVE_COLUMNS = ("network", "class_name", "split", "level", "threshold", *CURVES)


def score_curves(scores: pd.DataFrame | ScoreRows) -> pd.DataFrame:
    """Compute all figures at every level.

    Args:
        scores: rows of the ledger's table `scores`, all of one trial under one chain.

    Returns:
        One row per network, class, split and level 0-255, columns `CURVE_COLUMNS`; shares in
        [0, 1], NaN if no image holds the class. Figures are over the positive images unless their
        name ends in `_all_images`. Several classes share a threshold and have rows of
        `MEAN_OF_CLASSES` as well; their level 0 is no threshold and NaN.

    """
    frames = []
    for (network, split), rows in ScoreRows.of(scores).groups("network", "split"):
        stacks = {name: group.stack() for (name,), group in rows.groups("class_name")}
        for name, found in _of_network(stacks):
            frames.append(
                pd.DataFrame(
                    {
                        "network": network,
                        "class_name": name,
                        "split": split,
                        "level": np.arange(SCORE_LEVELS, dtype=np.int16),
                        "threshold": np.arange(SCORE_LEVELS) / (SCORE_LEVELS - 1),
                        **found,
                    }
                )
            )
    return (
        pd.concat(frames, ignore_index=True)
        if frames
        else pd.DataFrame(columns=list(CURVE_COLUMNS))
    )


def _of_network(stacks: dict[str, HistogramStack]) -> Iterator[tuple[str, dict[str, Curve]]]:
    several = None
    if ANY_CLASS in stacks:
        classes = {name: stack for name, stack in stacks.items() if name != ANY_CLASS}
        several = MultiClassStack(classes, stacks[ANY_CLASS])
    each = {
        name: _of_one(stack) if several is None else _of_competing(several, name)
        for name, stack in stacks.items()
        if name != ANY_CLASS
    }
    yield from each.items()
    if len(each) > 1:
        # NaN if a class lacks a figure: a mean over the others would mislead.
        mean = {key: np.mean([found[key] for found in each.values()], axis=0) for key in CURVES}
        if several is not None:
            mean["dataset_miou"] = several.dataset_miou()
            mean["dataset_miou_all_images"] = several.dataset_miou(all_images=True)
        yield MEAN_OF_CLASSES, mean


def _of_one(stack: HistogramStack) -> dict[str, Curve]:
    return {
        **{measure: Objective(measure).curve(stack) for measure in MEASURES},
        "precision": stack.precision(),
        "recall": stack.recall(),
        "precision_all_images": stack.precision(all_images=True),
    }


def _of_competing(several: MultiClassStack, name: str) -> dict[str, Curve]:
    figures = {measure: several.measure(Objective(measure), name) for measure in MEASURES}
    pooled = several.pooled(name)
    others = {
        "precision": pooled.precision(),
        "recall": pooled.recall(),
        "precision_all_images": several.pooled(name, all_images=True).precision(),
    }
    no_threshold = np.isnan(figures["dataset_iou"])
    return figures | {k: np.where(no_threshold, np.nan, v) for k, v in others.items()}
