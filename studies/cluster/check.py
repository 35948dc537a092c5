"""Every node of a cluster is checked before anything is scheduled on it.

Differences between nodes (a folder that is not shared, an older toolkit, a plug-in or weights that
were not copied) otherwise fail one trial after another, or make results that are not alike. A node
that joins later is not checked.
"""

import contextlib
import logging
import pickle
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from reports.storage import seconds_set
from studies.cluster.checks import CodeCheck, NodeCheck, NodeReport, code_facts
from studies.cluster.findings import (
    finding_lines,
    findings,
    node_names,
    raise_problems,
    ready_line,
    table,
)
from studies.cluster.plan_checks import checks_for_plan
from studies.cluster.ray_start import node_amounts
from studies.formatting import about, error_line
from studies.planning import Job, Plan, whole_gpu
from studies.stages import RunContext
from wsss_core.errors import InputError

PROBE_LIMIT = "WSSS_PROBE_TIMEOUT"
"""Environment variable: seconds after which a node that does not answer cannot be used."""

ANSWER_WITHIN_S = 240.0
"""These seconds if it is not set: a worker starts, waits for a storage, reads weights."""

SECOND_PROBE = 0.25
"""After this share of the limit a second probe starts beside one that has not answered: a single
worker may hang on a node that works."""

GONE_SECONDS = 60.0
"""For how long a node that cannot be reached may be listed as alive: Ray takes tens of seconds to
give one up."""

_UNREACHABLE = (ray.exceptions.NodeDiedError, ray.exceptions.TaskUnschedulableError)

logger = logging.getLogger(__name__)


def check_nodes(
    plan: Plan, pending: Sequence[Job], context: RunContext, *, always_log: bool = False
) -> None:
    """Check that a plan's training runs can run on all nodes; Ray has to be up.

    Args:
        plan: whose study is to run.
        pending: the training runs that are left.
        context: what their workers will be given, see `studies.stages.handover.RunContext`.
        always_log: see `require_ready`.

    Raises:
        InputError: see `require_ready`.

    """
    checks = checks_for_plan(plan, pending, context, whole_gpu(node_amounts()))
    require_ready(checks, always_log=always_log)


def require_ready(checks: Sequence[NodeCheck[Any]], *, always_log: bool = False) -> None:
    """Raise unless all nodes pass all checks; Ray has to be up.

    The log of several nodes is a table, warnings and a closing line; of a single node, warnings.

    Args:
        checks: the first is `CodeCheck`.
        always_log: log all of it of a single node too.

    Raises:
        InputError: nodes that cannot be used, with all that was found on each; or all nodes are
            gone. A node that is lost during the check is left out, with a warning.

    """
    nodes = [node["NodeID"] for node in _lending()]
    with contextlib.ExitStack() as prepared:
        for check in checks:
            prepared.enter_context(check.prepared(nodes))
        reports = _without_lost(probe_nodes(checks))
        found = findings(checks, reports)
    log_all = always_log or len(reports) > 1
    if log_all:
        for line in table(reports):
            logger.info(line)
    for line in finding_lines(found, problems=False):
        logger.warning("warning: %s", line)
    raise_problems(found, len(reports))
    if log_all:
        logger.info(ready_line(reports))


def _lending() -> list[dict[str, Any]]:
    """Return Ray's record of each node that can run something of a study."""
    return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]


def probe_nodes(checks: Sequence[NodeCheck[Any]], limit: float | None = None) -> list[NodeReport]:
    """Probe all nodes that lend a CPU, at once; a node without a CPU runs nothing of a study.

    Args:
        checks: what is probed.
        limit: seconds for which an answer is waited for; `PROBE_LIMIT` if None.

    Returns:
        A report of each, in Ray's order; without facts of those that fail, hang or are lost.

    """
    seconds = seconds_set(PROBE_LIMIT, ANSWER_WITHIN_S) if limit is None else limit
    probe, packed = _probe_task(), pickle.dumps(list(checks))
    code = next((check.here for check in checks if isinstance(check, CodeCheck)), code_facts())

    def sent(node: str) -> Any:
        there = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
        task = probe.options(scheduling_strategy=there)
        return task.remote((code["version"], code["source"]), packed, node)

    began = time.monotonic()
    reports: dict[str, NodeReport] = {}
    asked: dict[Any, NodeReport] = {}
    for node in _lending():
        report = NodeReport(
            node["NodeID"],
            node["NodeManagerHostname"],
            node["NodeManagerAddress"],
            node["Resources"],
            sent=time.time(),
            failure=f"does not answer within {about(seconds)} ({PROBE_LIMIT})",
        )
        reports[report.node] = report
        asked[sent(report.node)] = report
    unanswered = set(reports)
    for until in (SECOND_PROBE * seconds, seconds):
        while unanswered:
            left = max(began + until - time.monotonic(), 0.0)
            ended, _ = ray.wait(list(asked), timeout=left)
            if not ended:
                break
            report = asked.pop(ended[0])
            if report.node in unanswered:
                unanswered.remove(report.node)
                reports[report.node] = _answered(replace(report, failure=None), ended[0])
        if until < seconds:
            for silent in unanswered:
                asked[sent(silent)] = replace(reports[silent], sent=time.time())
    for task in asked:  # hung, or not needed any more
        ray.cancel(task, force=True)
    return list(reports.values())


def _probe_task() -> Any:
    # Inside a function, so that it is sent whole and not by the name of a module that the node may
    # lack. It reserves nothing of the node: it would wait for what other jobs hold.
    @ray.remote(num_cpus=0, max_retries=1)
    def probe(toolkit: tuple[str, str], packed: bytes, node: str) -> str | dict[str, Any]:
        started = time.time()
        try:
            from studies.cluster.checks import code_facts
        except ImportError as error:
            return f"wsss-studies cannot be imported there, or is another version: {error}"
        code = code_facts()
        if (code["version"], code["source"]) != toolkit:
            # The classes of the checks may be others there, so the checks stay packed.
            return {"code": code}
        checks = pickle.loads(packed)
        facts = {type(check): check.probe(node) for check in checks}
        return {"facts": facts, "started": started, "ended": time.time()}

    return probe


def _answered(report: NodeReport, task: Any) -> NodeReport:
    received = time.time()
    try:
        answer = ray.get(task)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        failure = f"cannot be checked: {error_line(cause)[:300]}"
        return replace(report, failure=failure, cut_off=isinstance(error, _UNREACHABLE))
    if isinstance(answer, str):
        return replace(report, failure=answer)
    if "code" in answer:
        return replace(report, facts={CodeCheck: answer["code"]})
    return replace(report, **answer, received=received)


def _without_lost(reports: list[NodeReport]) -> list[NodeReport]:
    """Leave out the nodes that were lost during the check, with a warning."""
    cut_off = {report.node for report in reports if report.cut_off}
    deadline = time.monotonic() + GONE_SECONDS
    there = {node["NodeID"] for node in _lending()}
    # A node's task fails before Ray takes the node from its list, and until then gives it work.
    while cut_off & there and time.monotonic() < deadline:
        time.sleep(0.5)
        there = {node["NodeID"] for node in _lending()}
    names = node_names(reports)
    for report in reports:
        if report.node not in there:
            logger.warning("warning: node %s was lost during the check", names[report.node])
    left = [report for report in reports if report.node in there]
    if not left:
        raise InputError("no node of the cluster is left that lends a CPU")
    return left
