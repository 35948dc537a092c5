"""Memory that a worker frees stays with it: the next tensors find it without page faults."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CODE = """
import resource
import sys

import numpy as np

from studies.stages.device import keep_freed_memory

if sys.platform != "linux":
    sys.exit()
keep_freed_memory()
np.ones(2**22)  # 32 MiB less its header is the most that is kept
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    np.ones(2**21)  # 4,096 pages
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_an_array_is_made_again_without_page_faults(
    fresh_python: Callable[[str, Path], "subprocess.CompletedProcess[str]"], tmp_path: Path
) -> None:
    # The first of the four is new; without this, all are: 16,384 faults.
    assert int(fresh_python(CODE, tmp_path).stdout) < 5_000
