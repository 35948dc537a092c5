"""Which package may know which: the arrows of the house, read from the source."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NEED_RAY = [
    "studies.cluster.check",
    "studies.cluster.ray_start",
    "studies.masks.stream",
    "studies.ray_tune.callbacks",
    "studies.ray_tune.job_store",
    "studies.ray_tune.killing",
    "studies.ray_tune.refinement",
    "studies.ray_tune.runner",
    "studies.ray_tune.trial",
]


def modules(package: str) -> dict[str, ast.Module]:
    """Dotted name -> parsed source of every module of a package."""
    found = {}
    for file in sorted((ROOT / package).rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(file.read_text(encoding="utf-8"))
    assert found, f"no module of {package} below {ROOT}"
    return found


def imported(tree: ast.AST, *, when_loaded: bool = False) -> Iterator[str]:
    """Every imported module; with `when_loaded` without the imports inside functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, or this test would miss their target"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif not (when_loaded and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            yield from imported(node, when_loaded=when_loaded)


def within(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that are loaded after a statement in a fresh interpreter."""
    code = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())


@pytest.mark.parametrize("stranger", ["studies", "reports", "ray"])
def test_the_method_knows_neither_studies_nor_reports_nor_ray(stranger):
    knowing = [
        module
        for module, tree in modules("wsss_core").items()
        if any(within(name, stranger) for name in imported(tree))
    ]
    assert knowing == []


@pytest.mark.parametrize("stranger", ["studies", "torch", "torchvision", "timm", "ray"])
def test_reports_know_neither_studies_nor_torch_nor_ray(stranger):
    knowing = [
        module
        for module, tree in modules("reports").items()
        if any(within(name, stranger) for name in imported(tree))
    ]
    assert knowing == []


def test_of_the_method_reports_know_the_evaluation_alone():
    rooms = ("evaluate", "errors", "lazy", "version", "whole_files")
    allowed = tuple(f"wsss_core.{room}" for room in rooms)
    beyond = {
        (module, name)
        for module, tree in modules("reports").items()
        for name in imported(tree)
        if within(name, "wsss_core") and not any(within(name, room) for room in allowed)
    }
    assert beyond == set()


def test_only_rooms_that_run_on_a_cluster_load_ray():
    loading = [
        module
        for module, tree in modules("studies").items()
        if any(within(name, "ray") for name in imported(tree, when_loaded=True))
    ]
    assert loading == NEED_RAY


def test_no_other_module_of_studies_loads_them_when_it_is_imported():
    loading = [
        module
        for module, tree in modules("studies").items()
        if module not in NEED_RAY
        and any(
            within(name, needing)
            for name in imported(tree, when_loaded=True)
            for needing in NEED_RAY
        )
    ]
    assert loading == []


def test_the_evaluation_and_its_errors_load_numpy_and_no_torch():
    loaded = loaded_by("from wsss_core.evaluate import *; import wsss_core.errors")
    assert "numpy" in loaded
    assert loaded.isdisjoint({"torch", "ray", "timm", "studies", "reports"})


def test_every_module_of_reports_loads_without_torch_and_ray():
    every = ", ".join(modules("reports"))
    assert loaded_by(f"import {every}").isdisjoint({"torch", "ray", "timm", "studies"})


def test_study_files_planning_and_scheduling_load_no_torch_and_no_ray():
    below_the_stages = "studies.spec.loading, studies.planning.planner, studies.planning.cost"
    loaded = loaded_by(f"import {below_the_stages}, studies.scheduling.schedule")
    assert loaded.isdisjoint({"torch", "timm", "ray"})


def test_what_travels_to_a_worker_is_described_without_torch():
    loaded = loaded_by("import studies.planning.job, studies.stages.handover")
    assert loaded.isdisjoint({"torch", "timm", "ray", "pandas"})


def test_writing_to_the_ledger_loads_no_plotting():
    assert "matplotlib" not in loaded_by("import reports, reports.ledger.parts")


def test_scenes_load_no_torch():
    assert loaded_by("import wsss_core.data.scenes.scene").isdisjoint({"torch", "ray"})


@pytest.mark.parametrize(
    ("room", "knows"),
    [
        ("storage", []),
        ("deciding", []),
        ("ledger", ["storage"]),
        (
            "results",
            ["anonymous", "names", "pairing", "progress", "statistics", "ledger", "storage"],
        ),
        (
            "tables",
            [
                "names",
                "pairing",
                "statistics",
                "deciding",
                "results",
                "ledger",
            ],
        ),
        (
            "figures",
            ["names", "pairing", "statistics", "tables", "results", "ledger"],
        ),
        (
            "export",
            [
                "names",
                "page",
                "tables",
                "results",
                "ledger",
                "storage",
            ],
        ),
    ],
)
def test_each_room_of_reports_knows_only_the_rooms_below_it(room, knows):
    allowed = [f"reports.{name}" for name in (room, *knows)]
    beyond = {
        (module, name)
        for module, tree in modules(f"reports/{room}").items()
        for name in imported(tree)
        if within(name, "reports") and not any(within(name, below) for below in allowed)
    }
    assert beyond == set()


def test_the_store_knows_no_study_and_nothing_above_it():
    rooms = ("studies.store", "studies.formatting")
    above = {
        (module, name)
        for module, tree in modules("studies").items()
        if within(module, "studies.store")
        for name in imported(tree)
        if within(name, "studies") and not any(within(name, room) for room in rooms)
    }
    assert above == set()


def test_the_store_loads_neither_torch_nor_ray_and_a_key_no_ledger():
    every = ", ".join(name for name in modules("studies") if within(name, "studies.store"))
    assert loaded_by(f"import {every}").isdisjoint({"torch", "torchvision", "ray", "timm"})
    loaded = loaded_by("from studies.store import ArtifactStore, stage_key")
    assert loaded.isdisjoint({"pandas", "pyarrow", "numpy", "fsspec"})


@pytest.mark.parametrize("package", ["reports", "reports.ledger", "reports.storage"])
def test_every_exported_name_of_reports_is_there(package):
    module = importlib.import_module(package)
    assert all(hasattr(module, name) for name in module.__all__)
    assert not hasattr(module, "no_such_name")
