"""The status of a study, read from a ledger and leases that were written by hand."""

import json
import os
import re
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from reports.ledger.parts import write_part
from reports.storage.opening import open_folder
from studies.cli.main import main
from studies.status.reading import Watcher
from studies.status.text import PLAIN_MARKS, describe_status, status_record
from studies.store.leases import Leases
from wsss_core.errors import InputError

NAMES = ("ViT alone", "cosine", "L2")
SEEDS = (0, 1, 2)
STARTED = datetime(2026, 1, 2, tzinfo=UTC)


def key_of(name: str, seed: int, value: float | None = None) -> str:
    return f"{NAMES.index(name):02d}{seed:02d}" + ("" if value is None else f"{value:g}")


def write_plan(results, *, study="tiny", dial=(None,), search_trials=None):
    rows = [
        {
            "study": study,
            "study_title": "Which is best?",
            "position": position,
            "configuration": name,
            "seed": seed,
            "trial_key": key_of(name, seed, value),
            "paradigm": "single" if name == "ViT alone" else "teacher-student",
            "student": "ViT",
            "teacher": None if name == "ViT alone" else "CNN",
            "fixed_threshold": 0.3,
            "objective": "per_image_iou",
            "settings": "{}",
            "family": "vit",
            "dial": None if value is None else "share",
            "dial_value": value,
            "artifacts": json.dumps({
                "train": [f"unit{key_of(name, seed, value)}"]
                + ([] if name == "ViT alone" else [f"teacher{seed}"])
            }),
            "search_trials": search_trials,
        }
        for value in dial
        for position, name in enumerate(NAMES)
        for seed in SEEDS
    ]  # fmt: skip
    write_part(results, "plan", study, rows)


def end(results, name, seed, status="ok", *, error=None, number=0, seconds=90.0, value=None):
    write_part(
        results,
        "trials",
        key_of(name, seed, value),
        [
            {
                "trial_key": key_of(name, seed, value),
                "configuration": name,
                "seed": seed,
                "status": status,
                "error": error,
                "settings": "{}",
                "package_version": "0",
                "packages": "{}",
                "started_at": STARTED + timedelta(seconds=100 * number),
                "seconds_training": seconds,
                "seconds_scoring": 10.0,
            }
        ],
    )


@pytest.fixture
def results(tmp_path):
    """Five of nine trials have ended: three well, one failed, one collapsed."""
    write_plan(tmp_path)
    for number, seed in enumerate(SEEDS):
        end(tmp_path, "ViT alone", seed, number=number)
    end(tmp_path, "cosine", 0, "failed", error="OSError: no file /a/b/1.png")
    end(tmp_path, "cosine", 1, "collapsed", error="student: loss not finite in epoch 3")
    return tmp_path


@pytest.fixture
def store(results):
    return open_folder(results / "store", make=True)


def only(results, **how):
    (found,) = Watcher(results, **how).look()
    return found


def test_every_planned_trial_has_the_state_of_the_ledger(results):
    status = only(results)
    expected = dict.fromkeys(((name, None, seed) for name in NAMES for seed in SEEDS), "to do")
    expected |= {("ViT alone", None, seed): "done" for seed in SEEDS}
    expected |= {("cosine", None, 0): "failed", ("cosine", None, 1): "collapsed"}
    assert status.states == expected
    assert [failure.trial for failure in status.failed] == ["cosine, seed 0"]
    assert [failure.error for failure in status.collapsed] == [
        "student: loss not finite in epoch 3"
    ]


def test_running_trials_are_unknown_without_a_store(results):
    status = only(results)
    assert status.running is None
    text = describe_status(status)
    assert "9 trials: 3 done, 1 failed, 1 collapsed, 4 to do" in text
    assert "running: unknown without the store" in text


def test_a_lease_makes_a_trial_running(results, store):
    with Leases(store).take("train", f"unit{key_of('L2', 1)}") as lease:
        lease.report("epoch 3 of 8")
        assert only(results).states["L2", None, 1] == "running"
        (running,) = only(results).running
    assert (running.what, running.stage, running.pid) == ("L2, seed 1", "train", os.getpid())
    assert 0 <= running.since < 60
    assert only(results).states["L2", None, 1] == "to do"
    assert only(results).running == ()


def test_a_failed_trial_that_is_tried_again_is_running_and_no_failure(results, store):
    with Leases(store).take("train", f"unit{key_of('cosine', 0)}"):
        status = only(results)
    assert status.states["cosine", None, 0] == "running"
    assert status.failed == ()


def test_a_teacher_is_named_and_other_studies_of_the_store_are_not(results, store):
    leases = Leases(store)
    with leases.take("train", "teacher2"), leases.take("train", "elsewhere"):
        assert [one.what for one in only(results).running] == ["a teacher that no row reports"]


def test_an_owner_without_a_heartbeat_is_not_counted_as_running(results, store):
    lease = Leases(store).take("train", f"unit{key_of('L2', 1)}")
    (file,) = (results / "store" / "leases").iterdir()
    long_ago = time.time() - 3600
    os.utime(file, (long_ago, long_ago))
    status = only(results)
    assert status.states["L2", None, 1] == "to do"
    assert status.running[0].silent == pytest.approx(3600, abs=60)
    assert "NO HEARTBEAT for 1 h 00 min" in describe_status(status)
    lease.release()


