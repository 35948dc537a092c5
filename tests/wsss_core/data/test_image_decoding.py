"""Which files are opened as images and masks, and the one line for all others."""

import hashlib
import os
import socket
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_core.data.file_hashes import file_hashes
from wsss_core.data.image_decoding import PictureFile, image_shape, read_rgb
from wsss_core.data.mask_decoding import read_mask_values
from wsss_core.errors import InputError

OTHERS = ("GIF", "PPM", "TGA", "PCX", "SGI", "ICNS", "DDS", "IM", "MSP", "JPEG2000", "EPS", "ICO")


def empty_png(width: int, height: int, rows: int = 0) -> bytes:
    """A grey PNG with a header of that size and as many rows of zeros."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checked = name + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((width + 1) * rows), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_a_picture_is_opened_by_its_content_whatever_its_name_says(tmp_path: Path, kind: str):
    file = tmp_path / "a.png"
    Image.new("RGB", (6, 4), (200, 100, 50)).save(file, kind)
    assert image_shape(file) == (4, 6)
    np.testing.assert_allclose(read_rgb(file, 2), np.full((2, 2, 3), (200, 100, 50)), atol=3)


@pytest.mark.filterwarnings("ignore:IM image format")
@pytest.mark.parametrize("kind", OTHERS)
def test_other_formats_of_pillow_are_no_pictures(tmp_path: Path, kind: str):
    file = tmp_path / "a.png"
    Image.new("1" if kind == "MSP" else "RGB", (32, 32)).save(file, kind)
    with pytest.raises(InputError) as caught:
        read_rgb(file, 8)
    assert str(caught.value) == f"{file}: not an image, expected JPEG, PNG, WEBP, BMP or TIFF"


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_a_mask_is_opened_by_its_content_whatever_its_name_says(tmp_path: Path, kind: str):
    file = tmp_path / "mask.png"
    Image.new("L", (4, 3), 7).save(file, kind)
    np.testing.assert_array_equal(read_mask_values(file), np.full((3, 4), 7))


def test_a_mask_of_another_format_is_refused(tmp_path: Path):
    file = tmp_path / "mask.png"
    Image.new("L", (4, 4), 1).save(file, "GIF")
    with pytest.raises(InputError) as caught:
        read_mask_values(file)
    assert str(caught.value) == f"{file}: not an image, expected JPEG, PNG, WEBP, BMP or TIFF"


def make_socket(file: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        folder = os.open(file.parent, os.O_RDONLY)
        opened.bind(f"/proc/self/fd/{folder}/{file.name}")  # the whole path may be too long
        os.close(folder)


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, Path.mkdir, make_socket, lambda file: file.symlink_to("/dev/zero")],
    ids=["pipe", "folder", "socket", "device"],
)
def test_a_file_that_is_not_regular_is_refused_and_not_waited_for(tmp_path: Path, make):
    file = tmp_path / "a.png"
    make(file)
    for read in (lambda: read_rgb(file, 8), lambda: image_shape(file), lambda: file_hashes([file])):
        with pytest.raises(InputError, match=r"a\.png: expected a regular file"):
            read()


def test_a_picture_of_too_many_pixels_is_refused_by_its_header(tmp_path: Path):
    file = tmp_path / "a.png"
    file.write_bytes(empty_png(13000, 13000))
    for read in (read_mask_values, image_shape, lambda file: read_rgb(file, 8)):
        with pytest.raises(InputError) as caught:
            read(file)
        assert str(caught.value) == (
            f"{file}: 13000x13000 pixels (169 megapixels), expected at most 64 megapixels; a "
            "larger `data: {largest_megapixels: ...}` reads it"
        )


def test_a_file_of_too_many_bytes_is_not_read(tmp_path: Path):
    file = tmp_path / "a.png"
    with file.open("wb") as opened:
        opened.truncate(2**40)  # a hole, so it takes no room
    with pytest.raises(InputError, match="1099511627776 bytes, expected at most 268435456"):
        PictureFile.read(file)


REFUSED = """
import resource, sys
from pathlib import Path
from wsss_core.data.image_decoding import read_rgb
from wsss_core.errors import InputError
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**25, resource.RLIM_INFINITY))
try:
    read_rgb(Path(sys.argv[1]), 8)
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("side", "said"),
    [
        (8000, "there is too little memory to decode it"),
        (
            13000,
            "13000x13000 pixels (169 megapixels), expected at most 64 megapixels; a larger "
            "`data: {largest_megapixels: ...}` reads it",
        ),
    ],
)
def test_too_little_memory_and_too_many_pixels_are_one_line_each(
    tmp_path: Path, side: int, said: str
):
    file = tmp_path / "a.png"
    file.write_bytes(empty_png(side, side, rows=8000))
    ran = subprocess.run([sys.executable, "-c", REFUSED, file], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == (f"{file}: {said}\n", "")


def test_pixels_and_digest_are_of_the_bytes_that_were_read(tmp_path: Path):
    file = tmp_path / "a.png"
    Image.new("RGB", (4, 4), "red").save(file)
    expected = hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
    read = PictureFile.read(file)
    Image.new("RGB", (4, 4), "blue").save(file)
    assert read.digest == expected
    assert read_rgb(read, 1).tolist() == [[[255, 0, 0]]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file of 0 bytes, expected JPEG, PNG, WEBP, BMP or TIFF"),
        (b"\n<!DOCTYPE html>\n<html>", "not an image but an HTML page"),
        (b"<HTML lang='en'>", "not an image but an HTML page"),
    ],
)
def test_files_that_are_no_images_are_named_as_what_they_are(tmp_path, content, said):
    file = tmp_path / "a.jpg"
    file.write_bytes(content)
    with pytest.raises(InputError, match=f"a.jpg: {said}"):
        read_rgb(file, 8)
    with pytest.raises(InputError, match=f"a.jpg: {said}"):
        image_shape(file)
