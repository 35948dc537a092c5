"""A researcher's own method by name: "module:attribute", importable wherever trials run.

The object declares a version, which is part of the key of all that is made with it: raise it when
the code changes, and only what depends on it is made anew.
"""

import importlib
import re
import sys
from pathlib import Path
from typing import Any

from wsss_core.errors import InputError, as_input_error

_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def is_plugin(name: object) -> bool:
    """Return whether a name is written as "module:attribute".

    >>> is_plugin("my_losses:margin_cosine"), is_plugin("cosine")
    (True, False)
    """
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def search_in(folder: str | Path) -> None:
    """Let plug-ins be found in a folder too, behind all that is installed."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def load_plugin(what: str, name: str) -> Any:
    """Import what a name stands for. The working directory is searched too.

    Args:
        what: the key that named it, for the error.
        name: "module:attribute".

    Raises:
        InputError: not of that form, no such module or attribute, a module that fails to load, or
            an object that cannot be called.

    """
    if not is_plugin(name):
        raise InputError(f"{what} {name!r}: expected module:attribute, as in my_losses:margin")
    module_name, _, attribute = name.partition(":")
    # A console script does not search the folder it is run in; `python -m` does.
    search_in(Path.cwd())
    said = f"{what} {name!r}: module {module_name!r} cannot be imported"
    # Whatever a user's module raises while it loads is the user's to read, in one line.
    with as_input_error(said, Exception, named=True):
        found: Any = importlib.import_module(module_name)
    for step in attribute.split("."):
        if not hasattr(found, step):
            raise InputError(f"{what} {name!r}: module {module_name!r} has no {attribute!r}")
        found = getattr(found, step)
    if not callable(found):
        raise InputError(f"{what} {name!r}: expected something to call, got {type(found).__name__}")
    return found


def plugin_version(what: str, name: str) -> str:
    """Return the version a plug-in declares: its own `version`, or its module's `VERSION`.

    Raises:
        InputError: it cannot be loaded, or declares none.

    """
    plugin = load_plugin(what, name)
    module = sys.modules[name.partition(":")[0]]
    version = getattr(plugin, "version", getattr(module, "VERSION", None))
    if version is None or callable(version):
        raise InputError(
            f"{what} {name!r} declares no version; set VERSION = 1 in its module (or `version` on "
            "it) and raise it when the code changes its result"
        )
    return str(version)
