"""The origin of a result: its code, plug-ins with their helpers, packages, processor."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from studies.store import origin

PLUGIN = '''"""A loss."""

from origin_helper import scale

VERSION = 1


def margin(a, b):
    """Compare."""
    return scale(a - b)  # a comment
'''
HELPER = "from . import *\nimport json\n\ndef scale(x):\n    return 2 * x\n"


@pytest.fixture
def digest_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Write a plug-in and its helper; return the plug-in's digest."""
    monkeypatch.syspath_prepend(tmp_path)

    def written(plugin: str = PLUGIN, helper: str = HELPER) -> str:
        (tmp_path / "origin_plugin.py").write_text(plugin)
        (tmp_path / "origin_helper.py").write_text(helper)
        origin.plugin_digest.cache_clear()
        return origin.plugin_digest("origin_plugin:margin")

    return written


def test_a_digest_is_of_what_code_says_and_not_of_how_it_is_laid_out(
    digest_of: Callable[..., str],
) -> None:
    before = digest_of()
    same = PLUGIN.replace("# a comment", "# another").replace("Compare.", "Compare two.")
    assert digest_of(same.replace("\n\n\n", "\n\n\n\n")) == before
    assert digest_of(PLUGIN.replace("a - b", "b - a")) != before


def test_a_helper_beside_a_plug_in_is_part_of_it(digest_of: Callable[..., str]) -> None:
    assert digest_of(helper=HELPER.replace("2 * x", "3 * x")) != digest_of()
    assert digest_of(helper="not python (") != digest_of()


def test_a_module_of_a_package_is_digested_with_the_modules_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "origin_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "loss.py").write_text("from .inner import scale\nfrom . import other\n")
    digests = []
    for inner, other in (("scale = 2", "x = 1"), ("scale = 3", "x = 1"), ("scale = 2", "x = 2")):
        (package / "inner.py").write_text(inner)
        (package / "other.py").write_text(other)
        origin.plugin_digest.cache_clear()
        digests.append(origin.plugin_digest("origin_package.loss:margin"))
    assert len(set(digests)) == 3


def test_the_method_s_digest_changes_with_its_code_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("wsss_core", "studies/stages", "reports"):
        (tmp_path / part).mkdir(parents=True)
        (tmp_path / part / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(origin, "_HOUSE", tmp_path)

    def digest() -> str:
        origin.folders_digest.cache_clear()
        origin.method_digest.cache_clear()
        return origin.method_digest()

    before = digest()
    (tmp_path / "reports" / "a.py").write_text("x = 2\n")
    assert digest() == before
    (tmp_path / "wsss_core" / "a.py").write_text('"""What it is."""\n\nx = 1  # one\n')
    assert digest() == before
    (tmp_path / "wsss_core" / "a.py").write_text("x = 2\n")
    assert digest() != before
    (tmp_path / "wsss_core" / "a.py").write_text("x = 1\n")
    (tmp_path / "studies" / "stages" / "b.py").write_text("")
    assert digest() != before
    origin.folders_digest.cache_clear()
    origin.method_digest.cache_clear()


def test_plug_ins_are_found_at_any_depth_of_settings(digest_of: Callable[..., str]) -> None:
    digest = digest_of()
    settings = {"transfer": {"metric": "origin_plugin:margin"}, "steps": [["l1", 3, None]]}
    made = origin.origin(["cosine", settings, "origin_plugin:margin"])
    assert json.loads(str(made["plugin_digests"])) == {"origin_plugin:margin": digest}
    assert origin.origin(settings["steps"])["plugin_digests"] is None
    assert json.loads(str(made["packages"]))["torch"]
    assert made["processor"]
    assert made["threads"] == sys.modules["torch"].get_num_threads()


def test_a_plug_in_that_is_no_source_file_is_unknown() -> None:
    assert origin.plugin_digest("math:sqrt") == "unknown"
    assert origin.plugin_digest("origin_nowhere:loss") == "unknown"
