"""A ledger after rot, cuts and deletions: a run brings back what the store holds, byte for byte."""

import io
import logging
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import reports.ledger.snapshot
import reports.storage.remote
from reports.ledger import SCHEMAS, LedgerError, part_name, read_table, table_folder, write_part
from reports.storage import Folder, open_folder
from studies.stages.publishing import publish, publish_all
from studies.store import LEDGER_TABLES, ArtifactStore
from studies.store.files import CACHE

KEYS = ("aa", "bb", "cc")
ENDED = datetime(2026, 1, 1, tzinfo=UTC)


def trial_row(key: str, status: str) -> dict[str, Any]:
    texts = {"settings": "{}", "package_version": "0", "packages": "{}", "configuration": "c"}
    return {"trial_key": key, "seed": 0, "status": status, "started_at": ENDED, **texts}


def epoch_row(key: str) -> dict[str, Any]:
    return {"trial_key": key, "epoch": 1, "loss": 0.5, "classification_loss": 0.25, "seconds": 2.0}


def reason_row(key: str) -> dict[str, Any]:
    where = {"trial_key": key, "network": "student", "split": "test", "class_name": "smoke"}
    return {**where, "measure": "clean", "images": 4, "value": 0.75}


def rows_of(key: str) -> dict[str, list[dict[str, Any]]]:
    image = {"trial_key": key, "network": "student", "split": "test", "image": "x.png"}
    counts = np.arange(256) + ord(key[0])
    scored = {"group": "x", "labelled": True, "logit": 1.5}
    pictures = {"image_png": b"1", "mask_png": b"2", "cam_png": b"3"}
    chain = {"scores_key": key, "refinement": "PAR", "status": "ok", "ended_at": ENDED}
    score = {**image, **scored, "class_name": "smoke", "foreground": counts, "background": counts}
    segmenter = {"scores_key": key, "entry": "e", "seed": 0, "status": "ok", "segment_key": key}
    made = {"settings": "{}", "package_version": "0", "packages": "{}", "started_at": ENDED}
    counted = dict.fromkeys(("boundary_hits", "boundary_union"), 3)
    of_class = {"image": "x.png", "group": "x", "class_name": "smoke", "class_number": 1}
    return {
        "segmented": [{**segmenter, **made}],
        "segment_scores": [{"scores_key": key, **of_class, **counted, "pixels": [1, 2]}],
        "scores": [score],
        "panels": [{**image, "class_name": "smoke", **pictures}],
        "history": [epoch_row(key)],
        "trials": [trial_row(key, "ok")],
        "reasons": [reason_row(key)],
        "refined": [{"trial_key": key, **chain}],
    }


