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


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def owner_clock(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of every lease owner of this process."""
    monkeypatch.setattr(studies.store.leases, "_awake_or_not", clock)
    return clock


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("content", [b"", b"half a le", b"{}", b"[]", b"\xff\xfe", b"null"])
def test_a_lease_that_cannot_be_read_has_an_owner_until_it_has_stood_still(
    local: Folder, clock: Clock, content: bytes
) -> None:
    local.joined("leases").write("train-k.4", content)
    leases = Leases(local, 10.0, clock)
    assert leases.take("train", "k") is None
    (unknown,) = leases.owners()
    assert (unknown.stage, unknown.key, unknown.note) == ("train", "k", "its lease cannot be read")
    clock.now += 9.9
    local.joined("leases").write("train-k.4", content + b" more of it")  # it was being written
    assert leases.take("train", "k") is None
    clock.now += 9.9
    assert leases.take("train", "k") is None
    assert leases.dead() == []
    clock.now += 0.2
    assert leases.dead() == ["train-k"]
    lease = leases.take("train", "k")
    assert lease is not None
    assert list(local.joined("leases").listing()) == ["train-k.5"]
    lease.release()


def test_any_flipped_bit_makes_a_lease_unreadable_and_gives_it_no_other_owner(
    local: Folder,
) -> None:
    lease = Leases(local, 3600).take("train", "k", note="epoch 1 of 3", run="r1")
    assert lease is not None
    content = local.joined("leases").read("train-k.0")
    assert LeaseOwner.from_json(content, "train-k") == lease._owner
    for place in range(len(content)):
        assert not LeaseOwner.from_json(flipped(content, place), "train-k").readable
    lease.release()


def test_an_owner_heals_its_file_at_its_next_heartbeat(local: Folder) -> None:
    lease = Leases(local, 3600).take("train", "k")
    assert lease is not None
    content = local.joined("leases").read("train-k.0")
    local.joined("leases").write("train-k.0", flipped(content, 10))
    lease._beat()
    assert not lease.lost
    found = owner_of(Leases(local))
    assert found is not None
    assert found.token == lease._owner.token
    lease.release()


@pytest.mark.parametrize(("own", "observer"), [(8.0, 1.0), (1.0, 8.0)])
def test_a_lease_expires_by_the_larger_of_its_owner_s_expiry_and_the_observer_s(
    local: Folder, clock: Clock, own: float, observer: float
) -> None:
    lease = Leases(local, own).take("train", "k")
    assert lease is not None
    lease._ended.set()  # no heartbeat comes
    lease._thread.join()
    local.joined("leases").write("train-k.0", replace(lease._owner, host="another").as_json())
    leases = Leases(local, observer, clock)
    assert leases.take("train", "k") is None
    clock.now += 7.9
    assert leases.take("train", "k") is None
    clock.now += 0.2
    again = leases.take("train", "k")
    assert again is not None
    again.release()


def test_after_a_pause_beyond_its_expiry_an_owner_goes_on_where_nobody_took_over(
    local: Folder, owner_clock: Clock
) -> None:
    lease = Leases(local, 3600).take("train", "k")
    assert lease is not None
    owner_clock.now += 3599
    lease._beat()
    assert list(local.joined("leases").listing()) == ["train-k.0"]
    owner_clock.now += 3601
    lease._beat()
    assert not lease.lost
    assert list(local.joined("leases").listing()) == ["train-k.1"]
    assert Leases(local).owners()[0].beat == 2
    owner_clock.now += 10
    lease._beat()
    assert list(local.joined("leases").listing()) == ["train-k.1"]
    lease.release()
    assert local.joined("leases").listing() == {}


def test_an_owner_that_pauses_between_its_look_and_its_write_overwrites_no_later_lease(
    local: Folder, owner_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile a successor ends, and a third process takes the lease, in a file of that name."""
    stale = Leases(local, 3600).take("train", "k")
    assert stale is not None
    third: list[Lease | None] = []
    looked = Lease._is_mine

    def looks_then_stops(lease: Lease) -> bool:
        found = looked(lease)
        if lease is stale and not third:
            owner_clock.now += 3601
            local.joined("leases").delete("train-k.0")  # taken over, then released
            third.append(Leases(local, 3600).take("train", "k"))
        return found

    monkeypatch.setattr(Lease, "_is_mine", looks_then_stops)
    stale._beat()
    assert stale.lost
    (later,) = third
    assert later is not None
    assert not later.taken_over()
    assert list(local.joined("leases").listing()) == ["train-k.0"]
    stale.release()
    assert not later.taken_over()
    later.release()


def test_an_owner_that_pauses_inside_its_write_gives_way_to_its_successor(
    local: Folder, owner_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = Leases(local, 3600).take("train", "k", run="r1")
    assert stale is not None
    write = type(local).write
    successor: list[Lease | None] = []

    def stops(folder: Folder, name: str, content: bytes) -> None:
        monkeypatch.undo()
        monkeypatch.setattr(studies.store.leases, "_awake_or_not", owner_clock)
        owner_clock.now += 3601
        successor.append(Leases(local, 3600).take("train", "k", run="r1"))
        write(folder, name, content)  # the stale file is there again

    monkeypatch.setattr(type(local), "write", stops)
    stale._beat()
    assert stale.lost
    (later,) = successor
    assert later is not None
    assert not later.taken_over()
    assert list(local.joined("leases").listing()) == ["train-k.1"]
    later.release()


@pytest.fixture
def work_clock(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which a lease's work makes progress."""
    monkeypatch.setattr(studies.store.leases, "_awake", clock)
    return clock


def in_file(local: Folder) -> LeaseOwner:
    (file,) = local.joined("leases").listing()
    return LeaseOwner.from_json(local.joined("leases").read(file), "train-k")


def test_a_heartbeat_says_how_long_ago_the_last_progress_was(
    local: Folder, work_clock: Clock
) -> None:
    lease = Leases(local, 3600).take("train", "k")
    assert lease is not None
    lease._beat()
    assert in_file(local).stalled_after == 0  # it reports none
    lease.progress()
    lease.report("epoch 2 of 9", epoch_seconds=40.0)
    work_clock.now += 720
    lease._beat()
    found = in_file(local)
    assert (found.beat, found.idle, found.stalled_after) == (2, 720, 600)
    assert (found.note, found.epoch_seconds) == ("epoch 2 of 9", 40.0)
    assert found.stalls(found.idle)
    lease.release()


def test_slow_work_is_known_by_the_longest_time_that_it_has_taken(
    local: Folder, work_clock: Clock
) -> None:
    lease = Leases(local, 3600).take("train", "k")
    assert lease is not None
    for took in (0, 200, 10):
        work_clock.now += took
        lease.progress()
    work_clock.now += 1500
    lease._beat()
    found = in_file(local)
    assert found.stalled_after == 2000
    assert not found.stalls(found.idle)
    lease.release()


def test_a_hung_call_holds_its_lease_no_longer_than_stated(
    local: Folder, work_clock: Clock, owner_clock: Clock
) -> None:
    lease = Leases(local, 3600).take("train", "k", run="r1")
    assert lease is not None
    lease.progress()
    work_clock.now += 3 * 600
    lease._beat()
    assert in_file(local).beat == 1
    work_clock.now += 1
    lease._beat()
    assert in_file(local).beat == 1  # the heart beats, and vouches no more
    observer = Clock()
    others = Leases(local, 1.0, observer)
    local.joined("leases").write("train-k.0", replace(lease._owner, host="another").as_json())
    assert others.take("train", "k", run="r2") is None
    observer.now += 3601
    successor = others.take("train", "k", run="r2")
    assert successor is not None
    # The call returns after all.
    lease.progress()
    lease._beat()
    assert lease.lost
    assert not successor.taken_over()
    successor.release()
    lease.release()


def test_a_hang_that_ends_before_anyone_took_over_costs_nothing(
    local: Folder, work_clock: Clock, owner_clock: Clock
) -> None:
    lease = Leases(local, 60).take("train", "k")
    assert lease is not None
    lease._ended.set()
    lease._thread.join()
    lease._ended.clear()
    local.joined("leases").write("train-k.0", lease._owner.as_json())
    lease.progress()
    work_clock.now += 5000
    lease._beat()
    assert in_file(local).beat == 0
    lease.progress()
    lease._beat()
    assert not lease.lost
    assert in_file(local).beat == 1
    lease._delete()


def test_a_run_sees_for_how_long_its_own_workers_made_no_progress_missing_heartbeats_included(
    local: Folder, clock: Clock
) -> None:
    mine = Leases(local, 3600).take("train", "a", run="r1")
    other = Leases(local, 3600).take("train", "b", run="r2")
    silent = Leases(local, 3600).take("train", "c", run="r1")  # reports no progress
    assert mine is not None
    assert other is not None
    assert silent is not None
    for lease in (mine, other):
        lease.progress()
        lease._beat()
    seen = Leases(local, 60.0, clock)
    ((owner, idle),) = seen.of_run("r1")
    assert owner.key == "a"
    assert idle == owner.idle
    clock.now += 500  # beyond its expiry: it is stopped
    ((owner, idle),) = seen.of_run("r1")
    assert idle == owner.idle + 500
    for lease in (mine, other, silent):
        lease.release()


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
