"""A threshold for each class, by every rule, against label maps that are cut class by class."""

import math

import numpy as np
import pandas as pd
import pytest

from reports.names import ANY_CLASS, MEAN_OF_CLASSES
from reports.results.outcomes import trial_figures
from wsss_core.evaluate import compete, gaussian_mixture_level, otsu_level

CLASSES = ("smoke", "steam", "dust")
HELD = [(0,), (1,), (2,), (0, 1), (1, 2), ()] * 2
NOISE = (60, 100, 140)  # below these scores lies what is no object: each wants its own level
STRENGTH = (150, 100, 70)  # how far a class's object stands out


class Drawn:
    """Competing maps of 12 images a split, their masks, and their rows of scores."""

    def __init__(self):
        random = np.random.default_rng(3)
        self.levels, self.masks, rows = {}, {}, []
        for split in ("tune", "test"):
            noise = np.array(NOISE).reshape(3, 1, 1)
            levels = random.integers(0, noise, (12, 3, 9, 9))
            masks = np.zeros((12, 9, 9), int)
            for number, held in enumerate(HELD):
                for k in held:
                    masks[number, 3 * k : 3 * k + 3] = k + 1
                    levels[number, k, 3 * k : 3 * k + 3] += STRENGTH[k]
            left = np.stack([compete(one.astype(np.uint8)) for one in levels])
            self.levels[split], self.masks[split] = left, masks
            for k, name in enumerate((*CLASSES, ANY_CLASS)):
                for number in range(12):
                    of_any = name == ANY_CLASS
                    held = masks[number] > 0 if of_any else masks[number] == k + 1
                    cam = left[number].max(axis=0) if of_any else left[number, k]
                    rows.append(
                        {
                            "network": "student",
                            "split": split,
                            "image": f"{number}.png",
                            "class_name": name,
                            "labelled": bool(held.any()),
                            "logit": 1.0,
                            "foreground": np.bincount(cam[held], minlength=256),
                            "background": np.bincount(cam[~held], minlength=256),
                        }
                    )
        self.frame = pd.DataFrame(rows)

    def iou(self, split, k, level, *, pooled):
        """IoU of class k where its winning score reaches the level."""
        predicted, held = self.levels[split][:, k] >= level, self.masks[split] == k + 1
        both, either = (predicted & held).sum(axis=(1, 2)), (predicted | held).sum(axis=(1, 2))
        holds = held.any(axis=(1, 2))
        if pooled:
            some = (self.masks[split] > 0).any(axis=(1, 2))
            return float(both[some].sum() / either[some].sum())
        return float((both[holds] / either[holds]).mean())

    def best(self, split, k, *, pooled):
        return max(range(1, 256), key=lambda t: (self.iou(split, k, t, pooled=pooled), -t))

    def won(self, k):
        """The scores of the pixels that class k wins in the test images that carry its label."""
        labelled = (self.masks["test"] == k + 1).any(axis=(1, 2))
        levels = self.levels["test"][labelled, k]
        return np.bincount(levels[levels > 0], minlength=256)


@pytest.fixture(scope="module")
def drawn():
    return Drawn()


def outcomes(drawn, objective):
    found = trial_figures(drawn.frame, objective=objective, fixed=0.3).outcomes
    return found[found["split"] == "test"].set_index(["rule", "class_name"])


LEVEL_FROM = {
    "fixed": lambda drawn, k, pooled: math.ceil(0.3 * 255),
    "otsu": lambda drawn, k, pooled: otsu_level(drawn.won(k)),
    "gaussian_mixture": lambda drawn, k, pooled: gaussian_mixture_level(drawn.won(k)),
    "tuned": lambda drawn, k, pooled: drawn.best("tune", k, pooled=pooled),
    "dataset_oracle": lambda drawn, k, pooled: drawn.best("test", k, pooled=pooled),
}


@pytest.mark.parametrize("objective", ["per_image_iou", "dataset_iou"])
def test_each_rule_gives_each_class_its_own_level_and_the_iou_there(drawn, objective):
    pooled = objective == "dataset_iou"
    found = outcomes(drawn, objective)
    for rule, level_from in LEVEL_FROM.items():
        reached = []
        for k, name in enumerate(CLASSES):
            level = level_from(drawn, k, pooled)
            one = found.loc[(rule, name)]
            assert one["own_level"] == level
            reached.append(drawn.iou("test", k, level, pooled=pooled))
            assert one["own_objective"] == pytest.approx(reached[-1])
        mean = found.loc[(rule, MEAN_OF_CLASSES)]
        assert mean["own_objective"] == pytest.approx(np.mean(reached))
        assert math.isnan(mean["own_level"])
    tuned = found.xs("tuned", level="rule")
    assert len(set(tuned["own_level"].dropna())) == 3
    assert tuned["level"].nunique() == 1


def test_the_image_oracle_cuts_each_class_of_each_image_at_its_best(drawn):
    found = outcomes(drawn, "per_image_iou").xs("image_oracle", level="rule")
    for k, name in enumerate(CLASSES):
        best = []
        for levels, mask in zip(drawn.levels["test"][:, k], drawn.masks["test"], strict=True):
            held = mask == k + 1
            if held.any():
                cuts = [levels >= t for t in range(1, 256)]
                best.append(max((cut & held).sum() / (cut | held).sum() for cut in cuts))
        assert found.loc[name, "own_objective"] == pytest.approx(np.mean(best))
        assert math.isnan(found.loc[name, "own_level"])


@pytest.mark.parametrize("objective", ["per_image_iou", "dataset_iou", "dataset_iou_all_images"])
def test_own_thresholds_of_the_oracle_are_never_worse_than_the_one(drawn, objective):
    oracle = outcomes(drawn, objective).xs("dataset_oracle", level="rule")
    assert (oracle["own_objective"] >= oracle[objective] - 1e-12).all()
    assert oracle.loc[MEAN_OF_CLASSES, "own_objective"] > oracle.loc[MEAN_OF_CLASSES, objective]


def test_an_objective_that_counts_the_background_has_no_own_thresholds(drawn):
    found = outcomes(drawn, "dataset_miou")
    assert found[["own_level", "own_objective"]].isna().all(axis=None)
