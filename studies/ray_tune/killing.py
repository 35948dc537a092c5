"""Kills workers of Ray that hang, on whichever machine they are.

A stopped process hears nothing from Ray, so it is killed by its number. Ray then sees it dead.
"""

import contextlib
import os
import signal
import socket
from pathlib import Path
from typing import Any

import ray
import ray._private.state
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from studies.store import LeaseOwner, process_of


def kill_actor(actor: Any) -> None:
    """Kill a worker that may be stopped, and may have taken no lease yet."""
    known: dict[str, Any] = {}
    if ray.is_initialized():
        known = ray._private.state.actors(actor._actor_id.hex())
    ray.kill(actor)
    if known.get("Pid"):
        _kill_if_stopped.options(**_on(known["Address"]["NodeID"])).remote(known["Pid"])


def kill_owner(owner: LeaseOwner) -> None:
    """Kill the process that owns a lease."""
    if owner.host == socket.gethostname():
        _kill_here(owner)
    elif ray.is_initialized():
        for node in ray.nodes():
            if node["Alive"] and node["NodeManagerHostname"] == owner.host:
                _kill_there.options(**_on(node["NodeID"])).remote(owner)


def _on(node: str) -> dict[str, Any]:
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


def _kill_here(owner: LeaseOwner) -> None:
    if owner.pid and owner.pid != os.getpid() and owner.process == process_of(owner.pid):
        _kill(owner.pid)


def _kill(process: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(process, signal.SIGKILL)


@ray.remote(num_cpus=0)
def _kill_there(owner: LeaseOwner) -> None:
    _kill_here(owner)


@ray.remote(num_cpus=0)
def _kill_if_stopped(process: int) -> None:
    """Kill a process of this machine if it is stopped; Ray ends the others by itself."""
    with contextlib.suppress(OSError):
        if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T":
            _kill(process)
