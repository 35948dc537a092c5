"""`wsss store list | verify`, over a store or results folder on this machine and on S3."""

import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reports.ledger.parts import write_part
from reports.storage import open_folder
from studies.stages.publishing import publish_all
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
    assert "stage 'networks': expected one of images, features, train, cams, scores" in said.err


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


# verify a results folder


@pytest.fixture
def results(store: ArtifactStore) -> str:
    """The results folder of the store: a plan, a finished trial and the row of a failed one."""
    where = store.where.removesuffix("/store")
    with store.build("scores", "s1", {"parent": "t1"}) as folder:
        for table in ("history", "trials"):
            write_part(folder, table, "s1", [_row(table, "s1")])
    publish_all(store, ["s1"], where)
    texts = dict.fromkeys(("study", "study_title", "configuration", "settings", "family"), "x")
    networks = {"paradigm": "single", "student": "vit", "objective": "iou"}
    numbers = {"position": 0, "seed": 0, "fixed_threshold": 0.5}
    write_part(where, "plan", "x", [{"trial_key": "s1", **texts, **networks, **numbers}])
    write_part(where, "trials", "f1", [{**_row("trials", "f1"), "status": "failed"}])
    return where


def _row(table: str, key: str) -> dict[str, Any]:
    if table == "history":
        figures = {"epoch": 1, "loss": 0.5, "classification_loss": 0.25, "seconds": 2.0}
        return {"trial_key": key, **figures}
    texts = dict.fromkeys(("configuration", "settings", "package_version", "packages"), "x")
    when = datetime(2026, 1, 1, tzinfo=UTC)
    return {"trial_key": key, "seed": 0, "status": "ok", "started_at": when, **texts}


def test_a_results_folder_is_verified_with_its_ledger_and_its_store(
    wsss: Wsss, results: str
) -> None:
    said = wsss("store", "verify", results)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("5 of 5 artifacts are as their manifests say, ")
    assert said.out.endswith("4 of 4 parts of the ledger are whole\n")
    assert (
        wsss("store", "verify", results, "ledger").out == "4 of 4 parts of the ledger are whole\n"
    )
    assert wsss("store", "verify", results, "train").out.startswith("2 of 2 artifacts are as")
    assert "expected one of" in wsss("store", "verify", results, "ledgers").err


def test_corrupt_and_missing_parts_of_a_ledger_are_named_and_moved_away(
    wsss: Wsss, store: ArtifactStore, results: str
) -> None:
    ledger = open_folder(results).joined("ledger")
    ledger.joined("history").delete("s1.parquet")
    for key in ("s1", "f1"):
        content = ledger.joined("trials").read(f"{key}.parquet")
        ledger.joined("trials").write(f"{key}.parquet", content[:99] + b"?" + content[100:])
    for option, code in ((), 1), (("--quarantine",), 1):
        said = wsss("store", "verify", results, *option)
        assert said.code == code
        place = f"{results}/ledger/trials"
        why = "cannot be read (it differs from the digest that it holds)"
        again = "`wsss run` again brings it back from the store"
        assert said.err.splitlines() == [
            f"corrupt: {place}/f1.parquet: {why}; {again}",
            f"corrupt: {place}/s1.parquet: {why}; {again}",
            "missing: ledger/history/s1.parquet is missing",
        ]
        assert "1 of 3 parts of the ledger are whole" in said.out
        assert ("2 were moved to ledger/quarantined" in said.out) == bool(option)
    assert len(ledger.joined("quarantined").listing()) == 2
    assert ledger.joined("trials").listing() == {}
    said = wsss("store", "verify", results)
    assert said.code == 1, "the parts of the trial that the store holds are still missing"
    publish_all(store, ["s1"], results)
    assert wsss("store", "verify", results).code == 0


def test_a_ledger_whose_store_lies_elsewhere_is_verified_by_its_digests(
    wsss: Wsss, tmp_path: Path
) -> None:
    part = Path(write_part(tmp_path, "history", "a", [_row("history", "a")]))
    said = wsss("store", "verify", tmp_path)
    assert (said.code, said.out) == (0, "1 of 1 parts of the ledger are whole\n")
    part.write_bytes(part.read_bytes()[:-9] + bytes(9))
    assert wsss("store", "verify", tmp_path).code == 1
    assert "no artifact store is there" in wsss("store", "verify", tmp_path, "train").err
