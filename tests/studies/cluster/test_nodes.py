"""Checking the nodes of a Ray on this machine, for a study, for masks and without a run."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from studies.cluster.check import check_nodes, probe_nodes, require_ready
from studies.cluster.checks.code import CodeCheck, PluginsCheck, code_facts
from studies.masks.recipe import MaskSelection, choose_recipe
from studies.masks.stream import checks_for_masks
from studies.masks.worker import MaskJob
from studies.planning.job import TrainingJob
from studies.planning.plan import Plan
from studies.planning.planner import make_plan
from studies.spec.study import Study
from studies.stages.handover import RunContext
from studies.store.artifacts import ArtifactStore
from studies.store.processes import process_of
from wsss_core.errors import InputError

Raw = dict[str, Any]
PLUGIN = (
    "VERSION = 2\ndef far(student, teacher, level):\n    return (student - teacher).abs().mean()\n"
)

STOPPED_ONCE = """
import os, signal
from pathlib import Path
VERSION = 1
def loss(student, teacher, level):
    return (student - teacher).abs().mean()
file = Path(__file__).with_name("stopped")
if not file.exists():
    file.write_text(str(os.getpid()))
    os.kill(os.getpid(), signal.SIGSTOP)
"""

Logged = Callable[[], list[str]]


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Logged:
    """All that the checks have logged so far."""
    caplog.set_level(logging.INFO, "studies.cluster.check")
    return lambda: caplog.messages


@pytest.fixture
def ready_to_run(tiny: Raw, tmp_path: Path) -> tuple[Plan, list[TrainingJob], RunContext]:
    plan = make_plan(Study.model_validate(tiny))
    store = ArtifactStore(tmp_path / "store")
    return plan, list(plan.jobs.values()), RunContext.of(plan, store, tmp_path)


def test_one_node_that_is_ready_is_not_logged_and_keeps_nothing(
    ray_here: None,
    ready_to_run: tuple[Plan, list[TrainingJob], RunContext],
    tmp_path: Path,
    logged: Logged,
) -> None:
    check_nodes(*ready_to_run)
    assert logged() == []
    assert not [file for file in tmp_path.rglob("*") if "node-check" in file.name]


def test_a_table_and_a_closing_line_of_one_node_are_logged_on_request(
    ray_here: None, ready_to_run: tuple[Plan, list[TrainingJob], RunContext], logged: Logged
) -> None:
    check_nodes(*ready_to_run, always_log=True)
    said = logged()
    assert len(said) == 3
    assert said[0].split()[:3] == ["node", "host", "address"]
    assert said[2] == "1 node ready: 2 CPUs"


@pytest.fixture
def job(finished: Any, tmp_path: Path) -> MaskJob:
    """Masks of one image by the tiny study's best network."""
    Image.new("RGB", (40, 40)).save(tmp_path / "one.png")
    (tmp_path / "masks").mkdir()
    recipe, _ = choose_recipe(finished.results, finished.store, MaskSelection())
    return MaskJob(recipe, str(tmp_path), str(tmp_path / "masks"))


def check_for_masks(job: MaskJob, plugins: dict[str, str], import_path: str) -> None:
    require_ready(checks_for_masks(job, "one.png", plugins, import_path, gpus=False))


def test_a_node_that_can_make_masks_is_not_logged_and_keeps_nothing(
    ray_here: None, job: MaskJob, logged: Logged
) -> None:
    check_for_masks(job, {}, ".")
    assert logged() == []
    assert not [file for file in Path(job.out).rglob("*") if "node-check" in file.name]


def test_a_plug_in_that_a_node_cannot_import_is_named_with_the_node(
    ray_here: None, job: MaskJob
) -> None:
    with pytest.raises(InputError, match=r"^node .*: plug-in 'no_such_module:loss': module "):
        check_for_masks(job, {"no_such_module:loss": "1"}, ".")


def test_a_plug_in_of_another_version_on_a_node_is_refused(
    ray_here: None, job: MaskJob, tmp_path: Path
) -> None:
    (tmp_path / "versioned_losses.py").write_text(PLUGIN)
    check_for_masks(job, {"versioned_losses:far": "2"}, str(tmp_path))
    said = r"^node .*: has version 2 of versioned_losses:far, the driver has version 1$"
    with pytest.raises(InputError, match=said):
        check_for_masks(job, {"versioned_losses:far": "1"}, str(tmp_path))


