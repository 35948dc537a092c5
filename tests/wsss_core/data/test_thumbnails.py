"""Near twins by thumbnails, against a comparison of every pair."""

import numpy as np
import pytest
from PIL import Image

from wsss_core.data import thumbnails as module
from wsss_core.data.image_decoding import decode_thumbnail
from wsss_core.data.thumbnails import find_twins, make_thumbnail


def random_set(rng, count: int, base: np.ndarray | None = None, spread: int = 1) -> np.ndarray:
    """Thumbnails at random, or near one of `base`."""
    if base is None:
        return rng.integers(20, 230, (count, 2304)).astype(np.uint8)
    chosen = base[rng.integers(0, len(base), count)].astype(int)
    return (chosen + rng.integers(-spread, spread + 1, chosen.shape)).astype(np.uint8)


def distances(those: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.array([[np.sqrt(((a.astype(float) - b) ** 2).mean()) for b in others] for a in those])


def test_the_distance_of_twins_is_two_of_255_by_counting_each_pixel():
    base = random_set(np.random.default_rng(0), 3)
    near = base + 2
    far = near.copy()
    far[:, 7] += 1
    assert find_twins(near, base).tolist() == [0, 1, 2]
    assert find_twins(far, base).tolist() == [-1] * 3


@pytest.mark.parametrize("at_once", [1, 50, 2**22])
def test_a_twin_is_found_if_and_only_if_comparing_every_pair_finds_one(at_once, monkeypatch):
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    monkeypatch.setattr(module, "_CANDIDATES", 2)
    rng = np.random.default_rng(1)
    others = random_set(rng, 20)
    those = np.concatenate([random_set(rng, 15, others, spread) for spread in (2, 3, 4)])
    every = distances(those, others)
    found = find_twins(those, others)
    assert ((found >= 0) == (every.min(axis=1) <= 2)).all()
    assert 0 < (found >= 0).sum() < len(those)
    assert all(every[row, twin] <= 2 for row, twin in enumerate(found) if twin >= 0)


def test_images_of_one_set_are_not_their_own_twins():
    base = random_set(np.random.default_rng(2), 3)
    assert find_twins(base, base, apart=True).tolist() == [-1, -1, -1]
    twice = np.concatenate([base, base[1:2]])
    assert find_twins(twice, twice, apart=True).tolist() == [-1, 3, -1, 1]


def test_without_images_nothing_is_a_twin():
    base, none = random_set(np.random.default_rng(3), 2), np.zeros((0, 2304), np.uint8)
    assert find_twins(base, none).tolist() == [-1, -1]
    assert find_twins(none, base).tolist() == []


@pytest.mark.parametrize("size", [(256, 256), (640, 480), (1500, 400), (130, 97)])
def test_a_jpeg_decoded_at_a_fraction_has_the_thumbnail_of_the_whole_image(tmp_path, size):
    coarse = np.random.default_rng(size[0]).integers(0, 256, (12, 16, 3), np.uint8)
    file = tmp_path / "a.jpg"
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(file, quality=90)
    quick = decode_thumbnail(file)
    with Image.open(file) as whole:
        expected = make_thumbnail(whole.convert("RGB"))
    distance = np.sqrt(((quick.pixels.ravel().astype(float) - expected) ** 2).mean())
    assert distance < 0.6
    assert quick.facts.shape == size[::-1]
