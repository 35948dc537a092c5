"""16 bits, transparency, pages and sizes of images: read by one rule, counted, or refused."""

import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_core.data.image_decoding import decode_image, image_shape
from wsss_core.data.picture_facts import PictureError, PictureFault
from wsss_core.data.pixel_rules import AS_STORED, USUAL_RULES, PixelRules
from wsss_core.errors import InputError

RAMP = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)


def saved(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def rgb_of_16_bits(path: Path, values: np.ndarray) -> Path:
    """Write uint16 [h, w] as a PNG of three equal channels of 16 bits, which Pillow cannot."""
    import struct
    import zlib

    height, width = values.shape
    rows = b"".join(b"\0" + np.stack([row] * 3, -1).astype(">u2").tobytes() for row in values)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks:
        check = struct.pack(">I", zlib.crc32(name + data))
        content += struct.pack(">I", len(data)) + name + data + check
    path.write_bytes(content)
    return path


class TestSixteenBits:
    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    def test_grey_is_read_as_the_high_byte_of_each_value(self, tmp_path: Path, suffix: str) -> None:
        decoded = decode_image(saved(tmp_path / f"a{suffix}", RAMP))
        np.testing.assert_array_equal(decoded.pixels, np.stack([RAMP >> 8] * 3, -1))
        assert (decoded.facts.bits, decoded.facts.largest) == (16, 65535)

    def test_grey_and_colours_are_read_by_the_same_rule(self, tmp_path: Path) -> None:
        grey = decode_image(saved(tmp_path / "grey.png", RAMP))
        colours = decode_image(rgb_of_16_bits(tmp_path / "colours.png", RAMP))
        np.testing.assert_array_equal(grey.pixels, colours.pixels)
        assert colours.facts.bits == 16

    def test_a_white_level_scales_the_values_of_a_sensor_of_fewer_bits(
        self, tmp_path: Path
    ) -> None:
        values = (RAMP >> 4).astype(np.uint16)  # 12 bits
        file = saved(tmp_path / "a.png", values)
        decoded = decode_image(file, None, PixelRules(white_level=4095))
        np.testing.assert_array_equal(decoded.pixels[..., 0], values >> 4)

    def test_values_above_the_white_level_are_white(self, tmp_path: Path) -> None:
        file = saved(tmp_path / "a.png", np.array([[0, 999, 1000, 65535]], np.uint16))
        decoded = decode_image(file, None, PixelRules(white_level=999))
        assert decoded.pixels[0, :, 0].tolist() == [0, 255, 255, 255]

    @pytest.mark.parametrize("make", [saved, rgb_of_16_bits])
    def test_what_would_be_nearly_black_is_refused_until_a_white_level_is_said(
        self, tmp_path: Path, make
    ) -> None:
        file = make(tmp_path / "a.png", (RAMP >> 4).astype(np.uint16))
        with pytest.raises(PictureError) as caught:
            decode_image(file, 4)
        assert caught.value.fault is PictureFault.BIT_DEPTH
        assert str(caught.value) == (
            f"{file}: image of 16 bits without a value above 4095, which would be nearly black; "
            "say `data: {white_level: 4095}`, or the value of your white"
        )
        dark = decode_image(file, None, PixelRules(white_level=65535))
        assert dark.pixels.max() == 15

    def test_a_black_frame_is_black(self, tmp_path: Path) -> None:
        assert not decode_image(saved(tmp_path / "a.png", RAMP * 0)).pixels.any()

    def test_colours_have_no_other_white_level(self, tmp_path: Path) -> None:
        file = rgb_of_16_bits(tmp_path / "a.png", RAMP)
        with pytest.raises(InputError, match="16 bits in several channels, expected the white"):
            decode_image(file, None, PixelRules(white_level=4095))

    @pytest.mark.parametrize("kind", [np.float32, np.int32])
    def test_other_depths_are_refused(self, tmp_path: Path, kind: type) -> None:
        file = saved(tmp_path / "a.tif", RAMP.astype(kind))
        with pytest.raises(InputError, match=r"a\.tif: image of mode ., expected 8 or 16 bits"):
            decode_image(file)


class TestHiddenColours:
    def test_transparent_pixels_are_read_with_their_stored_colours_and_counted(
        self, tmp_path: Path
    ) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 4), np.uint8)
        pixels[..., 3] = 255
        pixels[:2, :, 3] = 0
        pixels[2, 0, 3] = 128
        decoded = decode_image(saved(tmp_path / "a.png", pixels))
        np.testing.assert_array_equal(decoded.pixels, pixels[..., :3])
        assert decoded.facts.transparent == 11

    def test_a_transparent_entry_of_a_palette_is_counted(self, tmp_path: Path) -> None:
        image = Image.fromarray(np.array([[0, 1, 1], [0, 0, 1]], np.uint8))
        image.putpalette([9, 9, 9, 200, 100, 50])
        image.save(tmp_path / "a.png", transparency=1)
        decoded = decode_image(tmp_path / "a.png")
        assert decoded.facts.transparent == 3
        assert decoded.pixels[0, 1].tolist() == [200, 100, 50]

    def test_an_opaque_channel_hides_nothing(self, tmp_path: Path) -> None:
        file = saved(tmp_path / "a.png", np.full((3, 3, 4), 255, np.uint8))
        assert decode_image(file).facts.transparent == 0


