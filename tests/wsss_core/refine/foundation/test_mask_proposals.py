"""Mask proposals of tiny SAM and SAM 2 models, beside the library's own generator and by hand."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from wsss_core.refine.foundation.mask_proposals import (
    automatic_masks,
    clean,
)
from wsss_core.refine.foundation.models import load_foundation

pytest.importorskip("transformers")


def blobs(height: int, width: int, seed: int = 1) -> np.ndarray:
    """Six discs of one colour each on a dark ground."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    image = np.full((height, width, 3), 30, np.uint8)
    for _ in range(6):
        top, left, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(4, 9)
        image[(y - top) ** 2 + (x - left) ** 2 < radius**2] = rng.integers(60, 256, 3)
    return image


@pytest.fixture(scope="module")
def loaded(checkpoint):
    return {name: load_foundation("sam", checkpoint(name)) for name in ("sam", "sam2")}


LOOSE = {"pred_iou": -100.0, "stability": 0.0, "minimum_area": 0, "box_nms": 1.0}


# Beside the library's generator. On images that are not square it asks SAM 2 at wrong points.


@pytest.mark.parametrize(
    ("name", "height", "width"), [("sam", 48, 64), ("sam", 90, 40), ("sam2", 64, 64)]
)
@pytest.mark.parametrize(("pred_iou", "stability"), [(0.01, 0.01), (0.3, 0.6)])
def test_masks_are_those_of_the_library_s_own_generator(
    loaded, name, height, width, pred_iou, stability
):
    from PIL import Image
    from transformers import pipeline

    model, processor = loaded[name]
    image = blobs(height, width)
    own = automatic_masks(
        model,
        processor,
        image,
        **{**LOOSE, "points_per_side": 5, "pred_iou": pred_iou, "stability": stability},
    )
    generator = pipeline(
        "mask-generation", model=model, image_processor=processor.image_processor, device="cpu"
    )
    theirs = generator(
        Image.fromarray(image),
        points_per_crop=5,
        pred_iou_thresh=pred_iou,
        stability_score_thresh=stability,
        crops_nms_thresh=1.0,
    )
    masks, expected = own.masks(), np.stack([np.asarray(mask) for mask in theirs["masks"]])
    assert len(masks) == len(expected) >= 5
    # Rounding may turn a pixel or two whose logit is all but 0.
    differing = (masks[:, None] != expected).sum(axis=(2, 3))
    assert (differing.min(axis=0) <= 2).all()
    assert (differing.min(axis=1) <= 2).all()
    best = np.sort(theirs["scores"].numpy())[::-1]
    np.testing.assert_allclose(own.quality, best, rtol=1e-4, atol=1e-5)


# Where the model is asked


@pytest.mark.parametrize(("name", "count"), [("sam", 3), ("sam2", 3), ("sam", 8), ("sam2", 8)])
@pytest.mark.parametrize(("height", "width"), [(48, 64), (90, 40), (3, 7), (64, 64)])
def test_the_model_is_asked_at_cell_middles_all_of_them_in_the_image(
    loaded, name, count, height, width
):
    model, processor = loaded[name]
    asked = []
    hook = model.prompt_encoder.register_forward_pre_hook(
        lambda _, args, kwargs: asked.append(kwargs["input_points"]), with_kwargs=True
    )
    automatic_masks(model, processor, blobs(height, width), points_per_side=count)
    hook.remove()
    points = torch.cat(asked, dim=1)[0, :, 0].numpy()
    # SAM scales the longer side to 64 px and pads the other, SAM 2 stretches both to 64 px.
    longest = max(height, width)
    reach_x = int(width * 64 / longest + 0.5) if name == "sam" else 64
    reach_y = int(height * 64 / longest + 0.5) if name == "sam" else 64
    expected = [
        ((i + 0.5) / count * reach_x, (j + 0.5) / count * reach_y)
        for j in range(count)
        for i in range(count)
    ]
    np.testing.assert_allclose(points, expected, rtol=1e-5)
    assert (points > 0).all()
    assert (points < (reach_x, reach_y)).all()


@pytest.mark.parametrize("name", ["sam", "sam2"])
def test_an_image_is_encoded_once_however_many_batches_of_points_there_are(loaded, name):
    model, processor = loaded[name]
    calls = []
    hooks = [
        model.vision_encoder.register_forward_hook(lambda *_: calls.append("image")),
        model.mask_decoder.register_forward_hook(lambda *_: calls.append("points")),
    ]
    automatic_masks(model, processor, blobs(48, 64), points_per_side=4, points_per_batch=5)
    for hook in hooks:
        hook.remove()
    assert calls == ["image", *["points"] * 4]


