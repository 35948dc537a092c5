"""The rights of the nodes on Google Cloud, against the requests in Ray's source."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CLUSTERS = ROOT / "clusters"


def launcher() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CLUSTERS / "gcp.yaml").read_text(encoding="utf-8"))
    return loaded


def google_role() -> set[str]:
    role = yaml.safe_load((CLUSTERS / "roles" / "gcp-head.yaml").read_text(encoding="utf-8"))
    return set(role["includedPermissions"])


def ray_source(name: str) -> str:
    spec = importlib.util.find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "autoscaler" / "_private" / name).read_text(encoding="utf-8")


def test_googles_role_allows_the_requests_in_rays_source_and_no_others_on_machines():
    compute = (
        ray_source("gcp/node.py").partition("class GCPCompute(")[2].partition("class GCPTPU")[0]
    )
    used = set(re.findall(r"\.instances\(\)\s*\.(\w+)\(", compute))
    # `stop` and `start` keep a machine's disk; the file leaves that off, as Ray does.
    assert {"insert", "delete", "get", "list", "setLabels", "stop", "start"} == used
    assert not launcher()["provider"].get("cache_stopped_nodes", False)
    needed = {f"compute.instances.{name}" for name in used - {"insert", "stop", "start"}}
    # What Google asks for when a machine is created with labels, metadata and an account.
    needed |= {"compute.instances.create", "compute.instances.setMetadata"}
    needed |= {"compute.instances.setServiceAccount"}
    machines = {name for name in google_role() if name.startswith("compute.instances.")}
    assert machines == needed
    assert "zoneOperations()" in compute
    others = {"compute.zoneOperations.get", "compute.disks.create"}
    others |= {"compute.subnetworks.use", "compute.subnetworks.useExternalIp"}
    assert google_role() - machines == others


def test_no_machine_on_google_runs_as_rays_own_powerful_account():
    for node in launcher()["available_node_types"].values():
        (account,) = node["node_config"]["serviceAccounts"]
        assert re.fullmatch(r"wsss-(head|worker)@my-project\..*", account["email"])
    # Ray takes its own account first and then all that the file says of the head.
    own, file = 'copy.deepcopy(config.get("head_node"', "head_node_config.update(head_config"
    assert 0 < ray_source("commands.py").find(own) < ray_source("commands.py").find(file)


def test_googles_commands_give_the_role_for_workers_of_this_cluster_alone(role_commands):
    calls = role_commands("gcp")
    (made,) = [call for call in calls if call[:3] == ["iam", "roles", "create"]]
    assert "--file=clusters/roles/gcp-head.yaml" in made
    (bound,) = [call for call in calls if call[:2] == ["projects", "add-iam-policy-binding"]]
    assert f"--role=projects/my-project/roles/{made[3]}" in bound
    (condition,) = [given for given in bound if given.startswith("--condition=")]
    zone = launcher()["provider"]["availability_zone"]
    name = f"ray-{launcher()['cluster_name']}-worker-"
    assert f'startsWith("projects/my-project/zones/{zone}/instances/{name}")' in condition
    (acting,) = [
        call for call in calls if call[1:3] == ["service-accounts", "add-iam-policy-binding"]
    ]
    assert acting[3].startswith("wsss-worker@")
    assert "--role=roles/iam.serviceAccountUser" in acting
    roles = {given for call in calls for given in call if given.startswith("--role=")}
    assert not roles & {"--role=roles/compute.admin", "--role=roles/editor", "--role=roles/owner"}
