"""What the pods of the Kubernetes file may do and whom they reach.

A small judge, written from Kubernetes' rules for NetworkPolicy, decides who reaches whom.
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import validate

ROOT = Path(__file__).parents[2]
FILE = ROOT / "clusters" / "kuberay-rayjob.yaml"
DOCUMENTS = list(yaml.safe_load_all(FILE.read_text(encoding="utf-8")))


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [given for given in DOCUMENTS if given["kind"] == kind]


def templates() -> dict[str, dict[str, Any]]:
    """The pods by what they are; KubeRay labels those of the cluster with ray.io/node-type."""
    (job,) = of_kind("RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    return {
        "head": cluster["headGroupSpec"]["template"],
        "worker": workers["template"],
        "submitter": job["spec"]["submitterPodTemplate"],
    }


# The pods ----------------------------------------------------------------------------------------


def restricted(pod: dict[str, Any]) -> list[str]:
    """What keeps a pod from Kubernetes' standard "restricted", and from being without a token."""
    context = pod.get("securityContext", {})
    wrong = []
    if context.get("runAsNonRoot") is not True:
        wrong.append("may run as root")
    if not context.get("runAsUser"):
        wrong.append("the user is not a number, so that runAsNonRoot refuses the image")
    if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
        wrong.append("any system call")
    if pod.get("automountServiceAccountToken") is not False:
        wrong.append("a token of Kubernetes")
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            wrong.append(key)
    for container in pod["containers"]:
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False:
            wrong.append("privilege escalation")
        if own.get("capabilities") != {"drop": ["ALL"]}:
            wrong.append("capabilities")
        if own.get("privileged"):
            wrong.append("privileged")
    for volume in pod.get("volumes", []):
        if "hostPath" in volume:
            wrong.append("a folder of the node")
    return wrong


@pytest.mark.parametrize("name", ["head", "worker", "submitter"])
def test_every_pod_meets_kubernetes_restricted_standard_and_holds_no_token_of_it(name):
    assert restricted(templates()[name]["spec"]) == []


@pytest.mark.parametrize("name", ["head", "worker", "submitter"])
def test_pods_run_as_the_images_user_who_may_read_what_is_mounted(name):
    container = (ROOT / "clusters" / "Containerfile").read_text(encoding="utf-8")
    made = re.search(r"useradd --create-home --uid (\d+) ray", container)
    assert made is not None
    context = templates()[name]["spec"]["securityContext"]
    assert context["runAsUser"] == context["runAsGroup"] == int(made[1])
    if name != "submitter":
        assert context["fsGroup"] == int(made[1])


def test_the_pods_account_is_their_own_and_mounts_no_token():
    (account,) = of_kind("ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    for name in ("head", "worker"):
        assert templates()[name]["spec"]["serviceAccountName"] == account["metadata"]["name"]
    assert "serviceAccountName" not in templates()["submitter"]["spec"], "it needs no bucket"
    assert {given["kind"] for given in DOCUMENTS} == {"ServiceAccount", "NetworkPolicy", "RayJob"}


def test_the_submitter_runs_the_image_of_the_others():
    images = {given["spec"]["containers"][0]["image"] for given in templates().values()}
    assert len(images) == 1


# The network -------------------------------------------------------------------------------------


def closed(required: list[str], **properties: Any) -> dict[str, Any]:
    kind = {"type": "object", "additionalProperties": False}
    return {**kind, "required": required, "properties": properties}


SELECTOR = closed([], matchLabels={"type": "object"})
PEERS = {
    "type": "array",
    "items": closed(
        [],
        podSelector=SELECTOR,
        namespaceSelector=SELECTOR,
        ipBlock=closed(["cidr"], cidr={"type": "string"}, **{"except": {"type": "array"}}),
    ),
}
PORTS = {
    "type": "array",
    "items": closed(["port"], port={"type": "integer"}, protocol={"enum": ["TCP", "UDP"]}),
}
POLICY = closed(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "networking.k8s.io/v1"},
    kind={"const": "NetworkPolicy"},
    metadata=closed(["name"], name={"type": "string"}),
    spec=closed(
        ["podSelector", "policyTypes"],
        podSelector=SELECTOR,
        policyTypes={"type": "array", "items": {"enum": ["Ingress", "Egress"]}},
        ingress={"type": "array", "items": closed([], **{"from": PEERS}, ports=PORTS)},
        egress={"type": "array", "items": closed([], to=PEERS, ports=PORTS)},
    ),
)


@dataclass(frozen=True)
class Peer:
    """A pod with its labels and its namespace's, or a machine elsewhere."""

    labels: tuple[tuple[str, str], ...] = ()
    namespace: tuple[tuple[str, str], ...] | None = None
    address: str = "10.8.0.7"
    pod: bool = True

    @property
    def here(self) -> bool:
        return self.pod and self.namespace is None


def peer(namespace: str | None = None, **labels: str) -> Peer:
    given = None if namespace is None else (("kubernetes.io/metadata.name", namespace),)
    return Peer(tuple(labels.items()), given)


def cluster_pod(name: str) -> Peer:
    labels = dict(templates()[name]["metadata"]["labels"])
    if name != "submitter":
        labels["ray.io/node-type"] = name
    return Peer(tuple(labels.items()))


def selected(selector: dict[str, Any], labels: tuple[tuple[str, str], ...]) -> bool:
    return set(selector.get("matchLabels", {}).items()) <= set(labels)


