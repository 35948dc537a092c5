"""A trial's figures from its score histograms: a row per network, class, split and rule.

The field uses three definitions of IoU: the mean over images of foreground IoU, foreground IoU of
pooled pixels, and mIoU of foreground and background of pooled pixels. The first is over the
positive images, which hold the class. The others come twice, over these and over all images.
False positives on the other images are also a figure of their own.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from reports.names import ANY_CLASS, FIGURES, MEAN_OF_CLASSES, ORACLES
from reports.results.other_gatings import oracle_stack
from reports.results.score_rows import (
    IMAGE_COUNTS,
    UNGATED,
    Rules,
    ScoredNetwork,
    ScoreRows,
    fixed_counts,
    image_counts,
)
from reports.results.several_classes import OWN_FIGURES, several_classes
from wsss_core.evaluate import (
    SCORE_LEVELS,
    HistogramStack,
    NoThresholdError,
    Objective,
    ThresholdChoice,
    choose_threshold,
    evaluate,
    false_positive_share,
)

OUTCOME_COLUMNS = (
    "network",
    "class_name",
    "split",
    "rule",
    "peeks_at",
    "level",
    "threshold",
    "price",
    *FIGURES,
    *IMAGE_COUNTS,
    *OWN_FIGURES,
)


@dataclass(frozen=True)
class Numbers:
    """The numbers of a small frame, by row and column; faster to look up than in the frame."""

    rows: Mapping[tuple[str, ...], int]
    columns: Mapping[str, int]
    values: np.ndarray

    @classmethod
    def of(cls, frame: pd.DataFrame, names: Sequence[str]) -> "Numbers":
        """Take the columns of numbers; the texts of some columns name the rows."""
        rows: dict[tuple[str, ...], int] = {}
        for place, texts in enumerate(zip(*(frame[name].tolist() for name in names), strict=True)):
            rows.setdefault(texts, place)
        columns = [c for c in frame.columns if c not in (*names, "peeks_at")]
        values = frame[columns].to_numpy(np.float64)
        return cls(rows, {name: place for place, name in enumerate(columns)}, values)

    def at(self, row: tuple[str, ...], column: str) -> float:
        """Return a number; NaN if there is no such row."""
        place = self.rows.get(row)
        return math.nan if place is None else float(self.values[place, self.columns[column]])


@dataclass(frozen=True)
class TrialFigures:
    """The figures that follow from the scores of one trial.

    Attributes:
        outcomes: one row per network x class x split x rule, shares in [0, 1]; columns
            `OUTCOME_COLUMNS`. `price` is the loss of a rule that does not know the test masks: the
            objective under the dataset oracle minus the objective under the rule; NaN for oracles.
            `own_level` and `own_objective` are of a threshold for each class, see
            `reports.results.several_classes`; NaN of one class.
        curves: the objective on the test split over levels, float64 [256], by (network, class).
        read_scores: reads the trial's scores again; None: there are no figures of single images.
            Those are computed on request, because they are many and few of them are shown.

    """

    outcomes: pd.DataFrame
    curves: Mapping[tuple[str, str], np.ndarray]
    read_scores: Callable[[], ScoreRows] | None = None

    def value(self, name: str, network: str, class_name: str, split: str, rule: str) -> float:
        """Return a column of one row of the outcomes; NaN if there is no such row."""
        return self._numbers.at((network, class_name, split, rule), name)

    def peeks_at(self) -> Mapping[str, str]:
        """Return what each rule sees of the masks."""
        rows = self.outcomes
        return dict(zip(rows["rule"], rows["peeks_at"], strict=True))

    @cached_property
    def _numbers(self) -> Numbers:
        return Numbers.of(self.outcomes, ("network", "class_name", "split", "rule"))

    @cached_property
    def _test(self) -> dict[tuple[str, str], ScoreRows]:
        return self._read_test()

    def _read_test(self) -> dict[tuple[str, str], ScoreRows]:
        if self.read_scores is None:
            return {}
        scores = self.read_scores()
        test = scores.at(
            (scores.texts["split"] == "test") & (scores.texts["class_name"] != ANY_CLASS)
        )
        return {
            (network, name): rows for (network, name), rows in test.groups("network", "class_name")
        }

    @cached_property
    def image_iou(self) -> Mapping[tuple[str, str], np.ndarray]:
        """Foreground IoU of each test image over levels, float64 [N, 256], by (network, class)."""
        return {key: np.asarray(rows.stack().iou()) for key, rows in self._test.items()}

    def iou_of_images(
        self, network: str, levels: Mapping[str, int]
    ) -> dict[str, tuple[dict[str, float], dict[str, str]]]:
        """Return the IoU of the test images that hold a class, and their groups.

        The scores are read for it and not kept: it is asked of many trials, once of each.

        Args:
            network: the network.
            levels: class -> level, 0 to 255.

        Returns:
            Class -> image -> IoU, and image -> group; classes without scores are left out.

        """
        found = {}
        for (of, name), rows in self._read_test().items():
            if of == network and name in levels:
                stack = rows.stack()
                held = stack.holds_class
                iou = stack.iou_at(levels[name])[held].tolist()
                images, groups = (rows.texts[text][held].tolist() for text in ("image", "group"))
                found[name] = (
                    dict(zip(images, iou, strict=True)),
                    dict(zip(images, groups, strict=True)),
                )
        return found

    @cached_property
    def clear_share(self) -> Mapping[tuple[str, str], np.ndarray]:
        """False-positive share of background pixels, float64 [N, 256], by (network, class)."""
        return {
            key: false_positive_share(rows.stack().background) for key, rows in self._test.items()
        }

    @cached_property
    def gated_out(self) -> Mapping[tuple[str, str], np.ndarray]:
        """Whether gating emptied the map of each test image; bool [N], by (network, class)."""
        return {key: rows.gated_out for key, rows in self._test.items()}

    @cached_property
    def images(self) -> Mapping[tuple[str, str], tuple[str, ...]]:
        """Names of the test images, in the order of `image_iou`, by (network, class)."""
        return {key: tuple(rows.texts["image"]) for key, rows in self._test.items()}


def classification(labelled: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Return accuracy and balanced accuracy of the image-level prediction, a logit above 0.

    Args:
        labelled: bool [N].
        logits: float [N].

    Returns:
        `accuracy`, `balanced_accuracy`, `sensitivity` (the share of labelled images that are
        predicted) and `specificity` (the share of the others that are not) in [0, 1]; NaN without
        such images. Balanced accuracy is the mean of the last two.

    Example:
        >>> found = classification(np.array([True, True, False]), np.array([1.0, -1.0, -2.0]))
        >>> found["balanced_accuracy"], found["sensitivity"], found["specificity"]
        (0.75, 0.5, 1.0)

    """
    right = (logits > 0) == labelled
    sensitivity = float(right[labelled].mean()) if labelled.any() else math.nan
    specificity = float(right[~labelled].mean()) if not labelled.all() else math.nan
    return {
        "accuracy": float(right.mean()) if len(right) else math.nan,
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
    }