def test_work_that_stands_still_is_named_with_what_is_usual(results, store):
    lease = Leases(store).take("train", f"unit{key_of('L2', 1)}", note="epoch 3 of 9")
    lease.release()
    for idle, stalled in ((720.0, True), (500.0, False)):
        owner = replace(lease._owner, idle=idle, stalled_after=600.0, epoch_seconds=40.0)
        store.joined("leases").write(f"train-{owner.key}.0", owner.as_json())
        status = only(results)
        assert status.states["L2", None, 1] == "running"
        text = "epoch 3 of 9; no progress for 12 min (usually 40 s an epoch)"
        assert (text in describe_status(status)) == stalled
        (running,) = status_record(status)["running"]
        assert (running["stalled"] is not None) == stalled
        assert running["epoch_seconds"] == 40.0


def test_a_task_of_refinement_that_stands_still_is_named_with_its_trial(results, store):
    key = f"unit{key_of('L2', 1)}-tune-0-8"
    lease = Leases(store).take("shard", key, note="refinement: tune 0 8")
    lease.release()
    owner = replace(lease._owner, idle=720.0, stalled_after=600.0)
    store.joined("leases").write(f"shard-{owner.key}.0", owner.as_json())
    status = only(results)
    assert status.states["L2", None, 1] == "to do"  # nobody trains it
    said = describe_status(status)
    assert "L2" in said
    assert "refinement: tune 0 8; no progress for 12 min" in said


def test_the_estimate_is_what_trials_of_the_kind_took_over_those_at_work(tmp_path):
    # A kind of 100 s and one of 400 s; two of the second run, one is to do.
    write_plan(tmp_path)
    for number, seed in enumerate(SEEDS):
        end(tmp_path, "ViT alone", seed, number=number)
    for seed in SEEDS:
        end(tmp_path, "cosine", seed, number=10 + seed, seconds=390.0)
    store = open_folder(tmp_path / "store", make=True)
    idle = only(tmp_path)
    # 1,500 s of work between the first start and the last end 1,600 s later: one at a time.
    assert idle.at_once == 1
    assert idle.seconds_left == pytest.approx(3 * 400)
    leases = Leases(store)
    with (
        leases.take("train", f"unit{key_of('L2', 0)}"),
        leases.take("train", f"unit{key_of('L2', 1)}"),
    ):
        busy = only(tmp_path)
    assert busy.at_once == 2
    assert busy.seconds_left == pytest.approx((400 + 2 * 250) / 2, abs=5)


def test_a_kind_that_was_never_measured_takes_what_all_others_took(tmp_path):
    write_plan(tmp_path)
    for number, seconds in enumerate((50.0, 90.0)):
        end(tmp_path, "ViT alone", number, number=number, seconds=seconds)
    # A ViT alone and six taught ones are left; trials took 60 s and 100 s, one after another.
    status = only(tmp_path)
    assert status.seconds_left == pytest.approx(7 * 80)


def test_nothing_is_estimated_before_a_trial_was_measured(tmp_path):
    write_plan(tmp_path)
    status = only(tmp_path)
    assert status.seconds_left is None
    assert "no trial is measured yet" in describe_status(status)


def test_chains_are_counted_over_their_trials(results):
    rows = [
        {
            "study": "tiny",
            "trial_key": key_of("ViT alone", seed),
            "refinement": name,
            "position": position,
            "scores_key": None if lacks else f"{name}{seed}",
            "lacks": lacks,
            "chain": "{}",
        }
        for position, (name, lacks) in enumerate((("CRF", None), ("SAM", "no weights were given")))
        for seed in SEEDS
    ]
    write_part(results, "refinements", "tiny", rows)
    for seed, state in ((0, "ok"), (1, "failed")):
        write_part(
            results,
            "refined",
            f"CRF{seed}",
            [
                {
                    "scores_key": f"CRF{seed}",
                    "trial_key": key_of("ViT alone", seed),
                    "refinement": "CRF",
                    "status": state,
                    "error": "ValueError: no" if state == "failed" else None,
                    "ended_at": STARTED,
                }
            ],
        )
    status = only(results)
    crf, sam = status.chains
    assert (crf.name, crf.done, crf.failed, crf.remaining) == ("CRF", 1, 1, 1)
    assert (sam.remaining, sam.lacks) == (0, "no weights were given")
    assert [failure.trial for failure in status.unrefined] == ["ViT alone, seed 1, CRF"]


def try_one(results, number, state, *objectives):
    rows = [
        {
            "study": "tiny", "number": number, "configuration": f"cosine {number}",
            "parameters": "{}", "seed": 8 + place, "objective": value, "state": state,
        }
        for place, value in enumerate(objectives)
    ]  # fmt: skip
    write_part(results, "search", f"tiny.{number}", rows)


