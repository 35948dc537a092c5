"""Studies from Python: loading, planning, running, and the results that come back."""

import os
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from PIL import Image

import studies
import studies.stages.job
from reports.results.reading import read_studies
from wsss_core.data.scenes import SceneSettings, SceneSource, write_scenes
from wsss_core.errors import InputError
from wsss_core.version import checkout_version

ROOT = Path(__file__).parents[2]
Raw = dict[str, Any]


def test_importing_studies_and_loading_one_needs_neither_ray_nor_torch(
    fresh_python: Any, tmp_path: Path
) -> None:
    code = (
        "import studies, sys\n"
        "print(sorted({'ray', 'torch', 'pandas', 'matplotlib', 'pydantic'} & set(sys.modules)))\n"
        "studies.load_study('quickstart', {'seeds': [0]})\n"
        "print(sorted({'ray', 'torch'} & set(sys.modules)))\n"
    )
    assert fresh_python(code, tmp_path).stdout == "[]\n[]\n"


def test_every_exported_name_is_there() -> None:
    assert all(hasattr(studies, name) for name in studies.__all__)
    assert not hasattr(studies, "no_such_name")


def test_the_version_of_a_checkout_is_that_of_its_project_file() -> None:
    assert checkout_version(ROOT / "pyproject.toml").endswith("+checkout")
    assert checkout_version(ROOT / "nowhere.toml") == "0+unknown"


@pytest.mark.parametrize("package", ["studies", "reports", "wsss_core"])
def test_a_package_says_that_it_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def test_a_study_is_loaded_from_a_mapping_a_file_or_a_study_alike(tiny: Raw, write_study) -> None:
    from_mapping = studies.load_study(tiny, {"seeds": range(2)})
    assert from_mapping == studies.load_study(Path(write_study(tiny)), ["seeds=[0,1]"])
    assert from_mapping == studies.load_study(studies.load_study(tiny), {"seeds": (0, 1)})
    assert from_mapping.seeds == [0, 1]


def test_changes_leave_the_mapping_as_it_was(tiny: Raw) -> None:
    changed = studies.load_study(
        tiny, {"training.epochs": np.int64(3), "configurations.0.name": "C"}
    )
    assert (changed.training.epochs, changed.named_configurations()[0][0]) == (3, "C")
    assert tiny["training"]["epochs"] == 1
    assert "name" not in tiny["configurations"][0]


def test_a_variant_of_a_mapping_is_taken_by_its_name(tiny: Raw) -> None:
    tiny["variants"] = {"long": {"training.epochs": 9}}
    study = studies.load_study(tiny, variant="long")
    assert (study.study, study.training.epochs) == ("tiny-long", 9)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training.epoch": 1}, "study 'tiny': training: unknown key 'epoch'; nearest: 'epochs'"),
        ({"data": {1: 2}}, "data: key 1: expected a text"),
        ({"title": object}, "title: <class 'object'> of type type: expected a mapping, a list"),
        ({"title": "a\x07"}, "holds the control character U+0007"),
        ({"title": "???"}, 'title has no value yet; give it with {"title": VALUE}'),
        ("seeds=0", "expected a mapping"),
    ],
)
def test_a_wrong_change_is_one_line_that_names_the_key(tiny: Raw, changes: Any, said: str) -> None:
    with pytest.raises(InputError) as error:
        studies.load_study(tiny, changes)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrong", [None, 5])
def test_a_study_of_another_type_is_named(wrong: Any) -> None:
    with pytest.raises(InputError, match=f"^study {wrong}: expected a shipped study's name, a fil"):
        studies.load_study(wrong)


def test_a_mapping_as_a_change_replaces_the_section(tiny: Raw) -> None:
    one = studies.load_study(tiny, {"training": {"epochs": 3, "batch_size": 5}})
    two = studies.load_study(one, {"training": {"epochs": 2}}).training
    assert (two.epochs, two.batch_size) == (2, type(two)().batch_size)


