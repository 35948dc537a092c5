"""The origin of a result: the code, the packages and the processor that made it.

Equal origins and equal settings give equal numbers. A revision of Git says less: "+changes" hides
which, a commit may change nothing but a text, and a wheel has none. So code is known by a digest of
what it says to Python, without docstrings, comments and layout.
"""

import ast
import contextlib
import hashlib
import json
import os
import platform
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from studies.store.files import cache_folder
from wsss_core.plugins import find_module, is_plugin
from wsss_core.whole_files import write_whole

PACKAGES = ("torch", "torchvision", "timm", "ray", "numpy", "pyarrow", "pandas", "optuna")
UNKNOWN = "unknown"
"""The digest of code that recorded none: that of a release before digests."""

_HOUSE = Path(__file__).parents[2]
_METHOD = ("wsss_core", "studies/stages")


@cache
def versions() -> str:
    """Return the versions of the packages that compute, as JSON."""
    found = {name: version for name in PACKAGES if (version := installed_version(name)) is not None}
    return json.dumps({"python": platform.python_version(), **found})


def installed_version(package: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@cache
def method_digest() -> str:
    """Return a digest of the toolkit's code that makes numbers: the method and its stages."""
    return folders_digest(*_METHOD)


@cache
def folders_digest(*folders: str) -> str:
    """Return a digest of the modules in folders of the toolkit, such as "studies/stages".

    Parsing them takes a second, and every worker needs it. The digest is kept in this machine's
    cache (`WSSS_CACHE`) for files of the same paths, sizes and times of change, as bytecode is.
    """
    files = [file for part in folders for file in sorted((_HOUSE / part).rglob("*.py"))]
    stamps = [(str(file), (s := file.stat()).st_size, s.st_mtime_ns) for file in files]
    now = hashlib.blake2b(repr((sys.version, stamps)).encode(), digest_size=16).hexdigest()
    kept = cache_folder() / f"code-{now}"
    with contextlib.suppress(OSError, ValueError):
        of, found = kept.read_text(encoding="ascii").split()
        if of == now:
            return found
    found = _digest(files)
    with contextlib.suppress(OSError):  # nothing can be written there
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_whole(kept, f"{now} {found}\n".encode())
    return found


@cache
def plugin_digest(name: str) -> str:
    """Return a digest of a plug-in's module and of the modules beside it that it imports.

    Args:
        name: "module:attribute", importable.

    """
    found = find_module(name.partition(":")[0])
    if found is None or found.origin is None or not found.origin.endswith(".py"):
        return UNKNOWN
    first = Path(found.origin)
    # Of a package everything may be imported; of a plain module, its neighbours.
    folder = first.parents[name.partition(":")[0].count(".")]
    files, left = {first}, [first]
    while left:
        for beside in _imported(left.pop(), folder):
            for file in (beside.with_name(f"{beside.name}.py"), beside / "__init__.py"):
                if file not in files and file.is_file():
                    files.add(file)
                    left.append(file)
    return _digest(sorted(files))


def plugins_in(settings: Any) -> Iterator[str]:
    """Yield the plug-ins that settings name, at any depth."""
    if isinstance(settings, Mapping):
        settings = settings.values()
    elif not isinstance(settings, list | tuple):
        settings = [settings] if is_plugin(settings) else []
    for value in settings:
        if is_plugin(value):
            yield value
        elif not isinstance(value, str):
            yield from plugins_in(value)


@cache
def processor() -> str:
    """Return the kind of this machine's processor, which may decide the last bits of a number."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def threads() -> int | None:
    """Return how many threads PyTorch computes with; None where it is not loaded."""
    torch = sys.modules.get("torch")
    return None if torch is None else int(torch.get_num_threads())


def origin(settings: Any) -> dict[str, str | int | None]:
    """Return the origin of what this process makes of some settings, as columns of the ledger.

    Args:
        settings: their plug-ins are named by digests of their own.

    """
    plugins = {name: plugin_digest(name) for name in sorted(set(plugins_in(settings)))}
    return {
        "code_digest": method_digest(),
        "plugin_digests": json.dumps(plugins) if plugins else None,
        "packages": versions(),
        "processor": processor(),
        "threads": threads(),
    }


def together(digests: Iterable[str | None]) -> str:
    """Return the digests of code that worked one after another, each once, in order.

    >>> together(["a1", "a1"]), together([None, "b2"])
    ('a1', 'unknown+b2')
    """
    each = [part for digest in digests for part in (digest or UNKNOWN).split("+")]
    return "+".join(dict.fromkeys(each))


def made_by() -> dict[str, Any]:
    """Return what a manifest says of the process that made an artifact."""
    return {"host": socket.gethostname(), "pid": os.getpid(), **origin(None)}


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.blake2b(digest_size=6)
    for file in files:
        digest.update(file.name.encode() + b"\0")
        digest.update(_said(file.read_text(encoding="utf-8")).encode() + b"\0")
    return digest.hexdigest()


def _said(source: str) -> str:
    """Return what a source says to Python; a text that is none of its, as it is."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return source
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(node, _WITH_DOCSTRING):
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = body[1:]
    return ast.dump(tree)


_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _imported(file: Path, folder: Path) -> Iterator[Path]:
    """Yield where the modules that a file imports would lie below a folder, without suffix."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (folder.joinpath(*alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = file.parents[node.level - 1] if node.level else folder
            module = start.joinpath(*(node.module or "").split("."))
            yield from (module, *(module / alias.name for alias in node.names))
