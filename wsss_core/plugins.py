"""A researcher's own method by name: "module:attribute", importable wherever trials run.

The object declares a version, which is part of the key of all that is made with it: raise it when
the code changes, and only what depends on it is made anew.

A name in a study file must not reach whatever happens to be importable. A module is a plug-in if it
lies outside the folders of installed packages, as a file beside the study does, or if it declares
itself: by the line `WSSS_PLUGIN = True`, or by an entry point of the group `wsss.plugins` of its
distribution. Which module it is, is found out before it is imported.
"""

import ast
import contextlib
import importlib
import importlib.util
import os
import re
import sys
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from wsss_core.errors import InputError, as_input_error

ENTRY_POINTS = "wsss.plugins"
"""The group of entry points by which a distribution declares its modules."""

MARKER = "WSSS_PLUGIN"
"""The name that an installed module sets to True to declare itself."""

NO_PLUGINS = "WSSS_NO_PLUGINS"
"""The environment variable that forbids plug-ins, unless it is empty or 0; processes inherit it."""

_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_TOOLKIT = ("wsss_core", "studies", "reports")
_INSTALLED_IN = ("site-packages", "dist-packages")
_STDLIB = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")}


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


@contextlib.contextmanager
def plugins_forbidden(forbidden: bool = True) -> Iterator[None]:
    """Refuse every plug-in while the block runs, in the processes that it starts too.

    Args:
        forbidden: False changes nothing.

    """
    before = os.environ.get(NO_PLUGINS)
    if forbidden:
        os.environ[NO_PLUGINS] = "1"
    try:
        yield
    finally:
        if forbidden and before is None:
            del os.environ[NO_PLUGINS]
        elif forbidden and before is not None:
            os.environ[NO_PLUGINS] = before


def load_plugin(what: str, name: str) -> Any:
    """Import what a name stands for. The working directory is searched too.

    Args:
        what: the key that named it, for the error.
        name: "module:attribute".

    Raises:
        InputError: plug-ins are forbidden; a name of another form; a module of the standard
            library, or an installed one that does not declare itself (neither is imported); no
            such module or attribute; a module that fails to load; an object that comes from a
            module that is no plug-in, cannot be called, or declares no version.

    """
    if not is_plugin(name):
        raise InputError(f"{what} {name!r}: expected module:attribute, as in my_losses:margin")
    if os.environ.get(NO_PLUGINS, "0") not in ("", "0"):
        raise InputError(
            f"{what} {name!r}: is a plug-in, which --no-plugins (or {NO_PLUGINS}) forbids"
        )
    module_name, _, attribute = name.partition(":")
    # A console script does not search the folder it is run in; `python -m` does.
    search_in(Path.cwd())
    if refused := _why_no_plugin(module_name):
        raise InputError(f"{what} {name!r}: {refused}")
    said = f"{what} {name!r}: module {module_name!r} cannot be imported"
    # Whatever a user's module raises while it loads is the user's to read, in one line.
    with as_input_error(said, Exception, named=True):
        module = importlib.import_module(module_name)
    found = _attribute_of(module, attribute, f"{what} {name!r}")
    if not callable(found):
        raise InputError(f"{what} {name!r}: expected something to call, got {type(found).__name__}")
    if _version(found, module) is None:
        raise InputError(
            f"{what} {name!r} declares no version; set VERSION = 1 in its module (or `version` on "
            "it) and raise it when the code changes its result"
        )
    return found


def plugin_version(what: str, name: str) -> str:
    """Return the version a plug-in declares: its own `version`, or its module's `VERSION`.

    Raises:
        InputError: see `load_plugin`.

    """
    plugin = load_plugin(what, name)
    return str(_version(plugin, sys.modules[name.partition(":")[0]]))


def find_module(name: str) -> ModuleSpec | None:
    """Return where a module would be imported from; neither it nor its packages are imported."""
    return _specs(name)[-1]