def test_a_plan_prints_every_trial_with_its_teacher(tiny: Raw) -> None:
    tiny["title"] = "<b>&"
    plan = studies.plan_study(tiny)
    text, html = repr(plan), plan._repr_html_()
    teacher = next(job.parent for job in plan.jobs.values() if job.parent)
    for trial in plan.trials:
        assert trial.key in text
        assert f"<td>{trial.key}</td>" in html
    assert text.count(teacher) == 2  # its own row, and that of the student it teaches
    assert "4 trials, 4 training runs" in text
    assert "&lt;b&gt;&amp;" in html


@pytest.fixture
def opened(finished: Any) -> studies.Results:
    return studies.open_results(finished.results)


def test_outcomes_are_one_row_a_trial_and_equal_those_of_reports(
    opened: studies.Results, finished: Any
) -> None:
    frame = opened.outcomes(split="test", rule="tuned")
    assert list(frame["trial_key"]) == [trial.key for trial in finished.plan.trials]
    record = read_studies(finished.results)[0]
    for row in frame.itertuples():
        trial = record.trials[row.configuration, row.seed]
        expected = trial.figure("dataset_iou", rule="tuned", class_name="smoke")
        assert row.dataset_iou == expected


def test_trials_have_their_status_and_configuration(opened: studies.Results) -> None:
    frame = opened.trials
    assert list(frame["status"]) == ["ok"] * 4
    assert list(frame["paradigm"]) == ["single", "single", "teacher-student", "co-training"]
    assert frame["started_at"].notna().all()


def test_a_table_prints_as_markdown_html_and_latex(opened: studies.Results) -> None:
    table = opened.table("strategies")
    assert list(table.frame["configuration"])[:2] == ["CNN alone", "ViT alone"]
    assert "| CNN alone |" in repr(table)
    assert "<table>" in table._repr_html_()
    assert r"\begin{tabular}" in table.to_latex()
    assert len(table.numbers) == len(table.rows)


def test_every_figure_draws_and_shows_itself(opened: studies.Results, tmp_path: Path) -> None:
    assert {"seeds", "panels", "training"} <= set(opened.figure_names())
    figure = opened.figure("seeds")
    assert "<svg" in figure._repr_svg_()
    figure.savefig(tmp_path / "seeds.png")
    pixels = matplotlib.image.imread(tmp_path / "seeds.png")
    assert pixels[0, 0].tolist() == [1, 1, 1, 1]  # a white ground, also in a dark notebook


def test_thresholds_status_and_report(opened: studies.Results, tmp_path: Path) -> None:
    assert set(opened.thresholds()["rule"]) >= {"tuned", "fixed", "dataset_oracle"}
    assert "4 trials: 4 done" in repr(opened.status())
    assert opened.report(tmp_path / "report").html.is_file()
    assert "tiny; trials: 4 ok" in repr(opened)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda r: r.table("strategy"), "table 'strategy': nearest: 'strategies'; expected one of"),
        (lambda r: r.figure("seed"), "figure 'seed': nearest: 'seeds'; expected one of"),
        (lambda r: r.outcomes(rule="tunned"), "rule 'tunned': nearest: 'tuned'; expected one of"),
        (lambda r: r.outcomes(split="val"), "split 'val': expected one of test, tune"),
        (lambda r: r.outcomes(chain="CRF"), "chain 'CRF': expected one of none"),
        (lambda r: r.table("trials", study="b"), "study 'b': expected one of tiny"),
        (lambda r: studies.open_results(r.folder, study="b"), "study 'b': expected one of tiny"),
        (lambda r: studies.open_results(r.folder / "no"), "no plan in a ledger there"),
    ],
)
def test_an_unknown_name_is_one_line_with_the_names_there_are(
    opened: studies.Results, ask: Any, said: str
) -> None:
    with pytest.raises(InputError) as error:
        ask(opened)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("option", ["threshold", "uncertain", "batch"])
def test_an_option_of_masks_that_is_no_number_is_named(
    opened: studies.Results, option: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"^{option} '0.5': expected a number$"):
        opened.masks(tmp_path, tmp_path / "masks", in_process=True, **{option: "0.5"})


