"""The rights of the nodes on AWS, against what Ray's launcher asks of it.

Ray's own node provider runs on a simulated EC2, and each request is written down. A small judge,
written from AWS's rules for policies, then decides each request by the shipped policy.
"""

import importlib.util
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
REGION = "us-west-2"
EC2 = f"arn:aws:ec2:{REGION}:123456789012"
WORKER = {"ray-cluster-name": "wsss", "ray-node-type": "worker"}


def launcher(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(
        (ROOT / "clusters" / f"{name}.yaml").read_text(encoding="utf-8")
    )
    return loaded


def option(call: list[str], name: str) -> str:
    return call[call.index(name) + 1]


@pytest.fixture(scope="module")
def policies(role_commands: Callable[[str], list[list[str]]]) -> dict[str, list[dict[str, Any]]]:
    """The statements that the header's commands give to each role."""
    given: dict[str, list[dict[str, Any]]] = {}
    for call in role_commands("aws"):
        if call[1] == "put-role-policy":
            policy = json.loads(option(call, "--policy-document"))
            given.setdefault(option(call, "--role-name"), []).extend(policy["Statement"])
    return given


# A judge of policies -----------------------------------------------------------------------------


def listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def met(condition: dict[str, dict[str, Any]], context: dict[str, Any]) -> bool:
    for operator, keys in condition.items():
        every = operator.startswith("ForAllValues:")
        assert operator.removeprefix("ForAllValues:") in {"StringEquals", "StringLike"}
        for key, allowed in keys.items():
            if key not in context and not every:
                return False
            for value in listed(context.get(key, [])):
                if operator.endswith("StringEquals"):
                    if value not in listed(allowed):
                        return False
                elif not any(fnmatchcase(value, pattern) for pattern in listed(allowed)):
                    return False
    return True


@dataclass(frozen=True)
class Request:
    """One action on one resource, with what AWS knows about both."""

    action: str
    resource: str
    context: dict[str, Any] = field(default_factory=dict)

    def allowed(self, statements: list[dict[str, Any]]) -> bool:
        assert all(statement["Effect"] == "Allow" for statement in statements)
        return any(
            self.action in listed(statement["Action"])
            and any(fnmatchcase(self.resource, arn) for arn in listed(statement["Resource"]))
            and met(statement.get("Condition", {}), self.context)
            for statement in statements
        )


def resource_tags(tags: dict[str, str]) -> dict[str, str]:
    return {f"aws:ResourceTag/{key}": value for key, value in tags.items()}


def started(parameters: dict[str, Any], group_tags: dict[str, str]) -> list[Request]:
    """What AWS decides on when a machine is started with these parameters."""
    run = "ec2:RunInstances"
    tags = {
        tag["Key"]: tag["Value"]
        for given in parameters.get("TagSpecifications", [])
        if given["ResourceType"] == "instance"
        for tag in given["Tags"]
    }
    instance = {f"aws:RequestTag/{key}": value for key, value in tags.items()}
    tokens = parameters.get("MetadataOptions", {}).get("HttpTokens")
    if tokens:
        instance["ec2:MetadataHttpTokens"] = tokens
    kinds = ["key-pair", "network-interface", "subnet", "volume"]
    if "InstanceMarketOptions" in parameters:
        kinds.append("spot-instances-request")
    profile = parameters["IamInstanceProfile"]["Name"]
    passed = {"iam:PassedToService": "ec2.amazonaws.com"}
    return [
        Request(run, f"{EC2}:instance/*", instance),
        Request(run, f"arn:aws:ec2:{REGION}::image/ami-1"),
        *(Request(run, f"{EC2}:{kind}/one") for kind in kinds),
        Request(run, f"{EC2}:security-group/sg-1", resource_tags(group_tags)),
        Request("ec2:CreateTags", f"{EC2}:instance/*", {"ec2:CreateAction": "RunInstances"}),
        Request("iam:PassRole", f"arn:aws:iam::123456789012:role/{profile}", passed),
        Request(
            "ssm:GetParameters",
            f"arn:aws:ssm:{REGION}::parameter{parameters['ImageId'].removeprefix('resolve:ssm:')}",
        ),
    ]


# Ray's requests on a simulated EC2 ---------------------------------------------------------------


@dataclass
class Recorded:
    """What Ray asked of AWS on the laptop and on the head, and what it made."""

    laptop: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    head: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    group_tags: dict[str, str] = field(default_factory=dict)
    ingress: list[dict[str, Any]] = field(default_factory=list)


def record(home: Path, prepare: Any = None) -> Recorded:
    """Start and end a worker, as `ray up` on a laptop and then the autoscaler on the head do."""
    import boto3
    from moto import mock_aws
    from ray.autoscaler._private.aws import node_provider, utils
    from ray.autoscaler._private.util import prepare_config

    recorded, calls = Recorded(), []
    with mock_aws(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            patch.setenv(variable, "testing")
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        patch.setattr(boto3, "DEFAULT_SESSION", None)
        for cached in (utils.resource_cache, utils.client_cache):
            cached.cache_clear()
        if prepare is not None:
            prepare(boto3)
        iam = boto3.client("iam")
        for profile in ("wsss-head", "wsss-worker"):
            iam.create_instance_profile(InstanceProfileName=profile)
        boto3.setup_default_session()
        boto3.DEFAULT_SESSION.events.register(
            "before-parameter-build.*.*",
            lambda params, model, **_: calls.append(
                (f"{model.service_model.endpoint_prefix}:{model.name}", dict(params))
            ),
        )
        provider_class = node_provider.AWSNodeProvider
        config = prepare_config(launcher("aws"))
        if prepare is None:  # takes long, because it lists every type of machine
            config = provider_class.fillout_available_node_types_resources(config)
        recorded.config = config = provider_class.bootstrap_config(config)
        provider = provider_class(config["provider"], config["cluster_name"])
        types = config["available_node_types"]
        head_tags = {"ray-node-type": "head", "ray-node-name": "ray-wsss-head"}
        provider.create_node(types["head"]["node_config"], head_tags, 1)
        (head,) = provider.non_terminated_nodes({"ray-node-type": "head"})
        provider.set_node_tags(head, {"ray-node-status": "up-to-date"})
        provider.terminate_nodes([head])
        recorded.laptop, calls[:] = list(calls), []
        tags = {"ray-node-type": "worker", "ray-node-status": "uninitialized"}
        tags |= {"ray-node-name": "ray-wsss-worker", "ray-user-node-type": "gpu"}
        provider.create_node(types["gpu"]["node_config"], tags, 1)
        (worker,) = provider.non_terminated_nodes({"ray-node-type": "worker"})
        assert provider.is_running(worker)
        assert provider.internal_ip(worker)
        provider.set_node_tags(worker, {"ray-node-status": "up-to-date", "ray-node-name": "w"})
        provider.terminate_nodes([worker])
        provider._get_node(worker)
        recorded.head = list(calls)
        (group_id,) = types["gpu"]["node_config"]["SecurityGroupIds"]
        (group,) = boto3.client("ec2").describe_security_groups(GroupIds=[group_id])[
            "SecurityGroups"
        ]
        recorded.group_tags = {tag["Key"]: tag["Value"] for tag in group.get("Tags", [])}
        recorded.ingress = group["IpPermissions"]
    for cached in (utils.resource_cache, utils.client_cache):
        cached.cache_clear()
    return recorded


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    if importlib.util.find_spec("boto3") is None or importlib.util.find_spec("moto") is None:
        pytest.skip("needs boto3 and moto: pip install -e '.[dev]'")
    return record(tmp_path_factory.mktemp("home"))


def requests(call: str, parameters: dict[str, Any], group_tags: dict[str, str]) -> list[Request]:
    """What AWS decides on for a call about a worker of the cluster."""
    if call == "ec2:RunInstances":
        return started(parameters, group_tags)
    if call == "ec2:DescribeInstances":
        return [Request(call, "*", {"aws:RequestedRegion": REGION})]
    keys = [tag["Key"] for tag in parameters.get("Tags", [])]
    context = {**resource_tags(WORKER), **({"aws:TagKeys": keys} if keys else {})}
    return [Request(call, f"{EC2}:instance/i-1", context)]


def worker_start(recorded: Recorded) -> dict[str, Any]:
    (parameters,) = [given for call, given in recorded.head if call == "ec2:RunInstances"]
    return parameters


@pytest.mark.ci
def test_the_heads_role_allows_all_that_ray_asks_of_aws_on_the_head(recorded, policies):
    asked = [
        request
        for call, parameters in recorded.head
        for request in requests(call, parameters, recorded.group_tags)
    ]
    assert [request for request in asked if not request.allowed(policies["wsss-head"])] == []


@pytest.mark.ci
def test_the_heads_role_allows_nothing_that_ray_does_not_use(recorded, policies):
    asked = {
        request.action
        for call, parameters in recorded.head
        for request in requests(call, parameters, recorded.group_tags)
    }
    allowed = {action for given in policies["wsss-head"] for action in listed(given["Action"])}
    assert {action for action in allowed if not action.startswith("s3:")} == asked


@pytest.mark.ci
def test_workers_get_the_rights_of_workers_and_metadata_only_by_token(recorded):
    given = worker_start(recorded)
    assert given["IamInstanceProfile"] == {"Name": "wsss-worker"}
    assert given["MetadataOptions"]["HttpTokens"] == "required"


@pytest.mark.ci
@pytest.mark.parametrize(
    "change",
    [
        {"MetadataOptions": {"HttpTokens": "optional"}},
        {"MetadataOptions": {}},
        {"TagSpecifications": []},
        {"IamInstanceProfile": {"Name": "wsss-head"}},
        {"IamInstanceProfile": {"Name": "administrator"}},
        {"ImageId": "resolve:ssm:/my/own/secret"},
    ],
    ids=["IMDSv1", "no metadata options", "no tags", "the head's role", "another role", "secret"],
)
def test_the_head_cannot_start_a_machine_of_another_kind(recorded, policies, change):
    asked = started({**worker_start(recorded), **change}, recorded.group_tags)
    assert not all(request.allowed(policies["wsss-head"]) for request in asked)


@pytest.mark.ci
def test_the_head_cannot_start_a_machine_in_another_security_group(recorded, policies):
    asked = started(worker_start(recorded), {"ray-cluster-name": "other"})
    assert not all(request.allowed(policies["wsss-head"]) for request in asked)


@pytest.mark.parametrize(
    ("action", "tags"),
    [
        ("ec2:TerminateInstances", {}),
        ("ec2:TerminateInstances", {**WORKER, "ray-cluster-name": "other"}),
        ("ec2:TerminateInstances", {**WORKER, "ray-node-type": "head"}),
        ("ec2:CreateTags", {}),
        ("ec2:CreateTags", {**WORKER, "ray-cluster-name": "other"}),
        ("ec2:StopInstances", WORKER),
        ("ec2:AuthorizeSecurityGroupIngress", WORKER),
    ],
)
def test_the_head_cannot_touch_machines_that_are_not_its_workers(policies, action, tags):
    keys = {"aws:TagKeys": ["ray-node-status"]} if action == "ec2:CreateTags" else {}
    asked = Request(action, f"{EC2}:instance/i-1", {**resource_tags(tags), **keys})
    assert not asked.allowed(policies["wsss-head"])


def test_the_head_cannot_give_a_worker_tags_that_other_policies_may_go_by(policies):
    context = {**resource_tags(WORKER), "aws:TagKeys": ["department"]}
    asked = Request("ec2:CreateTags", f"{EC2}:instance/i-1", context)
    assert not asked.allowed(policies["wsss-head"])


def test_workers_may_use_the_bucket_and_nothing_else(policies):
    (statement,) = policies["wsss-worker"]
    assert all(action.startswith("s3:") for action in statement["Action"])
    assert statement["Resource"] == ["arn:aws:s3:::my-bucket", "arn:aws:s3:::my-bucket/*"]
    assert statement in policies["wsss-head"]


def test_no_policy_holds_a_placeholder_or_a_whole_service(policies):
    text = json.dumps(policies)
    assert not re.search(r"BUCKET|REGION", text)
    for statement in (given for role in policies.values() for given in role):
        assert not any("*" in action for action in listed(statement["Action"]))


def test_the_policy_holds_for_the_clusters_name_and_region(policies):
    config = launcher("aws")
    assert config["cluster_name"] == "wsss"
    assert config["provider"]["region"] == REGION
    assert "arn:aws:ec2:us-west-2:*:instance/*" in json.dumps(policies["wsss-head"])


def test_the_headers_commands_make_both_roles_and_attach_no_policy_of_amazons(role_commands):
    calls = role_commands("aws")
    made = {option(call, "--role-name") for call in calls if call[1] == "create-role"}
    held = {
        (option(call, "--instance-profile-name"), option(call, "--role-name"))
        for call in calls
        if call[1] == "add-role-to-instance-profile"
    }
    profiles = {
        node["node_config"]["IamInstanceProfile"]["Name"]
        for node in launcher("aws")["available_node_types"].values()
    }
    assert made == profiles == {"wsss-head", "wsss-worker"}
    assert held == {(name, name) for name in made}
    assert all(call[1] != "attach-role-policy" for call in calls)
    for call in calls:
        if call[1] == "create-role":
            file = option(call, "--assume-role-policy-document").removeprefix("file://")
            (statement,) = json.loads((ROOT / file).read_text())["Statement"]
            assert statement["Principal"] == {"Service": "ec2.amazonaws.com"}


@pytest.mark.ci
def test_the_guide_lists_what_ray_asks_of_aws_on_the_laptop(recorded):
    guide = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
    asked = {call.split(":")[1] for call, _ in recorded.laptop}
    assert {call for call in asked if f"`{call}`" not in guide} == set()


@pytest.mark.ci
def test_ssh_is_open_only_to_the_network_of_a_group_made_beforehand(recorded, tmp_path):
    def own_group(boto3: Any) -> None:
        ec2 = boto3.client("ec2", region_name=REGION)
        tags = [{"Key": "ray-cluster-name", "Value": "wsss"}]
        group = ec2.create_security_group(
            GroupName="ray-autoscaler-wsss",
            Description="ssh from here",
            TagSpecifications=[{"ResourceType": "security-group", "Tags": tags}],
        )["GroupId"]
        ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
        ec2.authorize_security_group_ingress(
            GroupId=group, IpPermissions=[{**ssh, "IpRanges": [{"CidrIp": "203.0.113.0/24"}]}]
        )

    def ssh_from(found: Recorded) -> set[str]:
        ssh = [rule for rule in found.ingress if rule.get("FromPort") == 22]
        return {network["CidrIp"] for rule in ssh for network in rule["IpRanges"]}

    assert ssh_from(recorded) == {"0.0.0.0/0"}, "Ray's own group, as the guide says"
    narrowed = record(tmp_path, own_group)
    assert ssh_from(narrowed) == {"203.0.113.0/24"}
    assert narrowed.group_tags["ray-cluster-name"] == "wsss"


@pytest.mark.parametrize("node", ["head", "gpu"])
def test_machines_on_aws_give_credentials_only_by_token_and_to_no_container_network(node):
    config = launcher("aws")["available_node_types"][node]["node_config"]
    assert config["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
