"""The structure of the code: rooms in order, no circles, one name for one thing."""

import ast
import importlib.util
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_spec = importlib.util.spec_from_file_location("house", Path(__file__).with_name("house.py"))
assert _spec is not None
assert _spec.loader is not None
house = importlib.util.module_from_spec(_spec)

sys.modules["house"] = house
_spec.loader.exec_module(house)


@pytest.fixture(scope="module")
def modules():
    """Every module of every package; gone with these tests, as syntax trees are many objects."""
    return {package: house.read_modules(ROOT, package) for package in house.PACKAGES}


# Each room may import from those before it in this list; rooms of one line not from each other.
ORDER = {
    "studies": [
        ["formatting", "spec", "configs", "rates"],
        ["store", "weights"],
        ["planning", "status"],
        ["stages", "description"],
        ["preflight"],
        ["cluster", "scheduling"],
        ["masks", "ray_tune", "deciding"],
        ["runner"],
        ["search"],
        ["results"],
        ["python_entry"],
        ["cli"],
        ["submit"],
    ],
    "reports": [
        ["anonymous", "names", "pairing", "progress"],
        ["statistics", "deciding"],
        ["storage"],
        ["ledger"],
        ["results"],
        ["tables"],
        ["figures"],
        ["decisions"],
        ["page"],
        ["export"],
        ["listing"],
    ],
    "wsss_core": [
        ["core_threads", "errors", "lazy", "progress", "version", "whole_files"],
        ["plain_yaml"],
        ["text_files"],
        ["plugins", "out_of_memory"],
        ["evaluate"],
        ["tiling"],
        ["data"],
        ["augmentation"],
        ["fetched_weights"],
        ["backbones"],
        ["transfer"],
        ["training"],
        ["cams"],
        ["features"],
        ["refine"],
        ["segmentation"],
        ["single_stage"],
    ],
}


def rooms(found) -> dict[str, set[str]]:
    """Room -> the rooms it imports from; a room is a folder, or a module beside the folders."""
    graph: dict[str, set[str]] = defaultdict(set)
    inner = {name: targets for name, targets in house.import_graph(found).items() if "." in name}
    for name, targets in inner.items():
        room = name.split(".")[1]
        graph[room] |= {target.split(".")[1] for target in targets if "." in target}
    return {room: targets - {room} for room, targets in graph.items()}


@pytest.mark.parametrize("package", house.PACKAGES)
def test_a_room_imports_from_rooms_below_it_alone(package, modules):
    height = {room: n for n, row in enumerate(ORDER[package]) for room in row}
    found = rooms(modules[package])
    assert set(found) <= set(height)
    upward = {
        (room, target)
        for room, targets in found.items()
        for target in targets
        if height[target] >= height[room]
    }
    assert upward == set()


def test_the_status_of_a_run_is_read_from_its_files_alone(modules):
    assert rooms(modules["studies"])["status"] <= {"store", "formatting", "rates"}


def test_the_store_knows_no_study(modules):
    assert rooms(modules["studies"])["store"] <= {"formatting"}


@pytest.mark.parametrize("package", house.PACKAGES)
def test_no_modules_import_each_other_in_a_circle(package, modules):
    assert house.circles(house.import_graph(modules[package])) == []


@pytest.mark.parametrize("package", house.PACKAGES)
def test_a_folder_holds_what_can_be_overlooked(package, modules):
    held: dict[str, int] = defaultdict(int)
    for module in modules[package].values():
        held[module.folder] += 1
    assert {folder: n for folder, n in held.items() if n > 16} == {}


@pytest.mark.parametrize("package", house.PACKAGES)
def test_files_and_functions_are_short(package, modules):
    found = modules[package].values()
    lines = {m.name: len(m.path.read_text(encoding="utf-8").splitlines()) for m in found}
    assert {name: n for name, n in lines.items() if n > house.LONG_FILE} == {}
    assert house.long_functions(found) == []


def public_definitions(tree: ast.Module) -> set[str]:
    """The names that a module defines at its top level and does not keep to itself."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            targets = [t for target in node.targets for t in ast.walk(target)]
            found |= {t.id for t in targets if isinstance(t, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return {name for name in found if not name.startswith("_")}


def test_one_public_name_is_defined_once(modules):
    where: dict[str, list[str]] = defaultdict(list)
    for package in modules.values():
        for module in package.values():
            for name in public_definitions(module.tree) - {"logger", "main"}:
                where[name].append(module.name)
    assert {name: places for name, places in where.items() if len(places) > 1} == {}


@pytest.mark.parametrize("package", house.PACKAGES)
def test_no_package_hands_on_a_name_that_one_of_its_modules_bears(package, modules):
    """Importing the module would put it in the place of what the package hands on."""
    packages = [m for m in modules[package].values() if m.path.name == "__init__.py"]
    assert sum(len(house.exports(module)) for module in packages) > 10
    handed_on = {name for module in packages for name in house.exports(module)}
    assert handed_on & modules[package].keys() == set()