def test_masks_in_this_process_refuse_a_cluster(opened: studies.Results, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^address: a cluster runs Ray; leave out in_process$"):
        opened.masks(tmp_path, tmp_path / "masks", in_process=True, address="auto")


@pytest.mark.parametrize(
    "command",
    [["run", "quickstart", "--results", "new"], ["masks", "no", "--images", "no", "--out", "new"]],
)
def test_a_command_in_this_process_refuses_a_cluster(
    command: list[str], tmp_path: Path, monkeypatch: Any, wsss: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    said = wsss(*command, "--in-process", "--address", "auto")
    assert said.code == 2
    assert "--address: a cluster runs Ray; leave out --in-process" in said.err
    assert not list(tmp_path.iterdir())


def test_masks_of_a_folder_are_made(opened: studies.Results, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "images" / "a.png")
    made = opened.masks(tmp_path / "images", tmp_path / "masks", in_process=True)
    assert (made.written, made.failed) == (1, {})
    assert Image.open(tmp_path / "masks" / "a.png").size == (30, 20)


@pytest.mark.ci
def test_a_study_on_scenes_runs_from_python(tiny: Raw, tmp_path: Path) -> None:
    tiny["configurations"] = tiny["configurations"][:1]
    results = studies.run_study(tiny, tmp_path, in_process=True)
    assert results.run is not None
    assert (results.run.trained, len(results.outcomes())) == (1, 1)
    again = studies.run_study(tiny, str(tmp_path), in_process=True)
    assert again.run is not None
    assert (again.run.trained, again.run.reused) == (0, 1)


@pytest.mark.ci
def test_a_study_on_a_folder_runs_from_python(tiny: Raw, tmp_path: Path) -> None:
    write_scenes(SceneSource(SceneSettings(size=32), train=16, tune=8, test=8), tmp_path / "data")
    tiny["data"] = {"source": "folder", "root": tmp_path / "data", "size": 32}
    tiny["configurations"] = tiny["configurations"][1:2]
    results = studies.run_study(tiny, tmp_path / "results", in_process=True)
    assert list(results.outcomes()["configuration"]) == ["ViT alone"]


@pytest.mark.ci
def test_failed_trials_are_a_warning_and_the_others_have_results(
    tiny: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = studies.stages.job.train_job

    def fail_for_vit(job: Any, *rest: Any, **more: Any) -> Any:
        if "vit" in job.settings["student"]["model"]:
            raise RuntimeError("disk on fire")
        return train(job, *rest, **more)

    monkeypatch.setattr(studies.stages.job, "train_job", fail_for_vit)
    tiny["configurations"] = tiny["configurations"][:2]
    with pytest.warns(UserWarning, match="failed: ViT alone, seed 0: RuntimeError: disk on fire"):
        results = studies.run_study(tiny, tmp_path, in_process=True)
    assert list(results.trials["status"]) == ["ok", "failed"]
    assert results.trials["error"][1] == "RuntimeError: disk on fire"
    assert list(results.outcomes()["configuration"]) == ["CNN alone"]


@pytest.mark.ci
def test_ctrl_c_leaves_finished_trials_usable(
    tiny: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = studies.stages.job.train_job

    def interrupted(job: Any, *rest: Any, **more: Any) -> Any:
        if "vit" in job.settings["student"]["model"]:
            os.kill(os.getpid(), 2)
        return train(job, *rest, **more)

    monkeypatch.setattr(studies.stages.job, "train_job", interrupted)
    tiny["configurations"] = tiny["configurations"][:2]
    with pytest.raises(KeyboardInterrupt, match="1 of 2 trials are done; run_study goes on"):
        studies.run_study(tiny, tmp_path, in_process=True)
    results = studies.open_results(tmp_path)
    assert list(results.trials["status"]) == ["ok", "missing"]
    assert len(results.outcomes()) == 1


@pytest.mark.parametrize("wrong", [{"end_stalled": 5.0}, {"address": "auto"}])
def test_settings_that_do_not_go_together_are_refused_before_any_work(
    tiny: Raw, tmp_path: Path, wrong: Any
) -> None:
    with pytest.raises(InputError, match="leave out in_process"):
        studies.run_study(tiny, tmp_path / "results", in_process=True, **wrong)
    assert not (tmp_path / "results").exists()
