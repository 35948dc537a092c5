"""A study is disturbed again and again, and ends as if nobody had touched it.

Each round does one of these at a random moment and resumes by the same command, `wsss run`:

    driver    SIGKILL to a driver
    worker    SIGKILL to a worker of Ray that has something to do
    node      a node of the cluster is lost, another joins
    storage   the results folder, or the store, is away for 1 to 5 seconds
    stop      Ctrl-C or SIGTERM to a driver
    tamper    a file of the store or the ledger, or a checkpoint, is cut, deleted or changed
    freeze    SIGSTOP to a driver and its workers beyond their leases; another goes on; SIGCONT
    hang      a worker stops for good (SIGSTOP), or a training in it sleeps for ever; its driver,
              which was started with --end-stalled, has to notice

Some rounds have two drivers; some drivers join a simulated cluster on loopback, others start a Ray
of their own. When a study is complete it is run once more in peace and compared with one that was
never disturbed (`verdict.py`), and the next begins in a folder of its own, until all rounds are
done.

    python tests/chaos/chaos.py                       # 25 rounds: 25 minutes on two busy cores
    python tests/chaos/chaos.py --rounds 2 --kinds worker,driver --in-turn --short --no-cluster

A line a round says what was done, when, and what is finished. Violations come last, with the logs
of the drivers concerned; the exit code is then 1 and the folder is kept.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

# Before Ray is loaded: no token file, and one thread as a trial's worker has.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ["OMP_NUM_THREADS"] = "1"
# All nodes are this machine: a lost owner is seen by its process, a lost heartbeat soon enough.
os.environ.setdefault("WSSS_LEASE_EXPIRY", "10")
os.environ.setdefault("WSSS_STALLED_AFTER", "15")
# Workers as eager as all else on this machine, or a busy one leaves them nothing.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
# Ray would turn the loopback address of a cluster into that of the machine.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"

from disturbances import KINDS
from rounds import Chaos

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Run the rounds and say what went wrong; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0, help="of what is done and when")
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=list(KINDS))
    parser.add_argument("--in-turn", action="store_true", help="kinds as given, not drawn")
    parser.add_argument("--short", action="store_true", help="a smaller study")
    parser.add_argument("--no-cluster", action="store_true", help="drivers start Ray themselves")
    parser.add_argument("--keep", action="store_true", help="keep the folder in any case")
    options = parser.parse_args()
    # Ray's sockets lie below it, and the path of a socket has at most 107 characters.
    base = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))
    (base / "t").mkdir()
    os.environ["TMPDIR"] = tempfile.tempdir = str(base / "t")
    # Ray's sessions too: its workers are known by the files that they have open there.
    os.environ["RAY_TMPDIR"] = str(base / "t")
    # Whoever edits the code meanwhile does not disturb: nodes with other code are refused.
    for package in ("wsss_core", "reports", "studies"):
        shutil.copytree(ROOT / package, base / "code" / package)
    os.environ["PYTHONPATH"] = str(base / "code")
    chaos = Chaos(
        base, seed=options.seed, kinds=options.kinds, in_turn=options.in_turn, short=options.short,
        joins=not options.no_cluster,
    )  # fmt: skip
    try:
        chaos.go(options.rounds)
    finally:
        chaos.stop()
        scratch = len(list(base.glob("t/wsss-*")))
        for line in chaos.violations:
            print(f"VIOLATION {line}")
        if chaos.violations or options.keep:
            print(f"kept: {base}")
        else:
            shutil.rmtree(base)
    print(
        f"{options.rounds} rounds over {chaos.studies} studies, {len(chaos.violations)} violations;"
        f" killed drivers have left {scratch} folders of Tune's own state"
    )
    return 1 if chaos.violations else 0


if __name__ == "__main__":
    sys.exit(main())