@pytest.mark.parametrize("name", ["sam", "sam2"])
@pytest.mark.parametrize("per_batch", [1, 7, 25])
def test_the_batch_of_points_does_not_matter(loaded, name, per_batch):
    model, processor = loaded[name]
    settings = {**LOOSE, "points_per_side": 5, "stability": 0.6, "box_nms": 0.97}
    whole = automatic_masks(model, processor, blobs(48, 64), **settings, points_per_batch=64)
    parts = automatic_masks(model, processor, blobs(48, 64), **settings, points_per_batch=per_batch)
    # Rounding may turn a pixel whose logit is all but 0.
    assert (whole.masks() != parts.masks()).mean() < 1e-3
    np.testing.assert_allclose(whole.quality, parts.quality, rtol=1e-5)


# What is kept, by a model whose masks are known: discs around the points it is asked at


class Discs(torch.nn.Module):
    """Three discs a point, of radius 4, 8 and 12 in a model image of 128 px, with known quality."""

    def __init__(self, slope: float = 1.0) -> None:
        super().__init__()
        self.slope = slope

    def get_image_embeddings(self, pixels):
        assert pixels.shape == (1, 3, 128, 128)
        return pixels

    def forward(self, *, image_embeddings, input_points, multimask_output):
        assert multimask_output
        middle = torch.arange(128) + 0.5
        x, y = input_points[0, :, 0, 0], input_points[0, :, 0, 1]
        distance = torch.hypot(
            middle[None, None, :] - x[:, None, None], middle[None, :, None] - y[:, None, None]
        )
        radii = torch.tensor([4.0, 8.0, 12.0])[None, :, None, None]
        masks = self.slope * (radii - distance[:, None])
        quality = torch.stack([self.quality(x, y, k) for k in range(3)], dim=1)
        return SimpleNamespace(pred_masks=masks[None], iou_scores=quality[None])

    @staticmethod
    def quality(x, y, k):
        return (0.013 * x + 0.0071 * y + 0.37 * k) % 1


@pytest.fixture
def disc_processor():
    from transformers import SamImageProcessor, SamProcessor

    square = {"height": 128, "width": 128}
    return SamProcessor(SamImageProcessor(size={"longest_edge": 128}, pad_size=square))


@pytest.fixture
def disc_processor2():
    from transformers import Sam2ImageProcessor, Sam2Processor

    return Sam2Processor(Sam2ImageProcessor(size={"height": 128, "width": 128}))


def ellipse(height, width, x, y, radius_x, radius_y):
    """Pixels whose middles lie in an ellipse, by a loop."""
    mask = np.zeros((height, width), bool)
    for row, column in np.ndindex(mask.shape):
        offset = ((column + 0.5 - x) / radius_x, (row + 0.5 - y) / radius_y)
        mask[row, column] = offset[0] ** 2 + offset[1] ** 2 < 1
    return mask


@pytest.mark.parametrize(("height", "width"), [(96, 64), (64, 96), (80, 80)])
@pytest.mark.parametrize("kind", ["disc_processor", "disc_processor2"])
def test_masks_lie_in_the_image_where_the_model_saw_them(request, kind, height, width):
    processor = request.getfixturevalue(kind)
    found = automatic_masks(
        Discs(), processor, np.zeros((height, width, 3), np.uint8), points_per_side=3, **LOOSE
    ).masks()
    longest = max(height, width)
    scale_x = longest / 128 if kind == "disc_processor" else width / 128
    scale_y = longest / 128 if kind == "disc_processor" else height / 128
    assert len(found) == 27
    for i, j, radius in itertools.product(range(3), range(3), (4, 8, 12)):
        x, y = (i + 0.5) / 3 * width, (j + 0.5) / 3 * height
        expected = ellipse(height, width, x, y, radius * scale_x, radius * scale_y)
        overlap = (found & expected).sum((1, 2)) / (found | expected).sum((1, 2))
        assert overlap.max() > (0.75 if radius == 4 else 0.9)


