"""Mask proposals in memory and on disk: every pixel kept, every broken file named."""

import numpy as np
import pytest

from wsss_core.errors import InputError
from wsss_core.refine.foundation.mask_proposals import Proposals, load_proposals, save_proposals


def random_proposals(rng: np.random.Generator, count: int, shape: tuple[int, int]) -> Proposals:
    return Proposals.pack(rng.random((count, *shape)) < 0.5, rng.random(count))


@pytest.mark.parametrize("shape", [(1, 1), (7, 9), (8, 8), (5, 3)])
def test_packing_keeps_every_pixel(shape):
    masks = np.random.default_rng(0).random((4, *shape)) < 0.5
    packed = Proposals.pack(masks, np.arange(4))
    assert packed.bits.dtype == np.uint8
    assert packed.bits.shape == (4, -(-masks[0].size // 8))
    np.testing.assert_array_equal(packed.masks(), masks)
    assert packed.masks().dtype == bool


def test_what_was_saved_is_loaded_image_by_image(tmp_path):
    rng = np.random.default_rng(0)
    saved = [
        random_proposals(rng, 3, (7, 9)),
        random_proposals(rng, 0, (5, 4)),
        random_proposals(rng, 1, (16, 16)),
    ]
    save_proposals(tmp_path, saved)
    loaded = load_proposals(tmp_path)
    assert [one.shape for one in loaded] == [(7, 9), (5, 4), (16, 16)]
    for one, other in zip(saved, loaded, strict=True):
        np.testing.assert_array_equal(one.masks(), other.masks())
        np.testing.assert_array_equal(one.quality, other.quality)
        assert other.quality.dtype == np.float32


def test_no_image_is_saved_and_loaded_too(tmp_path):
    save_proposals(tmp_path, [])
    assert load_proposals(tmp_path) == []


def test_equal_proposals_are_equal_files_without_a_pickle(tmp_path):
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_proposals(tmp_path / name, [random_proposals(np.random.default_rng(1), 3, (7, 9))])
        contents.append((tmp_path / name / "proposals.npz").read_bytes())
        with np.load(tmp_path / name / "proposals.npz", allow_pickle=False) as arrays:
            assert {arrays[key].dtype.kind for key in arrays.files} <= set("uif")
    assert contents[0] == contents[1]


def test_a_file_that_is_missing_or_broken_is_named(tmp_path):
    with pytest.raises(InputError, match=r"proposals file .*proposals\.npz does not exist"):
        load_proposals(tmp_path)
    save_proposals(tmp_path, [random_proposals(np.random.default_rng(0), 3, (7, 9))])
    file = tmp_path / "proposals.npz"
    whole = file.read_bytes()
    for content in (b"", b"no archive", whole[: len(whole) // 2]):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"proposals\.npz cannot be read"):
            load_proposals(tmp_path)
    with file.open("wb") as opened:
        np.savez(
            opened, bits=np.zeros(5, np.uint8), quality=np.zeros(1), counts=[1], shapes=[[7, 9]]
        )
    with pytest.raises(InputError, match=r"5 bytes of masks, expected 8"):
        load_proposals(tmp_path)
    with file.open("wb") as opened:
        np.savez(opened, bits=np.zeros(5, np.uint8))
    with pytest.raises(InputError, match=r"proposals\.npz cannot be read"):
        load_proposals(tmp_path)
