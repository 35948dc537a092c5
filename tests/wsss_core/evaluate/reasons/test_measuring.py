"""Networks whose reasons are known, measured; deletion and insertion; groups of a flag."""

import numpy as np
import pytest

from wsss_core.errors import InputError
from wsss_core.evaluate.reasons import (
    ReasonSettings,
    deletion_insertion,
    flag_groups,
    measure_reasons,
    measuring,
    worst_group,
)

OBJECTS = np.zeros((12, 8, 8), bool)
OBJECTS[:8, 2:6, 2:6] = True
IMAGES = np.random.default_rng(0).integers(60, 100, (12, 8, 8, 3), np.uint8)
IMAGES[:8, 2:6, 2:6] += 60  # the object is brighter
IMAGES[:8, :, 0] = 200  # as is the left border, which goes with it
SETTINGS = ReasonSettings(sigmas=(0.25, 0.75), draws=2)
SHOWN, OTHERS = list(range(8)), list(range(8, 12))


def regions(place: int) -> tuple[np.ndarray, np.ndarray]:
    return OBJECTS[place], ~OBJECTS[place]


def by_object(images: np.ndarray) -> np.ndarray:
    """Look at the middle: the object is brighter than 120 and not noisy."""
    middle = images[:, 2:6, 2:6].reshape(len(images), -1).astype(float)
    return np.where((middle.mean(axis=1) > 120) & (middle.std(axis=1) < 25), 1.0, -1.0)[:, None]


def by_border(images: np.ndarray) -> np.ndarray:
    """Look at the border: it is white and not noisy."""
    border = images[:, :, 0].reshape(len(images), -1).astype(float)
    return np.where((border.mean(axis=1) > 150) & (border.std(axis=1) < 5), 1.0, -1.0)[:, None]


def test_a_network_that_looks_at_the_object_needs_the_object() -> None:
    found = measure_reasons(by_object, IMAGES, 0, regions, SHOWN, OTHERS, SETTINGS)
    assert (found.images, found.clean) == (8, 1)
    # Of images with the class none is found, of those without it all are told.
    np.testing.assert_array_equal(found.noisy_object, [0.5, 0.5])
    np.testing.assert_array_equal(found.noisy_context, [1, 1])
    np.testing.assert_array_equal(found.sensitivity, [1, 1])
    alone = measure_reasons(by_object, IMAGES, 0, regions, SHOWN, [], SETTINGS)
    np.testing.assert_array_equal(alone.noisy_object, [0, 0])
    assert found.ablated == {
        "object_grey": 1,  # grey passes for a bright object
        "object_box": 1,
        "object_tiled": 0,  # tiles of what lies beside it do not
        "context_grey": 1,
        "other_background": 1,
    }


def test_a_network_that_looks_at_the_border_does_not() -> None:
    found = measure_reasons(by_border, IMAGES, 0, regions, SHOWN, OTHERS, SETTINGS)
    np.testing.assert_array_equal(found.noisy_context, [0.5, 0.5])
    np.testing.assert_array_equal(found.sensitivity, [-1, -1])
    assert found.ablated == {
        "object_grey": 1,
        "object_box": 1,
        "object_tiled": 1,
        "context_grey": 0,
        "other_background": 0,
    }


def test_a_network_that_takes_noise_for_the_class_gains_nothing_by_it() -> None:
    def by_noise(images: np.ndarray) -> np.ndarray:
        border = images[:, :, 7].reshape(len(images), -1).astype(float)
        return border.std(axis=1, keepdims=True) - 25

    found = measure_reasons(by_noise, IMAGES, 0, regions, SHOWN, OTHERS, SETTINGS)
    # It finds the class wherever the border is noisy, whether the class is there or not.
    np.testing.assert_array_equal(found.noisy_context, [0.5, 0.5])
    alone = measure_reasons(by_noise, IMAGES, 0, regions, SHOWN, [], SETTINGS)
    np.testing.assert_array_equal(alone.noisy_context, [1, 1])


def test_accuracies_do_not_depend_on_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsteady(images: np.ndarray) -> np.ndarray:
        return images.reshape(len(images), -1).astype(float).std(axis=1, keepdims=True) - 45

    found = []
    for batch in (1, 7):
        monkeypatch.setattr(measuring, "BATCH", batch)
        found.append(measure_reasons(unsteady, IMAGES, 0, regions, SHOWN, OTHERS))
    one, other = found
    np.testing.assert_array_equal(one.noisy_object, other.noisy_object)
    np.testing.assert_array_equal(one.noisy_context, other.noisy_context)
    assert one.ablated == other.ablated
    assert len(set(one.noisy_object) | set(one.noisy_context)) > 1