@pytest.mark.parametrize("pred_iou", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("stability", [0.0, 0.5, 0.7])
def test_masks_below_a_threshold_are_dropped_and_no_others(disc_processor, pred_iou, stability):
    """At slope 1 the cuts at +-1 are discs of radius r - 1 and r + 1; the image is the model's."""
    image = np.zeros((128, 128, 3), np.uint8)
    settings = {**LOOSE, "points_per_side": 4, "pred_iou": pred_iou, "stability": stability}
    found = automatic_masks(Discs(), disc_processor, image, **settings)
    expected = []
    for i, j, k in itertools.product(range(4), range(4), range(3)):
        x, y, radius = (i + 0.5) * 32, (j + 0.5) * 32, (4, 8, 12)[k]
        inner, outer = (ellipse(128, 128, x, y, r, r).sum() for r in (radius - 1, radius + 1))
        quality = float(Discs.quality(torch.tensor(x), torch.tensor(y), k))
        if quality > pred_iou and inner / outer >= stability:
            expected.append(quality)
    assert 0 < len(expected) < 48
    np.testing.assert_allclose(found.quality, sorted(expected, reverse=True), atol=1e-6)


def test_the_defaults_are_the_thesis_s(disc_processor):
    """8 points a side, predicted IoU over .7, stability .85, area 20, box IoU .7."""
    image = np.zeros((128, 128, 3), np.uint8)
    default = automatic_masks(Discs(slope=4), disc_processor, image)
    named = automatic_masks(
        Discs(slope=4), disc_processor, image, points_per_side=8, pred_iou=0.7, stability=0.85,
        minimum_area=20, box_nms=0.7,
    )  # fmt: skip
    assert 0 < len(default) < 192
    np.testing.assert_array_equal(default.bits, named.bits)


def box_iou(first: np.ndarray, second: np.ndarray) -> float:
    """IoU of the boxes around two masks, painted and counted."""
    painted = np.zeros((2, *first.shape), bool)
    for box, mask in zip(painted, (first, second), strict=True):
        rows, columns = np.nonzero(mask)
        box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    return float(painted.all(axis=0).sum() / painted.any(axis=0).sum())


def test_no_two_masks_have_boxes_that_overlap_more_than_the_limit(disc_processor):
    image = np.zeros((128, 128, 3), np.uint8)
    settings = {**LOOSE, "points_per_side": 8, "minimum_area": 60}
    everything = automatic_masks(Discs(), disc_processor, image, **settings).masks()
    found = automatic_masks(Discs(), disc_processor, image, **{**settings, "box_nms": 0.4})
    kept = found.masks()
    assert 10 < len(kept) < len(everything)
    assert max(box_iou(a, b) for a, b in itertools.combinations(kept, 2)) <= 0.4
    assert (np.diff(found.quality) <= 0).all()
    for dropped in everything:
        assert max(box_iou(dropped, mask) for mask in kept) > 0.4


class Fixed(Discs):
    """Three given masks, bool [3, 128, 128], for the only point."""

    def __init__(self, masks: np.ndarray) -> None:
        super().__init__()
        self.masks = torch.from_numpy(masks)

    def forward(self, *, image_embeddings, input_points, multimask_output):
        logits = torch.where(self.masks, 9.0, -9.0)[None, None]
        return SimpleNamespace(pred_masks=logits, iou_scores=torch.tensor([[[0.8, 0.9, 0.75]]]))


def test_masks_that_differ_in_specks_alone_become_one(disc_processor):
    """Their specks stretch the boxes over different parts of the image; cleaned, they are equal."""
    masks = np.zeros((3, 128, 128), bool)
    masks[:, 40:60, 40:60] = True
    masks[0, 2:4, 2:4] = masks[1, 120:122, 120:122] = True
    masks[1, 50, 50:54] = False
    masks[2] = False
    masks[2, 80:84, 80:84] = True  # 16 pixels: itself a speck
    image = np.zeros((128, 128, 3), np.uint8)
    found = automatic_masks(Fixed(masks), disc_processor, image, points_per_side=1)
    assert found.quality.tolist() == pytest.approx([0.9])
    body = np.zeros((128, 128), bool)
    body[40:60, 40:60] = True
    np.testing.assert_array_equal(found.masks()[0], body)


@pytest.mark.parametrize("name", ["sam", "sam2"])
def test_masks_of_a_random_model_obey_every_threshold(loaded, name):
    model, processor = loaded[name]
    raw = automatic_masks(model, processor, blobs(60, 80), points_per_side=6, **LOOSE)
    settings = {"pred_iou": float(np.median(raw.quality)), "stability": 0.6, "minimum_area": 40}
    found = automatic_masks(
        model, processor, blobs(60, 80), points_per_side=6, box_nms=0.98, **settings
    )
    masks = found.masks()
    assert 1 <= len(masks) < len(raw)
    assert (found.quality > settings["pred_iou"]).all()
    for mask in masks:
        assert min(map(len, regions(mask)), default=0) >= 40
        assert min(map(len, regions(~mask)), default=40) >= 40
    for a, b in itertools.combinations(masks, 2):
        assert box_iou(a, b) <= 0.98


def test_where_no_mask_is_good_enough_there_is_none(loaded):
    for (model, processor), strict in itertools.product(
        loaded.values(), ({"pred_iou": 100.0}, {"minimum_area": 64 * 48 + 1, "pred_iou": -100.0})
    ):
        found = automatic_masks(model, processor, blobs(48, 64), points_per_side=2, **strict)
        assert len(found) == 0
        assert found.masks().shape == (0, 48, 64)


# The parts


def regions(mask: np.ndarray) -> list[set[tuple[int, int]]]:
    """Regions that hang together by sides or corners, by flooding."""
    left = set(zip(*(axis.tolist() for axis in np.nonzero(mask)), strict=True))
    found = []
    while left:
        region, front = set(), [left.pop()]
        while front:
            y, x = front.pop()
            region.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            front.extend(near)
        found.append(region)
    return found


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("area", [0, 1, 2, 5, 20])
def test_cleaning_fills_small_holes_then_removes_small_islands(share, area):
    for seed in range(5):
        mask = np.random.default_rng(seed).random((12, 15)) < share
        expected = mask.copy()
        for value in (False, True):
            for region in regions(expected == value):
                if len(region) < area:
                    for pixel in region:
                        expected[pixel] = not value
        np.testing.assert_array_equal(clean(mask, area), expected)
