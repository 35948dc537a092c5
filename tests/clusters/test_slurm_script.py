"""The SLURM script: its syntax, what it asks of SLURM and what it gives to srun."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from studies.cli.main import _parser

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "clusters" / "slurm.sbatch"
RECORDING_SRUN = """#!/bin/bash
printf '%s\\n' "$@" > "$RECORD"
env > "$RECORD.env"
exit ${SRUN_ENDS_WITH:-0}
"""


@pytest.fixture
def submitted(tmp_path):
    """Run the script as SLURM would, with an srun that only writes down what it was given."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "srun").write_text(RECORDING_SRUN)
    (programs / "srun").chmod(0o755)

    def submit(*arguments: str, ends_with: int = 0):
        record = tmp_path / "record"
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "RECORD": str(record),
            "SRUN_ENDS_WITH": str(ends_with),
            "SLURM_JOB_ID": "7",
            "SLURM_JOB_NUM_NODES": "3",
            "SLURM_CPUS_PER_TASK": "16",
            "WSSS_HEAD_IP": "10.1.2.3",
        }
        run = subprocess.run(
            ["bash", str(SCRIPT), *arguments], env=environment, capture_output=True, text=True
        )
        given = record.read_text().splitlines() if record.exists() else []
        variables = (tmp_path / "record.env").read_text() if record.exists() else ""
        return run, given, variables

    return submit


def test_bash_can_read_the_script():
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)


def test_srun_starts_ray_on_every_node_and_the_study_on_the_head(submitted):
    run, given, _ = submitted("quickstart", "--results", "/shared/results/a b")
    assert run.returncode == 0, run.stderr
    at = given.index("bash")
    assert given[:at] == ["--nodes=3", "--ntasks-per-node=1", "--kill-on-bad-exit=1"]
    assert given[at + 1 : at + 3] == [
        "-c",
        'mkdir -p -m 700 "$RAY_TMPDIR" && exec ray symmetric-run "$@"',
    ]
    assert given[at + 4 :] == [
        *("--address", "10.1.2.3:6379", "--min-nodes", "3", "--num-cpus=16"),
        *("--", "python", "-m", "studies.submit"),
        *("quickstart", "--results", "/shared/results/a b"),
    ]


def test_the_nodes_are_told_to_ask_for_the_token(submitted):
    _, _, variables = submitted("quickstart", "--results", "/shared/results")
    assert "RAY_AUTH_MODE=token\n" in variables


def test_the_environment_with_the_package_comes_first_on_the_path(submitted):
    _, _, variables = submitted("quickstart", "--results", "/shared/results")
    path = re.search("^PATH=(.*)$", variables, re.M)
    assert path is not None
    assert path[1].split(":")[0].endswith("/wsss-env/bin")


def test_the_scripts_exit_code_is_sruns(submitted):
    assert submitted("quickstart", "--results", "/r", ends_with=3)[0].returncode == 3


def test_without_a_study_the_script_says_what_it_expects_and_starts_nothing(submitted):
    run, given, _ = submitted()
    assert (run.returncode, given) == (2, [])
    assert "expected SPEC --results DIR" in run.stderr


def test_the_headers_example_is_understood_by_the_command_line():
    line = re.search(r"#   sbatch clusters/slurm.sbatch (.*)", SCRIPT.read_text(encoding="utf-8"))
    assert line is not None
    assert _parser().parse_args(["run", *line[1].split()]).spec == "quickstart"


def test_slurm_is_asked_for_whole_nodes_with_one_task_each():
    asked = re.findall(r"^#SBATCH --([^=\s]+)(?:=(\S+))?", SCRIPT.read_text(encoding="utf-8"), re.M)
    directives = dict(asked)
    assert directives["ntasks-per-node"] == "1"
    assert "exclusive" in directives
    assert set(directives) <= {
        *("job-name", "output", "open-mode", "nodes", "gpus-per-node", "time", "ntasks-per-node"),
        *("cpus-per-task", "exclusive", "requeue"),
    }


@pytest.mark.slow
def test_ray_runs_a_study_over_two_machines_and_both_end_with_it(machines, tiny_study, tmp_path):
    head, worker = machines
    token = head.run("ray", "get-auth-token", "--generate")
    assert token.returncode == 0, token.stdout
    (worker.home / ".ray").mkdir(exist_ok=True)
    shutil.copy(head.laptop / ".ray" / "auth_token", worker.home / ".ray" / "auth_token")
    srun = tmp_path / "srun"
    # What an srun does: the same command on each node of the job, and wait for all.
    srun.write_text(
        '#!/bin/bash\nwhile [[ "$1" == --* ]]; do shift; done\n'
        "known=\"$(export -p | grep -E ' (PATH|RAY_[A-Za-z_]*)=')\"\n"
        f"ssh -i {head.key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "
        f'root@{worker.address} "$known; cd {ROOT}; $(printf \'%q \' "$@")" '
        f"> {tmp_path}/worker.log 2>&1 &\n"
        '"$@"; code=$?; wait; exit $code\n'
    )
    srun.chmod(0o755)
    run = head.run(
        *("bash", SCRIPT, tiny_study, "--results", tmp_path / "results"),
        more={
            "PATH": f"{tmp_path}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "WSSS_ENV": str(head.laptop / "wsss-env"),
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_CPUS_PER_TASK": "2",
        },
        seconds=280,
    )
    assert run.returncode == 0, run.stdout + (tmp_path / "worker.log").read_text()
    assert "2 training runs" in run.stdout
    assert worker.address in run.stdout, "the table of nodes names the worker"
