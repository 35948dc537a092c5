"""For tests of the store: a store on this machine, and one on S3 as several nodes see it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studies.store.artifacts import ArtifactStore
from studies.store.files import CACHE

Nodes = Callable[[str], ArtifactStore]


@pytest.fixture(params=["local", "s3"])
def nodes(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """One store as several nodes open it; those of a remote one have a cache each."""
    if request.param == "s3":
        request.getfixturevalue("s3")

    def opened(node: str) -> ArtifactStore:
        monkeypatch.setenv(CACHE, str(tmp_path / f"cache of {node}"))
        return ArtifactStore("s3://bucket/store" if request.param == "s3" else tmp_path / "store")

    return opened


@pytest.fixture
def new_process(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Forget which artifacts were compared with their manifests, as a new process has not."""
    return lambda: monkeypatch.setattr("studies.store.manifest._sound", {})


@pytest.fixture
def store(nodes: Nodes) -> ArtifactStore:
    return nodes("one")


@pytest.fixture
def local(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


@pytest.fixture
def remote(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArtifactStore:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    return ArtifactStore("s3://bucket/store")


def _put(store: ArtifactStore, stage: str, key: str, **about: Any) -> None:
    with store.build(stage, key, about) as folder:
        (folder / "a.bin").write_bytes(bytes(1000))
        (folder / "deep").mkdir()
        (folder / "deep" / "b.bin").write_bytes(bytes(24))


@pytest.fixture(params=["local", "s3"])
def stocked(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ArtifactStore:
    """A store in its usual place: a network, a student of it, its CAMs, and images."""
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    where: Any = tmp_path / "results" / "store"
    if request.param == "s3":
        request.getfixturevalue("s3")
        where = "s3://bucket/results/store"
    store = ArtifactStore(where)
    store.make()
    settings = {
        "paradigm": "teacher-student", "seed": 3, "student": {"model": "vit"},
        "teacher": {"model": "cnn"}, "transfer": {"metric": "cosine", "level": "global"},
    }  # fmt: skip
    _put(store, "train", "t1", settings=settings, parent=None)
    _put(store, "train", "t2", settings=settings, parent="t1")
    _put(store, "cams", "c1", settings={"cam": {"method": "grad"}, "role": "student"}, parent="t1")
    _put(store, "images", "i1", split="test", size=32, fingerprint="f00")
    return store