@pytest.fixture(params=["local", "memory", "s3"])
def results(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A results folder with three finished trials, in the store below it and in the ledger."""
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    if request.param == "s3":
        request.getfixturevalue("s3")
    if request.param == "memory":
        fsspec.filesystem("memory").store.clear()
    places = {"local": str(tmp_path), "memory": "memory://x", "s3": "s3://bucket"}
    where = f"{places[request.param]}/results"
    store = ArtifactStore(f"{where}/store")
    store.make()
    for key in KEYS:
        with store.build("scores", key, {}) as folder:
            for table, rows in rows_of(key).items():
                write_part(folder, table, key, rows)
    assert publish_all(store, KEYS, where) is False
    return where


def store_of(results: str) -> ArtifactStore:
    return ArtifactStore(f"{results}/store")


def whole_ledger(results: str) -> dict[str, bytes]:
    ledger = open_folder(results).joined("ledger")
    return {
        path: ledger.joined(*path.split("/")[:-1]).read(path.rpartition("/")[2])
        for path in ledger.tree()
    }


def overwrite(folder: Folder, name: str, content: bytes) -> None:
    """Change a file as rot does: on a local disk its times stay."""
    if hasattr(folder, "path"):
        (folder.path / name).write_bytes(content)
    else:
        folder.write(name, content)


def spoil(folder: Folder, name: str, how: str) -> None:
    content = folder.read(name)
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]
    changed = {
        "a bit": flipped,
        "cut": content[:middle],
        "cut, of equal size": content[:middle] + bytes(len(content) - middle),
    }
    if how == "deleted":
        folder.delete(name)
    else:
        overwrite(folder, name, changed[how])


FAULTS = ("a bit", "cut", "cut, of equal size", "deleted")


def test_every_table_comes_back_as_it_was_whatever_became_of_a_part(results: str) -> None:
    before = whole_ledger(results)
    assert len(before) == len(KEYS) * len(LEDGER_TABLES)
    for how in FAULTS:
        for table in LEDGER_TABLES:
            spoil(table_folder(results, table), part_name("bb"), how)
        assert whole_ledger(results) != before
        assert publish_all(store_of(results), KEYS, results) is False
        assert whole_ledger(results) == before, how


def test_a_part_that_rots_without_a_new_time_comes_back_once_a_reader_has_met_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports.ledger.snapshot, "WORTH", 1)
    store = ArtifactStore(tmp_path / "store")
    for key in KEYS:
        with store.build("scores", key, {}) as folder:
            for table, rows in rows_of(key).items():
                write_part(folder, table, key, rows)
    publish_all(store, KEYS, tmp_path)
    publish_all(store, KEYS, tmp_path)  # computes the checksums of what the first has written
    part = tmp_path / "ledger" / "scores" / part_name("bb")
    before, times = part.read_bytes(), part.stat()
    rotten = bytearray(before)
    rotten[len(rotten) // 2] ^= 4
    part.write_bytes(rotten)
    os.utime(part, ns=(times.st_atime_ns, times.st_mtime_ns))
    publish_all(store, KEYS, tmp_path)
    assert part.read_bytes() == rotten  # nobody has read it since
    with pytest.raises(LedgerError, match=r"bb\.parquet"):
        read_table(tmp_path, "scores")
    publish_all(store, KEYS, tmp_path)
    assert part.read_bytes() == before


def test_a_ledger_that_was_deleted_comes_back(results: str) -> None:
    before = whole_ledger(results)
    open_folder(results).joined("ledger").delete_all()
    publish_all(store_of(results), KEYS, results)
    assert whole_ledger(results) == before


def test_a_row_of_a_failure_gives_way_to_the_result_that_the_store_holds(results: str) -> None:
    before = whole_ledger(results)
    write_part(results, "trials", "cc", [trial_row("cc", "failed")])
    publish_all(store_of(results), KEYS, results)
    assert whole_ledger(results) == before


def test_a_part_that_is_right_is_not_written_again(
    results: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[str] = []
    monkeypatch.setattr(
        "studies.stages.publishing.publish",
        lambda store, key, results, tables: copied.extend([key, *tables]),
    )
    publish_all(store_of(results), KEYS, results)
    assert copied == []
    spoil(table_folder(results, "scores"), part_name("aa"), "a bit")
    publish_all(store_of(results), KEYS, results)
    assert copied == ["aa", "scores"]


def test_a_look_at_a_remote_ledger_costs_one_request_a_part_and_one_a_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    fsspec.filesystem("memory").store.clear()
    where = "memory://counted/results"
    store = ArtifactStore(f"{where}/store")
    for key in KEYS:
        with store.build("scores", key, {}) as folder:
            for table, rows in rows_of(key).items():
                write_part(folder, table, key, rows)
    publish_all(store, KEYS, where)
    asked: list[str] = []
    read = reports.storage.remote.RemoteFolder.read

    def counting(folder: Any, name: str) -> bytes:
        asked.append(f"{folder.where}/{name}")
        return read(folder, name)

    monkeypatch.setattr(reports.storage.remote.RemoteFolder, "read", counting)
    publish_all(store, KEYS, where)
    assert len(asked) == len(set(asked)) == len(KEYS) * (len(LEDGER_TABLES) + 1)


def test_a_corrupt_copy_in_the_store_is_quarantined_and_the_others_are_published(
    results: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = store_of(results)
    for key in ("aa", "cc"):
        spoil(table_folder(results, "scores"), part_name(key), "a bit")
    version = store.manifest("scores", "aa").folder
    place = ("files", version) if store.remote else ("scores", "aa")
    spoil(store.folder.joined(*place, "ledger", "scores"), part_name("aa"), "a bit")
    shutil.rmtree(store.root / "scores" / "aa", ignore_errors=True) if store.remote else None
    assert publish_all(store, KEYS, results) is True
    assert store.finished("scores") == {"bb", "cc"}
    assert "scores/aa" in caplog.text
    assert read_table(results, "scores", keys=["bb", "cc"])["trial_key"].tolist() == ["bb", "cc"]
    assert not table_folder(results, "scores").has(part_name("aa")), "it was quarantined too"


def test_corrupt_rows_that_only_the_ledger_holds_are_moved_away(
    results: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    write_part(results, "trials", "dd", [trial_row("dd", "failed")])  # of this study
    write_part(results, "trials", "ee", [trial_row("ee", "failed")])  # of another one
    write_part(results, "trials", "ff", [trial_row("ff", "failed")])  # is whole
    trials = table_folder(results, "trials")
    kept = {}
    for key in ("dd", "ee"):
        spoil(trials, part_name(key), "a bit")
        kept[key] = trials.read(part_name(key))
    publish_all(store_of(results), [*KEYS, "dd"], results)
    assert sorted(read_table(results, "trials")["trial_key"]) == [*KEYS, "ff"]
    quarantined = open_folder(results).joined("ledger", "quarantined")
    names = sorted(quarantined.listing())
    assert [name[:10] for name in names] == ["trials-dd-", "trials-ee-"]
    assert [quarantined.read(name) for name in names] == [kept["dd"], kept["ee"]]
    assert "dd.parquet: cannot be read (it differs from the digest that it holds)" in caplog.text
    assert "it was moved to ledger/quarantined" in caplog.text


def test_parts_of_the_older_version_stay_and_are_healed_alike(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "store")
    schema = SCHEMAS["history"].with_metadata({b"schema_version": b"5"})
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([epoch_row("aa")], schema=schema), content)
    with store.build("scores", "aa", {}) as folder:
        (folder / "ledger" / "history").mkdir(parents=True)
        (folder / "ledger" / "history" / "aa.parquet").write_bytes(content.getvalue())
    publish(store, "aa", tmp_path)
    part = tmp_path / "ledger" / "history" / "aa.parquet"
    when = part.stat().st_mtime_ns
    publish_all(store, ["aa"], tmp_path)
    assert (part.stat().st_mtime_ns, part.read_bytes()) == (when, content.getvalue())
    for how in FAULTS:
        spoil(table_folder(tmp_path, "history"), "aa.parquet", how)
        publish_all(store, ["aa"], tmp_path)
        assert part.read_bytes() == content.getvalue()
    assert read_table(tmp_path, "history")["loss"].tolist() == [0.5]


def test_a_run_heals_the_ledger_and_the_report_equals_the_undisturbed_one(
    finished: Any, wsss: Callable[..., Any], write_study: Callable[..., str], tmp_path: Path,
    shared_tiny: dict[str, Any],
) -> None:  # fmt: skip
    results = tmp_path / "results"
    shutil.copytree(finished.results, results)
    assert wsss("report", results, "--out", tmp_path / "before").code == 0
    keys = [trial.key for trial in finished.plan.trials]
    for key, how in zip(keys, FAULTS, strict=False):
        for table in ("scores", "panels", "history", "trials"):
            spoil(table_folder(results, table), part_name(key), how)
    (plan,) = table_folder(results, "plan").listing()
    spoil(table_folder(results, "plan"), plan, "a bit")
    shutil.rmtree(results / "derived", ignore_errors=True)
    said = wsss("report", results, "--out", tmp_path / "not")
    assert said.code == 2
    assert f"{plan}: cannot be read" in said.err
    study = write_study(shared_tiny)
    said = wsss("plan", study, "--results", results)
    assert said.code == 0
    said = wsss("run", study, "--results", results, "--in-process")
    assert (said.code, "nothing to train" in said.out) == (0, True)
    assert f"{4 * (len(FAULTS) - 1)} parts of the ledger differed from the store's" in said.out
    assert wsss("report", results, "--out", tmp_path / "after").code == 0
    for file in (tmp_path / "before" / "tables").iterdir():
        assert (tmp_path / "after" / "tables" / file.name).read_bytes() == file.read_bytes()
    assert wsss("store", "verify", results).code == 0
