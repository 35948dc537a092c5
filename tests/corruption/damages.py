"""What rot, power failures and people do to a file."""

import random
from collections.abc import Callable
from pathlib import Path

PAGE = 4096


def flipped_bit(content: bytes, chosen: random.Random) -> bytes | None:
    """One bit is another."""
    if not content:
        return b"\0"
    at = chosen.randrange(8 * len(content))
    changed = bytearray(content)
    changed[at // 8] ^= 1 << at % 8
    return bytes(changed)


def cut(content: bytes, chosen: random.Random) -> bytes | None:
    """The end is gone."""
    return content[: chosen.randrange(len(content))] if content else b"\0"


def zero_page(content: bytes, chosen: random.Random) -> bytes | None:
    """A page is zeros, as after a loss of power: the size is right."""
    pages = range(0, len(content), PAGE)
    held = [at for at in pages if content[at : at + PAGE].strip(b"\0")]
    if not held:
        return flipped_bit(content, chosen)
    at = chosen.choice(held)
    return content[:at] + bytes(len(content[at : at + PAGE])) + content[at + PAGE :]


def deleted(content: bytes, chosen: random.Random) -> bytes | None:
    """The file is gone."""
    return None


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes | None]] = {
    "flipped bit": flipped_bit,
    "cut": cut,
    "zero page": zero_page,
    "deleted": deleted,
}


def put(file: Path, content: bytes | None) -> None:
    """Give a file another content; None deletes it."""
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
