"""The launcher files for `ray up`: what Ray's own checks, the package and their headers say.

Nothing is started and no cloud is asked.
"""

import re
import shlex
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
    assert [words[0] for words in said] == ["get-auth-token", "up", "exec", "submit", "down"]
    for command, *words in said:
        given = ray_command.commands[command].make_context(command, words).params
        if command != "get-auth-token":
            assert given["cluster_config_file"] == f"clusters/{name}.yaml"
        if command == "submit":
            assert (ROOT / given["script"]).is_file()
            assert given["script_args"][:2] == ("quickstart", "--results")
