"""From scores to the files of a mask: cuts, competition, gating, undecided pixels, colours."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wsss_core.whole_files
from studies.masks.files import (
    MaskOrigin,
    mask_of,
    origin_of,
    score_levels,
    voc_palette,
    write_grey,
    write_mask,
)
from wsss_core.errors import InputError
from wsss_core.evaluate import ScoreHistogram, compete

RANDOM = np.random.default_rng(0)
ORIGIN = MaskOrigin("1" * 32, "2" * 32)


def levels_of(classes: int, side: int = 7) -> np.ndarray:
    return RANDOM.integers(0, 256, (classes, side, side), dtype=np.uint8)


def mask_by_hand(
    levels: np.ndarray, out: np.ndarray, level: int, uncertain: float = 0.0
) -> np.ndarray:
    """Pixel by pixel: the best class that takes part, if it reaches the threshold."""
    mask = np.zeros(levels.shape[1:], np.uint8)
    for y, x in np.ndindex(*mask.shape):
        taking_part = [(int(levels[k, y, x]), -k) for k in range(len(levels)) if not out[k]]
        if not taking_part:
            continue
        score, k = max(taking_part)
        mask[y, x] = 1 - k if score >= level else 0
        if abs(score / 255 - level / 255) < uncertain:
            mask[y, x] = 255
    return mask


@pytest.mark.parametrize("level", [1, 2, 77, 128, 255])
@pytest.mark.parametrize("classes", [1, 3])
def test_a_pixel_is_of_the_best_class_where_that_reaches_the_threshold(classes, level):
    levels, out = levels_of(classes), np.zeros(classes, bool)
    np.testing.assert_array_equal(mask_of(levels, out, level), mask_by_hand(levels, out, level))


def test_a_class_that_takes_no_part_wins_nowhere():
    out = np.array([True, False, False])
    maps = np.stack([np.ones((4, 4)), *np.random.default_rng(0).random((2, 4, 4))])
    maps[1:, :2, :2] = 0.0
    levels = score_levels(maps, (8, 8), out)
    mask = mask_of(levels, out, 60)
    np.testing.assert_array_equal(mask, mask_by_hand(levels, out, 60))
    assert set(np.unique(mask)) == {0, 2, 3}


@pytest.mark.parametrize("margin", [0.05, 0.3])
@pytest.mark.parametrize("classes", [1, 3])
def test_pixels_near_the_threshold_are_left_undecided(classes, margin):
    levels, out = levels_of(classes, 30), np.zeros(classes, bool)
    mask = mask_of(levels, out, 120, uncertain=margin)
    np.testing.assert_array_equal(mask, mask_by_hand(levels, out, 120, margin))
    assert (mask == 255).any()


def test_where_no_class_takes_part_nothing_is_undecided():
    levels, out = np.zeros((2, 3, 3), np.uint8), np.array([True, True])
    assert not mask_of(levels, out, 3, uncertain=0.5).any()


def test_a_mask_at_any_level_has_the_iou_of_the_score_histogram():
    levels, truth = levels_of(1, 20), RANDOM.random((20, 20)) > 0.6
    curve = ScoreHistogram.from_scores(levels[0], truth).iou()
    for level in range(256):
        mask = mask_of(levels, np.array([False]), level) == 1
        assert (mask & truth).sum() / (mask | truth).sum() == curve[level]


def test_masks_of_several_classes_have_the_iou_of_their_competing_histograms():
    levels, truth = levels_of(3, 20), RANDOM.integers(0, 4, (20, 20))
    competing = compete(levels)
    curves = [ScoreHistogram.from_scores(competing[k], truth == k + 1).iou() for k in range(3)]
    for level in range(1, 256):
        mask = mask_of(levels, np.zeros(3, bool), level)
        for k in range(3):
            both, either = (mask == k + 1) & (truth == k + 1), (mask == k + 1) | (truth == k + 1)
            assert both.sum() / either.sum() == curves[k][level]


@pytest.mark.parametrize(
    ("level", "uncertain", "said"),
    [(256, 0.0, "threshold level 256"), (-1, 0.0, "level -1"), (9, 1.5, "uncertain 1.5")],
)
def test_a_threshold_or_margin_out_of_range_is_refused(level, uncertain, said):
    with pytest.raises(InputError, match=said):
        mask_of(levels_of(1), np.array([False]), level, uncertain=uncertain)


def test_more_classes_than_a_mask_has_numbers_are_refused():
    with pytest.raises(InputError, match="255 classes: expected at most 254"):
        mask_of(levels_of(255, 1), np.zeros(255, bool), 9)


def test_the_colours_are_those_of_pascal_voc():
    palette = np.array(voc_palette()).reshape(256, 3)
    published = {
        0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 8: (64, 0, 0),
        15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192),
    }  # fmt: skip
    for index, colour in published.items():
        assert tuple(palette[index]) == colour
    assert len({tuple(colour) for colour in palette}) == 256


def test_a_mask_is_an_indexed_png_that_holds_class_numbers_and_colours(tmp_path: Path):
    mask = RANDOM.integers(0, 256, (5, 9), dtype=np.uint8)
    write_mask(mask, tmp_path / "a" / "b.png", tmp_path / "aside", ORIGIN)
    with Image.open(tmp_path / "a" / "b.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), mask)
        colours = np.array(voc_palette(), np.uint8).reshape(256, 3)
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), colours[mask])
    assert list((tmp_path / "aside").iterdir()) == []


def test_a_file_that_is_there_stays_as_it_was_when_writing_fails(tmp_path: Path, monkeypatch):
    target = tmp_path / "a.png"
    write_grey(np.zeros((2, 2), np.uint8), target, tmp_path / "aside", ORIGIN)
    before = target.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(wsss_core.whole_files.os, "fsync", full)
    with pytest.raises(InputError, match=r"a\.png: cannot be written: No space left"):
        write_grey(np.ones((2, 2), np.uint8), target, tmp_path / "aside", ORIGIN)
    assert target.read_bytes() == before
    assert list((tmp_path / "aside").iterdir()) == []


def test_a_mask_says_of_what_it_was_made_and_is_a_whole_png_to_other_readers(tmp_path: Path):
    file = tmp_path / "a.png"
    write_mask(RANDOM.integers(0, 2, (20, 30), dtype=np.uint8), file, tmp_path / "aside", ORIGIN)
    assert origin_of(file) == ORIGIN
    with Image.open(file) as image:
        image.verify()
    with Image.open(file) as image:
        image.load()
        assert image.text["wsss"].startswith(f"image {ORIGIN.image} settings {ORIGIN.settings} ")


def test_every_flipped_bit_and_every_cut_of_a_mask_is_seen(tmp_path: Path):
    file = tmp_path / "a.png"
    write_grey(RANDOM.integers(0, 256, (4, 4), dtype=np.uint8), file, tmp_path / "aside", ORIGIN)
    content = file.read_bytes()
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        assert origin_of(file) is None, bit
    for length in range(len(content)):
        file.write_bytes(content[:length])
        assert origin_of(file) is None, length
    file.write_bytes(content + b"0")
    assert origin_of(file) is None
