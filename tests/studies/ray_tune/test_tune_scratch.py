"""Tune's own state: gone with its driver, or with the next one if that was killed."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from studies.ray_tune.scratch import tune_scratch

DRIVER = """
import sys
from studies.ray_tune.scratch import tune_scratch

with tune_scratch() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_gone_at_the_end_whatever_the_end_is(temporary: Path) -> None:
    def fail() -> None:
        with tune_scratch() as folder:
            assert Path(folder).parent == temporary
            (Path(folder) / "state").write_text("much")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(temporary.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are told by /proc")
def test_that_of_a_killed_driver_goes_and_that_of_a_living_one_stays(temporary: Path) -> None:
    def driver() -> tuple[subprocess.Popen[str], Path]:
        begun = subprocess.Popen(
            [sys.executable, "-c", DRIVER], text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, cwd=Path(__file__).parents[3],
            env={**os.environ, "TMPDIR": str(temporary)},
        )  # fmt: skip
        assert begun.stdout is not None
        return begun, Path(begun.stdout.readline().strip())

    (killed, of_killed), (living, of_living) = driver(), driver()
    try:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert of_killed.is_dir()
        (temporary / "wsss-of-somebody").mkdir()  # says no owner
        with tune_scratch() as own:
            assert set(temporary.iterdir()) == {
                of_living, Path(own), temporary / "wsss-of-somebody"
            }  # fmt: skip
    finally:
        living.communicate()
    assert not of_living.exists()
