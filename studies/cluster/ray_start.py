"""Ray as every part of a run wants it: its settings, joining a cluster or starting one here.

Import this before anything else of Ray: some settings are read when Ray is imported.
"""

import contextlib
import logging
import os
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

# Ray's own tables, per-trial log files and tracebacks are not wanted, and its snapshots of what it
# would need to go on are not used: the ledger and the store are the record. Relative paths must
# keep their meaning in the workers, and signals are `studies.scheduling.stopping`'s.
os.environ.update(
    {
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        **os.environ,  # what the user has set stays
    }
)

import ray
from ray._private import ray_constants
from ray._private.authentication import authentication_token_setup

from studies.cluster.machine import usable_cpus
from studies.cluster.session_folder import ray_session_folder
from studies.planning import NodeAmounts
from wsss_core.errors import InputError, one_line

OBJECT_STORE_BYTES = 100 * 2**20
"""Images travel by file, not through Ray; its object store holds settings and metrics only."""


logger = logging.getLogger(__name__)

_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def _given(address: str | None) -> str | None:
    return address or os.environ.get("RAY_ADDRESS")


def starts_ray_here(address: str | None) -> bool:
    """Whether `start_ray` would start a Ray on this machine alone."""
    return not ray.is_initialized() and _given(address) is None


@contextlib.contextmanager
def ray_running(address: str | None) -> Iterator[None]:
    """Join a cluster, or start Ray here, and leave or end it with the block; see `start_ray`."""
    started_here = start_ray(address)
    try:
        yield
    finally:
        if started_here:
            ray.shutdown()


def start_ray(address: str | None) -> bool:
    """Join a cluster, or start Ray here; whether this call did so and has to end it."""
    if ray.is_initialized():
        return False
    with _keeping_handler_of_sigterm():
        return _start_ray(address)


def _start_ray(address: str | None) -> bool:
    given = _given(address)
    if given is None:
        _close_token()
        folder = ray_session_folder()
        try:
            with _on_loopback():
                ray.init(
                    address="local",
                    _temp_dir=folder,
                    num_cpus=usable_cpus(),
                    object_store_memory=OBJECT_STORE_BYTES,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _node_ip_address="127.0.0.1",
                )
        except OSError as error:
            raise InputError(f"Ray cannot start in {folder}: {one_line(error)}") from error
        return True
    try:
        _reach(given)
        ray.init(address=given, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, OverflowError, ValueError) as error:
        said = one_line(error)
        name = "--address" if address else "RAY_ADDRESS"
        raise InputError(f"{name} {given}: no Ray cluster answers there: {said}") from error
    return True


@contextlib.contextmanager
def _keeping_handler_of_sigterm() -> Iterator[None]:
    """Keep a handler of SIGTERM, which Ray replaces by one of its own."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _close_token() -> None:
    """Keep the token with which Ray's processes know each other from other accounts.

    Ray itself makes the file readable by everybody (`generate_and_save_token`).
    """
    if (
        os.environ.get("RAY_AUTH_MODE", "token").lower() != "token"
        or "RAY_AUTH_TOKEN" in os.environ
    ):
        return
    chosen = os.environ.get("RAY_AUTH_TOKEN_PATH")
    token = Path(chosen) if chosen else Path.home() / ".ray" / "auth_token"
    try:
        if not token.exists() and not chosen:
            token.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            before = os.umask(0o077)
            try:
                authentication_token_setup.generate_and_save_token()
            finally:
                os.umask(before)
        elif stat.S_IMODE(token.stat().st_mode) & 0o077:
            token.chmod(0o600)
            logger.warning(
                "%s was open to other accounts; it is yours alone now (mode 600). If others use "
                "this machine, delete it: Ray then makes another token",
                token,
            )
    except OSError as error:
        logger.warning("%s: cannot be kept from other accounts: %s", token, one_line(error))


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Let a Ray that is started in the block listen on 127.0.0.1 alone.

    Where clusters are possible Ray takes a loopback address for the machine's own and listens on
    all interfaces (`ray._private.services.resolve_ip_for_localhost`). It asks a constant that is
    made from an environment variable, which its processes inherit.
    """
    before = os.environ.get(_CLUSTERS), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[_CLUSTERS], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before[1]
        if before[0] is None:
            del os.environ[_CLUSTERS]
        else:
            os.environ[_CLUSTERS] = before[0]


def _reach(address: str) -> None:
    """Raise OSError if nothing listens at "host:port"; Ray itself would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def nodes_by_id() -> dict[str, NodeAmounts]:
    """What each node of the cluster that is alive has in all, by its Ray id."""
    return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}


def node_amounts() -> list[NodeAmounts]:
    """What each node of the cluster that is alive has in all."""
    return list(nodes_by_id().values())
