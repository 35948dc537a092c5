"""Whether a process of this machine has ended."""

import os
import uuid
from pathlib import Path

import pytest

from studies.store.processes import gone, this_process

LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="knows processes by /proc")


@LINUX
def test_a_process_is_gone_only_if_it_is_known_to_be() -> None:
    assert not gone(os.getpid(), this_process())
    mine = this_process()
    # Of another boot or another container nothing is known.
    assert not gone(os.getpid(), f"{uuid.uuid4()}-pid:[1]-5")
    assert not gone(os.getpid(), "-5")
    assert not gone(os.getpid(), "")
    # A process of the same number that was started at another time.
    assert gone(os.getpid(), f"{mine}0")
    # None of that number.
    assert gone(2**22 + 1, mine)
