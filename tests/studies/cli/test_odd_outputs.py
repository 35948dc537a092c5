"""A command ends the same wherever its output goes: exit code, results, and no traceback."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import pytest
from PIL import Image

from reports.ledger.parts import read_table
from studies.cli.main import main
from studies.cli.status import CLEARED

ROOT = Path(__file__).parents[3]
OUTPUTS = ("full disk", "reader gone", "closed", "ascii", "none")


def opened(kind: str, folder: Path) -> TextIO | None:
    """Return a standard stream of a kind, as Python makes it: None where it is closed."""
    if kind == "none":
        return None
    if kind == "full disk":
        return Path("/dev/full").open("w", encoding="utf-8")
    if kind == "reader gone":
        reader, writer = os.pipe()
        os.close(reader)
        return os.fdopen(writer, "w", encoding="utf-8")
    stream = (folder / f"output {time.monotonic_ns()}").open("w", encoding="ascii")
    if kind == "closed":
        stream.close()
    return stream


@pytest.fixture(params=OUTPUTS)
def into(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., int]]:
    """Run a command whose standard output and error are of a kind; return its exit code."""
    streams: list[TextIO | None] = []

    def command(*arguments: object) -> int:
        streams[:] = [opened(request.param, tmp_path), opened(request.param, tmp_path)]
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", streams[0])
            patched.setattr(sys, "stderr", streams[1])
            return main([str(argument) for argument in arguments])

    yield command
    for stream in streams:
        with suppress(OSError):
            if stream is not None:
                stream.close()


def small(tiny: dict[str, Any]) -> dict[str, Any]:
    tiny["title"] = "Does α reach “σ” × ∈?"
    tiny["configurations"] = tiny["configurations"][:1]
    tiny["panels"] = 0
    return tiny


def test_every_command_ends_well_and_writes_all_wherever_its_output_goes(
    into: Callable[..., int],
    tiny: dict[str, Any],
    write_study: Callable[..., str],
    tmp_path: Path,
) -> None:
    study, results = write_study(small(tiny)), tmp_path / "results"
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (40, 40)).save(images / "a.png")
    assert into("run", study, "--in-process", "--results", results) == 0
    assert list(read_table(results, "trials")["status"]) == ["ok"]
    assert into("plan", study, "--results", results) == 0
    assert into("status", results) == 0
    assert into("report", results) == 0
    assert (results / "report" / "report.html").stat().st_size > 1000
    masks = ("masks", results, "--images", images, "--out", tmp_path / "masks")
    assert into(*masks, "--in-process") == 0
    assert (tmp_path / "masks" / "a.png").is_file()
    assert into("plan", "no such study") == 2


def test_a_failure_is_one_wherever_its_words_go(
    into: Callable[..., int],
    tiny: dict[str, Any],
    write_study: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("disk on fire")

    monkeypatch.setattr("studies.stages.job.train_job", fail)
    assert into("run", write_study(small(tiny)), "--in-process", "--results", tmp_path / "r") == 1


def run_shell(line: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which `wsss` is the command line; pipes end with the first failure."""
    wsss = f'wsss() {{ {shlex.quote(sys.executable)} -m studies.cli.main "$@"; }}'
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {wsss}; {line}"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=200,
        env={**os.environ, "PYTHONPATH": str(ROOT), **more},
    )  # fmt: skip


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("wsss run --help | true", ""),
        ("wsss run --help > /dev/full", "wsss: standard output is lost ("),
        ("wsss run --help >&-", ""),
        ("wsss run --help 2>&- >&- <&-", ""),
        ("wsss run --help", ""),
    ],
)
def test_help_ends_well_in_a_process_of_its_own(tmp_path: Path, line: str, said: str) -> None:
    ended = run_shell(line, tmp_path, **ASCII)
    assert ended.returncode == 0
    assert ended.stderr.startswith(said)
    assert len(ended.stderr.splitlines()) == bool(said)


def test_a_command_line_that_is_wrong_is_exit_code_2_where_nothing_can_be_said(
    tmp_path: Path,
) -> None:
    assert run_shell("wsss run 2> /dev/full", tmp_path).returncode == 2
    assert run_shell("wsss plan nothing 2>&-", tmp_path).returncode == 2


def test_a_file_that_is_opened_does_not_get_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    script = (
        "import os; from studies.cli.common import open_standard_streams; open_standard_streams();"
        "file = open('kept', 'w'); os.system('echo of another program'); print('of Python');"
        "file.write('whole'); file.close()"
    )
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(script)}"
    assert run_shell(f"{command} >&- 2>&-", tmp_path).returncode == 0
    assert (tmp_path / "kept").read_text() == "whole"


def test_watching_ends_when_its_reader_has_gone(
    tmp_path: Path,
    tiny: dict[str, Any],
    write_study: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results = tmp_path / "results"
    monkeypatch.setattr("studies.runner._run", lambda *_: {})  # leaves all to do
    assert main(["run", write_study(small(tiny)), "--results", str(results)]) == 130
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", opened("reader gone", tmp_path))
        assert main(["status", str(results), "--watch", "0.1"]) == 0


def test_watching_clears_a_terminal(
    finished: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["status", str(finished.results), "--watch", "0.1"]) == 0
    assert capsys.readouterr().out.startswith(f"{CLEARED}tiny: ")


@pytest.mark.slow
@pytest.mark.parametrize("into", ["| true", "> /dev/full", ">&- 2>&- <&-", "2>&- | head -n 1"])
def test_a_run_through_ray_ends_well_wherever_its_output_goes(
    tmp_path: Path, tiny: dict[str, Any], write_study: Callable[..., str], into: str
) -> None:
    study = write_study(small(tiny))
    ended = run_shell(f"wsss run {study} --results results {into}", tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(read_table(tmp_path / "results", "trials")["status"]) == ["ok"]
