"""What a run says at its end of trials that did not end well."""

import pytest

import studies.runner
from studies.cli.main import main
from studies.runner import RunResult


def closing(monkeypatch, write_study, tiny, tmp_path, failed):
    """Run the command over a run that ended like that."""
    result = RunResult(9, 5, 0, 0, failed, {}, {}, len(failed), 1.0)
    monkeypatch.setattr(studies.runner, "run_plan", lambda *_, **__: result)
    return main(["run", str(write_study(tiny)), "--results", str(tmp_path / "results")])


def test_failures_of_one_cause_are_said_once(monkeypatch, write_study, tiny, tmp_path, capsys):
    failed = {f"ViT alone, seed {s}": f"OSError: /data/{s}.png is cut off" for s in range(3)}
    failed["CNN alone, seed 0"] = "ValueError: expected a mask"
    assert closing(monkeypatch, write_study, tiny, tmp_path, failed) == 1
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "failed: 4, with 2 causes",
        "  3 × OSError: /data/0.png is cut off",
        "      ViT alone, seed 0; ViT alone, seed 1; ViT alone, seed 2",
        "  1 × ValueError: expected a mask",
        "      CNN alone, seed 0",
    ]


@pytest.mark.parametrize("count", [1, 2])
def test_failures_of_different_causes_are_said_one_by_one(
    monkeypatch, write_study, tiny, tmp_path, capsys, count
):
    words = ("no mask", "no image")[:count]
    failed = {f"ViT alone, seed {i}": f"ValueError: {word}" for i, word in enumerate(words)}
    closing(monkeypatch, write_study, tiny, tmp_path, failed)
    assert capsys.readouterr().err.splitlines() == [f"failed: {n}: {e}" for n, e in failed.items()]
