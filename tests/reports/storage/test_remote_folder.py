"""Folders of object stores: retries, lost answers, credentials, unknown file systems."""

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from reports.storage.folder import StorageError
from reports.storage.opening import open_folder
from reports.storage.retry import TIMEOUT
from wsss_core.errors import InputError

ROOT = Path(__file__).parents[3]


@pytest.mark.ci
def test_an_object_store_that_went_away_is_waited_for(s3: Any) -> None:
    folder = open_folder("s3://bucket/study", make=True)
    folder.write("one", b"content")
    s3.stop()
    threading.Timer(1.0, s3.start).start()
    began = time.monotonic()
    assert folder.read("one") == b"content"
    assert time.monotonic() - began > 0.9


@pytest.mark.slow
def test_an_object_store_that_stays_away_is_named(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = open_folder("s3://bucket/study", make=True)
    monkeypatch.setenv(TIMEOUT, "0.1")
    s3.stop()
    try:
        with pytest.raises(
            StorageError, match=r"s3://bucket/study: the storage stays out of reach"
        ):
            folder.has("one")
    finally:
        s3.start()


def test_a_creator_of_an_object_whose_answer_was_lost_has_still_created(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    pipe_file = s3fs.S3FileSystem.pipe_file
    lost = [True]

    def loses(files: Any, *arguments: Any, **options: Any) -> Any:
        answer = pipe_file(files, *arguments, **options)
        if lost.pop() if lost else False:
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        return answer

    monkeypatch.setattr(s3fs.S3FileSystem, "pipe_file", loses)
    folder = open_folder("s3://bucket/study")
    assert folder.create("one", b"mine") is True
    assert folder.create("one", b"another's") is False


def test_a_bucket_that_is_not_there_is_said_at_once_and_not_made(s3: Any) -> None:
    began = time.monotonic()
    with pytest.raises(InputError, match=r"s3://bukcet/study: cannot be written .*not exist"):
        open_folder("s3://bukcet/study", make=True)
    assert time.monotonic() - began < 5
    with pytest.raises(FileNotFoundError):
        open_folder("s3://bukcet").read("one")


def test_a_process_without_credentials_is_told_so_at_once(tmp_path: Path) -> None:
    names = [name for name in os.environ if name.startswith("AWS_")]
    bare = {name: value for name, value in os.environ.items() if name not in names}
    bare |= {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    code = (
        "from reports.storage.opening import open_folder; open_folder('s3://bucket/x', make=True)"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=bare, capture_output=True)
    assert b"s3://bucket/x: cannot be used (NoCredentialsError" in done.stderr
    assert time.monotonic() - began < 20


def test_a_forked_process_reads_by_its_own_connections(s3: Any) -> None:
    folder = open_folder("s3://bucket/study")
    folder.write("one", b"content")
    child = os.fork()
    if not child:
        try:
            os._exit(0 if folder.read("one") == b"content" else 1)
        finally:
            os._exit(2)
    deadline = time.monotonic() + 20
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ended == (child, 0)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("gopher://host/x", r"gopher://host/x: gopher:// is no file system known here"),
        ("gs://bucket/x", r"gs://bucket/x: needs a package .* 'wsss-studies\[gcs\]'"),
    ],
)
def test_a_file_system_that_is_not_known_or_not_installed_is_named(uri: str, said: str) -> None:
    if uri.startswith("gs"):
        try:
            import gcsfs  # type: ignore[import-not-found]  # noqa: F401
        except ImportError:
            pass
        else:
            pytest.skip("gcsfs is installed")
    with pytest.raises(InputError, match=said):
        open_folder(uri)
