"""A Ray that a study starts for itself is nobody else's: it listens on loopback alone."""

import os
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
print("up", flush=True)
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
def test_a_ray_that_is_started_here_listens_on_loopback_alone() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_RAY],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
    ) as started:  # fmt: skip
        assert started.stdout is not None
        said = started.stdout.readline()
        found = listening_on(descendants(started.pid))
        started.communicate("")
    assert said == "up\n"
    assert found
    assert found <= LOOPBACK
