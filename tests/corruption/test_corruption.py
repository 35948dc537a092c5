"""The corruption run as a test: ten thousand damaged files, and some hundred in CI."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("transformers")


def corrupted(*options: str, minutes: float) -> None:
    script = Path(__file__).with_name("corruption.py")
    ran = subprocess.run(
        [sys.executable, str(script), *options],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60 * minutes,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout


@pytest.mark.slow
def test_no_damaged_file_of_ten_thousand_is_read_as_something_else() -> None:
    corrupted("--count", "10000", minutes=120)


@pytest.mark.ci
def test_no_damaged_file_of_every_kind_is_read_as_something_else() -> None:
    corrupted("--count", "114", "--seed", "7", minutes=10)
