"""Figures of the code's structure, read from the source: what CONTRIBUTING asks to keep small.

    python tests/house.py [CHECKOUT]

prints, for the three packages: modules, the most that lie in one folder, levels of imports between
modules and between folders, circles, statements of the syntax tree without docstrings, files over
400 lines, functions over 80, and places that say `dict[str, Any]`.
"""

import ast
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("studies", "reports", "wsss_core")
LONG_FILE, LONG_FUNCTION = 400, 80  # lines


@dataclass(frozen=True)
class Module:
    """A parsed source file.

    Attributes:
        name: dotted; of a package for its `__init__`.
        folder: the dotted name of the package it lies in.
        path: the file.
        tree: its syntax tree.

    """

    name: str
    folder: str
    path: Path
    tree: ast.Module


def read_modules(root: Path, package: str) -> dict[str, Module]:
    """Dotted name -> module, of every module of a package."""
    found = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        folder = ".".join(parts[:-1])
        name = folder if parts[-1] == "__init__" else ".".join(parts)
        found[name] = Module(name, folder, path, ast.parse(path.read_text(encoding="utf-8")))
    assert found, f"no module of {package} below {root}"
    return found


def imported_names(tree: ast.AST, *, when_loaded: bool = False) -> Iterator[str]:
    """Every imported name, dotted; with `when_loaded` without the imports inside functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, or this test would miss their target"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            continue
        elif not (when_loaded and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            yield from imported_names(node, when_loaded=when_loaded)


def _is_type_checking(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def exports(package: Module) -> dict[str, str]:
    """Name -> the module that defines it, of what a package's `__init__` hands on."""
    return {
        f"{package.name}.{alias.asname or alias.name}": str(node.module)
        for node in ast.walk(package.tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def import_graph(modules: dict[str, Module]) -> dict[str, set[str]]:
    """Module -> the modules among these that it imports, inside functions too.

    A name that a package's `__init__` hands on is imported from the module that defines it.
    """
    packages = [module for module in modules.values() if module.path.name == "__init__.py"]
    homes = {name: home for package in packages for name, home in exports(package).items()}
    graph = {}
    for name, module in modules.items():
        targets = set()
        for wanted in imported_names(module.tree):
            target = wanted if wanted in modules else wanted.rpartition(".")[0]
            target = homes.get(wanted, target)
            if target in modules and target != name:
                targets.add(target)
        graph[name] = targets
    return graph


def folder_graph(modules: dict[str, Module]) -> dict[str, set[str]]:
    """The same between folders; the modules beside a package's `__init__` stand for themselves."""
    top = min((module.folder for module in modules.values()), key=len)

    def room(name: str) -> str:
        folder = modules[name].folder
        return name if folder == top else folder

    graph: dict[str, set[str]] = {}
    for name, targets in import_graph(modules).items():
        graph.setdefault(room(name), set()).update(map(room, targets))
    return {name: targets - {name} for name, targets in graph.items()}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of two nodes or more that reach each other."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        left = [start]
        while left:
            for target in graph[left.pop()] - seen:
                seen.add(target)
                left.append(target)
        return seen

    reached = {name: reach(name) for name in graph}
    groups = {
        tuple(sorted(other for other in reached[name] if name in reached[other]))
        for name in graph
        if name in reached[name]
    }
    return [list(group) for group in sorted(groups)]


def levels(graph: dict[str, set[str]]) -> int:
    """The length of the longest chain of imports, a circle counting as one node."""
    group = {name: min(circle) for circle in circles(graph) for name in circle}
    heights: dict[str, int] = {}

    def height(name: str) -> int:
        name = group.get(name, name)
        if name not in heights:
            members = [other for other in graph if group.get(other, other) == name]
            targets = {t for m in members for t in graph[m] if group.get(t, t) != name}
            heights[name] = 1 + max(map(height, targets), default=0)
        return heights[name]

    return max(map(height, graph))


def statements(tree: ast.AST) -> int:
    """Statements of a syntax tree; docstrings and other bare constants are none."""
    return sum(
        isinstance(node, ast.stmt)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in ast.walk(tree)
    )


def long_functions(modules: Iterable[Module]) -> list[str]:
    """Functions of more lines than `LONG_FUNCTION`, with their lengths."""
    return [
        f"{module.name}.{node.name} ({length})"
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > LONG_FUNCTION
    ]


def figures(modules: dict[str, Module]) -> dict[str, object]:
    """Name -> figure, of one package."""
    texts = {name: module.path.read_text(encoding="utf-8") for name, module in modules.items()}
    lengths = {name: len(text.splitlines()) for name, text in texts.items()}
    in_folder = Counter(module.folder for module in modules.values())
    folder, most = in_folder.most_common(1)[0]
    long = [f"{name} ({length})" for name, length in lengths.items() if length > LONG_FILE]
    source = "".join(texts.values())
    return {
        "modules": len(modules),
        "most in one folder": f"{most} ({folder})",
        "levels between modules": levels(import_graph(modules)),
        "levels between folders": levels(folder_graph(modules)),
        "circles of modules": circles(import_graph(modules)) or "none",
        "circles of folders": circles(folder_graph(modules)) or "none",
        "statements": sum(statements(module.tree) for module in modules.values()),
        "dict[str, Any]": source.count("dict[str, Any]"),
        "# fmt: skip": source.count("# fmt: skip"),
        f"files over {LONG_FILE} lines": ", ".join(long) or "none",
        f"functions over {LONG_FUNCTION}": ", ".join(long_functions(modules.values())) or "none",
    }


def main(root: Path) -> None:
    """Print the figures of a checkout."""
    total = 0
    for package in PACKAGES:
        modules = read_modules(root, package)
        print(package)
        for name, figure in figures(modules).items():
            print(f"  {name:24}{figure}")
        total += sum(statements(module.tree) for module in modules.values())
    print(f"statements of all three: {total}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1])
