"""Merging rules on hand-made 8 x 8 proposals, and beside loops over pixels."""

import numpy as np
import pytest
import torch
from torch import Tensor

from wsss_core.errors import InputError
from wsss_core.evaluate.score_maps import quantise
from wsss_core.refine.foundation.sam_merging import (
    class_seeds,
    merge_sam_wsss,
    merge_thesis,
    refined_scores,
)


def rectangle(top: int, left: int, height: int, width: int) -> Tensor:
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[top : top + height, left : left + width] = True
    return mask


def scores_of(seed: Tensor, inside: float = 0.9, outside: float = 0.1) -> Tensor:
    return torch.where(seed, inside, outside)


NOTHING = torch.zeros(0, 8, 8, dtype=torch.bool)
SEED = rectangle(2, 2, 4, 4)  # 16 pixels


# The thesis's rule


def test_a_proposal_that_overlaps_the_seed_well_is_added_to_it():
    proposal = rectangle(2, 2, 4, 6)  # IoU 16 / 24
    merged = merge_thesis(scores_of(SEED), proposal[None])
    assert torch.equal(merged, proposal)


def test_the_seed_stays_where_a_kept_proposal_does_not_cover_it():
    proposal = rectangle(3, 3, 4, 4)[None]  # IoU 9 / 23 = 0.39
    assert torch.equal(merge_thesis(scores_of(SEED), proposal, minimum_iou=0.3), SEED | proposal[0])


def test_a_proposal_that_overlaps_the_seed_little_is_left_out():
    proposal = rectangle(3, 3, 4, 4)[None]
    assert torch.equal(merge_thesis(scores_of(SEED), proposal), SEED)


def test_a_proposal_at_exactly_the_least_iou_is_left_out():
    exactly = rectangle(2, 2, 4, 2) | rectangle(0, 0, 1, 4)  # 8 of 12 inside: IoU 8 / 20 = 0.4
    assert torch.equal(merge_thesis(scores_of(SEED), exactly[None]), SEED)
    above = rectangle(2, 2, 4, 2) | rectangle(0, 0, 1, 3)  # 8 / 19
    assert torch.equal(merge_thesis(scores_of(SEED), above[None]), SEED | above)


def test_a_proposal_over_half_the_image_is_dropped_however_well_it_fits():
    seed = rectangle(0, 0, 5, 8)  # 40 of 64 pixels
    larger = rectangle(0, 0, 6, 8)
    assert torch.equal(merge_thesis(scores_of(seed), larger[None]), seed)
    half = rectangle(0, 0, 4, 8)
    seed = rectangle(0, 0, 3, 8)
    assert torch.equal(merge_thesis(scores_of(seed), half[None]), half)


def test_the_iou_is_with_the_seed_and_not_with_what_was_added_to_it():
    """The second proposal overlaps the first one, of which the seed knows nothing."""
    first = rectangle(2, 2, 4, 6)
    second = rectangle(2, 4, 4, 4)  # IoU with the seed 8 / 24, with seed and first 16 / 24
    merged = merge_thesis(scores_of(SEED), torch.stack([first, second | rectangle(7, 0, 1, 1)]))
    assert torch.equal(merged, first)


def test_without_a_proposal_the_seed_is_the_mask():
    assert torch.equal(merge_thesis(scores_of(SEED), NOTHING), SEED)


def test_without_a_seed_no_proposal_is_kept_not_even_an_empty_one():
    proposals = torch.stack([rectangle(0, 0, 2, 2), rectangle(0, 0, 0, 0)])
    assert not merge_thesis(torch.zeros(8, 8), proposals).any()


def test_a_score_of_exactly_the_seed_threshold_is_not_in_the_seed():
    assert not merge_thesis(torch.full((8, 8), 0.3), NOTHING).any()
    assert merge_thesis(torch.full((8, 8), 0.3), NOTHING, seed_threshold=0.29).all()


def test_several_classes_are_merged_each_on_its_own():
    scores, proposals = random_scores(3, seed=0), random_proposals(6, seed=0)
    merged = merge_thesis(scores, proposals)
    for one, expected in zip(scores, merged, strict=True):
        assert torch.equal(merge_thesis(one, proposals), expected)


def random_scores(classes: int, seed: int) -> Tensor:
    """Scores that are high in a rectangle, so that rectangles overlap them in all degrees."""
    rng = np.random.default_rng(seed)
    noise = torch.from_numpy(rng.uniform(0, 0.45, (classes, 8, 8)).astype(np.float32))
    for scores in noise:
        top, left = rng.integers(0, 5, 2)
        scores[top : top + 4, left : left + 4] += 0.5
    return noise


def random_proposals(count: int, seed: int) -> Tensor:
    rng = np.random.default_rng(seed + 100)
    sizes, corners = rng.integers(2, 8, (count, 2)), rng.integers(0, 5, (count, 2))
    return torch.stack(
        [rectangle(*corner, *size) for corner, size in zip(corners, sizes, strict=True)]
    )


