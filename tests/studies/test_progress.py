"""Progress lines: counts, and an estimate of what is left."""

from typing import Any

import pytest

import studies.progress
from studies.configuration import Row
from studies.plan import Trial, Unit
from studies.progress import Progress, duration
from studies.sources import StudyImages
from wsss_core.data.scene_source import SceneSource
from wsss_core.data.scenes import SceneSettings

NO_IMAGES = StudyImages(SceneSource(SceneSettings(size=16)), 16, {})


def unit(name: str, seed: int) -> Unit:
    row = Row(paradigm="single", student="vit")
    trials = [Trial("key", name, 0, seed, row)]
    return Unit(
        "key", {"seed": seed, "student": {"model": "resnet18"}}, {}, NO_IMAGES, None, trials
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(studies.progress.time, "perf_counter", lambda: now[0])
    return now


def test_a_line_tells_the_number_the_time_and_what_is_left(clock: list[float]) -> None:
    said: list[str] = []
    units = [unit("ViT alone", seed) for seed in range(12)]
    progress = Progress(units, said.append)
    ok: dict[str, Any] = {"status": "ok", "error": None}
    clock[0] += 30
    progress.ended(units[0], ok)
    clock[0] += 30
    progress.ended(units[1], ok)
    for one in units[2:]:
        progress.ended(one, ok)
    # One of 12 in 30 s leaves 11 x 30 s; two in 60 s leave 10 x 30 s.
    assert said[0] == "[ 1/12] ViT alone, seed 0  (30 s, about 5 min 30 s left)"
    assert said[1] == "[ 2/12] ViT alone, seed 1  (1 min 00 s, about 5 min 00 s left)"
    assert said[-1] == "[12/12] ViT alone, seed 11  (1 min 00 s)"


@pytest.mark.parametrize("status", ["failed", "collapsed"])
def test_an_end_that_is_not_ok_says_why(clock: list[float], status: str) -> None:
    said: list[str] = []
    one = unit("ViT alone", 3)
    Progress([one], said.append).ended(one, {"status": status, "error": "no room"})
    assert said == [f"[1/1] ViT alone, seed 3  {status}: no room  (0 s)"]


def test_a_teacher_that_no_row_reports_is_called_by_its_model(clock: list[float]) -> None:
    said: list[str] = []
    teacher = Unit("key", {"seed": 0, "student": {"model": "resnet18"}}, {}, NO_IMAGES)
    Progress([teacher], said.append).ended(teacher, {"status": "ok"})
    assert said == ["[1/1] teacher resnet18, seed 0  (0 s)"]


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599.4, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (90061, "25 h 01 min"),
    ],
)
def test_a_duration_is_written_in_its_two_largest_units(seconds: float, written: str) -> None:
    assert duration(seconds) == written