def test_a_search_is_counted_by_its_configurations_and_its_best(tmp_path):
    write_plan(tmp_path, search_trials=40)
    (status,) = Watcher(tmp_path).look()
    assert "search: 0 of 40 configurations tried\n" in describe_status(status)
    try_one(tmp_path, 0, "complete", 0.25, 0.75)
    try_one(tmp_path, 1, "complete", 0.5, 0.25)
    try_one(tmp_path, 2, "pruned", 0.9)  # under one seed alone
    try_one(tmp_path, 3, "failed", None)
    (status,) = Watcher(tmp_path).look()
    text = describe_status(status)
    assert (
        "search: 4 of 40 configurations tried (2 complete, 1 failed, 1 pruned); the best reached "
        "50.0 % on the tune split\n"
    ) in text
    assert "the search comes before the trials above" in text
    record = json.loads(json.dumps(status_record(status)))
    assert record["search"] == {
        "states": {"complete": 2, "pruned": 1, "failed": 1}, "wanted": 40, "best": 0.5,
    }  # fmt: skip


def test_an_unplanned_training_run_during_a_search_counts_as_the_search_s(tmp_path):
    store = tmp_path / "store"
    write_plan(tmp_path, search_trials=40)
    with Leases(open_folder(store)).take("train", "unknown", run="mine"):
        (status,) = Watcher(tmp_path, store).look()
    assert [one.what for one in status.running] == ["a configuration of the search"]
    assert status.goes_on


def test_after_the_search_the_outlook_is_that_of_the_trials(tmp_path):
    write_plan(tmp_path)
    try_one(tmp_path, 0, "complete", 0.5)
    (status,) = Watcher(tmp_path).look()
    text = describe_status(status)
    assert "search: 1 configurations tried (1 complete)" in text
    assert "the search comes before" not in text


def test_each_configuration_is_a_row_of_marks(results):
    lines = describe_status(only(results), plain=True).splitlines()
    rows = dict(line.rsplit("  ", 1) for line in lines if line.startswith(NAMES))
    m = PLAIN_MARKS
    assert {name.strip(): marks for name, marks in rows.items()} == {
        "ViT alone": m["done"] * 3,
        "cosine": m["failed"] + m["collapsed"] + m["to do"],
        "L2": m["to do"] * 3,
    }


def test_of_many_configurations_those_that_need_a_look_are_shown(results):
    text = describe_status(only(results), rows=1, plain=True)
    assert "cosine  FC." in text
    assert "ViT alone " not in text
    assert "1 configurations more done" in text
    assert "1 configurations more not begun" in text


def test_the_values_of_a_sweep_stand_side_by_side(tmp_path):
    write_plan(tmp_path, dial=(0.1, 0.9))
    for seed in SEEDS:
        end(tmp_path, "cosine", seed, value=0.9)
    text = describe_status(only(tmp_path), plain=True)
    assert "cosine     ... +++" in text


def test_the_record_for_scripts_holds_the_same(results):
    record = json.loads(json.dumps(status_record(only(results))))
    assert record["counts"] == {"done": 3, "running": 0, "failed": 1, "collapsed": 1, "to do": 4}
    cosine = next(one for one in record["configurations"] if one["name"] == "cosine")
    assert cosine == {
        "name": "cosine", "seeds": {"0": "failed", "1": "collapsed", "2": "to do"},
    }  # fmt: skip
    assert record["failed"][0]["kind"] == "OSError"
    assert record["failed"][0]["trials"] == ["cosine, seed 0"]


def test_the_command_ends_with_1_where_a_trial_failed_and_0_where_none_did(results, capsys):
    assert main(["status", str(results)]) == 1
    assert "OSError: no file /a/b/1.png" in capsys.readouterr().out
    end(results, "cosine", 0)
    assert main(["status", str(results), "--json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record["counts"]["done"] == 4


def test_watching_ends_when_nothing_is_left_to_do(results, capsys):
    for name in NAMES:
        for seed in SEEDS:
            end(results, name, seed)
    assert main(["status", str(results), "--watch", "0.1"]) == 0
    assert capsys.readouterr().out.count("9 done") == 1


def test_a_study_that_is_not_there_is_an_input_error(results, tmp_path_factory):
    with pytest.raises(InputError, match=r"--study other: .* holds tiny"):
        Watcher(results, study="other").look()
    with pytest.raises(InputError, match="no plan in a ledger there"):
        Watcher(tmp_path_factory.mktemp("empty")).look()


def test_an_anonymous_status_names_no_machine_folder_or_person(results, store, capsys):
    host = socket.gethostname()
    end(results, "L2", 2, "failed", error=f"OSError: /home/ann/x.png: ann on {host} has no space")
    with Leases(store).take("train", f"unit{key_of('L2', 1)}") as lease:
        lease.report(f"epoch 3, log in /var/log/{host}")
        for options in ([], ["--json"]):
            assert main(["status", str(results), *options]) == 1
            assert "/home/ann" in capsys.readouterr().out
            assert main(["status", str(results), "--anonymous", *options]) == 1
            shown = capsys.readouterr().out
            assert "host-1" in shown
            assert "PATH" in shown
            for name in (host, "ann", "/home", "/var"):
                assert not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", shown), name
