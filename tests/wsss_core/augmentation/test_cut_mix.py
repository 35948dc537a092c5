"""CutMix against loops over pixels."""

import numpy as np
import torch

from wsss_core.augmentation import AugmentationSettings, Stored, cut_boxes, draw_pass, sample_views

IMAGES = np.random.default_rng(0).integers(0, 256, (9, 8, 12, 3)).astype(np.uint8)
MASKS = np.random.default_rng(1).integers(0, 3, (9, 8, 12)).astype(np.uint8)
LABELS = torch.eye(9)
ALWAYS = AugmentationSettings(cutmix=1.0)


def load(chosen: np.ndarray) -> Stored:
    return Stored(IMAGES[chosen], LABELS[chosen], MASKS[chosen])


def test_a_box_of_another_image_of_the_batch_is_pasted_and_labels_are_mixed_by_its_area():
    drawn = draw_pass(ALWAYS, 9, flip=False, seed=0, number=0)
    batch = np.arange(9)
    views = sample_views(ALWAYS, drawn, load, batch, batch, "cpu")
    found = (views.images.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
    for place in range(9):
        _, partner, stays, row, column = drawn.drawn["cutmix"][place]
        other = drawn.order[(place + 1 + int(partner * 8)) % 9]
        own = drawn.order[place]
        assert other != own
        tall, wide = int(8 * np.sqrt(1 - stays)), int(12 * np.sqrt(1 - stays))
        middle, centre = int(row * 8), int(column * 12)
        image, mask, area = IMAGES[own].copy(), MASKS[own].copy(), 0
        for y in range(max(0, middle - tall // 2), min(8, middle + tall // 2)):
            for x in range(max(0, centre - wide // 2), min(12, centre + wide // 2)):
                image[y, x], mask[y, x] = IMAGES[other][y, x], MASKS[other][y, x]
                area += 1
        assert np.array_equal(found[place], image)
        assert np.array_equal(views.masks[place].numpy(), mask)
        label = np.zeros(9)
        label[own], label[other] = 1 - area / 96, area / 96
        np.testing.assert_allclose(views.labels[place].numpy(), label, atol=1e-6)


def test_boxes_take_a_uniform_share_of_the_area_where_they_are_not_cut_off():
    random = np.random.default_rng(0)
    drawn = np.stack([random.random(4000), np.full(4000, 0.5), np.full(4000, 0.5)], 1)
    boxes = cut_boxes(drawn, (200, 200))
    shares = [(b.bottom - b.top) * (b.right - b.left) / 200**2 for b in boxes]
    assert np.abs(np.quantile(shares, [0.25, 0.5, 0.75]) - [0.25, 0.5, 0.75]).max() < 0.03


def test_the_probability_says_how_many_samples_are_mixed():
    settings = AugmentationSettings(cutmix=0.3)
    drawn = draw_pass(settings, 9, flip=False, seed=0, number=0)
    batch = np.arange(9)
    views = sample_views(settings, drawn, load, batch, batch, "cpu")
    mixed = (views.labels.amax(1) < 1).numpy()
    chosen = drawn.drawn["cutmix"][:, 0] < 0.3
    assert not (mixed & ~chosen).any()
    assert 0 < mixed.sum() < 9


def test_a_batch_of_one_image_is_left_as_it_is():
    drawn = draw_pass(ALWAYS, 9, flip=False, seed=0, number=0)
    place = np.array([4])
    views = sample_views(ALWAYS, drawn, load, place, place, "cpu")
    assert torch.equal(views.labels, LABELS[drawn.order[place]])


def test_of_a_whole_batch_each_image_is_loaded_once_and_of_a_part_its_partners_too():
    settings = AugmentationSettings(
        cutmix=1.0, rescale=(0.5, 2.0), jitter=(0.3, 0.3, 0.3, 0.1), randaugment=(2, 12)
    )
    drawn = draw_pass(settings, 9, flip=True, seed=0, number=0)
    batch, loaded = np.arange(9), []

    def counted(chosen):
        loaded.append(len(chosen))
        return load(chosen)

    whole = sample_views(settings, drawn, counted, batch, batch, "cpu")
    assert loaded == [9]
    parts = [
        sample_views(settings, drawn, counted, part, batch, "cpu")
        for part in (batch[:5], batch[5:])
    ]
    assert loaded == [9, 5, 5, 4, 4]
    for name in ("images", "labels", "masks"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
    assert torch.equal(torch.cat([part.with_valid().valid for part in parts]), whole.valid)


def test_padding_in_a_box_counts_for_neither_label():
    settings = AugmentationSettings(cutmix=1.0, rescale=(0.5, 0.9))
    drawn = draw_pass(settings, 9, flip=False, seed=3, number=0)
    batch = np.arange(9)
    views = sample_views(settings, drawn, load, batch, batch, "cpu")
    plain = AugmentationSettings(rescale=(0.5, 0.9))
    alone = sample_views(plain, drawn, load, batch, batch, "cpu")
    for place in range(9):
        _, partner, *box = drawn.drawn["cutmix"][place]
        other = (place + 1 + int(partner * 8)) % 9
        ((top, bottom, left, right),) = cut_boxes(np.array([box]), (8, 12))
        own_valid = alone.valid[place, 0].clone()
        own_valid[top:bottom, left:right] = 0
        of_other = float(alone.valid[other, 0, top:bottom, left:right].sum())
        total = float(own_valid.sum()) + of_other
        if total:
            share = views.labels[place, drawn.order[other]]
            assert float(share) == np.float32(of_other / total)
        assert (views.masks[place][views.valid[place, 0] == 0] == 255).all()