def _split_rows(network: ScoredNetwork, name: str, rules: Rules) -> list[dict[str, Any]]:
    stacks = {split: of_split.get(name) for split, of_split in network.stacks.items()}
    found = []
    for rule in rules.names:
        try:
            test = stacks["test"]
            if rule in ORACLES and test is not None:
                test = oracle_stack(rule, test, network.ungated.get(name), rules.objective)
            choice = choose_threshold(
                rule,
                tune=stacks["tune"],
                test=test,
                scores=network.pooled[name],
                objective=rules.objective,
                fixed=rules.fixed,
            )
        except NoThresholdError:
            continue
        # A level chosen on the test split says nothing about the tune split.
        for split in ("test", "tune") if rule in ("fixed", "tuned") else ("test",):
            stack = test if split == "test" else stacks[split]
            if stack is None:
                continue
            result = evaluate(choice, stack)
            found.append(
                {
                    "split": split,
                    "rule": rule,
                    "peeks_at": str(choice.peeks_at),
                    "level": math.nan if choice.level is None else float(choice.level),
                    "threshold": math.nan if choice.level is None else choice.level / 255,
                    **asdict(result),
                    **network.labels[split][name],
                    **_counts(network, name, split, choice, stack),
                }
            )
    return found


def _counts(
    network: ScoredNetwork, name: str, split: str, choice: ThresholdChoice, stack: HistogramStack
) -> dict[str, float]:
    level = choice.level
    if choice.image_levels is not None:
        level, stack = SCORE_LEVELS - 1, stack.cut_at(choice.image_levels)
    assert level is not None
    return image_counts(network, choice.rule, split, name, stack, level)


