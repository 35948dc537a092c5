"""A researcher's own loss, backbone and images in a study, from names to the ledger."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports.ledger.parts import read_table
from studies.planning.planner import make_plan
from studies.spec.study import Study
from wsss_core.errors import InputError

Raw = dict[str, Any]
DOCS = Path(__file__).parents[3] / "docs" / "your_own_method.md"


def example() -> str:
    """The loss that the page of the documentation shows."""
    return DOCS.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]


BACKBONE = """
from wsss_core.backbones import build_network
VERSION = 1
def narrow(classes, image_size, width):
    return build_network("resnet18", classes=classes, image_size=image_size, output_stride=8,
                         options={"channels": [width] * 4})
"""
IMAGES = """
from wsss_core.data.scenes.source import SceneSource
from wsss_core.data.scenes.scene import SceneSettings
VERSION = 1
def few(count):
    return SceneSource(SceneSettings(size=32), train=count, tune=8, test=8)
def nothing():
    return object()
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with three modules of one's own."""
    (tmp_path / "own_losses.py").write_text(example())
    (tmp_path / "own_backbones.py").write_text(BACKBONE)
    (tmp_path / "own_images.py").write_text(IMAGES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_documented_loss_runs_in_a_study_as_any_other(
    here: Path, taught: Raw, run: Callable[..., Any]
) -> None:
    taught["configurations"][0] |= {"metric": "own_losses:hinge", "lambda": 2}
    del taught["configurations"][0]["level"]
    finished = run(taught, here / "results")
    assert finished.result.failed == {}
    trials = read_table(here / "results", "trials")
    assert '"own_losses:hinge":"1"' in trials["settings"].iloc[0]


def test_a_backbone_and_images_of_ones_own_run_as_any_other(
    here: Path, tiny: Raw, run: Callable[..., Any]
) -> None:
    tiny["backbones"]["cnn"] = {"model": "own_backbones:narrow", "options": {"width": 6}}
    tiny["data"] = {
        "source": "plugin", "factory": "own_images:few", "size": 32, "options": {"count": 24},
    }  # fmt: skip
    finished = run(tiny, here / "results")
    assert finished.result.failed == {}
    assert set(finished.plan.plugins) == {"own_backbones:narrow"}
    assert len(read_table(here / "results", "trials")) == 4


def test_another_version_is_another_trial(here: Path, taught: Raw) -> None:
    taught["configurations"][0]["metric"] = "own_losses:hinge"
    study = Study.model_validate(taught)
    first = make_plan(study).trials[0].key
    import own_losses  # planning has found it in the working directory

    own_losses.VERSION = 2
    assert make_plan(study).trials[0].key != first


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metric": "own_losses:nothing"}, "metric 'own_losses:nothing': module .* has no"),
        ({"projection": "nowhere:at_all"}, "projection 'nowhere:at_all': module 'nowhere' cannot"),
    ],
)
def test_what_cannot_be_imported_is_refused_when_planned(
    here: Path, taught: Raw, change: Raw, said: str
) -> None:
    taught["configurations"][0] |= change
    with pytest.raises(InputError, match=said):
        make_plan(Study.model_validate(taught))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"factory": "own_images:nothing"}, "what it returns has no 'classes'"),
        ({"factory": "own_images:few", "options": {"many": 3}}, "unexpected keyword argument"),
    ],
)
def test_images_that_are_no_source_are_refused_when_planned(
    here: Path, tiny: Raw, data: Raw, said: str
) -> None:
    tiny["data"] = {"source": "plugin", "size": 32, **data}
    with pytest.raises(InputError, match=said):
        make_plan(Study.model_validate(tiny))


@pytest.mark.parametrize("value", [(1, 2), {1: "one"}, [{"deep": Path("x")}], len, {1, 2}])
def test_options_that_are_not_plain_data_are_refused(here: Path, tiny: Raw, value: object) -> None:
    options = {"count": 24, "more": value}
    tiny["data"] = {
        "source": "plugin", "size": 32, "factory": "own_images:few", "options": options,
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"'more' holds .* expected plain data"):
        Study.model_validate(tiny)


def test_what_a_factory_raises_is_one_line(here: Path, tiny: Raw) -> None:
    (here / "failing_images.py").write_text("VERSION = 1\ndef all(): raise KeyError('two\\nlines')")
    tiny["data"] = {"source": "plugin", "size": 32, "factory": "failing_images:all"}
    with pytest.raises(InputError) as caught:
        make_plan(Study.model_validate(tiny))
    assert str(caught.value).startswith("data.factory 'failing_images:all' with {}: KeyError: ")
    assert "\n" not in str(caught.value)
