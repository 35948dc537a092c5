"""Which modules load no torch: what study files are checked against, and what planning asks."""

import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import wsss_core.refine

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "torchvision", "timm", "ray", "pandas", "pyarrow", "matplotlib", "transformers"}
LIGHT = [
    "wsss_core.backbones.names",
    "wsss_core.cams.settings",
    "wsss_core.data.file_hashes",
    "wsss_core.data.folder.source",
    "wsss_core.data.image_set",
    "wsss_core.data.scenes.source",
    "wsss_core.evaluate",
    "wsss_core.evaluate.thresholds",
    "wsss_core.plugins",
    "wsss_core.refine.affinity.settings",
    "wsss_core.refine.crf.settings",
    "wsss_core.refine.steps.registry",
    "wsss_core.segmentation.settings",
    "wsss_core.training.settings",
    "wsss_core.transfer.names",
]
LAZY = [
    "backbones",
    "cams",
    "data",
    "data.folder",
    "data.scenes",
    "evaluate",
    "refine",
    "segmentation",
    "training",
    "transfer",
]


def loaded_by(code: str) -> set[str]:
    """The top-level modules that are loaded after some code in a fresh interpreter."""
    code = f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(run.stdout.splitlines()[-1].split())


def test_vocabularies_settings_and_registries_load_nothing_heavy():
    loaded = loaded_by("\n".join(f"import {module}" for module in LIGHT))
    assert loaded & HEAVY == set()


def test_a_backbone_is_checked_without_timm():
    code = (
        "from wsss_core.backbones.names import check_backbone_name, is_vit\n"
        "check_backbone_name('resnet18')\n"
        "assert is_vit('vit_tiny_patch16_224') and not is_vit('resnet18')"
    )
    assert loaded_by(code) & HEAVY == set()


def test_a_step_of_a_chain_is_checked_without_torch():
    code = (
        "from wsss_core.refine.steps.registry import check_step\n"
        "check_step('crf', {'preset': 'thesis'}); check_step('affinity', {})"
    )
    assert loaded_by(code) & HEAVY == set()


@pytest.mark.parametrize("room", LAZY)
def test_every_export_is_there_and_none_has_the_name_of_a_submodule(room):
    package = importlib.import_module(f"wsss_core.{room}")
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert modules.isdisjoint(package.__all__)
    for name in package.__all__:
        assert getattr(package, name) is not None


def facades() -> list[str]:
    """The packages of wsss_core that hand names on."""
    walked = pkgutil.walk_packages(wsss_core.__path__, "wsss_core.")
    packages = [name for _, name, is_package in walked if is_package]
    return [name for name in packages if hasattr(importlib.import_module(name), "__all__")]


@pytest.mark.parametrize("name", wsss_core.refine.__all__)
def test_a_refinement_comes_from_the_package_by_its_name_whatever_was_imported_before(name):
    for _, module, _ in pkgutil.walk_packages(wsss_core.refine.__path__, "wsss_core.refine."):
        importlib.import_module(module)
    found = getattr(wsss_core.refine, name)
    assert not inspect.ismodule(found)
    assert callable(found) != name.isupper()


@pytest.mark.ci
@pytest.mark.parametrize("modules_first", [True, False])
def test_no_name_that_a_package_hands_on_is_a_module_in_either_order(modules_first):
    each = "import importlib, inspect, pkgutil, wsss_core\n" + (
        "for _, name, _ in pkgutil.walk_packages(wsss_core.__path__, 'wsss_core.'):\n"
        "    importlib.import_module(name)\n"
    )
    check = (
        "import importlib, inspect\n"
        f"for package in map(importlib.import_module, {facades()}):\n"
        "    for name in package.__all__:\n"
        "        assert not inspect.ismodule(getattr(package, name)), (package, name)\n"
    )
    assert len(facades()) >= 9
    loaded_by(each + check if modules_first else check + each + check)


def test_an_unknown_name_of_a_package_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"'wsss_core\.cams' has no attribute 'camz'"):
        wsss_core.cams.camz  # noqa: B018