def trial_figures(
    scores: pd.DataFrame | ScoreRows,
    *,
    objective: str,
    fixed: float,
    own_rules: Sequence[str] = (),
) -> TrialFigures:
    """Evaluate one trial.

    Args:
        scores: rows of the ledger's table `scores`, all of one trial under one chain.
        objective: the measure that the tuned and the oracle rules maximise, one of `MEASURES`.
        fixed: the threshold of the fixed rule, in [0, 1].
        own_rules: threshold rules besides `RULES`, each "module:attribute"
            (`wsss_core.evaluate.thresholds`).

    Returns:
        The trial's figures. A rule that has nothing to choose by has no row, e.g. if no mask holds
        the class. Several classes share one background threshold
        (`wsss_core.evaluate.MultiClassStack`) and have rows of `MEAN_OF_CLASSES` as well.

    Raises:
        InputError: an own rule cannot be loaded, or fails.

    """
    scored = ScoreRows.of(scores)
    rows, curves = figure_rows(scored, Rules(objective, fixed, tuple(own_rules)))
    outcomes = pd.DataFrame(rows, columns=list(OUTCOME_COLUMNS))
    return TrialFigures(outcomes, curves, lambda: scored)


def figure_rows(
    scored: ScoreRows, rules: Rules
) -> tuple[list[dict[str, Any]], dict[tuple[str, str], np.ndarray]]:
    """Return the rows of a trial's outcomes and its curves, see `TrialFigures`."""
    rows: list[dict[str, Any]] = []
    curves: dict[tuple[str, str], np.ndarray] = {}
    for (network,), of_network in scored.groups("network"):
        one = ScoredNetwork()
        for (name, split), group in of_network.groups("class_name", "split"):
            stack = one.stacks[split][name] = group.stack()
            one.counts[split][name] = fixed_counts(group)
            one.labels[split][name] = classification(group.labelled, group.logits["logit"])
            if split == "test":
                one.pooled[name] = stack.pooled_scores(group.labelled)
                if (ungated := group.stack_of(UNGATED)) is not None:
                    one.ungated[name] = ungated
        if not one.stacks["test"]:
            continue
        if ANY_CLASS in one.stacks["test"]:
            here, of_classes = several_classes(one, rules)
        else:
            here, of_classes = _one_against_the_rest(one, rules)
        rows += [{"network": network, **row} for row in here]
        curves |= {(network, name): curve for name, curve in of_classes.items()}
    return _priced(rows, rules.objective), curves


def _priced(rows: list[dict[str, Any]], objective: str) -> list[dict[str, Any]]:
    """Fill the price in: the dataset oracle's objective minus each other rule's, on test."""
    best = {
        (row["network"], row["class_name"]): float(row[objective])
        for row in rows
        if row["rule"] == "dataset_oracle"
    }
    return [
        {
            **row,
            "price": best.get((row["network"], row["class_name"]), math.nan) - float(row[objective])
            if row["split"] == "test" and row["rule"] not in ORACLES
            else math.nan,
        }
        for row in rows
    ]


def _one_against_the_rest(
    network: ScoredNetwork, rules: Rules
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Return the rows of one class, or of several classes that do not compete."""
    rows: list[dict[str, Any]] = []
    test = network.stacks["test"]
    for name in test:
        rows += [{"class_name": name, **row} for row in _split_rows(network, name, rules)]
    objective = Objective(rules.objective)
    of_classes = {k: np.asarray(objective.curve(one)) for k, one in test.items()}
    if len(of_classes) > 1:
        frame = pd.DataFrame(rows).assign(network="")
        means = _mean_of_classes(frame).drop(columns="network")
        rows += [{str(k): v for k, v in row.items()} for row in means.to_dict("records")]
        of_classes[MEAN_OF_CLASSES] = np.mean(list(of_classes.values()), axis=0)
    return rows, of_classes


def _mean_of_classes(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Average over classes; a figure that one class lacks has no mean."""
    keys = ["network", "split", "rule", "peeks_at"]
    grouped = outcomes.groupby(keys, sort=False)[list(FIGURES)]
    complete = grouped.count() == outcomes["class_name"].nunique()
    means = grouped.mean().where(complete).reset_index()
    return means.assign(
        class_name=MEAN_OF_CLASSES,
        level=math.nan,
        threshold=math.nan,
        price=math.nan,
        **dict.fromkeys((*IMAGE_COUNTS, *OWN_FIGURES), math.nan),
    )[list(OUTCOME_COLUMNS)]
