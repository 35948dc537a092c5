"""Outlines along pixels: filled by pycocotools and by Pillow they are the part itself."""

import numpy as np
import pycocotools.mask
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from wsss_core.data.annotations.rings import rings_of, simplified, with_holes


def filled(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    runs = pycocotools.mask.frPyObjects([points.ravel().tolist()], *shape)
    return pycocotools.mask.decode(runs)[..., 0].astype(bool)


def twice_the_area(ring: np.ndarray) -> float:
    """The shoelace formula; positive for a ring that runs clockwise on the screen."""
    x, y = ring.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())


def random_parts(count: int):
    random = np.random.default_rng(0)
    for _ in range(count):
        shape = tuple(int(side) for side in random.integers(1, 12, 2))
        mask = random.random(shape) < random.choice([0.3, 0.6, 0.9])
        numbers, parts = ndimage.label(mask, np.ones((3, 3)))
        yield from (numbers == number for number in range(1, parts + 1))


def test_the_outline_of_any_part_is_filled_with_exactly_its_pixels():
    for part in random_parts(300):
        outer, *holes = rings_of(part)
        np.testing.assert_array_equal(filled(with_holes(outer, holes), part.shape), part)


def test_a_ring_runs_clockwise_around_a_part_and_the_other_way_around_its_holes():
    for part in random_parts(100):
        outer, *holes = rings_of(part)
        assert twice_the_area(outer) > 0
        assert all(twice_the_area(hole) < 0 for hole in holes)
        assert sum(map(twice_the_area, [outer, *holes])) == 2 * part.sum()
        background = np.pad(~part, 1, constant_values=True)
        assert len(holes) == ndimage.label(background)[1] - 1


def test_every_corner_of_a_ring_is_a_turn():
    for part in random_parts(100):
        for ring in rings_of(part):
            steps = np.roll(ring, -1, 0) - ring
            assert (np.count_nonzero(steps, axis=1) == 1).all()
            assert ((steps != 0) != (np.roll(steps, 1, 0) != 0)).all()


@pytest.mark.parametrize("tolerance", [0.8, 3.0])
def test_no_corner_that_is_left_out_is_farther_from_the_outline_than_the_tolerance(tolerance):
    rows, columns = np.mgrid[:60, :80]
    ring = rings_of((columns - 40) ** 2 / 900 + (rows - 30) ** 2 / 400 < 1)[0]
    simple = simplified(ring, tolerance)
    assert 3 <= len(simple) < len(ring) / 2
    begins, ends = simple, np.roll(simple, -1, 0)
    along = ends - begins
    share = ((ring[:, None] - begins) * along).sum(2) / np.square(along).sum(1)
    nearest = begins + np.clip(share, 0, 1)[..., None] * along
    assert np.linalg.norm(ring[:, None] - nearest, axis=2).min(1).max() <= tolerance + 1e-9


def test_a_drawing_program_sees_the_hole_too():
    part = np.ones((40, 40), bool)
    part[10:30, 10:30] = False
    outer, *holes = rings_of(part)
    picture = Image.new("L", (40, 40))
    ImageDraw.Draw(picture).polygon([tuple(p) for p in with_holes(outer, holes)], fill=1)
    drawn = np.asarray(picture) > 0
    assert not drawn[12:28, 12:28].any()
    assert drawn[:10].all()
