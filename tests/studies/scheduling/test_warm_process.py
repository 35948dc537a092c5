"""Processes forked from a warmed one: what they hand back, and how they end."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from studies.scheduling.warm_process import AVAILABLE, ProcessEndedError, WarmProcess
from studies.store.processes import gone, process_of

pytestmark = [pytest.mark.ci, pytest.mark.skipif(not AVAILABLE, reason="needs Linux")]

WORK = """
import os
import signal
import sys
import time


def where():
    return os.getpid(), os.getppid(), os.getcwd(), sys.modules["preloaded"].IMPORTED_BY


def long(amount):
    return bytes(amount)


def sleeps(file):
    with open(file, "w") as log:
        print(os.getpid(), os.getppid(), file=log)
    time.sleep(60)


def leaves():
    sys.exit("no result")


def killed():
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of work, on the path of modules."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "own_work.py").write_text(WORK)
    (folder / "preloaded.py").write_text("import os; IMPORTED_BY = os.getpid()")
    return folder


@pytest.fixture
def warm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WarmProcess]:
    monkeypatch.syspath_prepend(str(folder))
    process = WarmProcess(preloaded=("preloaded",))
    yield process
    process.close()


def soon(holds: Callable[[], bool]) -> bool:
    """Whether something holds within ten seconds."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if holds():
            return True
        time.sleep(0.02)
    return False


def numbers(file: Path) -> tuple[int, int]:
    """The numbers of a sleeping process and of its warmed parent, once it sleeps."""
    assert soon(lambda: file.exists() and file.read_text().endswith("\n"))
    child, parent = map(int, file.read_text().split())
    return child, parent


def test_each_piece_of_work_has_a_process_of_its_own_with_what_was_imported(
    warm: WarmProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = warm.run("own_work:where")
    monkeypatch.chdir(tmp_path)
    second = warm.run("own_work:where")
    assert first[0] != second[0] != os.getpid()
    assert first[1] == second[1] != os.getpid()
    assert second[2] == str(tmp_path)
    assert first[3] == second[3] == first[1]
    assert not Path(f"/proc/{first[0]}").exists()
    assert len(warm.run("own_work:long", 3_000_000)) == 3_000_000


def test_work_that_fails_or_is_killed_is_an_error_and_the_next_goes_on(warm: WarmProcess) -> None:
    with pytest.raises(RuntimeError, match="SystemExit: no result"):
        warm.run("own_work:leaves")
    with pytest.raises(ProcessEndedError, match="ended by SIGKILL"):
        warm.run("own_work:killed")
    assert warm.run("math:sqrt", 4) == 2


def test_a_warmed_process_that_is_killed_while_idle_is_started_again(warm: WarmProcess) -> None:
    idle = warm.run("own_work:where")[1]
    os.kill(idle, signal.SIGKILL)
    assert warm.run("own_work:where")[1] not in (idle, os.getpid())


def test_a_warmed_process_that_is_killed_takes_its_work_along(
    warm: WarmProcess, tmp_path: Path
) -> None:
    errors: list[Exception] = []

    def work() -> None:
        try:
            warm.run("own_work:sleeps", str(tmp_path / "log"))
        except ProcessEndedError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    child, parent = numbers(tmp_path / "log")
    child_is = process_of(child)
    os.kill(child, signal.SIGSTOP)  # a stopped one too
    os.kill(parent, signal.SIGKILL)
    thread.join(timeout=10)
    assert len(errors) == 1
    assert soon(lambda: gone(child, child_is))
    assert warm.run("math:sqrt", 4) == 2


def test_a_worker_that_is_killed_leaves_no_process_behind(folder: Path, tmp_path: Path) -> None:
    code = (
        "from studies.scheduling.warm_process import WarmProcess\n"
        f"WarmProcess(preloaded=()).run('own_work:sleeps', {str(tmp_path / 'log')!r})"
    )
    path = os.pathsep.join([str(Path.cwd()), str(folder)])
    worker = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path})
    child, parent = numbers(tmp_path / "log")
    left = {number: process_of(number) for number in (child, parent)}
    os.kill(child, signal.SIGSTOP)
    worker.kill()
    worker.wait(timeout=10)
    assert soon(lambda: all(gone(number, process) for number, process in left.items()))
