"""Every example in a docstring is run as written."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def with_examples() -> list[str]:
    """The modules of the packages that hold examples; those that load Ray are left out."""
    names = []
    for package in ("wsss_core", "reports", "studies"):
        for file in sorted((ROOT / package).rglob("*.py")):
            source = file.read_text(encoding="utf-8")
            imports = (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Import))
            if ">>> " not in source or any(a.name == "ray" for n in imports for a in n.names):
                continue
            parts = file.relative_to(ROOT).with_suffix("").parts
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


@pytest.mark.parametrize("name", with_examples())
def test_the_examples_give_what_they_say(name):
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0
    assert results.failed == 0
