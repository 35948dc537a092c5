"""The histograms of other gatings beside the study's, against those of a study that gates so."""

import numpy as np
import pytest

from reports.names import ANY_CLASS
from studies.planning.chains import CamScoring
from studies.stages.scoring import NetworkScores, gated, score_rows
from wsss_core.data.image_set import IGNORED, ImageSet, PixelMaps
from wsss_core.evaluate import ScoreHistogram, quantise

CLASSES = ("smoke", "steam", "cloud")


def drawn(classes: int, images: int = 6):
    """Return scores and images; logits of both signs, labels that disagree with them."""
    random = np.random.default_rng(classes)
    masks = PixelMaps.allocate([(9, 7)] * images, [True] * images)
    labels = np.zeros((images, classes), bool)
    for index in range(images):
        mask = masks[index]
        mask[...] = random.integers(0, classes + 1, mask.shape) if index else 0
        mask[0, 0] = IGNORED
        labels[index] = [(mask == number + 1).any() for number in range(classes)]
    logits = random.normal(0, 1, (images, classes)).astype(np.float32)
    logits[1] = np.where(labels[1], 1, -1)  # here labels and prediction agree
    logits[2] = 1
    logits[3] = -1
    maps = random.random((images, classes, 3, 3), np.float32)
    names = tuple(f"{index}.png" for index in range(images))
    pixels = np.zeros((images, 8, 8, 3), np.uint8)
    images_of = ImageSet(CLASSES[:classes], pixels, labels, names, names, masks)
    return NetworkScores((maps,), logits, None, None, "sigmoid"), images_of


def rows_of(scores, images, split, *, gating="predicted", other=None):
    found = score_rows(scores, images, split=split, network="student", gating=gating, other=other)
    return {(row["image"], row["class_name"]): row for row in found}


@pytest.mark.parametrize("classes", [1, 3])
def test_ungated_histograms_are_those_of_a_study_without_gating(classes):
    scores, images = drawn(classes)
    found = rows_of(scores, images, "test", other="ungated")
    ungated = rows_of(scores, images, "test", gating="none")

    for (image, name), row in found.items():
        index = images.identifiers.index(image)
        removed = (scores.logits[index] <= 0).any()
        assert ("ungated_foreground" in row) == removed
        for counts in ("foreground", "background"):
            seen = row[f"ungated_{counts}"] if removed else row[counts]
            np.testing.assert_array_equal(seen, ungated[image, name][counts])


@pytest.mark.parametrize("classes", [1, 3])
def test_label_gated_histograms_are_those_of_a_network_that_predicts_the_labels(classes):
    scores, images = drawn(classes)
    found = rows_of(scores, images, "tune", other="label_gated")
    right = NetworkScores(scores.maps, np.where(images.labels, 1.0, -1.0), None, None, "sigmoid")
    expected = rows_of(right, images, "tune")

    for (image, name), row in found.items():
        index = images.identifiers.index(image)
        differs = ((scores.logits[index] > 0) != images.labels[index]).any()
        assert ("label_gated_foreground" in row) == differs
        for counts in ("foreground", "background"):
            seen = row[f"label_gated_{counts}"] if differs else row[counts]
            np.testing.assert_array_equal(seen, expected[image, name][counts])


def test_a_study_without_gating_keeps_no_other_histograms_and_its_keys():
    scores, images = drawn(3)
    for row in rows_of(scores, images, "test", gating="none", other="ungated").values():
        assert not [name for name in row if name.startswith(("ungated", "label_gated"))]
    assert CamScoring("min_max", "none", 0, 32).other_gatings == {}
    assert CamScoring("min_max", "predicted", 0, 32).other_gatings != {}


def test_other_histograms_leave_the_study_s_own_as_they_are():
    scores, images = drawn(3)
    plain = rows_of(scores, images, "test")
    for place, row in rows_of(scores, images, "test", other="ungated").items():
        own = {name: value for name, value in row.items() if not name.startswith("ungated")}
        assert own.keys() == plain[place].keys()
        for name, value in own.items():
            np.testing.assert_array_equal(value, plain[place][name])


def test_the_row_of_any_class_has_them_too():
    scores, images = drawn(3)
    row = rows_of(scores, images, "test", other="ungated")["3.png", ANY_CLASS]
    assert not row["foreground"][1:].any()
    assert row["ungated_foreground"][1:].sum() == row["foreground"].sum()


def test_histograms_counted_in_one_pass_are_those_of_each_gated_map():
    scores, images = drawn(3)
    found = rows_of(scores, images, "test")
    for index, image in enumerate(images.identifiers):
        mask = images.mask(index)
        left = gated(quantise(scores.at(index, mask.shape)), scores.logits[index] <= 0)
        maps = {name: (left[k], mask == k + 1) for k, name in enumerate(CLASSES)}
        maps[ANY_CLASS] = left.max(axis=0), (mask > 0) & (mask != IGNORED)
        for name, (levels, held) in maps.items():
            expected = ScoreHistogram.from_scores(levels, held, ignore=mask == IGNORED)
            row = found[image, name]
            assert ScoreHistogram(row["foreground"], row["background"]) == expected
