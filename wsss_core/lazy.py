"""Names that a package exports and loads when they are first asked for (PEP 562).

A package's `__init__` imports its public names under `if TYPE_CHECKING:`, where type checkers see
them, lists them in `__all__`, and says

    __getattr__ = lazy_exports(__name__, __file__)

so that importing one of its modules loads no more than that module needs. A submodule must not bear
the name of an export: importing it would put the module in the export's place.
"""

import ast
import importlib
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any


def lazy_exports(package: str, file: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package.

    Args:
        package: its `__name__`.
        file: its `__file__`, whose imports under `if TYPE_CHECKING:` say where each name is
            defined.

    """

    @cache
    def homes() -> dict[str, str]:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
        return {
            alias.asname or alias.name: str(statement.module)
            for block in tree.body
            if isinstance(block, ast.If)
            for statement in block.body
            if isinstance(statement, ast.ImportFrom)
            for alias in statement.names
        }

    def load(name: str) -> Any:
        if (name.startswith("__") and name != "__version__") or name not in homes():
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(homes()[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return load
