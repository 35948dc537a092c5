"""The RayJob for Kubernetes, against KubeRay's fields and this package.

The schema holds what KubeRay 1.6 knows of a RayJob down to the pods (its API reference and the Go
types of `ray-operator/apis/ray/v1`); anything else is refused, as its admission does.
"""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import ValidationError, validate

from studies.cli.main import command_line

ROOT = Path(__file__).parents[2]
FILE = ROOT / "clusters" / "kuberay-rayjob.yaml"


def closed(required: list[str], **properties: Any) -> dict[str, Any]:
    kind = {"type": "object", "additionalProperties": False}
    return {**kind, "required": required, "properties": properties}


TEXT, BOOL = {"type": "string"}, {"type": "boolean"}
COUNT = {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": TEXT}
QUANTITY = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|[KMGTPE]i?)?$"}
QUANTITIES = {"type": "object", "additionalProperties": QUANTITY}
VOLUMES = {
    "type": "array",
    "items": {"type": "object", "required": ["name"], "minProperties": 2, "maxProperties": 2},
}
CONTAINER = closed(
    ["name", "image", "resources"],
    name=TEXT,
    image=TEXT,
    securityContext=closed(
        [],
        allowPrivilegeEscalation=BOOL,
        capabilities=closed([], add={"type": "array"}, drop={"type": "array"}),
        privileged=BOOL,
        readOnlyRootFilesystem=BOOL,
        runAsNonRoot=BOOL,
        runAsUser=COUNT,
        runAsGroup=COUNT,
    ),
    resources=closed(["requests", "limits"], requests=QUANTITIES, limits=QUANTITIES),
    ports={
        "type": "array",
        "items": closed(["containerPort", "name"], containerPort=COUNT, name=TEXT),
    },
    envFrom={
        "type": "array",
        "items": closed(["secretRef"], secretRef=closed(["name"], name=TEXT, optional=BOOL)),
    },
    volumeMounts={
        "type": "array",
        "items": closed(["name", "mountPath"], name=TEXT, mountPath=TEXT, readOnly=BOOL),
    },
)
POD = closed(
    ["spec"],
    metadata=closed([], labels=TEXTS, annotations=TEXTS),
    spec=closed(
        ["containers"],
        automountServiceAccountToken=BOOL,
        containers={"type": "array", "minItems": 1, "items": CONTAINER},
        restartPolicy={"enum": ["Never", "OnFailure"]},
        securityContext=closed(
            [],
            fsGroup=COUNT,
            runAsNonRoot=BOOL,
            runAsUser=COUNT,
            runAsGroup=COUNT,
            seccompProfile=closed(["type"], type={"enum": ["RuntimeDefault", "Localhost"]}),
        ),
        volumes=VOLUMES,
        tolerations={"type": "array"},
        nodeSelector=TEXTS,
        serviceAccountName=TEXT,
    ),
)
CLUSTER = closed(
    ["headGroupSpec"],
    rayVersion=TEXT,
    authOptions=closed(["mode"], mode={"enum": ["disabled", "token"]}, secretName=TEXT),
    enableInTreeAutoscaling=BOOL,
    autoscalerOptions={"type": "object"},
    headGroupSpec=closed(
        ["template"],
        serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
        rayStartParams=TEXTS,
        template=POD,
    ),
    workerGroupSpecs={
        "type": "array",
        "items": closed(
            ["groupName", "minReplicas", "maxReplicas", "template"],
            groupName=TEXT,
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            rayStartParams=TEXTS,
            template=POD,
        ),
    },
)
RAY_JOB = closed(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=closed(
        ["name"], name={"type": "string", "pattern": "^[a-z]([-a-z0-9]{0,45}[a-z0-9])?$"}
    ),
    spec=closed(
        ["entrypoint", "rayClusterSpec"],
        entrypoint=TEXT,
        runtimeEnvYAML=TEXT,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        shutdownAfterJobFinishes=BOOL,
        ttlSecondsAfterFinished=COUNT,
        activeDeadlineSeconds=COUNT,
        backoffLimit=COUNT,
        submitterPodTemplate=POD,
        suspend=BOOL,
        rayClusterSpec=CLUSTER,
    ),
)


def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(FILE.read_text(encoding="utf-8")))


@pytest.fixture
def job() -> dict[str, Any]:
    (found,) = [given for given in documents() if given["kind"] == "RayJob"]
    return found


def pods(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_the_file_is_a_ray_job_as_kuberay_knows_it(job):
    validate(job, RAY_JOB)


def test_a_field_that_kuberay_does_not_know_is_found(job):
    job["spec"]["rayClusterSpec"]["authOption"] = job["spec"]["rayClusterSpec"].pop("authOptions")
    with pytest.raises(ValidationError, match="authOption"):
        validate(job, RAY_JOB)


def test_the_entry_point_is_understood_by_the_command_line(job):
    python, flag, module, *arguments = shlex.split(job["spec"]["entrypoint"])
    assert (python, flag, module) == ("python", "-m", "studies.submit")
    options = command_line().parse_args(["run", *arguments])
    assert str(options.results).startswith("s3://")


def test_ray_is_of_the_version_that_the_image_installs(job):
    pinned = re.search(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert pinned is not None
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == pinned[1]


def test_the_cluster_asks_for_a_token_and_is_reachable_inside_kubernetes_alone(job):
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"]["mode"] == "token"
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"


def test_pods_end_with_the_study_and_at_the_latest_at_a_deadline(job):
    assert job["spec"]["shutdownAfterJobFinishes"] is True
    assert job["spec"]["activeDeadlineSeconds"] > 0


def test_head_and_workers_run_one_image_and_see_the_same_studies_and_secrets(job):
    containers = [pod["containers"][0] for pod in pods(job)]
    for what in ("image", "envFrom", "volumeMounts"):
        assert all(container[what] == containers[0][what] for container in containers)
    for pod, container in zip(pods(job), containers, strict=True):
        assert {m["name"] for m in container["volumeMounts"]} <= {v["name"] for v in pod["volumes"]}


def test_the_head_trains_nothing_and_each_worker_has_a_gpu(job):
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in cluster["workerGroupSpecs"]:
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert int(limits["nvidia.com/gpu"]) >= 1
        assert group["minReplicas"] == group["replicas"] == group["maxReplicas"]
