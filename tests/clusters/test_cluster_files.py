"""The launcher files for `ray up`: what Ray's own checks, the package and their headers say.

Nothing is started and no cloud is asked.
"""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import cli as ray_command

ROOT = Path(__file__).parents[2]
LAUNCHERS = ["aws", "gcp", "on_prem"]
CLOUDS = ["aws", "gcp"]


def text(name: str) -> str:
    return (ROOT / "clusters" / f"{name}.yaml").read_text(encoding="utf-8")


def config(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(text(name))
    return loaded


@pytest.mark.parametrize("name", LAUNCHERS)
def test_ray_accepts_the_file(name):
    validate_config(prepare_config(config(name)))


@pytest.mark.parametrize("name", LAUNCHERS)
def test_ray_would_refuse_the_file_with_a_misspelt_key(name):
    misspelt = config(name)
    misspelt["file_mount"] = misspelt.pop("file_mounts")
    with pytest.raises(ValidationError, match="file_mount"):
        validate_config(prepare_config(misspelt))


@pytest.mark.parametrize("name", LAUNCHERS)
def test_what_is_mounted_is_there_and_is_all_that_the_package_is_built_from(name):
    mounts = config(name)["file_mounts"]
    local = {source for source in mounts.values() if not source.startswith("~")}
    assert [source for source in local if not (ROOT / source).exists()] == []
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    packages = re.search(r"include = \[(.*)\]", project)
    assert packages is not None
    parts = {part.strip('"* ') for part in packages[1].split(",")}
    read_by_the_build = {"pyproject.toml", "README.md", "LICENSE"}
    assert local == parts | read_by_the_build | {"constraints.txt"}
    assert all(mounts[f"~/wsss-studies/{source}"] == source for source in local)


@pytest.mark.parametrize("name", LAUNCHERS)
def test_the_environment_with_the_package_comes_first_on_the_path_of_a_login_shell(name):
    line = next(c for c in config(name)["setup_commands"] if c.startswith("grep"))
    assert 'export PATH="$HOME/wsss-env/bin:$PATH"' in line
    assert "~/wsss-env/bin/pip install" in " ".join(config(name)["setup_commands"])


@pytest.mark.parametrize("name", LAUNCHERS)
def test_every_node_asks_for_the_token_and_has_it_for_its_owner_alone(name):
    launcher = config(name)
    assert launcher["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert launcher["setup_commands"][0] == "chmod 600 ~/.ray/auth_token"
    assert any("export" in c and "RAY_AUTH_MODE=token" in c for c in launcher["setup_commands"])


@pytest.mark.parametrize("name", LAUNCHERS)
def test_the_dashboard_listens_on_loopback_alone(name):
    start = config(name)["head_start_ray_commands"][-1]
    assert "--dashboard-host=127.0.0.1" in start
    assert "0.0.0.0" not in re.sub("#.*", "", text(name))


@pytest.mark.parametrize("name", CLOUDS)
def test_the_head_trains_nothing_and_a_gpu_is_there_when_a_study_looks_for_one(name):
    launcher = prepare_config(config(name))
    head, gpu = (launcher["available_node_types"][kind] for kind in ("head", "gpu"))
    assert launcher["head_node_type"] == "head"
    assert head["resources"] == {"CPU": 0}
    assert 1 <= gpu["min_workers"] <= gpu["max_workers"] <= launcher["max_workers"]


def test_workers_on_aws_are_spot_instances_that_are_ended_not_stopped():
    launcher = config("aws")
    head, gpu = (launcher["available_node_types"][kind]["node_config"] for kind in ("head", "gpu"))
    assert gpu["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in head
    assert launcher["provider"]["cache_stopped_nodes"] is False


def test_workers_on_gcp_are_spot_instances_as_the_compute_api_names_them():
    launcher = config("gcp")
    head, gpu = (launcher["available_node_types"][kind]["node_config"] for kind in ("head", "gpu"))
    assert gpu["scheduling"] == {
        "provisioningModel": "SPOT",
        "instanceTerminationAction": "DELETE",
        "onHostMaintenance": "TERMINATE",
        "automaticRestart": False,
    }
    assert "scheduling" not in head


@pytest.mark.parametrize("name", LAUNCHERS)
def test_the_header_says_what_is_needed_changed_and_paid(name):
    header = text(name).partition("\ncluster_name:")[0]
    for said in ("Needs", "Change", "Costs", "docs/clusters.md"):
        assert f"# {said}" in header or said in header
    assert text(name).count("# CHANGE") >= 3


@pytest.mark.parametrize("name", LAUNCHERS)
def test_the_headers_commands_are_commands_of_ray_on_this_file(name):
    lines = [line[1:].strip() for line in text(name).splitlines() if line.startswith("#   ray ")]
    commands = [re.split(r"\s{2,}", line)[0] for line in lines]
    said = [shlex.split(command)[1:] for command in commands]
    assert [words[0] for words in said][:4] == ["up", "exec", "submit", "down"]
    for command, *words in said:
        given = ray_command.commands[command].make_context(command, words).params
        assert given["cluster_config_file"] == f"clusters/{name}.yaml"
        if command == "submit":
            assert (ROOT / given["script"]).is_file()
            assert given["script_args"][:2] == ("quickstart", "--results")


TOKEN = "(umask 077; ray get-auth-token --generate > /dev/null); chmod 600 ~/.ray/auth_token"


@pytest.mark.parametrize("file", ["aws.yaml", "gcp.yaml", "on_prem.yaml", "slurm.sbatch"])
def test_the_first_step_makes_a_token_that_only_its_owner_may_read(file):
    said = (ROOT / "clusters" / file).read_text(encoding="utf-8").replace("ENV/bin/", "")
    assert TOKEN in said
    assert TOKEN in (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("before", [None, 0o644])
def test_the_tokens_command_leaves_it_to_its_owner_and_off_the_screen(tmp_path, before):
    token = tmp_path / ".ray" / "auth_token"
    if before is not None:
        token.parent.mkdir()
        token.write_text("0123456789abcdef" * 4)
        token.chmod(before)
    environment = {
        "HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    # As on most machines: what is made without more ado, everybody may read.
    run = subprocess.run(
        ["bash", "-c", TOKEN], env=environment, capture_output=True, text=True, umask=0o022
    )
    assert run.returncode == 0, run.stderr
    assert token.stat().st_mode & 0o777 == 0o600
    assert token.read_text() not in run.stdout + run.stderr
    if before is None:
        assert token.parent.stat().st_mode & 0o077 == 0


def installed(name: str) -> set[str]:
    """Everything that a file's commands install, on its nodes and on the laptop."""
    commands = [*config(name)["setup_commands"], *re.findall(r"`(pip install [^`]*)`", text(name))]
    installs = [command for command in commands if "pip install" in command]
    assert all("-c constraints.txt" in command for command in installs)
    words = {
        word
        for command in installs
        for word in shlex.split(command.partition("pip install ")[2])
        if not word.startswith("-") and word not in {"constraints.txt", ".[cluster,s3]"}
    }
    return words - {".[cluster,gcs]"}


def normal(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


@pytest.mark.parametrize("name", LAUNCHERS)
def test_every_package_that_is_installed_has_its_version_in_the_constraints(name):
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[1:]
    pinned = {normal(line.partition("==")[0]) for line in lines if "==" in line}
    assert {package for package in installed(name) if normal(package) not in pinned} == set()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    of_nodes = [*project["dependencies"], *extras["s3"], *extras["gcs"], *extras["cluster"]]
    names = {normal(re.split(r"[\[<>=~!; ]", given)[0]) for given in of_nodes}
    # The launcher's own needs: Ray's clouds, and what Ray's dashboard compiles in.
    names |= {"boto3", "google-api-python-client", "google-auth-httplib2", "cryptography", "py-spy"}
    assert names <= pinned


def test_rays_folder_on_your_own_machines_is_closed_to_their_other_accounts(tmp_path):
    launcher = config("on_prem")
    exported = next(c for c in launcher["setup_commands"] if "export" in c)
    assert "RAY_TMPDIR=/tmp/ray-$(id -u)" in exported
    for node in ("head", "worker"):
        stop, own, start = launcher[f"{node}_start_ray_commands"]
        assert stop == "ray stop"
        assert '--temp-dir="$RAY_TMPDIR/ray"' in start
        for before in (None, 0o777):
            folder = tmp_path / f"{node}-{before}"
            if before is not None:
                folder.mkdir()
                folder.chmod(before)
            environment = {**os.environ, "RAY_TMPDIR": str(folder)}
            subprocess.run(["bash", "-c", own], env=environment, check=True, umask=0o022)
            assert folder.stat().st_mode & 0o777 == 0o700
        link = tmp_path / f"{node}-link"
        link.symlink_to(tmp_path)
        environment = {**os.environ, "RAY_TMPDIR": str(link)}
        assert subprocess.run(["bash", "-c", own], env=environment).returncode != 0


def test_a_path_for_rays_folder_leaves_room_for_its_sockets():
    exported = next(c for c in config("on_prem")["setup_commands"] if "export" in c)
    folder = re.search(r"RAY_TMPDIR=([^']+)'", exported)
    assert folder is not None
    # Linux allows 107 characters; Ray adds session_ with time, microseconds and process id.
    session = "ray/session_2026-11-27_23-50-40_123456_4194304/sockets/plasma_store"
    assert len(f"{folder[1].replace('$(id -u)', str(2**32 - 2))}/{session}") <= 107


def test_the_environments_line_is_added_to_a_login_shell_set_up_before(tmp_path):
    exported = next(c for c in config("on_prem")["setup_commands"] if "export" in c)
    earlier = 'export PATH="$HOME/wsss-env/bin:$PATH" RAY_AUTH_MODE=token\n'
    (tmp_path / ".bashrc").write_text(earlier)
    for _ in range(2):
        subprocess.run(["bash", "-c", exported], env={**os.environ, "HOME": str(tmp_path)})
    lines = (tmp_path / ".bashrc").read_text().splitlines()
    assert len(lines) == 2
    said = subprocess.run(
        ["bash", "-c", f"{lines[1]}; echo $RAY_TMPDIR"], capture_output=True, text=True
    )
    assert said.stdout == f"/tmp/ray-{os.getuid()}\n"
