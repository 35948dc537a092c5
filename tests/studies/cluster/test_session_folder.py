"""The folder of Ray's sessions: short enough for sockets, ours, closed to other accounts."""

import os
import re
import socket
import tempfile
from pathlib import Path

import pytest

from studies.cluster import session_folder
from studies.cluster.session_folder import ray_session_folder
from wsss_core.errors import InputError

BELOW = "session_2026-11-28_03-06-04_401379_4194304/sockets/plasma_store"


def mode(folder: Path) -> int:
    return folder.stat().st_mode & 0o777


def listens(folder: Path) -> bool:
    """Whether a process can open a socket where Ray does."""
    place = folder / BELOW
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(str(place))
    except OSError:  # "AF_UNIX path too long"
        return False
    place.unlink()
    return True


@pytest.fixture
def long_folder(tmp_path, monkeypatch):
    """A folder such as SLURM sites set per job, as TMPDIR."""
    folder = tmp_path / "research_group_vision" / "job_directories" / "slurm_1355700" / "tmp.t0016"
    folder.mkdir(parents=True)
    assert len(str(folder)) > 80
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    return folder


@pytest.fixture
def short():
    """A new folder with a path of at most 20 characters, open to every account to look into."""
    folder = Path(tempfile.mkdtemp(prefix="s-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    for inner in sorted(folder.rglob("*"), reverse=True):
        inner.rmdir() if inner.is_dir() and not inner.is_symlink() else inner.unlink()
    folder.rmdir()


def test_with_a_long_tmpdir_ray_gets_a_short_folder_of_ours(long_folder):
    folder = Path(ray_session_folder())
    assert folder == Path(f"/tmp/ray-{os.getuid()}/ray")
    assert mode(folder.parent) == 0o700


def test_a_ray_tmpdir_that_is_too_long_is_named_in_one_line(long_folder, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(long_folder))
    with pytest.raises(InputError) as refused:
        ray_session_folder()
    assert "\n" not in str(refused.value)
    assert re.search(r"^RAY_TMPDIR .* is too long.*; set a shorter one", str(refused.value))


@pytest.mark.parametrize("longer", [0, 1])
def test_the_longest_ray_tmpdir_that_is_taken_is_the_longest_that_has_room_for_sockets(
    short, monkeypatch, longer
):
    room = session_folder.SOCKET_BYTES - len(f"/ray/{BELOW}")
    asked = short / ("x" * (room - len(str(short)) - 1 + longer))
    asked.mkdir(mode=0o700)
    monkeypatch.setenv("RAY_TMPDIR", str(asked))
    assert listens(asked / "ray") is not bool(longer)
    if longer:
        with pytest.raises(InputError, match=f"at most {len(str(asked)) - 1} bytes"):
            ray_session_folder()
    else:
        assert ray_session_folder() == str(asked / "ray")


def test_in_a_ray_tmpdir_that_others_may_enter_rays_folder_is_closed(short, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    folder = Path(ray_session_folder())
    assert folder == short / f"ray-{os.getuid()}" / "ray"
    assert (mode(short), mode(folder.parent)) == (0o755, 0o700)


def test_an_empty_ray_tmpdir_is_none(long_folder, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "")
    assert ray_session_folder().startswith("/tmp/ray-")


@pytest.mark.parametrize("asked", ["/proc/nope", "/dev/null", "/dev/null/below"])
def test_a_ray_tmpdir_that_cannot_be_is_named_in_one_line(monkeypatch, asked):
    monkeypatch.setenv("RAY_TMPDIR", asked)
    with pytest.raises(InputError, match=r"^RAY_TMPDIR: no folder for Ray's sessions: .*/") as said:
        ray_session_folder()
    assert "\n" not in str(said.value)


def test_a_link_in_place_of_our_folder_is_not_used(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 999_999_999)
    planted = Path("/tmp/ray-999999999")
    planted.symlink_to(tmp_path)
    try:
        own = Path(ray_session_folder()).parent
    finally:
        planted.unlink()
    try:
        assert own != planted
        assert mode(own) == 0o700
        assert len(str(own)) < 30
    finally:
        own.rmdir()
