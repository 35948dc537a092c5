"""Oracles of maps that gating has emptied, and counts of images, against loops over label maps."""

import math

import numpy as np
import pandas as pd
import pytest

from reports.names import ANY_CLASS, MEAN_OF_CLASSES
from reports.results.other_gatings import label_gated_choice
from reports.results.outcomes import trial_figures
from reports.results.score_rows import ScoreRows
from wsss_core.evaluate import compete

CLASSES = ("smoke", "steam")


def counts(levels, mask):
    return {
        "foreground": np.bincount(levels[mask], minlength=256),
        "background": np.bincount(levels[~mask], minlength=256),
    }


def gated(levels, out):
    left = levels.copy()
    left[out] = 0
    left = compete(left)
    left[out] = 0
    return left


class Drawn:
    """Maps and masks of 12 images a split; steam is in few of them, and never predicted."""

    def __init__(self, seed, *, found=("smoke",)):
        random = np.random.default_rng(seed)
        self.rows = []
        self.levels, self.masks, self.out = {}, {}, {}
        for split in ("tune", "test"):
            masks = np.zeros((12, 8, 8), np.uint8)
            masks[:6, 1:4, 1:6] = 1
            masks[5:8, 5:, 3:] = 2  # of both classes, and of steam alone; the rest is clear
            masks[11, 0, 0] = 0
            levels = random.integers(0, 150, (12, 2, 8, 8)).astype(np.uint8)
            for number in (0, 1):
                levels[:, number][masks == number + 1] += 90
            logits = np.where([name in found for name in CLASSES], 1.0, -1.0) * np.ones((12, 1))
            self.levels[split], self.masks[split] = levels, masks
            self.out[split] = logits <= 0
            labels = np.stack([(masks == n + 1).any(axis=(1, 2)) for n in (0, 1)], axis=1)
            for index in range(12):
                own = gated(levels[index], self.out[split][index])
                outs = {"ungated": np.zeros(2, bool)} if split == "test" else {}
                outs |= {"label_gated": ~labels[index]} if split == "tune" else {}
                others = {name: gated(levels[index], out) for name, out in outs.items()}
                for number, name in enumerate((*CLASSES, ANY_CLASS)):
                    mask = masks[index] > 0 if name == ANY_CLASS else masks[index] == number + 1

                    def of(which, name=name, number=number, mask=mask):
                        return counts(
                            which.max(axis=0) if name == ANY_CLASS else which[number], mask
                        )

                    self.rows.append(
                        {
                            "network": "student",
                            "split": split,
                            "class_name": name,
                            "image": f"{index}.png",
                            "labelled": bool(mask.any()),
                            "logit": float(
                                logits[index].max() if name == ANY_CLASS else logits[index, number]
                            ),
                            **of(own),
                            **{
                                f"{other}_{key}": value
                                for other, which in others.items()
                                for key, value in of(which).items()
                            },
                        }
                    )

    def label_maps(self, split, level, out):
        found = []
        for levels, gate in zip(self.levels[split], out, strict=True):
            left = gated(levels, gate)
            found.append(np.where(left.max(axis=0) >= level, left.argmax(axis=0) + 1, 0))
        return np.array(found)

    def per_image(self, split, level, out):
        """Mean over classes of the mean IoU over the images that hold each."""
        predicted, masks = self.label_maps(split, level, out), self.masks[split]
        means = []
        for value in (1, 2):
            each = [
                ((p == value) & (m == value)).sum() / ((p == value) | (m == value)).sum()
                for p, m in zip(predicted, masks, strict=True)
                if (m == value).any()
            ]
            means.append(np.mean(each))
        return float(np.mean(means)), [float(mean) for mean in means]

    def frame(self, *, old=False):
        frame = pd.DataFrame(self.rows)
        if old:
            frame = frame[[c for c in frame if not c.startswith(("ungated", "label_gated"))]]
        return frame


def figures(frame, objective="per_image_iou"):
    outcomes = trial_figures(frame, objective=objective, fixed=0.5).outcomes
    test = outcomes[outcomes["split"] == "test"]
    return test.set_index(["rule", "class_name"])


@pytest.mark.parametrize("found", [(), ("smoke",), ("steam",)])
def test_the_dataset_oracle_reaches_the_better_of_gated_and_ungated_maps(found):
    drawn = Drawn(1, found=found)
    out = drawn.out["test"]
    reached = {
        name: max(drawn.per_image("test", level, gate)[0] for level in range(1, 256))
        for name, gate in {"gated": out, "ungated": np.zeros_like(out)}.items()
    }
    oracle = figures(drawn.frame()).loc["dataset_oracle", MEAN_OF_CLASSES]

    assert oracle["per_image_iou"] == pytest.approx(max(reached.values()))
    assert oracle["per_image_iou"] > 0