def named(rule: dict[str, Any], other: Peer) -> bool:
    if "ipBlock" in rule:
        block = rule["ipBlock"]
        inside = ip_address(other.address) in ip_network(block["cidr"])
        return inside and not any(
            ip_address(other.address) in ip_network(left_out)
            for left_out in block.get("except", [])
        )
    if not other.pod or not selected(rule.get("podSelector", {}), other.labels):
        return False
    if "namespaceSelector" in rule:
        return selected(rule["namespaceSelector"], other.namespace or ())
    return other.here


def passes(pod: Peer, other: Peer, port: int, protocol: str, kind: str) -> bool:
    """Whether the policies of a pod let it be reached by (Ingress) or reach (Egress) another."""
    if not pod.here:
        return True  # other namespaces' policies are not ours
    policies = [
        policy["spec"]
        for policy in of_kind("NetworkPolicy")
        if kind in policy["spec"]["policyTypes"]
        and selected(policy["spec"]["podSelector"], pod.labels)
    ]
    side = "from" if kind == "Ingress" else "to"
    return not policies or any(
        any(named(rule, other) for rule in given.get(side, []))
        and (
            "ports" not in given
            or any(
                (port, protocol) == (open_["port"], open_.get("protocol", "TCP"))
                for open_ in given["ports"]
            )
        )
        for policy in policies
        for given in policy.get(kind.lower(), [])
    )


def reaches(source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    return passes(source, target, port, protocol, "Egress") and passes(
        target, source, port, protocol, "Ingress"
    )


OPERATOR = peer("kuberay", **{"app.kubernetes.io/name": "kuberay-operator"})
STRANGERS = {
    "a pod of this namespace": peer(app="other"),
    "a pod of another namespace": peer("other", app="other"),
    "another namespace's pod with our label": peer("other", wsss="ray"),
    "a machine elsewhere": Peer(address="198.51.100.7", pod=False),
}
ELSEWHERE = Peer(address="198.51.100.7", pod=False)


@pytest.mark.parametrize("policy", of_kind("NetworkPolicy"), ids=lambda p: p["metadata"]["name"])
def test_the_file_has_network_policies_as_kubernetes_knows_them(policy):
    validate(policy, POLICY)


@pytest.mark.parametrize("port", [6379, 8265, 10001, 8076, 52365])
@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("name", ["head", "worker", "submitter"])
def test_nobody_from_outside_reaches_a_pod_of_the_cluster(name, stranger, port):
    assert not passes(cluster_pod(name), STRANGERS[stranger], port, "TCP", "Ingress")


@pytest.mark.parametrize("port", [6379, 8265, 10001, 33333])
def test_head_and_workers_reach_each_other(port):
    head, worker = cluster_pod("head"), cluster_pod("worker")
    assert reaches(worker, head, port)
    assert reaches(head, worker, port)
    assert reaches(worker, worker, port)


@pytest.mark.parametrize("source", ["the operator", "the submitter"])
def test_operator_and_submitter_reach_the_job_server_of_the_head_and_nothing_else(source):
    other = OPERATOR if source == "the operator" else cluster_pod("submitter")
    assert reaches(other, cluster_pod("head"), 8265)
    assert not reaches(other, cluster_pod("head"), 6379)
    assert not reaches(other, cluster_pod("head"), 10001)
    assert not reaches(other, cluster_pod("worker"), 8265)


@pytest.mark.parametrize("name", ["head", "worker", "submitter"])
def test_every_pod_reaches_name_servers(name):
    in_cluster = peer("kube-system", **{"k8s-app": "kube-dns"})
    on_node = Peer(address="169.254.20.10", pod=False)
    for server in (in_cluster, on_node):
        assert passes(cluster_pod(name), server, 53, "UDP", "Egress")
        assert passes(cluster_pod(name), server, 53, "TCP", "Egress")
    assert not passes(cluster_pod(name), in_cluster, 443, "TCP", "Egress")


@pytest.mark.parametrize("name", ["head", "worker"])
def test_the_cluster_reaches_storage_by_https_and_nothing_else_outside(name):
    pod = cluster_pod(name)
    assert passes(pod, ELSEWHERE, 443, "TCP", "Egress")
    assert not passes(pod, ELSEWHERE, 80, "TCP", "Egress")
    assert not passes(pod, ELSEWHERE, 22, "TCP", "Egress")


def test_the_submitter_reaches_nothing_outside():
    assert not passes(cluster_pod("submitter"), ELSEWHERE, 443, "TCP", "Egress")


@pytest.mark.parametrize("name", ["head", "worker", "submitter"])
@pytest.mark.parametrize("port", [80, 443])
@pytest.mark.parametrize("address", ["169.254.169.254", "10.0.0.1", "172.20.0.1", "192.168.1.1"])
def test_no_pod_reaches_the_nodes_credentials_or_other_machines_of_the_network(name, port, address):
    machine = Peer(address=address, pod=False)
    assert not passes(cluster_pod(name), machine, port, "TCP", "Egress")


def test_the_file_itself_makes_no_secret_and_its_header_puts_no_key_on_a_command_line():
    assert "--from-literal" not in FILE.read_text(encoding="utf-8")
    guide = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
    assert "--from-literal" not in guide
    assert "kubectl create secret generic wsss-storage --from-env-file=" in guide
