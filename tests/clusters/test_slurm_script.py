"""The SLURM script: its syntax, what it asks of SLURM and what it gives to srun."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from studies.cli.main import command_line

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "clusters" / "slurm.sbatch"
RECORDING_SRUN = """#!/bin/bash
printf '%s\\0' "$@" > "$RECORD"
env > "$RECORD.env"
umask > "$RECORD.umask"
printf "%s" "${STUDY_SAYS-}" > "$WSSS_ENDED"
if [ "${NEAR_THE_LIMIT-}" ]; then
    kill -USR1 "$PPID"
    sleep 1
fi
exit ${SRUN_ENDS_WITH:-0}
"""


@pytest.fixture
def submitted(tmp_path):
    """Run the script as SLURM would, with an srun that only writes down what it was given."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "srun").write_text(RECORDING_SRUN)
    (programs / "srun").chmod(0o755)

    def submit(*arguments: str, ends_with: int = 0, **more: str):
        record = tmp_path / "record"
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "RECORD": str(record),
            "SRUN_ENDS_WITH": str(ends_with),
            "STUDY_SAYS": str(ends_with),
            "TMPDIR": str(tmp_path),
            "SLURM_JOB_ID": "7",
            "SLURM_JOB_NUM_NODES": "3",
            "SLURM_CPUS_PER_TASK": "16",
            "WSSS_HEAD_IP": "10.1.2.3",
            **more,
        }
        run = subprocess.run(
            ["bash", str(SCRIPT), *arguments], env=environment, capture_output=True, text=True
        )
        given = record.read_text().split("\0")[:-1] if record.exists() else []
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
    assert given[at + 1] == "-c"
    assert given[at + 2].endswith('\nexec ray symmetric-run "$@"')
    assert given[at + 4 :] == [
        *("--address", "10.1.2.3:6379", "--min-nodes", "3", "--num-cpus=16"),
        *("--", "python", "-m", "studies.submit"),
        *("quickstart", "--results", "/shared/results/a b"),
    ]


def test_the_nodes_are_told_to_ask_for_the_token(submitted):
    _, _, variables = submitted("quickstart", "--results", "/shared/results")
    assert "RAY_AUTH_MODE=token\n" in variables


@pytest.fixture
def on_a_node(submitted, tmp_path):
    """Run what srun is given as a node would, with a ray that writes down its umask and a file."""
    ray = tmp_path / "bin" / "ray"

    def start(folder: Path, umask: int = 0o022, **more: str):
        _, given, _ = submitted("quickstart", "--results", "/r", **more)
        ray.write_text('#!/bin/bash\numask > "$SEEN"\ntouch "$SEEN.file"\necho "$@"\n')
        ray.chmod(0o755)
        environment = {
            "PATH": f"{ray.parent}:{os.environ['PATH']}",
            "RAY_TMPDIR": str(folder),
            "SEEN": str(tmp_path / "seen"),
            "WSSS_UMASK": more.get("WSSS_UMASK", "077"),
        }
        return subprocess.run(
            given[given.index("bash") :],
            env=environment,
            capture_output=True,
            text=True,
            umask=umask,
        )

    return start


def mode(file: Path) -> int:
    return file.stat().st_mode & 0o777


@pytest.mark.parametrize("before", [None, 0o777, 0o755])
def test_rays_folder_is_the_users_alone_on_every_node(on_a_node, tmp_path, before):
    folder = tmp_path / "ray-1000"
    if before is not None:
        folder.mkdir()
        folder.chmod(before)
    run = on_a_node(folder)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("symmetric-run --address 10.1.2.3:6379")
    assert mode(folder) == 0o700


def test_a_link_in_place_of_rays_folder_ends_the_job_and_changes_nothing(on_a_node, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o755)
    (tmp_path / "ray-1000").symlink_to(home)
    run = on_a_node(tmp_path / "ray-1000")
    assert run.returncode == 1
    assert "is not yours; export another RAY_TMPDIR" in run.stderr
    assert mode(home) == 0o755
    assert not (tmp_path / "seen").exists(), "Ray was not started"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another user")
def test_another_users_folder_in_place_of_rays_ends_the_job(on_a_node, tmp_path):
    folder = tmp_path / "ray-1000"
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    run = on_a_node(folder)
    assert run.returncode == 1
    assert "is not yours" in run.stderr
    assert not (tmp_path / "seen").exists()


def test_what_a_node_writes_is_the_users_alone_though_srun_brings_another_umask(
    on_a_node, tmp_path
):
    on_a_node(tmp_path / "ray-1000", umask=0o022)
    assert mode(tmp_path / "seen.file") == 0o600


def test_a_group_may_be_let_in_and_rays_folder_stays_closed(on_a_node, tmp_path):
    on_a_node(tmp_path / "ray-1000", WSSS_UMASK="027")
    assert mode(tmp_path / "seen.file") == 0o640
    assert mode(tmp_path / "ray-1000") == 0o700


