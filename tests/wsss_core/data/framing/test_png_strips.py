"""PNGs decoded a strip at a time, against Pillow's decoding of the whole file."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from wsss_core.data.file_hashes import file_hashes
from wsss_core.data.framing import PictureRows, PngStrips, checked_file_digest
from wsss_core.data.image_decoding import decode_image
from wsss_core.data.pixel_rules import PixelRules
from wsss_core.errors import InputError

RANDOM = np.random.default_rng(4)


def picture(height=37, width=23):
    """Smooth colours with noise in the middle, so that an encoder uses several filters."""
    rows, columns = np.mgrid[:height, :width]
    smooth = np.stack([rows * 5, columns * 7, rows + columns], axis=-1) % 256
    smooth[height // 3 : height // 2] = RANDOM.integers(0, 256, (1, width, 3))
    return Image.fromarray(smooth.astype(np.uint8))


def filtered_png(pixels):
    """A PNG of RGB pixels in which each row uses another of the five filters."""
    height, width, _ = pixels.shape
    before = np.zeros(width * 3, np.int64)
    content = b""
    for number, row in enumerate(pixels.reshape(height, -1).astype(np.int64)):
        left = np.concatenate([[0, 0, 0], row[:-3]])
        corner = np.concatenate([[0, 0, 0], before[:-3]])
        guess = left + before - corner
        distances = np.abs(np.stack([guess - left, guess - before, guess - corner]))
        nearest = np.stack([left, before, corner])[distances.argmin(0), np.arange(len(row))]
        predicted = [0 * row, left, before, (left + before) // 2, nearest][number % 5]
        content += bytes([number % 5]) + ((row - predicted) % 256).astype(np.uint8).tobytes()
        before = row

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    packed = zlib.compress(content)
    parts = [packed[at : at + 100] for at in range(0, len(packed), 100)]
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + b"".join(chunk(b"IDAT", part) for part in parts)
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P"])
@pytest.mark.parametrize("rows", [1, 5, 37, 100])
def test_strips_together_are_the_whole_picture(tmp_path, mode, rows):
    whole = picture().convert(mode)
    whole.save(tmp_path / "a.png")
    with PngStrips(tmp_path / "a.png") as png:
        assert (png.width, png.height) == whole.size
        strips = list(png.strips(rows))
    assert {strip.mode for strip in strips} == {mode}
    assert np.array_equal(np.concatenate([np.asarray(one) for one in strips]), np.asarray(whole))
    colours = np.concatenate([np.asarray(one.convert("RGB")) for one in strips])
    assert np.array_equal(colours, np.asarray(whole.convert("RGB")))


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_strips_begin_at_rows_of_every_filter(tmp_path, rows):
    pixels = RANDOM.integers(0, 256, (31, 17, 3), np.uint8)
    content = filtered_png(pixels)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), pixels)
    (tmp_path / "a.png").write_bytes(content)
    with PngStrips(tmp_path / "a.png") as png:
        found = [np.asarray(one) for one in png.strips(rows)]
    assert np.array_equal(np.concatenate(found), pixels)


def test_what_pillow_has_to_decode_as_a_whole_is_refused(tmp_path):
    deep = Image.fromarray(RANDOM.integers(0, 65536, (9, 9)).astype(np.uint16))
    bits = Image.fromarray(RANDOM.integers(0, 2, (9, 9)).astype(bool))
    for name, image in (("deep.png", deep), ("bits.png", bits), ("photo.jpg", picture())):
        image.save(tmp_path / name)
        with pytest.raises(NotImplementedError):
            PngStrips(tmp_path / name)
    moving = tmp_path / "moving.png"
    picture().save(moving, save_all=True, append_images=[picture()])
    with pytest.raises(NotImplementedError):
        PngStrips(moving)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_file_that_is_cut_off_is_named(tmp_path, kept):
    noise = Image.fromarray(RANDOM.integers(0, 256, (60, 60, 3), np.uint8))
    noise.save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: int(len(content) * kept)])
    said = pytest.raises(InputError, match=r"cut\.png: expected a readable image")
    with said, PngStrips(tmp_path / "cut.png") as png:
        list(png.strips(7))


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
@pytest.mark.parametrize("small", [0, 10**6])
def test_rows_are_those_of_the_decoded_image(tmp_path, suffix, small):
    file = tmp_path / f"a.{suffix}"
    picture(300, 20).save(file)
    expected = decode_image(file).pixels
    with PictureRows.opened(file, small=small) as rows:
        assert rows.shape == (300, 20)
        assert rows.strips == (suffix == "png" and not small)
        for first, stop in [(0, 3), (2, 150), (100, 140), (129, 131), (290, 300), (299, 300)]:
            assert np.array_equal(rows(first, stop), expected[first:stop])
        if rows.strips:
            with pytest.raises(ValueError, match="row 5 was dropped"):
                rows(5, 9)


def test_an_image_that_viewers_turn_is_read_as_the_rules_say(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(40, 20).save(tmp_path / "a.png", exif=exif)
    with PictureRows.opened(tmp_path / "a.png", PixelRules("apply"), small=0) as rows:
        assert rows.shape == (20, 40)
        expected = decode_image(tmp_path / "a.png", None, PixelRules("apply")).pixels
        assert np.array_equal(rows(0, 20), expected)
    refused = pytest.raises(InputError, match="EXIF orientation 6")
    with refused, PictureRows.opened(tmp_path / "a.png", PixelRules("refuse"), small=0):
        pass


def test_a_files_digest_is_that_of_all_others(tmp_path):
    picture().save(tmp_path / "a.png")
    assert checked_file_digest(tmp_path / "a.png") == file_hashes([tmp_path / "a.png"])[0]
    with pytest.raises(InputError, match="nothing"):
        checked_file_digest(tmp_path / "nothing.png")
