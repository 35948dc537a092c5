import json
from pathlib import Path

import numpy as np
import pytest

from wsss_core.data.image_set import ImageSet, PixelMaps
from wsss_core.errors import InputError

SHAPES = [(3, 4), (2, 2), (5, 1)]


def random_maps(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, shape, np.uint8) for shape in SHAPES]


def image_set(**changes: object) -> ImageSet:
    maps = random_maps()
    contents: dict[str, object] = {
        "classes": ("smoke", "steam"),
        "images": np.random.default_rng(1).integers(0, 256, (3, 6, 6, 3), np.uint8),
        "labels": np.array([[True, False], [False, False], [True, True]]),
        "identifiers": ("images/a.jpg", "clear/b.jpg", "images/ç.jpg"),
        "groups": ("frame 1", "clear/b.jpg", "frame 1"),
        "masks": PixelMaps.from_arrays([maps[0], None, maps[2]], SHAPES),
        "contexts": PixelMaps.from_arrays([None, maps[1] > 127, maps[2] > 127], SHAPES),
    }
    return ImageSet(**{**contents, **changes})  # type: ignore[arg-type]


def test_maps_of_different_sizes_come_back_as_they_went_in() -> None:
    maps = random_maps()
    packed = PixelMaps.from_arrays(maps)
    assert len(packed) == 3
    for index, values in enumerate(maps):
        np.testing.assert_array_equal(packed[index], values)
        assert packed.shape(index) == values.shape


def test_an_absent_map_takes_no_memory_and_keeps_its_shape() -> None:
    maps = random_maps()
    packed = PixelMaps.from_arrays([maps[0], None, maps[2]], SHAPES)
    assert packed.pixels.size == 12 + 5
    assert packed[1] is None
    assert packed.shape(1) == (2, 2)
    np.testing.assert_array_equal(packed[2], maps[2])


def test_maps_are_filled_through_their_views() -> None:
    packed = PixelMaps.allocate(SHAPES, [True, False, True])
    view = packed[2]
    assert view is not None
    view[...] = 7
    np.testing.assert_array_equal(packed.pixels, [0] * 12 + [7] * 5)


def test_an_absent_map_without_its_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="needs its shape"):
        PixelMaps.from_arrays([None])


@pytest.mark.parametrize("values", [np.zeros((4, 3), np.uint8), np.zeros((3, 4), np.float32)])
def test_a_map_of_another_shape_or_type_is_refused(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"map 0 is .* expected uint8 \(3, 4\)"):
        PixelMaps.from_arrays([values], SHAPES[:1])


def test_an_absent_mask_is_all_background_at_the_images_own_resolution() -> None:
    np.testing.assert_array_equal(image_set().mask(1), np.zeros((2, 2), np.uint8))


def test_an_absent_context_is_unknown_and_a_stored_one_is_boolean() -> None:
    contexts = image_set()
    assert contexts.context(0) is None
    assert image_set(contexts=None).context(1) is None
    known = contexts.context(1)
    assert known is not None
    assert known.dtype == np.bool_
    np.testing.assert_array_equal(known, random_maps()[1] > 127)


def test_asking_a_split_without_masks_for_a_mask_is_an_error() -> None:
    without = image_set(masks=None)
    assert not without.has_masks
    with pytest.raises(ValueError, match="no masks"):
        without.mask(0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.zeros((3, 6, 5, 3), np.uint8)}, "images are uint8"),
        ({"images": np.zeros((3, 6, 6, 3), np.float32)}, "images are float32"),
        ({"images": np.zeros((3, 6, 6), np.uint8)}, "images are uint8"),
        ({"labels": np.zeros((3, 1), bool)}, r"expected bool \(3, 2\)"),
        ({"labels": np.zeros((3, 2), np.uint8)}, "labels are uint8"),
        ({"groups": ("a",)}, "1 groups for 3 images"),
        ({"sources": ("a", "b")}, "2 sources for 3 images"),
        ({"cameras": ("a", "b")}, "2 cameras for 3 images"),
        ({"masks": PixelMaps.allocate([(1, 1)], [True])}, "1 masks for 3 images"),
        ({"identifiers": ("a", "b", "a")}, "not unique"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        image_set(**changes)


def test_a_saved_set_is_loaded_equal_in_every_part(tmp_path: Path) -> None:
    saved = image_set()
    saved.save(tmp_path / "new" / "folder")
    loaded = ImageSet.load(tmp_path / "new" / "folder")
    assert len(loaded) == 3
    for name in ("classes", "identifiers", "groups"):
        assert getattr(loaded, name) == getattr(saved, name)
    np.testing.assert_array_equal(loaded.images, saved.images)
    np.testing.assert_array_equal(loaded.labels, saved.labels)
    for index in range(3):
        np.testing.assert_array_equal(loaded.mask(index), saved.mask(index))
        np.testing.assert_equal(loaded.context(index), saved.context(index))


def test_a_loaded_set_is_memory_mapped_and_cannot_be_written(tmp_path: Path) -> None:
    image_set().save(tmp_path)
    loaded = ImageSet.load(tmp_path)
    assert isinstance(loaded.images, np.memmap)
    assert loaded.masks is not None
    assert isinstance(loaded.masks.pixels, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        loaded.images[0, 0, 0, 0] = 1


def test_a_set_without_masks_or_without_any_stored_pixel_survives_saving(tmp_path: Path) -> None:
    nothing_stored = PixelMaps.allocate(SHAPES, [False] * 3)
    image_set(masks=nothing_stored, contexts=None).save(tmp_path)
    loaded = ImageSet.load(tmp_path)
    np.testing.assert_array_equal(loaded.mask(0), np.zeros((3, 4)))
    image_set(masks=None, contexts=None).save(tmp_path / "train")
    assert not ImageSet.load(tmp_path / "train").has_masks


def test_loading_an_unfinished_folder_names_it(tmp_path: Path) -> None:
    image_set().save(tmp_path)
    (tmp_path / "masks_starts.npy").unlink()
    with pytest.raises(InputError, match="expected a saved image set") as caught:
        ImageSet.load(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_loading_another_format_says_which_was_expected(tmp_path: Path) -> None:
    image_set().save(tmp_path)
    index = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps(index | {"format": 99}))
    with pytest.raises(InputError, match="format 99, expected 2"):
        ImageSet.load(tmp_path)


def test_sources_and_cameras_are_saved_and_unknown_unless_given(tmp_path: Path) -> None:
    assert image_set().sources == image_set().cameras == ("", "", "")
    known = image_set(sources=("SMOKE5K", "", "RISE"), cameras=("", "", "0-7"))
    known.save(tmp_path)
    loaded = ImageSet.load(tmp_path)
    assert loaded.sources == ("SMOKE5K", "", "RISE")
    assert loaded.cameras == ("", "", "0-7")


def test_a_set_that_was_saved_before_there_were_sources_is_read(tmp_path: Path) -> None:
    image_set(sources=("A", "B", "C"), cameras=("1", "2", "3")).save(tmp_path)
    index = json.loads((tmp_path / "index.json").read_text())
    del index["sources"], index["cameras"]
    (tmp_path / "index.json").write_text(json.dumps(index))
    assert ImageSet.load(tmp_path).sources == ("", "", "")


def test_a_set_without_sources_is_saved_as_before_there_were_any(tmp_path: Path) -> None:
    image_set().save(tmp_path)
    assert list(json.loads((tmp_path / "index.json").read_text())) == [
        *("format", "classes", "identifiers", "groups", "masks", "contexts", "counterfactuals")
    ]