class TestPages:
    @pytest.mark.parametrize("suffix", [".tif", ".png", ".webp"])
    def test_the_first_page_is_read_and_all_are_counted(self, tmp_path: Path, suffix: str) -> None:
        frames = [Image.new("RGB", (4, 3), (grey,) * 3) for grey in (10, 120, 240)]
        options = {"lossless": True} if suffix == ".webp" else {}
        frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:], **options)
        decoded = decode_image(tmp_path / f"a{suffix}")
        assert decoded.facts.pages == 3
        assert (decoded.pixels == 10).all()

    def test_one_page_is_one(self, tmp_path: Path) -> None:
        for name in ("a.tif", "a.png", "a.webp", "a.jpg", "a.bmp"):
            file = saved(tmp_path / name, np.zeros((3, 3, 3), np.uint8))
            assert decode_image(file).facts.pages == 1


class TestSizes:
    @pytest.mark.parametrize("megapixels", [1, 2])
    def test_the_key_allows_as_many_megapixels_as_it_says(
        self, tmp_path: Path, megapixels: int
    ) -> None:
        file = saved(tmp_path / "a.png", np.zeros((1000, 1001), np.uint8))
        rules = PixelRules(largest_megapixels=megapixels)
        if megapixels == 2:
            assert decode_image(file, 8, rules).facts.shape == (1000, 1001)
            return
        for read in (image_shape, lambda path, rules: decode_image(path, 8, rules)):
            with pytest.raises(PictureError) as caught:
                read(file, rules)
            assert caught.value.fault is PictureFault.SIZES
            assert str(caught.value) == (
                f"{file}: 1001x1000 pixels (2 megapixels), expected at most 1 megapixels; a larger "
                "`data: {largest_megapixels: ...}` reads it"
            )

    @pytest.mark.parametrize("side", [10_000, 14_000])
    def test_pillow_neither_warns_nor_speaks_of_attacks(self, tmp_path: Path, side: int) -> None:
        file = tmp_path / "a.png"
        Image.new("1", (side, side)).save(file)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(InputError, match=f"{side}x{side} pixels"):
                image_shape(file)
            assert image_shape(file, PixelRules(largest_megapixels=200)) == (side, side)


def test_a_pointer_of_git_lfs_is_named_with_the_command_that_helps(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    for read in (image_shape, decode_image):
        with pytest.raises(InputError) as caught:
            read(file)
        assert str(caught.value) == (
            f"{file}: not an image but a pointer of Git LFS; `git lfs pull` fetches the images"
        )


def test_an_error_of_a_worker_reaches_its_driver_whole() -> None:
    error = PictureError(PictureFault.EDGES, Path("a.png"), "why", "so: ")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.fault, again.path, again.reason) == (
        "a.png: so: why",
        PictureFault.EDGES,
        Path("a.png"),
        "why",
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"orientation": "upright"}, "orientation 'upright', expected one of apply, refuse, ign"),
        ({"largest_megapixels": 0}, "largest_megapixels 0, expected a number from 1 to 4096"),
        ({"white_level": 12}, "white_level 12, expected a number from 256 to 65535"),
    ],
)
def test_rules_that_are_none_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        PixelRules(**given)


def test_usual_rules_differ_from_stored_ones_in_what_they_refuse_alone(tmp_path: Path) -> None:
    file = saved(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8))
    usual, stored = decode_image(file, 5, USUAL_RULES), decode_image(file, 5, AS_STORED)
    np.testing.assert_array_equal(usual.pixels, stored.pixels)
    assert usual.facts == stored.facts


def test_importing_the_decoder_loads_no_torch() -> None:
    code = "import sys, wsss_core.data.mask_decoding; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
