"""Leases: one owner at a time, whoever dies meanwhile; on this machine's disk and on S3."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import studies.store.leases
from reports.storage import Folder
from reports.storage.opening import open_folder
from studies.store.lease_owner import LeaseOwner
from studies.store.leases import Lease, Leases, _latest

ROOT = Path(__file__).parents[3]
EXPIRY = 0.4
LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="knows processes by /proc")


@pytest.fixture(params=["local", "s3"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Folder]:
    """A store whose leases end with the test: no heartbeat writes to the store of the next one."""
    taken: list[Lease] = []
    begin = Lease.__init__

    def begin_and_remember(lease: Lease, *given: Any) -> None:
        begin(lease, *given)
        taken.append(lease)

    monkeypatch.setattr(Lease, "__init__", begin_and_remember)
    if request.param == "s3":
        request.getfixturevalue("s3")
    yield open_folder("s3://bucket/store" if request.param == "s3" else tmp_path / "s", make=True)
    for lease in taken:
        lease.release()


@pytest.fixture
def local(tmp_path: Path) -> Folder:
    return open_folder(tmp_path / "store", make=True)


OWNS = """
import sys, time
from reports.storage.opening import open_folder
from studies.store.leases import Leases
leases = Leases(open_folder(sys.argv[1]), expiry=float(sys.argv[2]))
lease = leases.take("train", "k")
print("taken" if lease else "refused", flush=True)
if len(sys.argv) > 3:
    time.sleep(float(sys.argv[3]))
"""


def other_process(store: Folder, *, hold_s: float = 60.0) -> subprocess.Popen[bytes]:
    """A process that takes the lease of `k` and holds it."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNS, store.where, str(EXPIRY), str(hold_s)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"taken\n"
    return owner


@pytest.fixture
def owner(local: Folder) -> Iterator[subprocess.Popen[bytes]]:
    """A living process that holds the lease of `k` in the local store."""
    process = other_process(local)
    yield process
    process.kill()
    process.wait()