def _version(plugin: Any, module: ModuleType) -> Any:
    version = getattr(plugin, "version", getattr(module, "VERSION", None))
    return version if isinstance(version, int | float | str | tuple) else None


def _attribute_of(module: ModuleType, attribute: str, said: str) -> Any:
    """Return a module's attribute; raise if it, or a step towards it, is not the module's own."""
    found: Any = module
    steps = attribute.split(".")
    for number, step in enumerate(steps, 1):
        if step.startswith("__") or not hasattr(found, step):
            raise InputError(f"{said}: module {module.__name__!r} has no {attribute!r}")
        found = getattr(found, step)
        origin = _origin(found, on_the_way=number < len(steps))
        if origin is not None and origin != module.__name__ and _why_no_plugin(origin):
            raise InputError(
                f"{said}: comes from {origin!r}, which is no plug-in; write a function of your own "
                f"in {module.__name__!r} that calls it"
            )
    return found


def _origin(found: Any, *, on_the_way: bool) -> str | None:
    """Return the module that defines a function or class; of other objects None, at the end."""
    if isinstance(found, ModuleType):
        return found.__name__
    if isinstance(found, type | FunctionType | BuiltinFunctionType):
        return found.__module__
    return type(found).__module__ if on_the_way else None


_plugins: set[str] = set()  # modules that are plug-ins; a loss is looked up at each of its steps


def _why_no_plugin(module_name: str) -> str | None:
    """Return why a module is no plug-in; None if it is one, or is not found."""
    if module_name in _plugins:
        return None
    refused = _refusal(module_name)
    if refused is None and module_name in sys.modules:
        _plugins.add(module_name)
    return refused


def _refusal(module_name: str) -> str | None:
    top = module_name.partition(".")[0]
    specs = _specs(module_name)
    folder = _folder(specs[0])
    if top in sys.stdlib_module_names or folder in _STDLIB:
        return (
            f"{module_name!r} is a module of Python's standard library, expected a module of your "
            "own"
        )
    installed = folder is not None and (
        folder.name in _INSTALLED_IN or any(folder.glob("*.dist-info"))
    )
    if not (installed or top in _TOOLKIT) or any(map(_is_marked, specs)):
        return None
    declared = metadata.entry_points(group=ENTRY_POINTS)
    if any(entry.module.partition(".")[0] == top for entry in declared):
        return None
    return (
        f"the installed module {module_name!r} does not declare itself a plug-in; if it is yours, "
        f"add the line {MARKER} = True to it, or an entry point of the group {ENTRY_POINTS} to its "
        "distribution"
    )


def _specs(name: str) -> list[ModuleSpec | None]:
    """Return where a module's packages and the module itself lie, the outermost first."""
    top, *rest = name.split(".")
    try:
        specs = [importlib.util.find_spec(top)]
    except ValueError:  # a module that was made in memory
        return [None]
    for part in rest:
        outer = specs[-1]
        inside = outer.submodule_search_locations if outer is not None else None
        top = f"{top}.{part}"
        specs.append(PathFinder.find_spec(top, list(inside)) if inside is not None else None)
    return specs


def _folder(spec: ModuleSpec | None) -> Path | None:
    """Return the folder of the import path that holds a top-level module or package."""
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve().parent
    return Path(spec.origin).resolve().parent if spec.has_location and spec.origin else None


def _is_marked(spec: ModuleSpec | None) -> bool:
    """Return whether a module's source holds the line that declares it, without running it."""
    try:
        source = spec.loader.get_source(spec.name)  # type: ignore[union-attr]
        lines = ast.parse(source).body
    except Exception:  # compiled, a namespace, or no Python at all
        return False
    return any(
        isinstance(line, ast.Assign)
        and any(isinstance(name, ast.Name) and name.id == MARKER for name in line.targets)
        and isinstance(line.value, ast.Constant)
        and bool(line.value.value)
        for line in lines
    )
