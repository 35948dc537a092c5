"""`wsss store list | verify`, over a store on this machine and one on S3."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports.ledger.parts import write_part
from studies.store.artifacts import ArtifactStore

Wsss = Callable[..., Any]


@pytest.fixture
def store(stocked: ArtifactStore) -> ArtifactStore:
    return stocked


def files_of(store: ArtifactStore, stage: str, key: str) -> Any:
    version = store.manifest(stage, key).folder
    return store.folder.joined(*(("files", version) if store.remote else (stage, key)))


# list


def test_a_list_has_a_line_for_each_stage_and_the_sum(wsss: Wsss, store: ArtifactStore) -> None:
    lines = wsss("store", "list", store.where).out.splitlines()
    cells = [line.split() for line in lines]
    assert cells[0] == ["stage", "artifacts", "size", "newest"]
    assert [row[:4] for row in cells[1:]] == [
        ["images", "1", "1.0", "KiB"],
        ["train", "2", "2.0", "KiB"],
        ["cams", "1", "1.0", "KiB"],
        ["all", "4", "4.0", "KiB"],
    ]
    assert cells[2][4] == max(store.manifest("train", key).written_at for key in ("t1", "t2"))


def test_a_list_of_a_stage_says_what_each_artifact_is(wsss: Wsss, store: ArtifactStore) -> None:
    lines = wsss("store", "list", store.where, "train").out.splitlines()
    assert lines[1].split()[:2] == ["train", "t1"]
    assert lines[2].split()[:2] == ["train", "t2"]
    assert lines[2].endswith("  t1  teacher-student, vit <- cnn, cosine, global, seed 3")
    keys = wsss("store", "list", store.where, "--keys").out
    assert "images  i1" in keys
    assert "test, 32 px, f00" in keys
    assert "student, grad" in keys


def test_a_list_says_who_is_at_work(wsss: Wsss, store: ArtifactStore) -> None:
    lease = store.leases.take("train", "t3", note="epoch 4 of 9")
    assert lease is not None
    with lease:
        said = wsss("store", "list", store.where).out
    assert f"at work: train/t3 on {socket.gethostname()} since " in said
    assert said.endswith(", epoch 4 of 9\n")


def test_a_place_that_is_no_store_is_refused_and_the_one_below_it_named(
    wsss: Wsss, store: ArtifactStore
) -> None:
    above = store.where.removesuffix("/store")
    write_part(above, "history", "t", [])
    said = wsss("store", "list", above)
    assert said.code == 2
    assert said.err == (f"wsss: {above}: no artifact store is there; did you mean {store.where}?\n")
    said = wsss("store", "gc", store.where + "x", "--delete")
    assert (said.code, said.err) == (2, f"wsss: {store.where}x: no artifact store is there\n")
    if not store.remote:
        assert not Path(store.where + "x").exists()


def test_a_stage_that_there_is_not_is_named(wsss: Wsss, store: ArtifactStore) -> None:
    said = wsss("store", "list", store.where, "networks")
    assert said.code == 2
    assert "stage 'networks': expected one of images, train, cams, scores" in said.err


# verify


def test_a_sound_store_is_said_to_be_sound(wsss: Wsss, store: ArtifactStore) -> None:
    said = wsss("store", "verify", store.where)
    assert said.code == 0
    assert said.out == "4 of 4 artifacts are as their manifests say, 4.0 KiB read\n"


def test_every_corrupt_and_missing_file_is_named(wsss: Wsss, store: ArtifactStore) -> None:
    files_of(store, "train", "t1").write("a.bin", bytes(999) + b"x")
    files_of(store, "train", "t1").joined("deep").delete("b.bin")
    files_of(store, "cams", "c1").write("a.bin", bytes(10))
    said = wsss("store", "verify", store.where)
    assert said.code == 1
    assert said.err.splitlines() == [
        "corrupt: cams/c1: a.bin has 10 bytes, expected 1000",
        "corrupt: train/t1: deep/b.bin is missing",
        "corrupt: train/t1: a.bin has another checksum than its manifest says",
    ]
    assert said.out.startswith("2 of 4 artifacts are as their manifests say")
    assert store.finished("train") == {"t1", "t2"}
    assert wsss("store", "verify", store.where, "images").code == 0


def test_an_artifact_whose_manifest_cannot_be_read_is_corrupt(
    wsss: Wsss, store: ArtifactStore
) -> None:
    store.folder.joined("train", "t1").write("manifest.json", b"{")
    said = wsss("store", "verify", store.where, "train")
    assert said.code == 1
    assert said.err.startswith("corrupt: train/t1: ")
    assert "its manifest cannot be read" in wsss("store", "list", store.where, "train").out


@pytest.mark.parametrize("option", ["--quarantine", "--set-aside"])
def test_corrupt_artifacts_are_quarantined_and_made_anew(
    wsss: Wsss, store: ArtifactStore, option: str
) -> None:
    files_of(store, "train", "t1").write("a.bin", bytes(10))
    assert wsss("store", "verify", store.where, option).code == 1
    assert store.finished("train") == {"t2"}
    with store.build("train", "t1", {}) as folder:
        (folder / "a.bin").write_bytes(bytes(10))
    assert wsss("store", "verify", store.where).code == 0
    assert "quarantined: 1, " in wsss("store", "list", store.where).out


def test_what_is_of_a_network_that_is_gone_is_information(wsss: Wsss, store: ArtifactStore) -> None:
    store.quarantine("train", "t1")
    said = wsss("store", "verify", store.where)
    assert said.code == 0
    assert "2 artifacts belong to training runs that are no longer here" in said.out
    assert "  cams/c1 of t1\n  train/t2 of t1\n" in said.out or (
        "  train/t2 of t1\n  cams/c1 of t1\n" in said.out
    )
