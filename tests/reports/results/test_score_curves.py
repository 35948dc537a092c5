"""Curves as a frame, against loops over raw CAMs and masks."""

import numpy as np
import pandas as pd
import pytest

from reports.ledger.parts import read_table
from reports.names import ANY_CLASS, MEAN_OF_CLASSES
from reports.results.score_curves import CURVE_COLUMNS, score_curves
from wsss_core.evaluate import compete

KEY = "0000abababababab"  # CNN alone, seed 0


def ratio(part, whole):
    return part / whole if whole else 0.0


def figures_at(levels, masks, pooled_over, level):
    """The figures of one class at one level, over boolean maps of each image."""
    held = masks.any(axis=(1, 2))
    marked, truth = levels[pooled_over] >= level, masks[pooled_over]
    hits, wrong, missed = (marked & truth).sum(), (marked & ~truth).sum(), (~marked & truth).sum()
    each = [
        ratio((cam & mask).sum(), (cam | mask).sum())
        for cam, mask in zip(levels[held] >= level, masks[held], strict=True)
    ]
    return {
        "per_image_iou": np.mean(each),
        "dataset_iou": ratio(hits, hits + wrong + missed),
        "precision": ratio(hits, hits + wrong),
        "recall": ratio(hits, hits + missed),
        **over_all_images(levels >= level, masks),
    }


def over_all_images(marked, truth):
    """The figures of one confusion matrix over every image, but the background's."""
    hits, wrong, missed = (marked & truth).sum(), (marked & ~truth).sum(), (~marked & truth).sum()
    return {
        "dataset_iou_all_images": ratio(hits, hits + wrong + missed),
        "precision_all_images": ratio(hits, hits + wrong),
    }


def test_every_level_has_the_figures_of_maps_cut_there(ledger):
    found = score_curves(read_table(ledger.results, "scores", keys=[KEY]))

    assert list(found) == list(CURVE_COLUMNS)
    assert len(found) == 2 * 256
    for split in ("tune", "test"):
        cams = ledger.cams["CNN alone", 0, split, "student", "smoke"]
        masks = ledger.masks[split, "smoke"]
        held = masks.any(axis=(1, 2))
        rows = found[found["split"] == split].set_index("level")
        assert list(rows.index) == list(range(256))
        for level in (0, 1, 77, 130, 255):
            expected = figures_at(cams, masks, held, level)
            marked = cams[held] >= level
            rest = (~marked & ~masks[held]).sum() / (~marked | ~masks[held]).sum() if level else 0
            expected["dataset_miou"] = (expected["dataset_iou"] + rest) / 2
            assert {k: rows.loc[level, k] for k in expected} == pytest.approx(expected, abs=1e-12)
            assert rows.loc[level, "threshold"] == pytest.approx(level / 255)


def test_networks_have_curves_of_their_own(ledger):
    found = score_curves(read_table(ledger.results, "scores", keys=["0700abababababab"]))
    assert set(found["network"]) == {"student", "teacher"}
    assert len(found) == 2 * 2 * 256


@pytest.fixture(scope="module")
def competing():
    generator = np.random.default_rng(2)
    masks = np.zeros((4, 2, 8, 8), bool)
    masks[0, 0, :3], masks[1, 1, 5:], masks[2, 0, :2], masks[2, 1, 6:] = True, True, True, True
    levels = np.stack(
        [compete((generator.integers(0, 140, (2, 8, 8)) + 90 * m).astype(np.uint8)) for m in masks]
    )
    of_class = {"a": (levels[:, 0], masks[:, 0]), "b": (levels[:, 1], masks[:, 1])}
    of_class[ANY_CLASS] = levels.max(axis=1), masks.any(axis=1)
    rows = [
        {
            "network": "student",
            "split": "test",
            "class_name": name,
            "foreground": np.bincount(cam[mask], minlength=256),
            "background": np.bincount(cam[~mask], minlength=256),
        }
        for name, (cams, truths) in of_class.items()
        for cam, mask in zip(cams, truths, strict=True)
    ]
    return levels, masks, score_curves(pd.DataFrame(rows))


def test_competing_classes_are_pooled_over_the_images_that_hold_any(competing):
    levels, masks, found = competing
    held = masks.any(axis=(1, 2, 3))
    assert set(found["class_name"]) == {"a", "b", MEAN_OF_CLASSES}
    for level in (1, 60, 120, 200):
        truth = masks[held].any(axis=1)
        marked = (levels[held] >= level).any(axis=1)
        background = (~marked & ~truth).sum() / (~marked | ~truth).sum()
        means = []
        for k, name in enumerate("ab"):
            row = found[(found["class_name"] == name) & (found["level"] == level)].iloc[0]
            expected = figures_at(levels[:, k], masks[:, k], held, level)
            expected["dataset_miou"] = (expected["dataset_iou"] + background) / 2
            assert {key: row[key] for key in expected} == pytest.approx(expected)
            means.append(expected)
        mean = found[(found["class_name"] == MEAN_OF_CLASSES) & (found["level"] == level)].iloc[0]
        for key in ("per_image_iou", "dataset_iou", "precision", "recall"):
            assert mean[key] == pytest.approx(np.mean([one[key] for one in means]))
        pooled = [one["dataset_iou"] for one in means]
        assert mean["dataset_miou"] == pytest.approx(np.mean([*pooled, background]))


def test_level_0_is_no_threshold_of_competing_classes(competing):
    at_0 = competing[2].query("level == 0")
    assert at_0[list(CURVE_COLUMNS[5:])].isna().all(axis=None)


def test_of_no_scores_there_are_no_curves():
    assert score_curves(pd.DataFrame(columns=["network", "split"])).empty
