"""A study whose code changed between two runs: named, made again when asked, marked in tables."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports import make_report
from reports.ledger.parts import read_table
from studies.store import origin

Run = Callable[..., Any]
Raw = dict[str, Any]
NEW = "0123456789ab"


@pytest.fixture
def other_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The method's code, as if it had been edited."""
    for module in ("studies.stages.job", "studies.stages.training", "studies.stages.other_code"):
        monkeypatch.setattr(f"{module}.method_digest", lambda: NEW)
    monkeypatch.setattr("studies.store.origin.method_digest", lambda: NEW)


def digests(results: Path) -> dict[str, str]:
    rows = read_table(results, "trials", columns=["configuration", "seed", "code_digest"])
    return {f"{r.configuration} {r.seed}": str(r.code_digest) for r in rows.itertuples()}


def test_the_first_run_says_what_made_every_trial(finished: Any) -> None:
    old = origin.method_digest()
    assert set(digests(finished.results).values()) == {old}
    manifest = finished.store.manifest("cams", next(iter(finished.store.finished("cams"))))
    assert manifest.about["made_by"]["code_digest"] == old
    rows = read_table(finished.results, "trials")
    assert rows["processor"].notna().all()
    assert (rows["threads"] > 0).all()


def test_trials_by_other_code_are_named_and_kept(
    finished: Any, tiny: Raw, run: Run, tmp_path: Path, other_code: None
) -> None:
    results = shutil.copytree(finished.results, tmp_path / "results")
    old = set(digests(results).values()).pop()
    again = run(tiny, results)
    said = f"4 trials were made by other code ({old}, now {NEW}); wsss run --anew makes them again"
    assert again.said[0] == said
    assert again.result.trained == 0
    assert set(digests(results).values()) == {old}


def test_a_new_seed_under_other_code_marks_its_row(
    finished: Any, tiny: Raw, run: Run, tmp_path: Path, other_code: None
) -> None:
    results = shutil.copytree(finished.results, tmp_path / "results")
    old = set(digests(results).values()).pop()
    tiny["seeds"] = [0, 1]
    run(tiny, results)
    assert digests(results)["CNN alone 1"] == NEW
    assert digests(results)["CNN alone 0"] == old
    files = make_report(results, tmp_path / "report")
    table = (tmp_path / "report" / "tables" / "strategies.md").read_text()
    assert "| CNN alone ‡ |" in table
    assert f"differ in their code: {min(old, NEW)} (1 trials), {max(old, NEW)} (1 trials)" in table
    plain = (tmp_path / "report" / "tables" / "strategies.csv").read_text()
    assert "\nCNN alone," in plain
    assert "‡" not in plain
    assert "Trials differ in their code" in files.html.read_text()


def test_anew_makes_trials_by_other_code_again(
    finished: Any, tiny: Raw, wsss: Any, write_study: Any, tmp_path: Path, other_code: None
) -> None:
    results = shutil.copytree(finished.results, tmp_path / "results")
    before = read_table(results, "scores")
    file = write_study(tiny)
    said = wsss("run", file, "--results", results, "--in-process", "--anew")
    assert said.code == 0, said
    assert "4 trials were made by other code or versions and are made again" in said.out
    assert set(digests(results).values()) == {NEW}
    after = read_table(results, "scores")
    assert len(after) == len(before)
    assert (after["logit"] == before["logit"]).all()  # the code was the same after all
    kept = [folder.name for folder in (results / "store" / "quarantined").iterdir()]
    assert sum(name.startswith("train-") for name in kept) == 4
    said = wsss("run", file, "--results", results, "--in-process", "--anew")
    assert "nothing to train" in said.out
    assert "made again" not in said.out + said.err


def test_the_plan_names_them(
    finished: Any, tiny: Raw, wsss: Any, write_study: Any, tmp_path: Path, other_code: None
) -> None:
    results = shutil.copytree(finished.results, tmp_path / "results")
    said = wsss("plan", write_study(tiny), "--results", results)
    assert f", now {NEW}); wsss run --anew makes them again\n" in said.out


def test_a_student_of_a_teacher_by_other_code_is_by_both(
    finished: Any, tiny: Raw, run: Run, tmp_path: Path, other_code: None
) -> None:
    results = shutil.copytree(finished.results, tmp_path / "results")
    old = set(digests(results).values()).pop()
    (taught,) = (t for t in finished.plan.trials if t.configuration == "taught, cosine global")
    (job,) = (j for j in finished.plan.jobs.values() if taught in j.trials)
    for stage, key in (("train", job.key), ("scores", taught.key)):
        shutil.rmtree(results / "store" / stage / key)
    run(tiny, results)
    assert digests(results)["taught, cosine global 0"] == f"{old}+{NEW}"


def test_other_packages_are_named_too(
    finished: Any, tiny: Raw, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = shutil.copytree(finished.results, tmp_path / "results")
    changed = origin.versions().replace('"torch": "', '"torch": "9.')
    monkeypatch.setattr("studies.stages.other_code.versions", lambda: changed)
    said = run(tiny, results).said[0]
    assert said.startswith("4 trials were made by other versions (torch ")
    assert ", now 9." in said