def pixels(mask: Tensor) -> set[tuple[int, int]]:
    return {(int(y), int(x)) for y, x in mask.nonzero()}


@pytest.mark.parametrize("seed", range(20))
def test_the_thesis_rule_is_its_definition_in_sets_of_pixels(seed):
    scores, proposals = random_scores(1, seed)[0], random_proposals(8, seed)
    own = {(y, x) for y in range(8) for x in range(8) if float(scores[y, x]) > 0.3}
    expected = set(own)
    for proposal in map(pixels, proposals):
        if len(proposal) / 64 <= 0.5 and len(own & proposal) / len(own | proposal) > 0.4:
            expected |= proposal
    assert pixels(merge_thesis(scores, proposals)) == expected


def test_the_random_cases_keep_some_proposals_and_drop_others():
    grown = [
        int(
            merge_thesis(random_scores(1, s)[0], random_proposals(8, s)).sum()
            - (random_scores(1, s)[0] > 0.3).sum()
        )
        for s in range(20)
    ]
    assert 0 in grown
    assert sum(count > 0 for count in grown) >= 5


# SAM_WSSS's rule


def test_a_proposal_mostly_in_the_class_takes_its_place():
    """13 of 24 pixels inside. Pixels under the rejected proposal go, uncovered ones stay."""
    inside = rectangle(2, 2, 3, 4) | rectangle(5, 2, 1, 1)
    accepted = inside | rectangle(6, 0, 1, 8) | rectangle(7, 0, 1, 3)
    rejected = rectangle(5, 3, 2, 2)  # 2 of 4 inside: not more than half
    merged = merge_sam_wsss(SEED[None], torch.stack([accepted, rejected]))[0]
    assert torch.equal(merged, accepted | rectangle(5, 5, 1, 1))


def test_a_proposal_that_covers_most_of_the_class_is_accepted_however_large():
    class_of_20 = rectangle(0, 0, 4, 5)
    rest = rectangle(4, 0, 4, 8)
    covers_17 = (class_of_20 & ~rectangle(0, 0, 1, 3)) | rest  # 17 / 20 = 0.85, of 49 pixels
    assert torch.equal(
        merge_sam_wsss(class_of_20[None], covers_17[None])[0], covers_17 | class_of_20
    )
    covers_16 = (class_of_20 & ~rectangle(0, 0, 1, 4)) | rest
    assert torch.equal(merge_sam_wsss(class_of_20[None], covers_16[None])[0], rectangle(0, 0, 1, 4))


def test_a_class_that_only_rejected_proposals_cover_disappears():
    merged = merge_sam_wsss(
        rectangle(0, 0, 2, 2)[None], torch.stack([rectangle(0, 0, 1, 8), rectangle(1, 0, 1, 8)])
    )
    assert not merged.any()


def test_without_a_proposal_the_classes_stay():
    classes = torch.stack([SEED, rectangle(0, 0, 2, 8)])
    assert torch.equal(merge_sam_wsss(classes, NOTHING), classes)


def test_each_proposal_is_used_once():
    """It covers all of both classes; the first one has it, the second keeps its own pixels."""
    first, second = rectangle(0, 0, 2, 2), rectangle(2, 0, 2, 2)
    both = rectangle(0, 0, 4, 2)
    merged = merge_sam_wsss(torch.stack([first, second]), both[None])
    assert torch.equal(merged[0], first)  # the later class has the pixels that both claim
    assert torch.equal(merged[1], second)
    swapped = merge_sam_wsss(torch.stack([second, first]), both[None])
    assert torch.equal(swapped[0], second)
    assert torch.equal(swapped[1], first)


def test_a_class_without_pixels_uses_up_no_proposal():
    nothing = rectangle(0, 0, 0, 0)
    merged = merge_sam_wsss(torch.stack([nothing, SEED]), rectangle(2, 2, 4, 5)[None])
    assert not merged[0].any()
    assert torch.equal(merged[1], rectangle(2, 2, 4, 5))


@pytest.mark.parametrize("seed", range(20))
def test_sam_wsss_is_its_definition_in_sets_of_pixels(seed):
    classes = class_seeds(random_scores(3, seed))
    proposals = random_proposals(8, seed)
    left, owner = [pixels(p) for p in proposals], {}
    for k, own in enumerate(map(pixels, classes)):
        if not own:
            continue
        accepted = [
            p for p in left if len(p & own) / len(p) > 0.5 or len(p & own) / len(own) >= 0.85
        ]
        covered = set().union(*left)
        for pixel in set().union(*accepted) | (own - covered):
            owner[pixel] = k
        left = [p for p in left if p not in accepted]
    expected = [{pixel for pixel, k in owner.items() if k == wanted} for wanted in range(3)]
    assert [pixels(mask) for mask in merge_sam_wsss(classes, proposals)] == expected


