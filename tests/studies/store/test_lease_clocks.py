"""Leases whose owners pause, hang or cannot be read; clocks stand still until they are set."""

from dataclasses import replace
from pathlib import Path

import pytest

import studies.store.leases
from reports.storage import Folder
from reports.storage.opening import open_folder
from studies.store.lease_owner import LeaseOwner
from studies.store.leases import Lease, Leases

EXPIRY = 0.4


@pytest.fixture
def local(tmp_path: Path) -> Folder:
    return open_folder(tmp_path / "store", make=True)


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
    (found,) = Leases(local).owners()
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
    found = {owner.key: (owner, idle) for owner, idle in seen.of_run("r1")}
    assert found.keys() == {"a", "c"}
    owner, idle = found["a"]
    assert idle == owner.idle
    clock.now += 700  # beyond their expiry: they are stopped, one before its first heartbeat
    found = {owner.key: (owner, idle) for owner, idle in seen.of_run("r1")}
    owner, idle = found["a"]
    assert idle == owner.idle + 700
    owner, idle = found["c"]
    assert (idle, owner.stalls(idle)) == (700, True)
    for lease in (mine, other, silent):
        lease.release()