def test_the_image_oracle_takes_the_better_maps_of_each_image():
    drawn = Drawn(2)
    out = drawn.out["test"]
    best = []
    for gate in (out, np.zeros_like(out)):
        sums = np.zeros((255, 12))
        for level in range(1, 256):
            predicted, masks = drawn.label_maps("test", level, gate), drawn.masks["test"]
            for value in (1, 2):
                hit, either = predicted == value, masks == value
                union = (hit | either).sum(axis=(1, 2))
                iou = (hit & either).sum(axis=(1, 2)) / np.maximum(union, 1)
                sums[level - 1] += np.where(either.any(axis=(1, 2)), iou, 0)
        best.append(sums.max(axis=0))
    held = (drawn.masks["test"] == 1).any(axis=(1, 2)), (drawn.masks["test"] == 2).any(axis=(1, 2))
    alone = held[0] ^ held[1]  # of one class, the sum is that class's IoU
    expected = np.maximum(*best)
    found = figures(drawn.frame())

    assert found.loc[("image_oracle", "steam"), "per_image_iou"] > 0
    of_smoke = found.loc[("image_oracle", "smoke"), "per_image_iou"] * 6
    of_steam = found.loc[("image_oracle", "steam"), "per_image_iou"] * 3
    assert of_smoke + of_steam == pytest.approx(expected.sum())
    assert (expected[alone] >= best[0][alone]).all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("objective", ["per_image_iou", "dataset_iou", "dataset_miou_all_images"])
def test_an_oracle_stays_an_upper_bound_whatever_gating_does(seed, objective):
    for found in ((), ("smoke",), ("smoke", "steam")):
        rows = figures(Drawn(seed, found=found).frame(), objective)
        best = rows.loc[("dataset_oracle", MEAN_OF_CLASSES), objective]
        for rule in ("fixed", "tuned"):
            assert rows.loc[(rule, MEAN_OF_CLASSES), objective] <= best + 1e-12
            assert rows.loc[(rule, MEAN_OF_CLASSES), "price"] >= -1e-12


def test_of_an_older_ledger_the_oracles_are_of_gated_maps_and_say_so():
    drawn = Drawn(3, found=())
    new, old = figures(drawn.frame()), figures(drawn.frame(old=True))

    assert old.loc[("dataset_oracle", "steam"), "per_image_iou"] == 0
    assert new.loc[("dataset_oracle", "steam"), "per_image_iou"] > 0
    assert old.loc[("dataset_oracle", "steam"), "images_with_class_gated"] == 3
    assert new.loc[("dataset_oracle", "steam"), "images_with_class_gated"] == 0
    kept = [c for c in old if c not in ("price", "images_with_class_gated")]
    pd.testing.assert_frame_equal(
        new.loc[["fixed", "tuned"], kept], old.loc[["fixed", "tuned"], kept]
    )


def test_images_that_hold_a_class_and_are_not_predicted_to_are_counted():
    rows = figures(Drawn(4).frame())
    for rule in ("fixed", "tuned"):
        assert rows.loc[
            (rule, "steam"), ["images_with_class", "images_with_class_gated"]
        ].tolist() == [
            3,
            3,
        ]
        assert rows.loc[(rule, "smoke"), "images_with_class_gated"] == 0
    assert rows.loc[("fixed", "steam"), "sensitivity"] == 0
    assert rows.loc[("fixed", "steam"), "images_labelled"] == 3
    # Of any class: smoke is predicted in every image.
    assert rows.loc[("fixed", MEAN_OF_CLASSES), "images_with_class_gated"] == 0


@pytest.mark.parametrize("found", [(), ("smoke",), ("smoke", "steam")])
def test_empty_and_full_masks_are_those_of_the_label_maps(found):
    drawn = Drawn(5, found=found)
    rows = figures(drawn.frame())
    predicted = drawn.label_maps("test", 128, drawn.out["test"])  # the fixed level
    held = (drawn.masks["test"] > 0).any(axis=(1, 2))
    for name, marked in {
        "smoke": predicted == 1,
        "steam": predicted == 2,
        MEAN_OF_CLASSES: predicted > 0,
    }.items():
        empty, full = ~marked.any(axis=(1, 2)), marked.all(axis=(1, 2))
        number = {"smoke": 1, "steam": 2}.get(name)
        holds = held if number is None else (drawn.masks["test"] == number).any(axis=(1, 2))
        row = rows.loc["fixed", name]
        assert row["images_empty"] == empty.sum()
        assert row["images_full"] == full.sum()
        assert row["images_with_class_empty"] == (empty & holds).sum()
    assert math.isnan(rows.loc[("image_oracle", "smoke"), "images_empty"])


def test_objects_of_less_than_a_thousandth_of_the_pixels_are_counted():
    rows = [
        {
            "network": "student",
            "split": "test",
            "class_name": "smoke",
            "image": f"{index}.png",
            "labelled": True,
            "logit": 1.0,
            **counts(np.full((40, 50), 9, np.uint8), np.arange(2000).reshape(40, 50) < pixels),
        }
        for index, pixels in enumerate((1, 2, 3, 500, 0))
    ]
    found = figures(pd.DataFrame(rows))
    assert found.loc[("fixed", "smoke"), "images_with_tiny_object"] == 1  # 1 of 2,000; 2 is .001


def test_a_threshold_for_labels_is_tuned_on_maps_gated_by_labels():
    drawn = Drawn(6, found=())
    labels = np.stack([(drawn.masks["tune"] == n).any(axis=(1, 2)) for n in (1, 2)], axis=1)
    curve = [drawn.per_image("tune", level, ~labels)[0] for level in range(1, 256)]

    choice = label_gated_choice(ScoreRows.of(drawn.frame()), "per_image_iou")

    assert choice.level == 1 + int(np.argmax(curve))
    assert choice.reached == pytest.approx(max(curve))
    assert label_gated_choice(ScoreRows.of(drawn.frame(old=True)), "per_image_iou") is None