def test_the_order_of_proposals_does_not_matter():
    classes, proposals = class_seeds(random_scores(2, seed=3)), random_proposals(8, seed=3)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    for merged, again in (
        (merge_sam_wsss(classes, proposals), merge_sam_wsss(classes, proposals[order])),
        (merge_thesis(SEED.float(), proposals), merge_thesis(SEED.float(), proposals[order])),
    ):
        assert torch.equal(merged, again)


# Seeds and maps


def test_a_seed_is_where_the_class_wins_above_the_threshold():
    scores = torch.tensor([[[0.5, 0.2, 0.4, 0.3]], [[0.6, 0.3, 0.4, 0.1]]])
    expected = [[[False, False, True, False]], [[True, False, False, False]]]
    assert class_seeds(scores).tolist() == expected
    assert class_seeds(scores, 0.1)[:, 0].tolist() == [
        [False, False, True, True],
        [True, True, False, False],
    ]


def test_a_hard_map_gives_the_mask_at_every_threshold():
    merged = merge_thesis(random_scores(1, 4)[0], random_proposals(8, 4))
    levels = quantise(refined_scores(random_scores(1, 4)[0], merged).numpy())
    assert all(np.array_equal(levels >= t, merged.numpy()) for t in range(1, 256))


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.3, 0.5, 77 / 255, 0.9])
def test_a_soft_map_gives_the_mask_at_the_seed_threshold_and_the_scores_elsewhere(threshold):
    scores = random_scores(2, 5)
    merged = merge_thesis(scores, random_proposals(8, 5), seed_threshold=threshold)
    soft = refined_scores(scores, merged, soft=True, seed_threshold=threshold)
    levels, plain = quantise(soft.numpy()), quantise(scores.numpy())
    first_above = next(level for level in range(256) if level / 255 > threshold)
    assert np.array_equal(levels >= first_above, merged.numpy())
    for level in range(first_above + 1, 256):
        assert np.array_equal(levels >= level, (plain >= level) & merged.numpy())
    for level in range(first_above):
        assert np.array_equal(levels >= level, (plain >= level) | merged.numpy())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_maps_come_out_in_float32_whatever_the_scores_are(dtype):
    scores = scores_of(SEED).to(dtype)
    for soft in (False, True):
        assert refined_scores(scores, SEED, soft=soft).dtype == torch.float32


# Bad input


@pytest.mark.parametrize("worst", [-0.01, 1.01, float("nan")])
def test_scores_that_were_not_normalised_are_refused(worst):
    scores = torch.full((8, 8), 0.5)
    scores[3, 4] = worst
    for call in (
        lambda: merge_thesis(scores, NOTHING),
        lambda: class_seeds(scores[None]),
        lambda: refined_scores(scores, SEED, soft=True),
    ):
        with pytest.raises(InputError, match=r"scores: expected values in \[0, 1\]"):
            call()


@pytest.mark.parametrize(
    ("proposals", "named"),
    [
        (torch.zeros(2, 8, 9, dtype=torch.bool), r"bool \[2, 8, 9\]"),
        (torch.zeros(8, 8, dtype=torch.bool), r"bool \[8, 8\]"),
        (torch.zeros(2, 8, 8), r"float32 \[2, 8, 8\]"),
    ],
)
def test_proposals_that_do_not_fit_are_named(proposals, named):
    for call in (
        lambda: merge_thesis(torch.zeros(8, 8), proposals),
        lambda: merge_sam_wsss(SEED[None], proposals),
    ):
        with pytest.raises(InputError, match=rf"expected bool \[M, 8, 8\].*{named}"):
            call()


def test_classes_and_masks_of_another_kind_are_named():
    with pytest.raises(InputError, match=r"classes: expected bool \[K, H, W\], got float32"):
        merge_sam_wsss(SEED[None].float(), NOTHING)
    with pytest.raises(InputError, match=r"merged: expected bool \[8, 8\], got bool \[1, 8, 8\]"):
        refined_scores(torch.zeros(8, 8), SEED[None])
    with pytest.raises(InputError, match=r"scores: expected float \[K, H, W\], got float32"):
        class_seeds(torch.zeros(8, 8))
    with pytest.raises(InputError, match=r"seed_threshold: .*1\.0"):
        refined_scores(torch.zeros(8, 8), SEED, soft=True, seed_threshold=1.0)


def test_the_scores_are_not_changed():
    scores = random_scores(2, 6)
    before = scores.clone()
    merged = merge_thesis(scores, random_proposals(8, 6))
    refined_scores(scores, merged, soft=True)
    assert torch.equal(scores, before)


def test_maps_may_lie_in_memory_in_any_order():
    scores, proposals = random_scores(3, 7), random_proposals(8, 7)
    turned = scores.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert not turned.is_contiguous()
    assert torch.equal(merge_thesis(turned, proposals), merge_thesis(scores, proposals))
