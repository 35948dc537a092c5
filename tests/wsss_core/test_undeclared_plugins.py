"""Which importable modules are plug-ins, and that no other is called or imported."""

import re
import sys
from pathlib import Path

import pytest

from wsss_core.errors import InputError
from wsss_core.plugins import find_module, load_plugin, plugin_version, plugins_forbidden

MODULE = """
from pathlib import Path
Path({trace!r}).touch()
VERSION = 1
def loss(): return "called"
"""


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A file that the modules of these tests make when they are imported."""
    return tmp_path / "imported"


@pytest.fixture
def installed(tmp_path: Path, trace: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """A package in a folder of installed packages: its name, and its module `losses`."""
    name = f"installed_{tmp_path.name.replace('-', '_')}"
    folder = tmp_path / "site-packages"
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text("")
    file = folder / name / "losses.py"
    file.write_text(MODULE.format(trace=str(trace)))
    monkeypatch.syspath_prepend(folder)
    return name, file


@pytest.mark.parametrize("name", ["os:system", "this:s", "xml.dom.minidom:parse", "test.support:f"])
def test_a_module_of_the_standard_library_is_refused_and_not_imported(name: str) -> None:
    module = name.partition(":")[0]
    there_before = module in sys.modules
    with pytest.raises(InputError) as caught:
        load_plugin("data.factory", name)
    assert str(caught.value) == (
        f"data.factory {name!r}: {module!r} is a module of Python's standard library, expected a "
        "module of your own"
    )
    assert (module in sys.modules) == there_before


@pytest.mark.parametrize(
    "name", ["torch.hub:load", "PIL.Image:open", "wsss_core.data:FolderSource"]
)
def test_an_installed_module_that_does_not_declare_itself_is_refused(name: str) -> None:
    module = name.partition(":")[0]
    said = f"metric {name!r}: the installed module {module!r} does not declare itself a plug-in; "
    with pytest.raises(InputError, match=f"^{re.escape(said)}.*WSSS_PLUGIN = True"):
        load_plugin("metric", name)


def test_an_undeclared_installed_module_is_not_even_imported(installed, trace: Path) -> None:
    name, _ = installed
    with pytest.raises(InputError, match="does not declare itself a plug-in"):
        load_plugin("metric", f"{name}.losses:loss")
    assert not trace.exists()
    assert name not in sys.modules


@pytest.mark.parametrize("line", ["WSSS_PLUGIN = True", "WSSS_PLUGIN = 1"])
def test_an_installed_module_declares_itself_by_a_line(installed, line: str) -> None:
    name, file = installed
    file.write_text(f"{line}\n{file.read_text()}")
    assert load_plugin("metric", f"{name}.losses:loss")() == "called"


def test_the_line_of_a_package_stands_for_its_modules(installed) -> None:
    name, file = installed
    (file.parent / "__init__.py").write_text("WSSS_PLUGIN = True\n")
    assert plugin_version("metric", f"{name}.losses:loss") == "1"


@pytest.mark.parametrize(
    "line", ["WSSS_PLUGIN = False", "# WSSS_PLUGIN = True", "WSSS_PLUGIN: int"]
)
def test_a_line_that_sets_nothing_declares_nothing(installed, trace: Path, line: str) -> None:
    name, file = installed
    file.write_text(f"{line}\n{file.read_text()}")
    with pytest.raises(InputError, match="does not declare itself a plug-in"):
        load_plugin("metric", f"{name}.losses:loss")
    assert not trace.exists()


@pytest.mark.parametrize("declared", [True, False])
def test_an_installed_module_is_declared_by_an_entry_point_of_its_distribution(
    installed, declared: bool
) -> None:
    name, file = installed
    about = file.parents[1] / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    group = "wsss.plugins" if declared else "console_scripts"
    (about / "entry_points.txt").write_text(f"[{group}]\nlosses = {name}.losses\n")
    if declared:
        assert load_plugin("metric", f"{name}.losses:loss")() == "called"
    else:
        with pytest.raises(InputError, match="does not declare itself a plug-in"):
            load_plugin("metric", f"{name}.losses:loss")


def test_a_folder_of_installed_packages_is_known_by_their_records(
    tmp_path: Path, trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `pip install --target` leaves it."""
    (tmp_path / "libs" / "something-1.0.dist-info").mkdir(parents=True)
    name = f"lib_{tmp_path.name.replace('-', '_')}"
    (tmp_path / "libs" / f"{name}.py").write_text(MODULE.format(trace=str(trace)))
    monkeypatch.syspath_prepend(tmp_path / "libs")
    with pytest.raises(InputError, match="does not declare itself a plug-in"):
        load_plugin("metric", f"{name}:loss")
    assert not trace.exists()


OWN = """
import functools, os
from os import getcwd
from pathlib import Path
from torch.nn.functional import mse_loss
import torch
VERSION = 1
here = Path("here")
class Group:
    @classmethod
    def make(cls): return cls
def loss(margin=0): return margin
wide = functools.partial(loss, margin=2)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of one's own that imports others."""
    name = f"own_imports_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return name


@pytest.mark.parametrize("attribute", ["loss", "wide", "Group", "Group.make"])
def test_what_a_module_of_ones_own_defines_is_a_plug_in(own: str, attribute: str) -> None:
    assert callable(load_plugin("metric", f"{own}:{attribute}"))


@pytest.mark.parametrize(
    ("attribute", "origin"),
    [
        ("os.getcwd", "os"),
        ("getcwd", "posix"),
        ("Path", "pathlib"),
        ("here.exists", "pathlib"),
        ("mse_loss", "torch.nn.functional"),
        ("torch.hub.load", "torch"),
    ],
)
def test_what_a_module_merely_imported_is_refused(own: str, attribute: str, origin: str) -> None:
    with pytest.raises(InputError) as caught:
        load_plugin("data.factory", f"{own}:{attribute}")
    assert str(caught.value) == (
        f"data.factory '{own}:{attribute}': comes from {origin!r}, which is no plug-in; write a "
        f"function of your own in {own!r} that calls it"
    )


def test_python_s_own_attributes_are_none_of_a_module(own: str) -> None:
    for attribute in ("__loader__.get_source", "loss.__class__", "__spec__"):
        with pytest.raises(InputError, match="has no"):
            load_plugin("metric", f"{own}:{attribute}")


def test_a_module_is_found_without_importing_its_package(installed, trace: Path) -> None:
    name, file = installed
    (file.parent / "__init__.py").write_text(MODULE.format(trace=str(trace)))
    found = find_module(f"{name}.losses")
    assert found is not None
    assert found.origin == str(file)
    assert not trace.exists()


def test_plug_ins_can_be_forbidden(own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = f"metric '{own}:loss': is a plug-in, which --no-plugins (or WSSS_NO_PLUGINS) forbids"
    with plugins_forbidden(), pytest.raises(InputError) as caught:
        load_plugin("metric", f"{own}:loss")
    assert str(caught.value) == expected
    assert own not in sys.modules
    monkeypatch.setenv("WSSS_NO_PLUGINS", "1")
    with plugins_forbidden(False), pytest.raises(InputError, match="forbids"):
        load_plugin("metric", f"{own}:loss")
    monkeypatch.setenv("WSSS_NO_PLUGINS", "0")
    with plugins_forbidden(False):
        assert load_plugin("metric", f"{own}:loss")() == 0
