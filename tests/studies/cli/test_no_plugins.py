"""`--no-plugins`: files from strangers run no code but the toolkit's, and say so in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Raw = dict[str, Any]

RULES = """
VERSION = 1
def half(tune, scores):
    return 128
def steady(images, scores):
    return scores
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a module of one's own."""
    (tmp_path / "stranger.py").write_text(RULES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WSSS_NO_PLUGINS", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def results(
    run: Callable[..., Any], shared_tiny: Raw, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished study whose thresholds a plug-in chooses."""
    folder = tmp_path_factory.mktemp("strangers")
    with pytest.MonkeyPatch.context() as patch:
        (folder / "stranger.py").write_text(RULES)
        patch.chdir(folder)
        rules = {"rules": ["stranger:half"]}
        configurations = shared_tiny["configurations"][:1]
        study = {**shared_tiny, "configurations": configurations, "thresholds": rules}
        finished = run(study, folder / "results")
    return Path(finished.results)


@pytest.mark.parametrize("command", ["report", "export", "thresholds", "masks"])
def test_results_of_a_study_with_plug_ins_are_refused(
    wsss: Callable[..., Any], here: Path, results: Path, command: str
) -> None:
    images = ("--images", here, "--out", here / "masks", "--in-process") * (command == "masks")
    tool = ("--to", "csv") * (command == "export")
    ended = wsss(command, results, *images, *tool, "--no-plugins")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.splitlines()[-1] == (
        "wsss: threshold rule 'stranger:half': is a plug-in, which --no-plugins (or "
        "WSSS_NO_PLUGINS) forbids"
    )
    assert "Traceback" not in ended.err


CHANGES: dict[str, Raw] = {
    "thresholds": {"thresholds": {"rules": ["stranger:half"]}},
    "chains": {"refine": {"own": ["stranger:steady"]}},
    "data": {"data": {"source": "plugin", "factory": "stranger:half", "size": 32}},
    "backbone": {"backbones": {"cnn": {"model": "stranger:half"}}},
}


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize("key", CHANGES)
def test_a_study_with_plug_ins_is_refused_before_anything_runs(
    wsss: Callable[..., Any], here: Path, tiny: Raw, command: str, key: str
) -> None:
    change = CHANGES[key]
    backbones = {**tiny["backbones"], **change.get("backbones", {})}
    (here / "study.yaml").write_text(yaml.safe_dump({**tiny, **change, "backbones": backbones}))
    ended = wsss(command, here / "study.yaml", "--results", here / "out", "--no-plugins")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "is a plug-in, which --no-plugins (or WSSS_NO_PLUGINS) forbids" in ended.err
    assert not (here / "out" / "ledger").exists()


def test_a_study_without_plug_ins_is_planned(
    wsss: Callable[..., Any], here: Path, tiny: Raw
) -> None:
    (here / "study.yaml").write_text(yaml.safe_dump(tiny))
    asked = ("plan", here / "study.yaml", "--results", here / "out")
    assert wsss(*asked, "--no-plugins").out == wsss(*asked).out


FACTORIES = """
from pathlib import Path
def images(**options):
    Path("called").touch()
"""


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"factory": "os:mkdir", "options": {"path": "called"}}, "'os' is a module of Python's"),
        ({"factory": "PIL.Image:new", "options": {"mode": "L"}}, "does not declare itself"),
        ({"factory": "bare_factory:images"}, "declares no version"),
        ({"factory": "bare_factory:Path.touch"}, "comes from 'pathlib', which is no plug-in"),
    ],
)
def test_a_data_factory_that_is_no_plug_in_is_never_called(
    wsss: Callable[..., Any], here: Path, tiny: Raw, data: Raw, said: str
) -> None:
    (here / "bare_factory.py").write_text(FACTORIES)
    tiny["data"] = {"source": "plugin", "size": 32, **data}
    (here / "study.yaml").write_text(yaml.safe_dump(tiny))
    ended = wsss("plan", here / "study.yaml", "--results", here / "out")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith(f"wsss: data.factory '{data['factory']}'")
    assert said in ended.err
    assert not (here / "called").exists()
