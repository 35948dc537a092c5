"""Cancelling a row: the mark, what status and the command say, and how it is taken back."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reports.ledger import cancel_row, cancelled_rows, write_part
from reports.storage import Location
from reports.storage.opening import open_folder
from studies.cli.main import main
from studies.status.reading import Watcher
from studies.status.text import describe_status, status_record
from studies.store.leases import Leases

NAMES, SEEDS = ("ViT alone", "cosine", "L2"), (0, 1, 2)


def key_of(name: str, seed: int) -> str:
    return f"trial{NAMES.index(name)}{seed}"


def write_plan(results: Location, study: str = "tiny") -> None:
    rows = [
        {
            "study": study,
            "study_title": "Which is best?",
            "position": position,
            "configuration": name,
            "seed": seed,
            "trial_key": key_of(name, seed),
            "paradigm": "single" if name == "ViT alone" else "teacher-student",
            "student": "ViT",
            "fixed_threshold": 0.3,
            "objective": "per_image_iou",
            "settings": "{}",
            "family": "vit",
            "artifacts": json.dumps({"train": [f"unit{key_of(name, seed)}", f"teacher{seed}"]}),
        }
        for position, name in enumerate(NAMES)
        for seed in SEEDS
    ]
    write_part(results, "plan", study, rows)


def end(results: Path, name: str, seed: int, *, number: int) -> None:
    row = {
        "trial_key": key_of(name, seed),
        "configuration": name,
        "seed": seed,
        "status": "ok",
        "settings": "{}",
        "package_version": "0",
        "packages": "{}",
        "started_at": datetime(2026, 1, 2, tzinfo=UTC) + timedelta(seconds=100 * number),
        "seconds_training": 90.0,
        "seconds_scoring": 10.0,
    }
    write_part(results, "trials", key_of(name, seed), [row])


@pytest.fixture
def results(tmp_path: Path) -> Path:
    write_plan(tmp_path)
    for number, seed in enumerate(SEEDS):
        end(tmp_path, "ViT alone", seed, number=number)
    end(tmp_path, "cosine", 0, number=4)
    return tmp_path


def test_the_trials_of_a_cancelled_row_that_have_not_ended_are_neither_to_do_nor_counted_as_time(
    results: Path,
) -> None:
    (before,) = Watcher(results).look()
    assert main(["cancel", str(results), "cosine", "--because", "it diverges"]) == 0
    (status,) = Watcher(results).look()
    assert [status.states["cosine", None, seed] for seed in SEEDS] == [
        "done", "cancelled", "cancelled",
    ]  # fmt: skip
    assert status.counts["to do"] == before.counts["to do"] - 2
    assert before.seconds_left is not None
    assert status.seconds_left is not None
    assert status.seconds_left < before.seconds_left
    text = describe_status(status, plain=True)
    assert "2 cancelled" in text
    assert "cosine     +--" in text
    assert "cosine: cancelled by you on 20" in text
    assert "(it diverges); `wsss cancel --undo` takes it back" in text
    record = json.loads(json.dumps(status_record(status)))
    assert record["counts"]["cancelled"] == 2
    assert record["cancelled"][0]["reason"] == "it diverges"


def test_a_study_whose_other_rows_are_done_has_ended(results: Path) -> None:
    for name in ("cosine", "L2"):
        main(["cancel", str(results), name])
    (status,) = Watcher(results).look()
    assert status.ended


def test_a_training_that_goes_on_is_shown_as_running_until_it_ends(results: Path) -> None:
    main(["cancel", str(results), "L2"])
    leases = Leases(open_folder(results / "store", make=True))
    lease = leases.take("train", f"unit{key_of('L2', 1)}")
    assert lease is not None
    with lease:
        (status,) = Watcher(results).look()
    assert status.states["L2", None, 1] == "running"


def test_a_row_is_named_by_the_key_of_a_trial_too_and_taken_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_plan(tmp_path)
    key = key_of("L2", 1)
    assert main(["cancel", str(tmp_path), key]) == 0
    said = capsys.readouterr().out
    assert "0 of its 3 planned trials have ended and stay" in said
    assert f"wsss cancel {tmp_path} L2 --study tiny --undo" in said
    assert cancelled_rows(tmp_path, "tiny").keys() == {"L2"}
    assert main(["cancel", str(tmp_path)]) == 0
    assert "tiny: L2: cancelled by you on" in capsys.readouterr().out
    assert main(["cancel", str(tmp_path), "L2", "--undo"]) == 0
    assert "`wsss run` asks for its 3 trials that are left" in capsys.readouterr().out
    assert cancelled_rows(tmp_path, "tiny") == {}
    (status,) = Watcher(tmp_path).look()
    assert status.cancelled == ()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cosin"], "'cosin' is no row of tiny; nearest: 'cosine'"),
        (["cosine", "--study", "other"], "--study other: "),
        (["cosine", "--undo"], "'cosine' of tiny is not cancelled"),
        (["--undo"], "--undo and --because are of a row; name it after RESULTS"),
        (["cosine", "--undo", "--because", "x"], "leave it out with --undo"),
    ],
)
def test_what_cannot_be_cancelled_is_refused_in_one_line(
    results: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["cancel", str(results), *words]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert cancelled_rows(results, "tiny") == {}


def test_a_row_of_two_studies_asks_which(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for study in ("one", "two"):
        write_plan(tmp_path, study=study)
    assert main(["cancel", str(tmp_path), "L2"]) == 2
    assert "'L2' names several rows: L2 of one; L2 of two; give --study" in capsys.readouterr().err
    assert main(["cancel", str(tmp_path), "L2", "--study", "two"]) == 0
    assert cancelled_rows(tmp_path, "one") == {}
    assert cancelled_rows(tmp_path, "two").keys() == {"L2"}


def test_a_row_that_has_left_the_study_can_be_taken_back(results: Path) -> None:
    cancel_row(results, "tiny", "renamed since")
    assert main(["cancel", str(results), "renamed since", "--undo"]) == 0
    assert cancelled_rows(results, "tiny") == {}


def test_a_folder_without_a_plan_is_refused(tmp_path: Path) -> None:
    assert main(["cancel", str(tmp_path), "L2"]) == 2


def test_a_corrupt_mark_counts_as_none(results: Path, caplog: pytest.LogCaptureFixture) -> None:
    main(["cancel", str(results), "L2"])
    (mark,) = (results / "ledger" / "cancelled").iterdir()
    content = bytearray(mark.read_bytes())
    content[len(content) // 2] ^= 1
    mark.write_bytes(bytes(content))
    assert cancelled_rows(results, "tiny") == {}
    assert "it is left out here" in caplog.text
    assert "`wsss cancel` marks the row again" in caplog.text
    assert "brings it back" not in caplog.text


def test_a_results_folder_at_a_uri_holds_marks_too() -> None:
    results = "memory://cancelled/study"
    write_plan(results)
    assert main(["cancel", results, "L2"]) == 0
    assert cancelled_rows(results, "tiny").keys() == {"L2"}
    assert main(["cancel", results, "L2", "--undo"]) == 0
    assert cancelled_rows(results, "tiny") == {}
