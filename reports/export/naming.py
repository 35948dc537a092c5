"""Names as tools accept them; names that differ stay different."""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


def distinct(
    names: Mapping[Key, str], clean: Callable[[str], str], limit: int = 250
) -> dict[Key, str]:
    """Clean names so that no two become one, not even where case is ignored.

    A name that another one has already gets a hyphen and six digits of its own digest. Names that
    need no cleaning come first, so that they keep their name.

    Args:
        names: the name of each thing, in order.
        clean: turns a name into one that the tool accepts.
        limit: the most bytes of a name in UTF-8.

    >>> distinct({1: "a=b", 2: "a_b"}, lambda name: name.replace("=", "_"))
    {1: 'a_b-5187c5', 2: 'a_b'}
    """
    taken: set[str] = set()
    found: dict[Key, str] = {}
    for key, name in sorted(names.items(), key=lambda item: clean(item[1]) != item[1]):
        cleaned = clean(name) or "_"
        shown = cleaned
        if len(cleaned.encode()) > limit or _folded(cleaned) in taken:
            tail = f"-{hashlib.blake2b(repr((key, name)).encode(), digest_size=3).hexdigest()}"
            shown = _cut(cleaned, limit - len(tail)) + tail
        taken.add(_folded(shown))
        found[key] = shown
    return {key: found[key] for key in names}


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _cut(text: str, limit: int) -> str:
    """Return the start of a text, at most so many bytes in UTF-8."""
    return text.encode()[: max(limit, 0)].decode(errors="ignore")


_WORDS = {"%": " percent ", "±": " plus-minus ", "←": " from ", "↔": " with ", "×": " x "}


def _words(text: str, *, greek: bool) -> str:
    """Write signs, and Greek letters if asked, as words."""
    found = []
    for letter in unicodedata.normalize("NFC", text):
        name = unicodedata.name(letter, "")
        if letter in _WORDS:
            found.append(_WORDS[letter])
        elif greek and name.startswith("GREEK") and " LETTER " in name:
            # Unicode's own name of it lacks the b.
            word = name.partition(" LETTER ")[2].partition(" ")[0].lower()
            word = word.replace("lamda", "lambda")
            found.append(word.capitalize() if "CAPITAL" in name else word)
        else:
            found.append(letter)
    return re.sub(r" {2,}", " ", "".join(found)).strip()


def path_like(text: str) -> str:
    """Return a name for MLflow: letters of any script, digits, `_-. :` and slashes between them.

    >>> path_like("λ = 20 % (mean)|x")
    'λ _ 20 percent _mean__x'
    """
    name = re.sub(r"[^/\w.\- :]", "_", _words(text, greek=False))
    parts = [part if set(part) != {"."} else "_" * len(part) for part in name.split("/") if part]
    return "/".join(parts)


def identifier_path(text: str) -> str:
    """Return a name for wandb: ASCII letters, digits, `_`, `-` and slashes, a letter first.

    >>> identifier_path("test/λ = 20 %"), identifier_path("training.epochs")
    ('test/lambda_20_percent', 'training_epochs')
    """
    plain = unicodedata.normalize("NFKD", _words(text, greek=True))
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    name = re.sub(r"[^A-Za-z0-9/-]+", "_", plain).strip("_")
    return name if name[:1].isalpha() else f"x{name}"


def folder_name(text: str) -> str:
    """Return a text as the name of a folder: no separators, no controls, no dot at the start.

    >>> folder_name("taught, λ 1/2: a")
    'taught, λ 1-2- a'
    """
    name = "".join("-" if c in '/\\:*?"<>|' or not c.isprintable() else c for c in text)
    return re.sub(r"^\.", "_", name.strip())
