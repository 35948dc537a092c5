"""A task of refinement that hangs is named by its driver, and ended where a limit is given."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from reports.ledger.parts import read_table

pytestmark = pytest.mark.slow

HANGS_ONCE = """
import os
import signal
import time
from pathlib import Path

VERSION = 1


def step(images, scores, flag, how):
    try:
        Path(flag).unlink()  # one process can
    except FileNotFoundError:
        return scores
    if how == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    while True:
        time.sleep(3600)
"""


@pytest.mark.parametrize("how", ["asleep", "stopped"])
def test_a_task_of_refinement_that_hangs_is_ended_and_made_again(
    tiny: dict[str, Any], tmp_path: Path, how: str
) -> None:
    (tmp_path / "hangs.py").write_text(HANGS_ONCE)
    (tmp_path / "flag").touch()
    settings = {"flag": str(tmp_path / "flag"), "how": how}
    tiny |= {
        "configurations": tiny["configurations"][:1],
        "refine": {"once": [{"hangs:step": settings}]},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny))
    path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, "-m", "studies.cli.main", "run", "tiny.yaml", "--results", "results",
         "--end-stalled", "12s"],
        cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, "PYTHONPATH": path, "RAY_AUTH_MODE": "disabled",
             "WSSS_LEASE_EXPIRY": "4", "WSSS_STALLED_AFTER": "5"},
    )  # fmt: skip
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    assert not (tmp_path / "flag").exists()
    assert "seed 0, refinement: " in said
    assert "its worker is ended, as the limit is 12 s" in said
    assert list(read_table(tmp_path / "results", "refined")["status"]) == ["ok"]
    assert list((tmp_path / "results" / "store" / "leases").iterdir()) == []
