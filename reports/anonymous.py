"""Texts without the names of machines, folders and people, so that a report may be published."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

# A part of a path may hold spaces where a slash follows.
_PART = r"""[^/\s"':;,()<>|\\]+(?: [^/\s"':;,()<>|\\]+)*(?=/)|[^/\s"':;,()<>|\\]+"""
_PATH = re.compile(
    r"""(?P<quote>["'])(?P<quoted>(?:~|[A-Za-z]:)?[/\\][^"':\n]*)(?P=quote)"""
    r"""|(?<![\w.~/<>-])(?:[a-z][a-z0-9+.-]*:(?=//))?~?/+(?:(?:""" + _PART + r""")/*)+"""
    r"""|\b[A-Za-z]:\\[^\s"']+"""
)
_HOME = re.compile(r"(?:/home|/Users|\\Users|:\\Users)[/\\]([^/\\\s\"':;,]+)")
_ADDRESS = re.compile(r"(?<![\w.])(?!127\.)(?:\d{1,3}\.){3}\d{1,3}(?![\w.])")
_PACKAGES = ("site-packages", "dist-packages", "wsss_core", "studies", "reports")
_WEB = ("http:", "https:")


class Anonymous:
    """Replaces hosts by `host-1`, ..., people by `user-1`, ..., and what leads to a file by `PATH`.

    Equal names get equal replacements. A file keeps its own name, and code of this package or of
    an installed one its path from there, so that a traceback stays readable.

    Args:
        hosts: names of machines.
        texts: further texts; the names of the homes in them are people's.

    """

    def __init__(self, hosts: Iterable[str], texts: Iterable[str] = ()) -> None:
        self._names: dict[str, str] = {}
        for number, host in enumerate(sorted({host for host in hosts if host}), 1):
            self._names[host] = f"host-{number}"
            self._names.setdefault(host.partition(".")[0], f"host-{number}")
        people = {name for text in texts for name in _HOME.findall(text)}
        for number, name in enumerate(sorted(people - self._names.keys()), 1):
            self._names[name] = f"user-{number}"
        longest_first = sorted(self._names, key=len, reverse=True)
        self._known = re.compile(
            rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-])"
            if longest_first
            else r"(?!)"
        )

    def text(self, text: str) -> str:
        """Return a text with every name replaced.

        >>> Anonymous(["gpu7"]).text('gpu7: File "/home/ann/study/loss.py", line 3')
        'host-1: File "PATH/loss.py", line 3'
        """
        shown = _ADDRESS.sub("ADDRESS", _PATH.sub(_without_folders, text))
        return self._known.sub(lambda found: self._names[found[0]], shown)

    def values(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row of a table with every text in it replaced."""
        return {
            name: self.text(value) if isinstance(value, str) else value
            for name, value in row.items()
        }


def _without_folders(found: re.Match[str]) -> str:
    path, quote = found["quoted"] or found[0], found["quote"] or ""
    if path.startswith(_WEB):
        return found[0]
    parts = [part for part in re.split(r"[/\\]+", path) if part]
    starts = [place for place, part in enumerate(parts) if part in _PACKAGES]
    if starts and parts[-1].endswith(".py"):
        parts = parts[starts[-1] :]
    else:
        parts = [part for part in parts[-1:] if re.search(r"[^.]\.\w{1,12}\.?$", part)]
    return quote + "/".join(["PATH", *parts]) + quote
