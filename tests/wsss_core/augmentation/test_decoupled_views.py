"""Pasted objects and tagged crops against loops over pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wsss_core.augmentation import (
    AugmentationSettings,
    CropSettings,
    CutObject,
    DecoupledViews,
    PasteSettings,
    crop_tag,
    cut_objects,
    draw_pass,
    paste_object,
    sample_views,
)
from wsss_core.augmentation.decomposition import NO_TAG, Decomposition
from wsss_core.augmentation.pasting import Pasting
from wsss_core.errors import InputError

SIDE = 12
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (6, SIDE, SIDE, 3)).astype(np.uint8)
LABELS = np.array([[1, 0], [0, 1], [0, 0], [1, 1], [1, 0], [0, 0]], np.bool_)
MASKS = np.zeros((6, SIDE, SIDE), np.uint8)
MASKS[0, 2:6, 3:8] = 1
MASKS[0, 3, 4] = 0  # a hole, which is no part of the object
MASKS[1, 5:11, 1:4] = 2
MASKS[3, :6, :6], MASKS[3, 6:, 6:] = 1, 2
MASKS[4, 0, 0] = 1  # too little
STILL = PasteSettings(rotate=0, share=(0.05, 0.7))


def test_objects_are_cut_from_images_of_one_class_that_is_neither_too_small_nor_too_large():
    smoke, steam = cut_objects(IMAGES, MASKS, LABELS, (0.05, 0.7))
    (one,), (two,) = smoke, steam
    assert np.array_equal(one.pixels, IMAGES[0, 2:6, 3:8])
    assert np.array_equal(one.inside, MASKS[0, 2:6, 3:8] == 1)
    assert np.array_equal(two.pixels, IMAGES[1, 5:11, 1:4])
    assert cut_objects(IMAGES, MASKS, LABELS, (0.14, 0.7)) == [[], cut_objects(
        IMAGES, MASKS, LABELS, (0.14, 0.7))[1]]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.floats(0, 1, exclude_max=True)] * 3))
def test_a_pasted_object_changes_its_own_pixels_and_no_other(drawn):
    cut = CutObject(IMAGES[0, 2:6, 3:8], MASKS[0, 2:6, 3:8] == 1)
    found = paste_object(IMAGES[2], cut, np.array(drawn), STILL)
    row, column = int(drawn[1] * (SIDE - 4 + 1)), int(drawn[2] * (SIDE - 5 + 1))
    expected = IMAGES[2].copy()
    for y in range(4):
        for x in range(5):
            if MASKS[0, 2 + y, 3 + x] == 1:
                expected[row + y, column + x] = IMAGES[0, 2 + y, 3 + x]
    assert np.array_equal(found, expected)


def test_pasting_an_object_without_pixels_changes_nothing():
    nothing = CutObject(IMAGES[0, :4, :4], np.zeros((4, 4), np.bool_))
    for drawn in RANDOM.random((20, 3)):
        assert np.array_equal(paste_object(IMAGES[1], nothing, drawn, PasteSettings()), IMAGES[1])


@pytest.mark.parametrize(("turn", "quarters"), [(1.0, 1), (0.0, -1), (0.5, 0)])
def test_an_object_is_turned_by_its_draw(turn, quarters):
    inside = np.tri(4, dtype=np.bool_)
    cut = CutObject(IMAGES[0, :4, :4], inside)
    found = paste_object(np.zeros_like(IMAGES[0]), cut, np.array([turn, 0, 0]), PasteSettings())
    expected = np.zeros_like(IMAGES[0])
    turned = np.rot90(inside, quarters)
    expected[:4, :4][turned] = np.rot90(IMAGES[0, :4, :4], quarters)[turned]
    assert np.array_equal(found, expected)


def test_a_large_object_is_made_to_fit_with_its_proportions():
    grey = np.full((10, 5, 3), 90, np.uint8)
    cut = CutObject(grey, np.ones((10, 5), np.bool_))
    how = PasteSettings(rotate=0, largest=0.5)
    found = paste_object(np.zeros_like(IMAGES[0]), cut, np.array([0, 0, 0]), how)
    expected = np.zeros_like(IMAGES[0])
    expected[:6, :3] = 90  # half of 12 is 6, and 5 of 10 become 3 of 6
    assert np.array_equal(found, expected)


def test_only_an_image_that_lacks_a_class_gets_one_and_then_holds_it():
    pasting = Pasting(IMAGES, LABELS, MASKS, STILL)
    for number in range(len(IMAGES)):
        for drawn in RANDOM.random((10, 5)):
            image, labels = pasting.of(number, drawn)
            if LABELS[number].all():
                assert np.array_equal(image, IMAGES[number])
                assert np.array_equal(labels, LABELS[number])
                continue
            absent = np.flatnonzero(~LABELS[number])
            chosen = absent[int(drawn[0] * len(absent))]
            expected = LABELS[number].astype(np.float32)
            expected[chosen] = 1
            assert np.array_equal(labels, expected)
            (cut,) = pasting.objects[chosen]
            by_hand = paste_object(IMAGES[number], cut, drawn[2:], STILL)
            assert np.array_equal(image, by_hand)


def test_without_any_object_there_is_an_error_in_a_line():
    with pytest.raises(InputError, match=r"covers 0\.1 to 0.7 of it, so there is no object"):
        Pasting(IMAGES, LABELS, np.zeros_like(MASKS), PasteSettings())
    with pytest.raises(InputError, match="two shares from 0 to 1, the lower first"):
        PasteSettings(share=(0.7, 0.1))


@pytest.mark.parametrize(
    ("values", "only", "tag"),
    [
        ([0] * 10, None, 0),
        ([0] * 8 + [1] * 2, None, 0),  # a fifth counts for nothing
        ([0] * 7 + [1] * 3, None, 1),
        ([0] * 7 + [2] * 3, None, 2),
        ([0] * 4 + [1] * 3 + [2] * 3, None, NO_TAG),
        ([0] * 4 + [255] * 6, None, NO_TAG),  # of no class that is certain
        ([0] * 4 + [255] * 3 + [2] * 3, None, 2),
        ([0] * 4 + [255] * 6, 1, 2),  # the image holds one class alone
        ([0] * 8 + [255] * 2, 1, 0),
    ],
)
def test_the_tag_of_a_crop(values, only, tag):
    assert crop_tag(np.array([values], np.uint8), 0.2, only=only) == tag


def test_a_crop_is_the_first_with_a_tag_at_the_images_size_with_the_label_of_its_tag():
    parts = Decomposition(IMAGES, LABELS, MASKS, CropSettings(side=0.5))
    for number in range(len(IMAGES)):
        for drawn in RANDOM.random((8, parts.DRAWN)):
            image, labels = parts.of(number, drawn)
            for row, column in drawn.reshape(-1, 2):
                y, x = int(row * 7), int(column * 7)
                inside = MASKS[number, y : y + 6, x : x + 6]
                held = set(np.unique(inside)) - {0}
                if (inside > 0).sum() <= 0.2 * 36:
                    expected = [0, 0]
                elif len(held) == 1:
                    expected = [float(k + 1 in held) for k in range(2)]
                else:
                    continue
                assert labels.tolist() == expected
                # Bilinear, of twice the size: the mean colour of the inner pixels stays.
                crop = IMAGES[number, y : y + 6, x : x + 6].astype(float)
                up = torch.nn.functional.interpolate(
                    torch.from_numpy(crop).permute(2, 0, 1)[None], scale_factor=2, mode="bilinear"
                )[0].permute(1, 2, 0)
                assert np.abs(image - up.numpy()).max() <= 1
                break
            else:
                assert np.array_equal(image, IMAGES[number])
                assert np.array_equal(labels, LABELS[number])


def test_where_no_crop_has_a_tag_the_image_comes_whole():
    both = np.ones((1, SIDE, SIDE), np.uint8)
    both[:, ::2] = 2
    parts = Decomposition(IMAGES[3:4], LABELS[3:4], both, CropSettings())
    image, labels = parts.of(0, RANDOM.random(parts.DRAWN))
    assert np.array_equal(image, IMAGES[3])
    assert labels.tolist() == [1, 1]


def test_forms_depend_on_seed_pass_and_image_alone_and_move_no_other_draw():
    views = DecoupledViews(IMAGES, LABELS, MASKS, paste=STILL, crops=CropSettings(count=2))
    whole = [load(np.arange(6)) for load in views(3, 1)]
    assert len(whole) == 3
    for form, again in zip(whole, views(3, 1), strict=True):
        parts = [again(np.array(part)) for part in ([4, 0], [2, 1, 3, 5])]
        images = np.concatenate([part.images for part in parts])[[1, 3, 2, 4, 0, 5]]
        assert np.array_equal(images, form.images)
    other = [load(np.arange(6)).images for load in views(3, 2)]
    assert not any(np.array_equal(a, b.images) for a, b in zip(other, whole, strict=True))
    assert not np.array_equal(whole[1].images, whole[2].images)


def test_views_of_a_form_are_changed_as_those_of_the_image():
    plan = AugmentationSettings(rescale=(0.5, 0.9))
    drawn = draw_pass(plan, 6, flip=True, seed=0, number=0)
    views = DecoupledViews(IMAGES, LABELS, np.zeros_like(MASKS), crops=CropSettings())
    (load,) = views(0, 0)
    places = np.arange(6)
    one = sample_views(plan, drawn, load, places, places, "cpu")
    joined = one.joined(one)
    assert joined.images.shape[0] == 12
    assert torch.equal(joined.valid[:6], joined.valid[6:])
    assert not joined.labels.any()  # a mask of nothing tags every crop with nothing