def test_a_node_that_does_not_answer_in_time_is_named_with_the_limit(
    ray_here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hanging_losses.py").write_text("import time\ntime.sleep(60)\n")
    began = time.monotonic()
    hanging = PluginsCheck({"hanging_losses:loss": "1"}, str(tmp_path))
    monkeypatch.setenv("WSSS_PROBE_TIMEOUT", "1")
    said = r"^node .*: does not answer within 1 s \(WSSS_PROBE_TIMEOUT\)$"
    with pytest.raises(InputError, match=said):
        require_ready([CodeCheck(code_facts()), hanging])
    assert time.monotonic() - began < 20


@pytest.mark.ci
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="knows processes by /proc")
def test_of_a_worker_that_stands_still_on_a_node_that_works_a_second_one_answers(
    ray_here: None, tmp_path: Path
) -> None:
    (tmp_path / "stopped_once.py").write_text(STOPPED_ONCE)
    (report,) = probe_nodes([PluginsCheck({"stopped_once:loss": "1"}, str(tmp_path))], limit=40.0)
    assert report.failure is None
    assert report.facts == {PluginsCheck: []}
    stopped = int((tmp_path / "stopped").read_text())
    deadline = time.monotonic() + 60
    while (alive := not process_of(stopped).endswith("-")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive, "the worker that stood still was not ended"


def test_a_worker_that_dies_of_a_plug_in_is_a_problem_of_its_node(
    ray_here: None, tmp_path: Path
) -> None:
    (tmp_path / "fatal_losses.py").write_text("import os\nos._exit(1)\n")
    (report,) = probe_nodes([PluginsCheck({"fatal_losses:loss": "1"}, str(tmp_path))])
    assert report.facts == {}
    assert str(report.failure).startswith("cannot be checked: WorkerCrashedError: ")
    assert not report.cut_off


def test_a_node_with_other_code_keeps_the_checks_packed(ray_here: None, tmp_path: Path) -> None:
    (tmp_path / "untouched_losses.py").write_text("raise AssertionError('was imported')\n")
    driver = CodeCheck({**code_facts(), "source": "another"})
    (report,) = probe_nodes([driver, PluginsCheck({"untouched_losses:loss": "1"}, str(tmp_path))])
    assert report.facts == {CodeCheck: code_facts()}


def test_a_plan_that_is_checked_ends_with_the_closing_line_and_trains_nothing(
    ray_here: None, tiny: Raw, write_study: Callable[[Raw], str], wsss: Callable[..., Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    ended = wsss("plan", write_study(tiny), "--check", "--results", tmp_path / "results")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[-1] == "1 node ready: 2 CPUs"
    assert not ArtifactStore(tmp_path / "results" / "store").folder.joined("train").folders()


def test_the_first_jobs_of_a_search_are_checked_too(
    ray_here: None, tiny: Raw, write_study: Callable[[Raw], str], wsss: Callable[..., Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    tiny["configurations"] = tiny["configurations"][:1]
    tiny["search"] = {
        "paradigm": "teacher-student", "student": "vit", "teacher": "cnn", "trials": 2,
        "seeds": [10], "space": {"metric": ["cosine"], "lambda": {"low": 0.1, "high": 1}},
    }  # fmt: skip
    tiny["backbones"]["vit"]["options"]["patch_size"] = 7  # does not divide 32 pixels
    ended = wsss("plan", write_study(tiny), "--check", "--results", tmp_path / "results")
    assert ended.code == 2
    assert "vit_tiny_patch16_224" in ended.err
    assert "patch" in ended.err


def test_of_a_finished_study_nothing_is_checked(
    finished: Any, write_study: Callable[[Raw], str], shared_tiny: Raw, wsss: Callable[..., Any]
) -> None:
    ended = wsss("plan", write_study(shared_tiny), "--check", "--results", finished.results)
    assert ended.code == 0
    assert ended.out.splitlines()[-1] == "nothing is left to run, so nothing is checked"


def test_a_plan_asks_no_cluster_unless_it_is_checked(
    tiny: Raw, write_study: Callable[[Raw], str], wsss: Callable[..., Any], tmp_path: Path
) -> None:
    ended = wsss("plan", write_study(tiny), "--address", "127.0.0.1:1", "--results", tmp_path)
    assert ended.code == 2
    assert (
        ended.err == "wsss: --address: plan asks the cluster only with --check; give --check too\n"
    )
