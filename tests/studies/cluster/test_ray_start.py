"""A Ray that a study starts for itself is nobody else's: loopback, folder, token."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

LISTENING = "0A"
LOOPBACK = {
    "0100007F",  # 127.0.0.1, bytes of a word reversed
    "0000000000000000FFFF00000100007F",  # the same in IPv6
    "00000000000000000000000001000000",  # ::1
}

STARTS_RAY = """
import sys
from studies.cluster.ray_start import ray, start_ray

start_ray(None)
ray.get(ray.remote(lambda: None).remote())
print("up", ray._private.worker._global_node.get_session_dir_path(), flush=True)
sys.stdin.read()
ray.shutdown()
"""


def descendants(process: int) -> set[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
    found = {process}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def sockets_of(process: int) -> set[str]:
    found = set()
    try:
        for handle in Path(f"/proc/{process}/fd").iterdir():
            target = os.readlink(handle)
            if target.startswith("socket:["):
                found.add(target[8:-1])
    except OSError:  # it has just ended
        pass
    return found


def listening_on(processes: set[int]) -> set[str]:
    """The addresses, as /proc/net writes them, on which any of some processes listens."""
    sockets = set().union(*map(sockets_of, processes))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING and fields[9] in sockets:
                found.add(fields[1].partition(":")[0])
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads sockets from /proc")
def test_a_ray_that_is_started_here_listens_on_loopback_alone_in_a_folder_of_its_own(
    tmp_path: Path,
) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "RAY_TMPDIR"}
    jobs_own = tmp_path / "research_group_vision" / "job_directories" / "slurm_1355700" / "t0016"
    jobs_own.mkdir(parents=True)
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_RAY],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**environment, "RAY_AUTH_MODE": "disabled", "TMPDIR": str(jobs_own)},
    ) as started:  # fmt: skip
        assert started.stdout is not None
        said = started.stdout.readline()
        found = listening_on(descendants(started.pid))
        started.communicate("")
    own = Path(f"/tmp/ray-{os.getuid()}")
    assert re.match(rf"up {own}/ray/session_", said)
    assert own.stat().st_mode & 0o777 == 0o700
    assert found
    assert found <= LOOPBACK


@pytest.fixture
def ray_start(tmp_path, monkeypatch):
    from studies.cluster import ray_start  # Ray reads what conftest sets when it is imported

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    return ray_start


def test_a_new_token_is_closed_to_other_accounts(ray_start, tmp_path):
    before = os.umask(0o022)
    try:
        ray_start._close_token()
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    token = tmp_path / ".ray" / "auth_token"
    assert len(token.read_text()) >= 32
    assert token.stat().st_mode & 0o777 == 0o600
    assert token.parent.stat().st_mode & 0o777 == 0o700


def test_a_token_that_others_could_read_is_closed_and_named_once(ray_start, tmp_path, caplog):
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("a" * 64)
    token.chmod(0o644)
    caplog.set_level(logging.INFO)
    ray_start._close_token()
    ray_start._close_token()
    assert token.stat().st_mode & 0o777 == 0o600
    assert token.read_text() == "a" * 64
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        f"{token} was open to other accounts"
    ]
