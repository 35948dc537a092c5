"""The command line: what each command prints, and its exit code."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import studies.ray_tune.runner
import studies.stages.job
from wsss_core.data.folder.source import FolderSource
from wsss_core.data.scenes.scene import SceneSettings
from wsss_core.data.scenes.source import SceneSource

Raw = dict[str, Any]
Write = Callable[[Raw], str]
Command = Callable[..., Any]


@pytest.mark.parametrize(
    ("command", "example"),
    [
        ([], "wsss run quickstart && wsss report results/quickstart"),
        (["plan"], "wsss plan smoke_crops --set data.root=DIR --set seeds=[0,1]"),
        (["run"], "wsss run quickstart --results results/quickstart"),
        (["report"], "wsss report results/quickstart"),
        (["export"], "wsss export results/quickstart --to tensorboard"),
        (["store"], "wsss store list results/quickstart/store"),
        (["store", "verify"], "wsss store verify s3://bucket/study/store --quarantine"),
        (["store", "gc"], "wsss store gc results/quickstart/store --delete"),
        (["data"], "wsss data check DIR"),
        (["data", "scenes"], "wsss data scenes scenes --train 1500 --chimney-given-clear 0.4"),
        (["data", "check"], "wsss data check DIR"),
        (["data", "import"], "wsss data import SMOKE5K DATA --tune 100"),
        (["weights"], "wsss weights fetch STUDY --out WEIGHTS"),
        (["weights", "fetch"], "wsss weights fetch my_study.yaml --out /shared/weights"),
    ],
)
def test_the_help_of_every_command_shows_an_example(
    wsss: Command, monkeypatch: pytest.MonkeyPatch, command: list[str], example: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ended = wsss(*command, "--help")
    assert ended.code == 0
    assert example in ended.out


@pytest.mark.parametrize(
    "arguments", [[], ["trian"], ["run"], ["run", "x", "--epochs", "3"], ["data"]]
)
def test_a_wrong_command_line_is_exit_code_2(wsss: Command, arguments: list[str]) -> None:
    ended = wsss(*arguments)
    assert ended.code == 2
    assert ended.out == ""


def test_plan_lists_every_trial_and_writes_nothing(
    wsss: Command, write_study: Write, tiny: Raw, tmp_path: Path
) -> None:
    ended = wsss("plan", write_study(tiny), "--results", tmp_path / "results")
    assert (ended.code, ended.err) == (0, "")
    for name in ("CNN alone", "ViT alone", "taught, cosine global"):
        assert name in ended.out
    assert "4 trials, 4 training runs to do: 5 passes over the training images" in ended.out
    assert not (tmp_path / "results").exists()


def test_plan_of_a_finished_study_has_nothing_to_do(
    wsss: Command, write_study: Write, tiny: Raw, finished: Any
) -> None:
    ended = wsss("plan", write_study(tiny), "--results", finished.results)
    assert ended.out.count("  done") == 4
    assert "0 training runs to do: 0 passes" in ended.out


def test_run_says_what_it_did_and_what_comes_next(
    wsss: Command, write_study: Write, tiny: Raw, tmp_path: Path
) -> None:
    tiny["configurations"] = tiny["configurations"][1:2]
    results = tmp_path / "results"
    ended = wsss("run", write_study(tiny), "--in-process", "--results", results)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0].startswith("images: train, tune, test checked and decoded in ")
    assert lines[1].startswith("networks: 1 pairs tried, each trained for a step, in ")
    assert lines[2] == "tiny: 1 trials, 0 done before, 1 training runs to go"
    assert lines[3].startswith("one after another in this process, on ")
    assert lines[4].startswith("[1/1] ViT alone, seed 0")
    assert lines[5].startswith("1 training runs, in ")
    assert lines[6] == f"next: wsss report {results}"


def test_run_of_a_finished_study_says_that_nothing_is_to_train(
    wsss: Command, write_study: Write, tiny: Raw, finished: Any, tmp_path: Path
) -> None:
    results = shutil.copytree(finished.results, tmp_path / "results")
    ended = wsss("run", write_study(tiny), "--results", results)
    assert (ended.code, ended.err) == (0, "")
    assert "nothing to train: all 4 trials were done" in ended.out


def test_a_failed_trial_is_exit_code_1_and_named(
    wsss: Command,
    write_study: Write,
    tiny: Raw,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> Raw:
        raise RuntimeError("disk on fire")

    monkeypatch.setattr(studies.stages.job, "train_job", fail)
    tiny["configurations"] = tiny["configurations"][1:2]
    command = ("run", write_study(tiny), "--in-process", "--results", str(tmp_path / "results"))
    ended = wsss(*command)
    assert ended.code == 1
    assert ended.err == "failed: ViT alone, seed 0: RuntimeError: disk on fire\n"
    assert f"1 trials remain; go on with: wsss {' '.join(command)}\n" in ended.out


def test_a_collapsed_trial_is_named_and_no_failure(
    wsss: Command, write_study: Write, tiny: Raw, tmp_path: Path
) -> None:
    tiny["configurations"] = tiny["configurations"][1:2]
    ended = wsss(
        "run", write_study(tiny), "--in-process", "--results", tmp_path / "results",
        "--set", "training.learning_rate=1e30",
    )  # fmt: skip
    assert ended.code == 0
    assert ended.err.startswith("collapsed: ViT alone, seed 0: the loss became ")
    assert "remain" not in ended.out


def test_a_run_broken_off_before_its_first_result_is_exit_code_130(
    wsss: Command,
    write_study: Write,
    tiny: Raw,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(studies.ray_tune.runner, "run_with_tune", lambda *_, **__: {})
    ended = wsss("run", write_study(tiny), "--results", tmp_path / "results")
    assert ended.code == 130
    assert "4 trials remain; go on with: wsss run " in ended.out
    assert "nothing to train: all" not in ended.out


def test_ctrl_c_is_exit_code_130(
    wsss: Command, write_study: Write, tiny: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> Raw:
        raise KeyboardInterrupt

    monkeypatch.setattr(studies.stages.job, "train_job", interrupt)
    command = ("run", write_study(tiny), "--in-process", "--results", str(tmp_path / "results"))
    ended = wsss(*command)
    said = f"interrupted; finished work is kept; go on with: wsss {' '.join(command)}"
    assert (ended.code, ended.err) == (130, f"wsss: {said}\n")


def test_results_go_to_a_folder_of_the_study_s_name_where_none_is_given(
    wsss: Command, write_study: Write, tiny: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny["study"] = "mine"
    tiny["configurations"] = tiny["configurations"][1:2]
    assert wsss("run", write_study(tiny), "--in-process").code == 0
    assert (tmp_path / "results" / "mine" / "ledger" / "plan" / "mine.parquet").is_file()
    assert (tmp_path / "results" / "mine" / "store" / "train").is_dir()


def test_report_prints_where_the_page_is(wsss: Command, finished: Any, tmp_path: Path) -> None:
    ended = wsss("report", finished.results, "--out", tmp_path / "report")
    assert (ended.code, ended.err) == (0, "")
    page = Path(ended.out.strip())
    assert page == tmp_path / "report" / "report.html"
    assert "Does it hold together?" in page.read_text(encoding="utf-8")


def test_report_of_a_folder_without_a_ledger_is_exit_code_2(wsss: Command, tmp_path: Path) -> None:
    ended = wsss("report", tmp_path)
    assert ended.code == 2
    assert ended.err.startswith("wsss: ")
    assert ended.err.count("\n") == 1


def test_scenes_are_written_as_a_folder_that_the_check_describes(
    wsss: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "scenes"
    written = wsss(
        "data", "scenes", folder, "--size", 32, "--train", 12, "--tune", 5, "--test", 6,
        "--seed", 1, "--chimney-given-smoke", 1, "--chimney-given-clear", 0,
    )  # fmt: skip
    assert (written.code, written.err) == (0, "")
    assert written.out == f"23 scenes in {folder}; see {folder / 'contact_sheet.png'}\n"
    settings = SceneSettings(size=32, seed=1, chimney_given_smoke=1.0, chimney_given_clear=0.0)
    source = SceneSource(settings, train=12, tune=5, test=6)
    for split in ("train", "tune", "test"):
        expected, found = source.read(split, 32), FolderSource(folder).read(split, 32)
        by_name = {Path(name).stem: index for index, name in enumerate(found.identifiers)}
        order = [by_name[name] for name in expected.identifiers]
        np.testing.assert_array_equal(found.images[order], expected.images)
        np.testing.assert_array_equal(found.labels[order], expected.labels)
    assert Image.open(folder / "contact_sheet.png").width > 4 * 32
    checked = wsss("data", "check", folder)
    assert (checked.code, checked.err) == (0, "")
    assert "12" in checked.out
    assert "smoke" in checked.out


def test_scenes_are_not_written_over_what_is_there(wsss: Command, smoke_folder: Path) -> None:
    ended = wsss("data", "scenes", smoke_folder, "--size", 32, "--train", 12)
    assert ended.code == 2
    assert ended.err == (
        f"wsss: {smoke_folder}: folder is not empty, expected a new or an empty one\n"
    )


def test_the_check_of_a_bad_folder_names_the_file(wsss: Command, smoke_folder: Path) -> None:
    (smoke_folder / "tune" / "masks" / "a.png").unlink()
    ended = wsss("data", "check", smoke_folder)
    assert ended.code == 2
    assert ended.err.startswith(f"wsss: {smoke_folder / 'tune' / 'images' / 'a.png'}: image wit")
    assert ended.err.count("\n") == 1


def test_the_command_line_itself_loads_neither_torch_nor_ray() -> None:
    program = (
        "import sys; import studies.cli.main; "
        "print(sorted({'torch', 'ray', 'timm', 'pandas'} & set(sys.modules)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "[]"


def test_a_plan_with_its_estimate_loads_neither_torch_nor_pandas(
    write_study: Write, tiny: Raw, finished: Any
) -> None:
    tiny["seeds"] = [0, 1]
    # Where there is a GPU, torch counts how many.
    program = (
        "import sys; import studies.cli.plan_summary; from studies.cli.main import main; "
        "studies.cli.plan_summary.this_machine = lambda: {'CPU': 2.0, 'memory': 2.0**33}; "
        f"main(['plan', {write_study(tiny)!r}, '--results', {str(finished.results)!r}]); "
        "print(sorted({'torch', 'ray', 'timm', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "cost of what is left, from the trials measured here (4, " in ended.stdout
    assert ended.stdout.splitlines()[-1] == "[]"