def test_the_script_itself_writes_for_its_user_alone(submitted, tmp_path):
    _, _, variables = submitted("quickstart", "--results", "/r")
    assert (tmp_path / "record.umask").read_text().strip() == "0077"
    assert "WSSS_UMASK=077\n" in variables


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_password_that_all_could_read_is_closed_before_ray_starts(
    submitted, tmp_path, elsewhere
):
    token = tmp_path / ("secret" if elsewhere else ".ray/auth_token")
    token.parent.mkdir(exist_ok=True)
    token.write_text("secret")
    token.chmod(0o644)
    more = {"RAY_AUTH_TOKEN_PATH": str(token)} if elsewhere else {}
    run, _, _ = submitted("quickstart", "--results", "/r", **more)
    assert run.returncode == 0, run.stderr
    assert mode(token) == 0o600


def test_the_environment_with_the_package_comes_first_on_the_path(submitted):
    _, _, variables = submitted("quickstart", "--results", "/shared/results")
    path = re.search("^PATH=(.*)$", variables, re.M)
    assert path is not None
    assert path[1].split(":")[0].endswith("/wsss-env/bin")


def test_the_scripts_exit_code_is_sruns(submitted):
    assert submitted("quickstart", "--results", "/r", ends_with=3)[0].returncode == 3


def test_the_job_fails_if_the_study_did_not_say_that_it_ran(submitted, tmp_path):
    run, _, _ = submitted("quickstart", "--results", "/r", STUDY_SAYS="", WSSS_PORT="6380")
    assert run.returncode == 1
    assert "the study did not run to its end, see above; if port 6380 was busy" in run.stderr
    assert not list(tmp_path.glob("wsss-ended.*"))


@pytest.mark.parametrize("code", [1, 130])
def test_the_jobs_exit_code_is_the_studys_where_sruns_hides_it(submitted, code):
    run, _, _ = submitted("quickstart", "--results", "/r", STUDY_SAYS=f"{code}\n")
    assert run.returncode == code


@pytest.fixture
def near_the_time_limit(tmp_path, submitted):
    """Signal the script as SLURM does before the time limit; what it said and asked of SLURM."""
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.write_text('#!/bin/bash\necho "$@" >> "$RECORD.asked"\nexit ${SCONTROL_ENDS_WITH-0}\n')
    scontrol.chmod(0o755)

    def signalled(study_says: str, **more: str):
        run, _, _ = submitted(
            "quickstart", "--results", "/r", STUDY_SAYS=study_says, NEAR_THE_LIMIT="yes", **more
        )
        asked = tmp_path / "record.asked"
        return run, asked.read_text().splitlines() if asked.exists() else []

    return signalled


def test_before_the_time_limit_the_job_is_requeued_and_waits_for_its_end(near_the_time_limit):
    run, asked = near_the_time_limit("", SRUN_ENDS_WITH="143")
    assert asked == ["requeue 7"]
    assert "job 7 is queued again and will go on" in run.stdout
    assert run.returncode == 143


def test_a_study_that_has_ended_is_not_requeued(near_the_time_limit):
    run, asked = near_the_time_limit("0")
    assert (run.returncode, asked) == (0, [])
    assert "time limit" not in run.stdout + run.stderr


@pytest.mark.parametrize(
    ("before", "most", "asks"), [("19", None, 1), ("20", None, 0), ("0", "0", 0)]
)
def test_a_job_is_requeued_so_many_times_at_most(near_the_time_limit, before, most, asks):
    more = {} if most is None else {"WSSS_REQUEUES": most}
    run, asked = near_the_time_limit("", SLURM_RESTART_COUNT=before, **more)
    assert len(asked) == asks
    assert (f"requeued {before} times, as often as it may be" in run.stderr) is not bool(asks)


def test_a_job_that_slurm_does_not_requeue_says_what_to_do(near_the_time_limit):
    run, _ = near_the_time_limit("", SCONTROL_ENDS_WITH="1")
    assert "the job cannot be requeued: submit it again to go on" in run.stderr


@pytest.mark.parametrize(("length", "code"), [(39, 0), (40, 2)])
def test_a_folder_for_ray_that_is_too_long_for_sockets_starts_nothing(submitted, length, code):
    folder = "/tmp/".ljust(length, "x")
    run, given, _ = submitted("quickstart", "--results", "/r", RAY_TMPDIR=folder)
    assert (run.returncode, bool(given)) == (code, code == 0)
    assert (f"{folder}: expected 39 characters at most" in run.stderr) is (code == 2)


def test_without_a_study_the_script_says_what_it_expects_and_starts_nothing(submitted):
    run, given, _ = submitted()
    assert (run.returncode, given) == (2, [])
    assert "expected SPEC --results DIR" in run.stderr


def test_the_headers_example_is_understood_by_the_command_line():
    line = re.search(r"#   sbatch clusters/slurm.sbatch (.*)", SCRIPT.read_text(encoding="utf-8"))
    assert line is not None
    assert command_line().parse_args(["run", *line[1].split()]).spec == "quickstart"


def test_slurm_is_asked_for_whole_nodes_with_one_task_each():
    asked = re.findall(r"^#SBATCH --([^=\s]+)(?:=(\S+))?", SCRIPT.read_text(encoding="utf-8"), re.M)
    directives = dict(asked)
    assert directives["ntasks-per-node"] == "1"
    assert "exclusive" in directives
    assert set(directives) <= {
        *("job-name", "output", "open-mode", "nodes", "gpus-per-node", "time", "ntasks-per-node"),
        *("cpus-per-task", "exclusive", "requeue", "signal"),
    }
    assert re.fullmatch(r"B:USR1@\d+", directives["signal"]), "the script itself is signalled"


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