def taken_within(seconds: float, leases: Leases) -> float | None:
    """After how many seconds of asking the lease of `k` could be taken, if it could."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if leases.take("train", "k"):
            return time.monotonic() - began
        time.sleep(0.02)
    return None


def test_a_lease_has_one_owner_until_it_is_released(store: Folder) -> None:
    mine, others = Leases(store, EXPIRY), Leases(store, EXPIRY)
    lease = mine.take("train", "k")
    assert lease is not None
    assert others.take("train", "k") is None
    assert mine.take("train", "k") is None
    assert others.take("train", "other") is not None
    assert others.take("cams", "k") is not None
    lease.release()
    again = others.take("train", "k")
    assert again is not None
    again.release()


def owner_of(leases: Leases) -> LeaseOwner | None:
    """Return the living owner of the lease that these tests take, if there is one."""
    return next((owner for owner in leases.owners() if owner.key == "k"), None)


def test_of_many_that_ask_together_one_becomes_the_owner(store: Folder) -> None:
    with ThreadPoolExecutor(6) as pool:
        leases = list(pool.map(lambda _: Leases(store).take("train", "k"), range(6)))
    assert sum(lease is not None for lease in leases) == 1


@pytest.mark.ci
def test_of_many_processes_that_ask_together_one_becomes_the_owner(local: Folder) -> None:
    command = [sys.executable, "-c", OWNS, local.where, "60", "3"]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    said = sorted(process.communicate(timeout=60)[0] for process in processes)
    assert said == ["refused\n"] * 3 + ["taken\n"]


def test_the_owner_is_known_by_host_process_time_and_note(store: Folder) -> None:
    leases = Leases(store, EXPIRY)
    with leases.take("train", "k", note="begins") or pytest.fail("not taken"):
        found = owner_of(Leases(store))
        assert found is not None
        assert (found.stage, found.key, found.pid) == ("train", "k", os.getpid())
        assert found.host == os.uname().nodename
        assert found.note == "begins"
        assert [one.key for one in Leases(store).owners()] == ["k"]
    assert owner_of(Leases(store)) is None
    assert Leases(store).owners() == []


def test_a_heartbeat_brings_the_latest_note(store: Folder) -> None:
    lease = Leases(store, EXPIRY).take("train", "k")
    assert lease is not None
    lease.report("epoch 3 of 30")
    beats = []
    deadline = time.monotonic() + 20
    while len(beats) < 3 and time.monotonic() < deadline:
        found = owner_of(Leases(store))
        assert found is not None
        if found.beat not in beats:
            beats.append(found.beat)
    assert beats == sorted(beats)
    assert len(beats) == 3
    assert found.note == "epoch 3 of 30"
    lease.release()


def test_a_released_lease_leaves_no_file_and_beats_no_more(store: Folder) -> None:
    lease = Leases(store, 0.04).take("train", "k")
    assert lease is not None
    time.sleep(0.1)
    lease.release()
    lease._thread.join(20)  # its last heartbeat may be on its way to a slow storage
    assert store.joined("leases").listing() == {}
    time.sleep(0.2)
    assert store.joined("leases").listing() == {}


@LINUX
def test_a_killed_owner_s_lease_is_taken_over_at_once_on_its_machine(
    local: Folder, owner: subprocess.Popen[bytes]
) -> None:
    leases = Leases(local, expiry=3600)
    assert leases.take("train", "k") is None
    assert leases.dead() == []
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert leases.dead() == ["train-k"]
    assert leases.take("train", "k") is not None


@LINUX
def test_a_zombie_is_as_dead(local: Folder, owner: subprocess.Popen[bytes]) -> None:
    owner.send_signal(signal.SIGKILL)
    stat = Path(f"/proc/{owner.pid}/stat")
    while stat.read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    assert Leases(local, expiry=3600).take("train", "k") is not None


def test_a_dead_owner_of_another_machine_is_taken_over_after_the_expiry_and_not_before(
    local: Folder, owner: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner.kill()
    owner.wait()
    monkeypatch.setattr(studies.store.leases.socket, "gethostname", lambda: "another")
    after = taken_within(20, Leases(local, expiry=EXPIRY))
    assert after is not None
    assert after >= EXPIRY * 0.9


def test_a_slow_owner_that_beats_keeps_its_lease_whatever_the_machine(
    local: Folder, owner: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies.store.leases.socket, "gethostname", lambda: "another")
    # Twice its expiry for an observer on a machine of two busy cores.
    assert taken_within(6 * EXPIRY, Leases(local, expiry=2 * EXPIRY)) is None


def test_a_stopped_owner_loses_its_lease_and_learns_it_when_it_goes_on(store: Folder) -> None:
    stopped = Leases(store, 0.2).take("train", "k")
    assert stopped is not None
    stopped._ended.set()  # as SIGSTOP does: no more beats
    stopped._thread.join()
    # Its file is as it was before: what ends by itself takes it away.
    store.joined("leases").write(stopped._file, replace(stopped._owner, host="another").as_json())
    others = Leases(store, 0.2)
    assert taken_within(20, others) is not None
    # It goes on.
    stopped._ended.clear()
    stopped._beats()
    assert stopped.lost
    found = owner_of(others)
    assert found is not None
    assert found.token != stopped._owner.token


def test_exactly_one_of_several_takes_a_dead_owner_s_lease_over(store: Folder) -> None:
    dead = Leases(store, 3600).take("train", "k")
    assert dead is not None
    stale = replace(dead._owner, host="another", expiry=0.3).as_json()
    dead.release()
    store.joined("leases").write("train-k.0", stale)

    def take(_: int) -> Any:
        leases = Leases(store, 0.3)
        while not (lease := leases.take("train", "k")):
            _, found = _latest(store.joined("leases"), "train-k")
            if found is not None and found.host != "another":
                return None
        return lease

    with ThreadPoolExecutor(5) as pool:
        found = list(pool.map(take, range(5)))
    assert sum(lease is not None for lease in found) == 1
    assert list(store.joined("leases").listing()) == ["train-k.1"]


def test_an_owner_that_was_replaced_does_not_delete_its_successor_s_lease(store: Folder) -> None:
    first = Leases(store, 3600).take("train", "k")
    assert first is not None
    store.joined("leases").delete("train-k.0")  # taken over and released
    second = Leases(store, 3600).take("train", "k")
    assert second is not None
    first.release()
    found = owner_of(Leases(store))
    assert found is not None
    assert found.token == second._owner.token
    second.release()


def test_a_worker_that_is_started_again_by_its_run_takes_its_lease_over(store: Folder) -> None:
    first = Leases(store, 3600).take("train", "k", run="r1")
    assert first is not None
    assert Leases(store).take("train", "k", run="r2") is None
    assert Leases(store).take("train", "k", run="r1") is not None


def test_the_leases_of_a_run_are_dropped_and_no_others(store: Folder) -> None:
    for key, run in (("a", "r1"), ("b", "r2"), ("c", "r1")):
        assert Leases(store, 3600).take("train", key, run=run) is not None
    Leases(store).drop_run("r1")
    assert [owner.key for owner in Leases(store).owners()] == ["b"]


def test_a_beat_survives_a_storage_that_is_away(
    store: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = Leases(store, 0.1).take("train", "k")
    assert lease is not None
    write: Callable[..., None] = type(store).write

    def fails(*_: Any) -> None:
        raise studies.store.leases.StorageError("away")

    monkeypatch.setattr(type(store), "write", fails)
    time.sleep(0.2)
    monkeypatch.setattr(type(store), "write", write)
    found = Leases(store)
    before = owner_of(found)
    time.sleep(0.5)
    after = owner_of(found)
    assert before is not None
    assert after is not None
    assert after.beat > before.beat
    assert not lease.lost
    lease.release()
