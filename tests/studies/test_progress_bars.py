"""Progress: a bar in a terminal, plain lines in a pipe, and the same words at the end of both."""

import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIVE_PARTS = """
import logging, time
from studies.cli.common import log_to_terminal, show
from reports.progress import progress_bar
with log_to_terminal():
    bar = progress_bar(5, "images")
    for part in range(5):
        logging.getLogger("studies").info("part %d ended", part)
        bar.update()
        time.sleep(0.11)
    bar.close()
    show("all ended")
"""
SAID = [*(f"part {part} ended" for part in range(5)), "all ended"]


def in_terminal(*command: str, cwd: Path) -> str:
    """What a command writes to a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen(
        command, cwd=cwd, env=env, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        written = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            written += part
        os.close(ours)
        assert process.wait() == 0, written
    return written.decode()


def left_on_screen(written: str) -> list[str]:
    """The lines that are left when carriage returns have overwritten what stood there."""
    lines = []
    for line in written.replace("\r\n", "\n").split("\n"):
        screen = ""
        for text in re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line).split("\r"):
            screen = text + screen[len(text) :]
        lines.append(screen.rstrip())
    return [line for line in lines if line]


def test_a_terminal_shows_a_bar_below_lines_that_stay_whole(tmp_path: Path) -> None:
    written = in_terminal(sys.executable, "-c", FIVE_PARTS, cwd=tmp_path)
    assert re.search(r"\d/5 \[", written)
    assert left_on_screen(written) == SAID


def test_a_pipe_gets_the_same_lines_and_no_bar(fresh_python, tmp_path) -> None:
    run = fresh_python(FIVE_PARTS, tmp_path)
    assert run.stdout.splitlines() == SAID
    assert run.stderr == ""


@pytest.mark.ci
def test_wsss_run_ends_with_the_same_words_in_a_terminal(tiny, write_study, tmp_path) -> None:
    tiny["configurations"] = tiny["configurations"][:2]
    command = [sys.executable, "-m", "studies.cli.main", "run", write_study(tiny), "--in-process"]
    written = in_terminal(*command, "--results", str(tmp_path / "a"), cwd=tmp_path)
    assert "/2 [" in written
    shown = left_on_screen(written)
    assert any(re.match(r"\[1/2\] CNN alone, seed 0  \(.*\)$", line) for line in shown)
    assert shown[-1] == f"next: wsss report {tmp_path / 'a'}"
    assert not any("/2 [" in line for line in shown)


@pytest.mark.ci
def test_run_study_prints_lines_in_a_pipe(tiny, write_study, fresh_python, tmp_path) -> None:
    tiny["configurations"] = tiny["configurations"][:1]
    code = f"import studies; studies.run_study({write_study(tiny)!r}, 'r', in_process=True)"
    run = fresh_python(code, tmp_path)
    assert "[1/1] CNN alone, seed 0" in run.stderr
    assert "%|" not in run.stderr
