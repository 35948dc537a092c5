"""`ray up`, `ray submit` and `ray job submit` for real: two machines that are reached by ssh.

The launcher file is clusters/on_prem.yaml with the machines' addresses and key in it, as a user
would change it; the nodes install the package from what is synced to them.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from reports.ledger.parts import read_table

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SUBMIT = "studies/submit.py"


@dataclass(frozen=True)
class Cluster:
    """A running cluster: its launcher file, and the machines; commands are given on the head's."""

    file: Path
    head: Any
    worker: Any

    def ray(self, *command: object, **options: Any) -> Any:
        return self.head.run("ray", *command, **options)


@pytest.fixture(scope="module")
def cluster(machines, tmp_path_factory) -> Iterator[Cluster]:
    head, worker = machines
    launcher = yaml.safe_load((ROOT / "clusters" / "on_prem.yaml").read_text(encoding="utf-8"))
    launcher["provider"].update(head_ip=head.address, worker_ips=[worker.address])
    launcher["auth"].update(ssh_user="root", ssh_private_key=str(head.key))
    file = tmp_path_factory.mktemp("launcher") / "on_prem.yaml"
    file.write_text(yaml.safe_dump(launcher, sort_keys=False), encoding="utf-8")
    cluster = Cluster(file, head, worker)
    made = cluster.ray("get-auth-token", "--generate")
    assert made.returncode == 0, made.stdout
    up = cluster.ray("up", file, "--yes", seconds=240)
    assert up.returncode == 0, up.stdout
    for _ in range(40):
        status = cluster.ray("exec", file, "ray status")
        if "2 local.cluster.node" in status.stdout:
            break
        time.sleep(3)
    assert "2 local.cluster.node" in status.stdout, status.stdout
    yield cluster
    cluster.ray("down", file, "--yes")


def trials(results: Path) -> dict[str, str]:
    table = read_table(results, "trials")
    return dict(zip(table["configuration"], table["status"], strict=True))


def test_a_submitted_study_runs_over_both_machines(cluster, tiny_study, tmp_path):
    results = tmp_path / "results"
    sent = cluster.ray("rsync-up", cluster.file, tiny_study, "~/my_study.yaml")
    assert sent.returncode == 0, sent.stdout
    run = cluster.ray("submit", cluster.file, SUBMIT, "--", "my_study.yaml", "--results", results)
    assert run.returncode == 0, run.stdout
    assert re.search(r"2 nodes ready", run.stdout), run.stdout
    assert set(trials(results).values()) == {"ok"}
    assert len(trials(results)) == 2


def test_a_shipped_study_can_be_shrunk_on_the_command_line_and_run_again_at_no_cost(
    cluster, tmp_path
):
    results = tmp_path / "results"
    small = ["seeds=[0]", "data.train=48", "data.tune=16", "data.test=16", "training.epochs=1"]
    small += ["configurations=[{paradigm: single, student: cnn}]"]
    changes = [word for change in small for word in ("--set", f"'{change}'")]
    command = [
        *("submit", cluster.file, SUBMIT, "--", "quickstart", "--results", results),
        *changes,
    ]
    first = cluster.ray(*command)
    assert first.returncode == 0, first.stdout
    assert "1 training runs" in first.stdout
    again = cluster.ray(*command)
    assert again.returncode == 0, again.stdout
    assert "nothing to train" in again.stdout


def test_a_study_with_a_mistake_in_it_fails_here_too_and_says_why(cluster, tmp_path):
    results = tmp_path / "results"
    run = cluster.ray("submit", cluster.file, SUBMIT, "--", "quickstrt", "--results", results)
    assert run.returncode != 0
    assert "did you mean 'quickstart'?" in run.stdout


def test_a_job_takes_the_same_arguments_and_a_folder_with_the_study(cluster, tiny_study, tmp_path):
    results = tmp_path / "results"
    run = cluster.ray(
        *("job", "submit", "--address", "http://127.0.0.1:8265"),
        *("--working-dir", tiny_study.parent, "--", "python", "-m", "studies.submit"),
        *("my_study.yaml", "--results", results),
    )
    assert run.returncode == 0, run.stdout
    assert set(trials(results).values()) == {"ok"}


def test_a_job_that_fails_ends_with_an_error_and_names_its_exit_code(cluster, tmp_path):
    run = cluster.ray(
        *("job", "submit", "--address", "http://127.0.0.1:8265"),
        *("--", "python", "-m", "studies.submit", "quickstart", "--results", "results"),
    )
    assert run.returncode == 1
    assert "exit code 2" in run.stdout
    assert "--results results is a relative path" in run.stdout


def test_who_has_another_token_is_turned_away(cluster):
    other = {"RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
    listed = cluster.ray("job", "list", "--address", "http://127.0.0.1:8265", more=other)
    assert listed.returncode != 0
    assert "Invalid authentication token" in listed.stdout
    joined = cluster.head.run(
        *("python", "-c", f"import ray; ray.init('{cluster.head.address}:6379')"), more=other
    )
    assert joined.returncode != 0
    assert "authentication" in joined.stdout.lower()


def test_the_dashboard_is_reached_from_the_head_alone(cluster):
    reach = "import socket; socket.create_connection(('{}', 8265), 3)"
    assert cluster.head.run("python", "-c", reach.format("127.0.0.1")).returncode == 0
    outside = cluster.worker.run("python", "-c", reach.format(cluster.head.address))
    assert "ConnectionRefusedError" in outside.stdout


def test_the_token_on_the_nodes_is_readable_by_its_owner_alone(cluster):
    for machine in (cluster.head, cluster.worker):
        assert (machine.home / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600


def test_rays_folder_on_the_nodes_is_opened_by_its_owner_alone(cluster):
    for machine in (cluster.head, cluster.worker):
        own = machine.folder / "own"  # which the machine sees as /tmp/ray-UID
        assert own.stat().st_mode & 0o777 == 0o700
        assert list(own.glob("ray/session_*"))
        assert not list((machine.folder / "ray").glob("session_*"))
