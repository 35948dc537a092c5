"""The data folder of an import, written beside its destination and renamed when it is whole.

Until then it is `<destination>.unfinished`, with the digest of what is to be written in it. Running
the same import again goes on; another one is refused there unless it is to begin anew.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image

from wsss_core.data.file_hashes import content_hash, file_hashes
from wsss_core.data.folder.layout import CLEAR, LABELS
from wsss_core.data.formats import MaskMaker, innermost
from wsss_core.data.image_decoding import PictureFile
from wsss_core.data.image_set import IGNORED, SPLITS
from wsss_core.data.importing.examining import Examined
from wsss_core.data.importing.record import csv_text
from wsss_core.data.progress_lines import ProgressLines
from wsss_core.errors import LONGEST_NAME, InputError, as_input_error
from wsss_core.whole_files import sync_folder, write_whole

UNFINISHED = ".unfinished"
_PLAN = "plan.json"
_LOCK = "lock"
_ROOM = 40  # bytes of a name that are left for a suffix, a number, and the name while it is written


@dataclass(frozen=True)
class Target:
    """A file to write: the image, and its mask where there is one.

    Attributes:
        examined: the image.
        file: its path below the data folder, e.g. "test/images/a.jpg".

    """

    examined: Examined
    file: str

    @property
    def mask(self) -> str | None:
        """The path of its mask below the data folder."""
        if not self.examined.masked:
            return None
        return f"{self.examined.split}/masks/{PurePosixPath(self.file).stem}.png"

    @property
    def context(self) -> str | None:
        """The path of its context mask below the data folder; training images keep none."""
        if self.examined.split == "train" or self.examined.candidate.image.context is None:
            return None
        return f"{self.examined.split}/context/{PurePosixPath(self.file).stem}.png"

    def read_context(self) -> np.ndarray:
        """Decode its context mask.

        Returns:
            uint8 [h, w]: k + 1 for what accompanies class k, 0 for the rest, 255 ignored.

        Raises:
            InputError: the context mask cannot be read.

        """
        context = self.examined.candidate.image.context
        assert context is not None
        return context.read()

    def read_mask(self) -> np.ndarray:
        """Decode its mask as it is written: classes with less than the least area are ignored.

        Returns:
            uint8 [h, w]: 0 background, k + 1 class k, 255 ignored.

        Raises:
            InputError: the mask cannot be read.

        """
        mask = self.examined.candidate.image.mask
        assert mask is not None
        codes = mask.read()
        for code in self.examined.tiny:
            codes = np.where(codes == code, IGNORED, codes).astype(np.uint8)
        return codes


def name_targets(images: Sequence[Examined], *, prefixed: bool) -> list[Target]:
    """Return a file name for every image, each stem once in its split.

    The name of an image in its source is kept where no other of the split has it; otherwise the
    folders above it are added.

    Args:
        images: the images of all splits.
        prefixed: whether names begin with that of the source.

    """
    short = Counter((one.split, _stem(one, prefixed, full=False).casefold()) for one in images)
    taken: set[tuple[str, str]] = set()
    targets = []
    for one in images:
        stem = _stem(one, prefixed, full=False)
        if short[one.split, stem.casefold()] > 1:
            stem = _stem(one, prefixed, full=True)
        if len(stem.encode()) > LONGEST_NAME - _ROOM:
            kept = stem.encode()[: LONGEST_NAME - _ROOM - 18].decode(errors="ignore")
            stem = f"{kept}_{content_hash(stem.encode())[:16]}"
        unique, number = stem, 1
        while (one.split, unique.casefold()) in taken:
            number += 1
            unique = f"{stem}_{number}"
        taken.add((one.split, unique.casefold()))
        picture = one.candidate.image.picture
        suffix = picture.path.suffix if picture.is_whole_file else ".png"
        folder = CLEAR if one.split != "train" and not one.masked else "images"
        targets.append(Target(one, f"{one.split}/{folder}/{unique}{suffix}"))
    return targets


def _stem(one: Examined, prefixed: bool, *, full: bool) -> str:
    name = one.candidate.image.name
    kept = name.replace("/", "__") if full else PurePosixPath(name).name
    # A name that begins with a dot would be passed over.
    stem = f"{one.candidate.source}__{kept}" if prefixed else kept
    return unicodedata.normalize("NFC", stem.lstrip(".") or "image")


def plan_digest(targets: Sequence[Target], classes: tuple[str, ...], *, linked: bool) -> str:
    """Return the digest of everything that will be written, as far as it is known beforehand."""
    digest = hashlib.blake2b(json.dumps([classes, linked]).encode(), digest_size=16)
    for target in targets:
        candidate = target.examined.candidate
        about = candidate.image.picture.path.stat()
        entry = [
            target.file,
            *(target.examined.held, target.examined.tiny, target.examined.masked),
            *(candidate.source, candidate.group, repr(candidate.image.picture)),
            *(repr(candidate.image.mask), about.st_size, about.st_mtime_ns),
            *_mask_stat(candidate.image.mask),
        ]
        if target.context is not None:
            context = candidate.image.context
            entry += ["context", repr(context), *_mask_stat(context)]
        digest.update(json.dumps(entry).encode())
    return digest.hexdigest()


def _mask_stat(mask: MaskMaker | None) -> tuple[int, ...]:
    """Return size and time of the file that a mask comes from, if it is one."""
    path = None if mask is None else getattr(innermost(mask), "path", None)
    if not isinstance(path, Path):
        return ()
    about = path.stat()
    return about.st_size, about.st_mtime_ns


@contextlib.contextmanager
def unfinished_folder(destination: Path, plan: str, *, anew: bool) -> Iterator[Path]:
    """Give the folder to write in, and rename it to the destination at the end of the block.

    Args:
        destination: it must not exist, or be empty.
        plan: the digest of what will be written.
        anew: throw a half import of another plan away.

    Raises:
        InputError: a half import of another plan is there, another process is writing there, or
            the folder cannot be made.

    """
    folder = destination.with_name(f"{destination.name}{UNFINISHED}")
    with as_input_error(f"{folder}: cannot be written", OSError):
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(exist_ok=True)
        lock = (folder / _LOCK).open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{folder}: another import is writing there") from error
        file = folder / _PLAN
        found = file.read_bytes() if file.is_file() else b""
        if found != plan.encode():
            others = [entry for entry in folder.iterdir() if entry.name != _LOCK]
            if others and not (anew and found):
                raise InputError(
                    f"{folder}: holds a half import with other sources or options; begin anew by "
                    "--anew, or remove the folder"
                )
            for entry in others:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            write_whole(file, plan.encode())
        yield folder
        file.unlink()
        (folder / _LOCK).unlink()
        sync_folder(folder)
        with as_input_error(f"{destination}: cannot be written", OSError):
            os.rename(folder, destination)
        sync_folder(destination.parent)


class WrittenDigests(NamedTuple):
    """The digests of an image's files; "" where there is none.

    Attributes:
        image: of the image.
        mask: of its mask.
        context: of its context mask.

    """

    image: str
    mask: str
    context: str


def write_files(folder: Path, targets: Sequence[Target], *, linked: bool) -> list[WrittenDigests]:
    """Write images and masks that are not there yet; return the digests of all, in order.

    Raises:
        InputError: a file cannot be read or written.

    """
    places = {f"{split}/images" for split in SPLITS} | {"tune/masks", "test/masks"}
    for target in targets:
        files = target.file, target.mask, target.context
        places |= {str(PurePosixPath(file).parent) for file in files if file}
    for place in places:
        (folder / place).mkdir(parents=True, exist_ok=True)
    progress = ProgressLines("images written", len(targets))

    def write(target: Target) -> WrittenDigests:
        digests = WrittenDigests(
            _write_image(folder, target, linked),
            _write_mask(folder, target.mask, target.read_mask),
            _write_mask(folder, target.context, target.read_context),
        )
        progress.step()
        return digests

    with as_input_error(f"{folder}: cannot be written", OSError), ThreadPoolExecutor() as pool:
        return list(pool.map(write, targets))


def _write_image(folder: Path, target: Target, linked: bool) -> str:
    file, picture = folder / target.file, target.examined.candidate.image.picture
    if file.is_file():
        return file_hashes([file])[0]
    if not picture.is_whole_file:
        content = _png(Image.fromarray(picture.read()))
    else:
        content = PictureFile.read(picture.path).content
        if linked:
            os.symlink(picture.path.resolve(), file)
            return content_hash(content)
    write_whole(file, content)
    return content_hash(content)


def _write_mask(folder: Path, place: str | None, read: Callable[[], np.ndarray]) -> str:
    if place is None:
        return ""
    file = folder / place
    if file.is_file():
        return file_hashes([file])[0]
    codes = read()
    picture = Image.fromarray(np.ascontiguousarray(codes))
    picture.putpalette(mask_palette())
    content = _png(picture)
    write_whole(file, content)
    return content_hash(content)


def mask_palette() -> bytes:
    """Return VOC's palette of 256 colours: each bit of a value moves one channel's high bits."""
    values = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for level in range(8):
        for channel in range(3):
            colours[:, channel] |= (((values >> channel) & 1) << (7 - level)).astype(np.uint8)
        values = values >> 3
    return colours.tobytes()


def _png(picture: Image.Image) -> bytes:
    content = BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def write_tables(folder: Path, targets: Sequence[Target], classes: tuple[str, ...]) -> None:
    """Write `classes.yaml`, `train/labels.csv` and `groups.csv`."""
    # Texts of JSON are texts of YAML, whatever they look like without quotes.
    lines = [f"  {code}: {json.dumps(name)}\n" for code, name in enumerate(classes, start=1)]
    write_whole(folder / "classes.yaml", f"classes:\n{''.join(lines)}".encode())
    labels = [
        [PurePosixPath(t.file).name, ";".join(classes[code - 1] for code in t.examined.held)]
        for t in targets
        if t.examined.split == "train"
    ]
    write_whole(folder / "train" / LABELS, csv_text(("file", "classes"), labels))
    groups = [[t.file, t.examined.candidate.group] for t in targets]
    write_whole(folder / "groups.csv", csv_text(("file", "group"), groups))
