"""A researcher's own method by name."""

from pathlib import Path

import pytest

from wsss_core.errors import InputError
from wsss_core.plugins import is_plugin, load_plugin, plugin_version


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the working directory, no installed package."""
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(
        "VERSION = 3\ndef loss(): ...\ndef newer(): ...\nnewer.version = 4\nnumber = 1\n"
        "class Group:\n    def inner(self): ...\n"
    )
    monkeypatch.chdir(tmp_path)
    return name


@pytest.mark.parametrize("name", ["cosine", "a:b:c", ":b", "a:", "a b:c", None, 1])
def test_other_names_are_no_plugins(name):
    assert not is_plugin(name)


def test_a_module_in_the_working_directory_is_found(module):
    assert load_plugin("metric", f"{module}:loss").__name__ == "loss"
    assert load_plugin("metric", f"{module}:Group.inner").__name__ == "inner"


def test_the_version_is_the_objects_own_or_its_modules(module):
    assert plugin_version("metric", f"{module}:loss") == "3"
    assert plugin_version("metric", f"{module}:newer") == "4"


def test_without_a_version_the_error_says_how_to_declare_one(module, tmp_path):
    (tmp_path / f"{module}_bare.py").write_text("def loss(): ...\n")
    with pytest.raises(InputError, match="declares no version; set VERSION = 1"):
        plugin_version("metric", f"{module}_bare:loss")


@pytest.mark.parametrize(
    ("attribute", "said"),
    [("nothing", "has no 'nothing'"), ("number", "expected something to call, got int")],
)
def test_what_a_module_lacks_is_named(module, attribute, said):
    with pytest.raises(InputError, match=said):
        load_plugin("metric", f"{module}:{attribute}")


def test_a_module_that_fails_to_load_says_why_in_one_line(module, tmp_path):
    (tmp_path / f"{module}_bad.py").write_text("raise RuntimeError('two\\nlines')\n")
    with pytest.raises(InputError) as caught:
        load_plugin("metric", f"{module}_bad:loss")
    assert str(caught.value).endswith("cannot be imported: RuntimeError: two lines")


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(InputError, match="module 'nowhere' cannot be imported"):
        load_plugin("metric", "nowhere:loss")
