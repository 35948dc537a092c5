"""Print the test files that a change is likely to break: what `make test-fast` runs.

    python tests/affected.py [MODULE ...]

The change is all that differs from where the branch left main, or else from the last commit. A
test file counts if it changed, if it imports a changed module or a name that a package hands on
from there, if it is called test_MODULE, or if it names a changed file that is no module. A changed
conftest.py counts for the tests beside it. The tests of the house always run. What a change breaks
through other modules is left to `make test`.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("wsss_core", "reports", "studies")
HOUSE = ("tests/test_arrows.py", "tests/test_structure.py")
MOST = 20  # a test file takes a second or two


def git(*arguments: str) -> list[str]:
    """Return the lines that git prints, none if it fails."""
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.splitlines()


def changed_files() -> set[str]:
    """Return the paths that differ from main's, or from the last commit's where none do."""
    here = git("rev-parse", "HEAD")
    base = git("merge-base", "HEAD", "main") or git("merge-base", "HEAD", "origin/main") or here
    new = git("ls-files", "--others", "--exclude-standard")
    return {*git("diff", "--name-only", *base), *new} or {*git("diff", "--name-only", "HEAD~1")}


@cache
def file_of(module: str) -> Path | None:
    """Return the file of a module of this checkout, None if there is none."""
    path = ROOT.joinpath(*module.split("."))
    return next((f for f in (path.with_suffix(".py"), path / "__init__.py") if f.is_file()), None)


@cache
def imports(file: Path) -> tuple[tuple[str, str | None], ...]:
    """Return what a file imports, at any depth: (module, name or None for all of it)."""
    found: list[tuple[str, str | None]] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [(node.module, alias.name) for alias in node.names]
    return tuple(found)


def homes(module: str, name: str | None) -> Iterator[Path]:
    """Yield the files that an import reads: packages, then the module that defines the name."""
    if module.split(".")[0] not in PACKAGES or (file := file_of(module)) is None:
        return
    yield file
    if name is None:
        return
    if (submodule := file_of(f"{module}.{name}")) is not None:
        yield submodule
    if file.name == "__init__.py":
        for source, handed_on in imports(file):
            if handed_on == name:
                yield from homes(source, name)


def affected(changed: set[str]) -> list[str]:
    """Return the test files of a change: those of the house, then folder by folder.

    Of many, the `MOST` most special are taken; a test file is the more special the fewer modules
    it imports. pytest 9.1 loses a folder's fixtures where its files do not follow each other
    (pytest issue 14964).
    """
    names = {Path(path).name for path in changed if not path.endswith(".py")}
    modules = {path for path in changed if path.startswith(PACKAGES) and path.endswith(".py")}
    called = {f"test_{Path(path).stem}.py" for path in modules}
    folders = {str(Path(path).parent) for path in changed if path.endswith("/conftest.py")}
    chosen = {}
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        path = file.relative_to(ROOT).as_posix()
        read = {home.relative_to(ROOT).as_posix() for i in imports(file) for home in homes(*i)}
        text = file.read_text(encoding="utf-8")
        if path in changed or file.name in called:
            chosen[path] = 0
        elif (
            read & modules
            or str(Path(path).parent) in folders
            or any(name in text for name in names)
        ):
            chosen[path] = len(read)
    ranked = sorted(chosen.keys() - HOUSE, key=lambda path: (chosen[path], path))
    if len(ranked) > MOST:
        print(f"{len(ranked) - MOST} more test files are left to `make test`", file=sys.stderr)
    return [*HOUSE, *sorted(ranked[:MOST], key=lambda path: (Path(path).parent.parts, path))]


if __name__ == "__main__":
    print("\n".join(affected(set(sys.argv[1:]) or changed_files())))
