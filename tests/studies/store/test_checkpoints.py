"""Checkpoints in a store: a stage that was broken off resumes, on another node too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import studies.store.files
from studies.store.artifacts import ArtifactStore

Nodes = Callable[[str], ArtifactStore]


def make(store: ArtifactStore, key: str = "abc", content: str = "weights") -> Path:
    with store.build("train", key, {"epochs": 3}) as folder:
        (folder / "w.bin").write_text(content)
    return store.path("train", key)


def test_checkpoints_are_kept_until_the_stage_is_finished(store: ArtifactStore) -> None:
    checkpoint = store.scratch("train", "abc") / "checkpoint.pt"
    checkpoint.write_text("epoch 1")
    other = store.scratch("train", "def") / "checkpoint.pt"
    other.write_text("epoch 1")
    store.keep_scratch("train", "abc")
    assert store.scratch("train", "abc") == checkpoint.parent
    assert checkpoint.read_text() == "epoch 1"
    make(store)
    assert not checkpoint.parent.exists()
    assert store.folder.joined("unfinished", "train-abc").listing() == {}
    assert other.read_text() == "epoch 1"


def test_a_stage_that_fails_keeps_its_checkpoints(store: ArtifactStore) -> None:
    checkpoint = store.scratch("train", "abc") / "checkpoint.pt"
    checkpoint.write_text("epoch 1")

    def fail() -> None:
        with store.build("train", "abc", {}):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert checkpoint.read_text() == "epoch 1"


def test_another_node_goes_on_from_what_a_lost_one_has_kept(nodes: Nodes) -> None:
    one = nodes("one")
    (one.scratch("train", "abc") / "checkpoint.pt").write_text("epoch 1")
    one.keep_scratch("train", "abc")
    other = nodes("another")
    checkpoint = other.scratch("train", "abc") / "checkpoint.pt"
    assert checkpoint.read_text() == "epoch 1"
    checkpoint.write_text("epoch 2")
    other.keep_scratch("train", "abc")
    # The first is back: what it has is older.
    assert (one.scratch("train", "abc") / "checkpoint.pt").read_text() == "epoch 2"


def test_a_node_prefers_its_own_checkpoint_to_an_older_one_that_it_kept(nodes: Nodes) -> None:
    store = nodes("one")
    checkpoint = store.scratch("train", "abc") / "checkpoint.pt"
    checkpoint.write_text("epoch 1")
    store.keep_scratch("train", "abc")
    checkpoint.write_text("epoch 5")  # killed before it was kept
    assert (nodes("one").scratch("train", "abc") / "checkpoint.pt").read_text() == "epoch 5"


def test_keeping_takes_no_more_than_its_share_of_the_time(
    remote: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    kept: list[float] = []

    def put(*_: Any) -> None:
        kept.append(now[0])
        now[0] += 2.0

    monkeypatch.setattr(type(remote.folder), "put", put)
    monkeypatch.setattr(studies.store.files.time, "monotonic", lambda: now[0])
    (remote.scratch("train", "abc") / "checkpoint.pt").write_text("epoch 1")
    for _ in range(50):
        now[0] += 1.0
        remote.keep_scratch("train", "abc")
    assert kept == [101.0, 121.0, 141.0]
