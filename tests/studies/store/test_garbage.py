"""`wsss store gc`, over a store on this machine and one on S3."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reports.ledger import QUARANTINED, quarantine_part
from reports.ledger.parts import read_arrow, write_part
from reports.storage.opening import open_folder
from studies.store.artifacts import ArtifactStore
from studies.store.files import CACHE
from studies.store.garbage import find_garbage
from studies.store.lease_owner import LeaseOwner
from studies.store.leases import Leases

Wsss = Callable[..., Any]


@pytest.fixture
def store(stocked: ArtifactStore) -> ArtifactStore:
    return stocked


def put(store: ArtifactStore, stage: str, key: str, **about: Any) -> None:
    with store.build(stage, key, about) as folder:
        (folder / "a.bin").write_bytes(bytes(1000))
        (folder / "deep").mkdir()
        (folder / "deep" / "b.bin").write_bytes(bytes(24))


def everything(store: ArtifactStore) -> set[str]:
    empty = ("quarantined/", "unfinished/", "leases/", "files/")
    return {name for name in store.folder.tree() if name not in empty}


def leave_behind(store: ArtifactStore) -> set[str]:
    """What crashes leave: the paths, below the store, that have to go."""
    put(store, "train", "gone")
    store.quarantine("train", "gone")
    left = {name for name in everything(store) if "gone" in name}
    for name in ("train-t1", "train-t9"):  # finished meanwhile, and broken off
        store.folder.joined("unfinished", name).write("checkpoint.pt", bytes(100))
        left.add(f"unfinished/{name}/checkpoint.pt")
    for name in ("cams-c2-0123abcd/maps.npy", "cams-c1-0123abcd/deep/maps.npy"):
        *folders, last = name.split("/")
        store.folder.joined("files", *folders).write(last, bytes(50))
        left.add(f"files/{name}")
    if not store.remote:
        (store.root / "files" / "cams-c2-0123abcd" / "deep").mkdir(parents=True)
        (store.root / "files" / "train-t8-0123abcd").mkdir()
        left |= {"files/cams-c2-0123abcd/deep/", "files/train-t8-0123abcd/"}
    store.folder.write(".written-0123", b"")
    return left | {".written-0123"}


def test_gc_names_what_crashes_have_left_and_deletes_it_only_when_told(
    wsss: Wsss, store: ArtifactStore
) -> None:
    before = everything(store)
    left = leave_behind(store)
    assert everything(store) == before | left
    named = wsss("store", "gc", store.where, "--older-than", "0")
    assert named.code == 0
    assert everything(store) == before | left
    groups = {f"{store.where}/{'/'.join(name.split('/')[:2])}" for name in left}
    for group in groups:
        assert group in named.out
    done = wsss("store", "gc", store.where, "--older-than", "0", "--delete")
    assert done.code == 0
    assert done.out.splitlines()[:-1] == named.out.splitlines()[:-1]
    assert everything(store) == before
    assert wsss("store", "verify", store.where).code == 0
    again = wsss("store", "gc", store.where, "--older-than", "0")
    assert again.out == f"{store.where}: nothing to delete\n"


def test_gc_says_how_many_bytes_it_has_freed(wsss: Wsss, store: ArtifactStore) -> None:
    store.folder.joined("unfinished", "train-t9").write("checkpoint.pt", bytes(3 * 2**20))
    said = wsss("store", "gc", store.where, "--older-than", "0")
    assert said.out.endswith("1 to delete, 3.0 MiB; --delete does it\n")
    said = wsss("store", "gc", store.where, "--older-than", "0", "--delete")
    assert said.out.endswith("1 deleted, 3.0 MiB freed\n")


def test_what_is_young_and_of_nobody_known_is_left_by_itself(
    wsss: Wsss, store: ArtifactStore
) -> None:
    left = leave_behind(store)
    wsss("store", "gc", store.where, "--delete")
    kept = everything(store) & left
    # Gone: quarantined artifacts, and the checkpoints of finished ones.
    assert "unfinished/train-t9/checkpoint.pt" in kept
    assert ".written-0123" in kept
    assert not any(name.startswith("quarantined") for name in kept)
    assert "unfinished/train-t1/checkpoint.pt" not in kept


def test_what_is_old_enough_goes(wsss: Wsss, tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "store")
    store.make()
    for name, days in (("train-a1", 8), ("train-b1", 6)):
        file = store.scratch(*name.split("-")) / "checkpoint.pt"
        file.write_bytes(b"1")
        then = time.time() - days * 86_400
        os.utime(file, (then, then))
    wsss("store", "gc", store.where, "--delete")
    assert sorted(os.listdir(store.root / "unfinished")) == ["train-b1"]


def test_names_of_networks_that_passed_go_once_they_are_a_month_old(
    wsss: Wsss, tmp_path: Path
) -> None:
    store = ArtifactStore(tmp_path / "store")
    store.make()
    day = 86_400
    for name, age in (("0a1b", 40 * day), ("2c3d", 20 * day)):
        store.folder.joined("tried").write(name, b"cnn alone (resnet18)")
        os.utime(store.root / "tried" / name, times=(time.time() - age,) * 2)
    done = wsss("store", "gc", store.where, "--delete")
    assert (done.code, done.err) == (0, "")
    assert os.listdir(store.root / "tried") == ["2c3d"]
    wsss("store", "gc", store.where, "--older-than", "0", "--delete")
    assert os.listdir(store.root / "tried") == ["2c3d"]


def test_nothing_that_a_living_lease_holds_goes(wsss: Wsss, store: ArtifactStore) -> None:
    lease = store.leases.take("train", "t9")
    assert lease is not None
    left = leave_behind(store)
    with lease:
        wsss("store", "gc", store.where, "--older-than", "0", "--delete")
        assert "unfinished/train-t9/checkpoint.pt" in everything(store)
        # Nor what another worker of the same run may be making at the moment.
        assert {name for name in left if "/cams-c2" in name} <= everything(store)
        assert [owner.key for owner in Leases(store.folder).owners()] == ["t9"]
    wsss("store", "gc", store.where, "--older-than", "0", "--delete")
    assert not everything(store) & left


def test_a_dead_lease_goes_and_one_of_another_machine_that_beats_stays(
    wsss: Wsss, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ArtifactStore(tmp_path / "store")
    store.make()
    code = (
        "import sys\nfrom reports.storage.opening import open_folder\n"
        "from studies.store.leases import Leases\n"
        "assert Leases(open_folder(sys.argv[1])).take('train', 'dead')\n"
    )
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", code, store.where], cwd=root, check=True)
    lease = Leases(store.folder, 0.8).take("train", "alive")
    assert lease is not None
    leases = open_folder(store.where).joined("leases")
    alive = LeaseOwner.from_json(leases.read("train-alive.0"), "train-alive")
    stale = replace(alive, key="still", token="other", host="another")
    leases.write("train-still.0", stale.as_json())
    store.leases.expiry = 1.0
    found = find_garbage(store, older_than=0)
    with lease:
        names = sorted(one.name.rpartition("/")[2] for one in found)
        assert names == ["train-dead.0", "train-still.0"]
        for one in found:
            one.delete()
        assert list(leases.listing()) == ["train-alive.0"]


def test_gc_cleans_this_machine_s_cache_of_a_remote_store(
    wsss: Wsss, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    store = ArtifactStore("s3://bucket/store")
    store.make()
    for key in ("t1", "t2"):
        put(store, "train", key)
    open_folder("s3://bucket/store").joined("train", "t2").delete("manifest.json")
    (store.root / "files" / "train-t3-0123abcd").mkdir()
    (store.root / "files" / ".train-t1.lock").write_bytes(b"")
    wsss("store", "gc", store.where, "--older-than", "0", "--delete")
    assert os.listdir(store.root / "train") == ["t1"]
    assert os.listdir(store.root / "files") == []
    assert store.problems("train", "t1") == []


def test_gc_finds_what_killed_writers_left_in_the_ledger_beside_the_store(
    wsss: Wsss, tmp_path: Path
) -> None:
    store = ArtifactStore(tmp_path / "store")
    store.make()
    write_part(tmp_path, "history", "t", [])
    temporary = tmp_path / "ledger" / "history" / ".t.parquet.0123.tmp"
    temporary.write_bytes(b"half")
    probes = (".node-check-0123", ".written-4567", "..node-check-0123-45.67.tmp")
    for name in (*probes, ".own", "node-check-0"):
        (tmp_path / name).write_bytes(b"looked")
    wsss("store", "gc", store.where, "--older-than", "0", "--delete")
    assert os.listdir(tmp_path / "ledger" / "history") == ["t.parquet"]
    left = {name for name in os.listdir(tmp_path) if "." in name or "-" in name}
    assert left == {".own", "node-check-0"}


def test_gc_names_the_corrupt_parts_of_the_ledger_that_were_quarantined(
    wsss: Wsss, tmp_path: Path
) -> None:
    store = ArtifactStore(tmp_path / "store")
    store.make()
    part = Path(str(write_part(tmp_path, "history", "t", [])))
    part.write_bytes(part.read_bytes()[:-9])
    quarantine_part(tmp_path, "history", part.name)
    (moved,) = (tmp_path / "ledger" / QUARANTINED).iterdir()
    said = wsss("store", "gc", store.where)
    assert f"{moved}  (a corrupt part of the ledger that was quarantined" in said.out
    assert moved.exists()
    wsss("store", "gc", store.where, "--delete")
    assert not moved.exists()


def test_gc_follows_no_link_out_of_the_store(wsss: Wsss, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("kept")
    store = ArtifactStore(tmp_path / "store")
    store.make()
    put(store, "train", "t1")
    (store.root / "quarantined").mkdir()
    (store.root / "unfinished").mkdir()
    (store.root / "quarantined" / "train-t5-0123").symlink_to(outside)
    (store.root / "unfinished" / "train-t6").symlink_to(outside)
    (store.root / "files" / "train-t7-0123abcd").symlink_to(outside)
    (store.root / "cams").symlink_to(outside)
    wsss("store", "gc", store.where, "--older-than", "0", "--delete")
    assert (outside / "precious").read_text() == "kept"
    assert os.listdir(store.root / "quarantined") == []
    assert os.listdir(store.root / "files") == []
    assert os.listdir(store.root / "unfinished") == []
    assert os.listdir(store.root / "train") == ["t1"]


def test_a_time_that_is_none_is_refused(wsss: Wsss, tmp_path: Path) -> None:
    said = wsss("store", "gc", tmp_path, "--older-than", "a week")
    assert said.code == 2
    assert "expected a time such as 30m, 12h or 7d" in said.err


# gc --unused-by


def copied(finished: Any, tmp_path: Path) -> ArtifactStore:
    shutil.copytree(finished.results, tmp_path / "results")
    return ArtifactStore(tmp_path / "results" / "store")


def test_what_a_finished_study_needs_is_not_unused(
    wsss: Wsss, finished: Any, tmp_path: Path
) -> None:
    store = copied(finished, tmp_path)
    said = wsss("store", "gc", store.where, "--unused-by", tmp_path / "results")
    assert said.out == f"{store.where}: nothing to delete\n"


def test_what_no_plan_needs_goes_and_the_study_is_still_done(
    wsss: Wsss, run: Callable[..., Any], finished: Any, tmp_path: Path, tiny: Any
) -> None:
    store = copied(finished, tmp_path)
    tiny["configurations"] = [tiny["configurations"][2]]  # the taught ViT, whose teacher stays
    tiny["study"] = "smaller"
    shutil.rmtree(tmp_path / "results" / "ledger")
    smaller = run(tiny, tmp_path / "results")
    needed = set(smaller.plan.jobs)
    assert len(needed) == 2
    (images, *_) = next(iter(smaller.plan.jobs.values())).artifacts["images"]
    put(store, "described", "d1", images=images)
    put(store, "described", "d2", images="others")
    put(store, "described", "d3")  # does not say which images it is made from
    put(store, "refined", "r1", parent=next(iter(needed)))
    put(store, "refined", "r2", parent="others")
    assert len(store.finished("train")) > 2
    wsss("store", "gc", store.where, "--unused-by", tmp_path / "results", "--delete")
    assert store.finished("train") == needed
    assert store.finished("scores") == {trial.key for trial in smaller.plan.trials}
    assert {store.manifest("cams", key).parent for key in store.finished("cams")} <= needed
    assert len(store.finished("images")) == 3
    assert store.finished("described") == {"d1", "d3"}
    assert store.finished("refined") == {"r1"}
    again = run(tiny, tmp_path / "results")
    assert (again.result.trained, again.result.reused) == (0, 1)


def test_trials_of_an_earlier_plan_keep_what_they_were_made_of_unless_plans_alone_count(
    wsss: Wsss, run: Callable[..., Any], finished: Any, tmp_path: Path, tiny: Any
) -> None:
    store = copied(finished, tmp_path)
    tiny["configurations"] = tiny["configurations"][:1]
    smaller = run(tiny, tmp_path / "results")
    command = ("store", "gc", store.where, "--unused-by", tmp_path / "results")
    assert wsss(*command).out == f"{store.where}: nothing to delete\n"
    # One of the trials that the plan has lost failed when it was scored; its network is kept too.
    (lost,) = (job for job in finished.plan.jobs.values() if job.paradigm == "co-training")
    (trial,) = lost.trials
    (row,) = read_arrow(tmp_path / "results", "trials", keys=[trial.key]).to_pylist()
    failed = {**row, "status": "failed", "error": "out of memory"}
    write_part(tmp_path / "results", "trials", trial.key, [failed])
    store.delete("scores", trial.key)
    assert wsss(*command).out == f"{store.where}: nothing to delete\n"
    wsss(*command, "--plans-only", "--delete")
    assert store.finished("train") == set(smaller.plan.jobs)
    said = wsss("store", "gc", store.where, "--plans-only")
    assert (said.code, "give --unused-by too" in said.err) == (2, True)


def test_a_trial_that_is_still_to_run_keeps_its_teacher(
    wsss: Wsss, finished: Any, tmp_path: Path
) -> None:
    store = copied(finished, tmp_path)
    students = [job for job in finished.plan.jobs.values() if job.parent is not None]
    for job in students:
        shutil.rmtree(store.path("train", job.key))
        for trial in job.trials:
            shutil.rmtree(store.path("scores", trial.key))
    # As if the study had no rows but these.
    rows = [
        row
        for row in finished.plan.ledger_rows()
        if row["trial_key"] in {trial.key for job in students for trial in job.trials}
    ]
    write_part(tmp_path / "results", "plan", "tiny", rows)
    shutil.rmtree(tmp_path / "results" / "ledger" / "trials")
    wsss("store", "gc", store.where, "--unused-by", tmp_path / "results", "--delete")
    assert store.finished("train") == {job.parent for job in students}


def test_results_without_a_plan_are_refused(wsss: Wsss, store: ArtifactStore) -> None:
    said = wsss("store", "gc", store.where, "--unused-by", store.where)
    assert said.code == 2
    assert "no plan is in its ledger, so what it needs is not known" in said.err


def test_a_search_that_has_not_ended_keeps_everything(
    wsss: Wsss, finished: Any, tmp_path: Path
) -> None:
    store = copied(finished, tmp_path)
    row = {
        "study": "other", "number": 0, "configuration": "c", "parameters": "{}", "seed": 0,
        "state": "complete",
    }  # fmt: skip
    write_part(tmp_path / "results", "search", "other-00000", [row])
    said = wsss("store", "gc", store.where, "--unused-by", tmp_path / "results", "--delete")
    assert said.code == 2
    assert "the search of other has not ended" in said.err
