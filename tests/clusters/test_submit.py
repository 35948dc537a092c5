"""The one file that `ray submit` copies to a cluster's head."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from studies import submit

ROOT = Path(__file__).parents[2]
FILE = ROOT / "studies" / "submit.py"


@pytest.fixture
def passed(monkeypatch):
    """What `wsss` is given in place of running a study; it ends with exit code 7."""
    given: list[list[str]] = []

    def wsss(arguments):
        given.append(list(arguments))
        return 7

    monkeypatch.setattr(submit, "wsss", wsss)
    return given


def test_it_imports_nothing_but_the_package_and_pythons_own_library():
    modules = set()
    for node in ast.walk(ast.parse(FILE.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            modules.add(str(node.module).split(".")[0])
        elif isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
    assert modules <= sys.stdlib_module_names | {"studies", "reports", "wsss_core"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["spec", "--results", "/r"], 7), (["spec"], 2), (["--results"], 2)],
    ids=["run", "refused", "wrong"],
)
def test_the_exit_code_goes_to_the_file_that_a_script_looks_at(
    passed, tmp_path, monkeypatch, arguments, code
):
    monkeypatch.setenv("WSSS_ENDED", str(tmp_path / "ended"))
    assert submit.main(arguments) == code
    assert (tmp_path / "ended").read_text() == f"{code}\n"


def test_arguments_go_to_wsss_run_on_the_cluster_it_is_started_on(passed):
    arguments = ["quickstart", "--set", "seeds=[0]", "--results", "s3://bucket/study"]
    assert submit.main(arguments) == 7
    assert passed == [["run", *arguments, "--address", "auto"]]


def test_an_address_that_is_given_is_kept(passed):
    arguments = ["quickstart", "--results=/shared/a", "--address", "10.0.0.1:6379"]
    submit.main(arguments)
    assert passed == [["run", *arguments]]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["quickstart"], "--results is missing"),
        (["quickstart", "--results", "results/a"], "--results results/a is a relative path"),
        (["quickstart", "--results=results/a"], "--results results/a is a relative path"),
        (["quickstart", "--results", "/a", "--store", "b"], "--store b is a relative path"),
    ],
)
def test_what_the_other_nodes_would_not_see_is_refused_before_anything_runs(
    passed, capsys, arguments, named
):
    assert submit.main(arguments) == 2
    assert passed == []
    assert named in capsys.readouterr().err


def test_help_is_that_of_wsss_run(passed):
    submit.main(["--help"])
    assert passed == [["run", "--help"]]


def started(
    file: Path, *arguments: str, isolated: bool = False
) -> subprocess.CompletedProcess[str]:
    flags = ["-I", "-S"] if isolated else []
    return subprocess.run(
        [sys.executable, *flags, str(file), *arguments],
        cwd=file.parent,
        capture_output=True,
        text=True,
    )


def test_alone_in_another_folder_it_hands_on_the_error_and_the_exit_code(tmp_path):
    copy = Path(shutil.copy(FILE, tmp_path))
    run = started(copy, "quickstart", "--results", str(tmp_path / "results"), "--varient", "quick")
    assert run.returncode == 2
    assert "wsss run: unknown option '--varient'; did you mean '--variant'?" in run.stderr
    assert not (tmp_path / "results").exists()


def test_without_the_package_it_says_which_python_lacks_it_and_where_to_look(tmp_path):
    copy = Path(shutil.copy(FILE, tmp_path))
    run = started(copy, "quickstart", "--results", "/shared", isolated=True)
    assert run.returncode == 1
    assert sys.executable in run.stderr
    assert "PATH" in run.stderr
    assert "Traceback" not in run.stderr


def test_what_is_said_leaves_a_job_line_by_line(tmp_path):
    program = (
        "import os, sys\nfrom studies import submit\n"
        "submit.wsss = lambda arguments: print('done 1 of 2') or os._exit(0)\n"
        "submit.main(['quickstart', '--results', '/shared'])\n"
    )
    # An exit that flushes nothing: what was printed has to be in the file by then.
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout == "done 1 of 2\n"