def test_of_many_images_some_are_drawn() -> None:
    few = ReasonSettings(most_images=3)
    assert few.chosen(SHOWN) == few.chosen(SHOWN)
    assert set(few.chosen(SHOWN)) < set(SHOWN)
    assert few.chosen(SHOWN) != ReasonSettings(most_images=3, seed=1).chosen(SHOWN)
    assert measure_reasons(by_object, IMAGES, 0, regions, SHOWN, OTHERS, few).images == 3


def test_without_images_of_the_class_or_other_backgrounds_it_says_so() -> None:
    found = measure_reasons(by_object, IMAGES, 0, regions, [], OTHERS, SETTINGS)
    assert found.images == 0
    assert np.isnan(found.sensitivity).all()
    full = measure_reasons(by_object, IMAGES, 0, regions, SHOWN, [], SETTINGS)
    assert np.isnan(full.ablated["other_background"])
    with pytest.raises(InputError, match="sigmas: expected one or more above 0"):
        ReasonSettings(sigmas=())
    with pytest.raises(InputError, match="draws: expected 1 or more, got 0"):
        ReasonSettings(draws=0)


def test_deletion_and_insertion_follow_the_map() -> None:
    image, scores = IMAGES[0], np.random.default_rng(1).random((8, 8))

    def brightness(images: np.ndarray) -> np.ndarray:
        return images.reshape(len(images), -1).astype(float).mean(axis=1, keepdims=True) / 100

    found = deletion_insertion(brightness, image, scores, 0, steps=4)
    order = sorted(range(64), key=lambda pixel: -scores.flat[pixel])
    for step in range(5):
        deleted, inserted = image.copy(), np.full_like(image, 128)
        for pixel in order[: 16 * step]:
            place = divmod(pixel, 8)
            deleted[place] = 128
            inserted[place] = image[place]
        for curve, expected in ((found.deletion, deleted), (found.insertion, inserted)):
            chance = 1 / (1 + np.exp(-brightness(expected[None])[0, 0]))
            assert curve[step] == pytest.approx(chance)
    np.testing.assert_allclose(found.deletion_area, np.trapezoid(found.deletion) / 4)
    np.testing.assert_allclose(found.insertion_area, np.trapezoid(found.insertion) / 4)


def test_one_step_goes_from_all_to_nothing() -> None:
    found = deletion_insertion(by_border, IMAGES[0], np.zeros((8, 8)), 0, steps=1)
    np.testing.assert_array_equal(found.deletion, found.insertion[::-1])
    with pytest.raises(InputError, match="steps: expected 1 or more"):
        deletion_insertion(by_border, IMAGES[0], np.zeros((8, 8)), 0, steps=0)
    with pytest.raises(InputError, match="scores: expected finite"):
        deletion_insertion(by_border, IMAGES[0], np.full((8, 8), np.nan), 0)


LABELLED = np.array([1, 1, 1, 1, 0, 0, 0], bool)
PREDICTED = np.array([1, 1, 0, 0, 1, 0, 0], bool)
CHIMNEY = np.array([1, 1, 1, 0, 1, 1, 0], bool)


def test_groups_of_a_flag_and_the_worst_of_them() -> None:
    iou = np.array([0.5, 0.7, np.nan, 0.1, 0, 0, 0])
    groups = flag_groups(LABELLED, PREDICTED, {"chimney": CHIMNEY}, iou)
    assert [(one.labelled, one.flagged, one.images, one.right) for one in groups] == [
        (True, True, 3, 2),
        (True, False, 1, 0),
        (False, True, 2, 1),
        (False, False, 1, 1),
    ]
    assert groups[0].iou == pytest.approx(0.6)
    assert np.isnan(groups[2].iou)
    assert worst_group(groups) == groups[1]
    assert worst_group(groups, least=2) == groups[2]
    assert worst_group(groups, least=9) is None
    with pytest.raises(InputError, match=r"chimney: expected \[7\] as labelled"):
        flag_groups(LABELLED, PREDICTED, {"chimney": CHIMNEY[:3]})


@pytest.mark.parametrize(("right", "images"), [(0, 4), (3, 7), (20, 20)])
def test_a_groups_interval_is_scipys(right: int, images: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    labelled = np.ones(images, bool)
    predicted = np.arange(images) < right
    group = flag_groups(labelled, predicted, {"all": labelled})[0]
    expected = stats.binomtest(right, images).proportion_ci(method="wilson")
    np.testing.assert_allclose(group.interval, expected, atol=1e-12)


def test_an_empty_group_may_be_anything() -> None:
    group = flag_groups(LABELLED, PREDICTED, {"all": np.ones(7, bool)})[1]
    assert group.images == 0
    assert np.isnan(group.accuracy)
    assert group.interval == (0, 1)
