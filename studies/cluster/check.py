"""Every node of a cluster is asked before anything is scheduled on it.

What differs between nodes (a folder that is not shared, an older toolkit, a plug-in or weights that
were not copied) otherwise fails one trial after another, or makes results that are not alike. A
node that joins later is not asked.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from reports.storage.opening import open_folder
from studies.cluster.probe import Answer, Question, code_facts, sees
from studies.cluster.question import gpu_needs, question_about, question_about_masks
from studies.cluster.verdict import Expected, Reply, judge, node_names, ready, table
from studies.formatting import error_line
from studies.masks.worker import MaskJob
from studies.planning.job import TrainingJob
from studies.planning.plan import Plan
from studies.spec.resources import whole_gpu
from studies.stages.context import RunContext
from wsss_core.errors import InputError

ANSWER_SECONDS = 240.0
"""For how long an answer is waited for: a worker starts, a storage is waited for, weights read."""

GONE_SECONDS = 60.0
"""For how long a node that cannot be reached may be listed as alive: Ray takes tens of seconds to
give one up."""

_UNREACHABLE = (ray.exceptions.NodeDiedError, ray.exceptions.TaskUnschedulableError)

_AT_ONCE = 16


def check_nodes(
    plan: Plan,
    pending: list[TrainingJob],
    context: RunContext,
    say: Callable[[str], None] = print,
    *,
    always_say: bool = False,
) -> None:
    """Ask all nodes at once whether a plan's jobs can run there; Ray has to be up.

    Of one node nothing is said unless something is wrong; of several, a table and a line.

    Args:
        plan: what is to run.
        pending: its jobs that have to.
        context: what their workers will be given, see `studies.stages.context.RunContext`.
        say: where the table, warnings and the verdict go.
        always_say: say it of one node too.

    Raises:
        InputError: nodes that cannot run the study, with all that was found on each; or all are
            gone. A node that is lost while it is asked is said and left out if others remain.

    """
    whole = whole_gpu(node["Resources"] for node in _lending())
    needs = gpu_needs(pending, whole, context.results)
    question = question_about(plan, pending, context, gpus=bool(needs))
    _check(Expected(question, code_facts(), plan.plugins, needs), say, always_say=always_say)


def check_nodes_for_masks(
    job: MaskJob,
    image: str,
    plugins: dict[str, str],
    import_path: str,
    say: Callable[[str], None] = print,
) -> None:
    """Ask all nodes whether masks can be made there; Ray has to be up.

    Args:
        job: whose folders they have to share.
        image: one of its images.
        plugins: name -> the version that the network and the chain were made with.
        import_path: a folder that is searched for them too.
        say: see `check_nodes`.

    Raises:
        InputError: see `check_nodes`.

    """
    gpus = whole_gpu(node["Resources"] for node in _lending()) > 0
    question = question_about_masks(job, image, plugins, import_path, gpus=gpus)
    _check(Expected(question, code_facts(), plugins), say)


def _check(expected: Expected, say: Callable[[str], None], *, always_say: bool = False) -> None:
    question = expected.question
    with _token(question):
        replies = _still_there(ask_nodes(question), say)
        _read_back(question, replies)
    verdict = judge(expected, replies)
    if len(replies) > 1 or always_say:
        for line in table(replies):
            say(line)
    for line in verdict.lines(verdict.warnings):
        say(f"warning: {line}")
    verdict.require_none(len(replies))
    if len(replies) > 1 or always_say:
        say(ready(replies))


def ask_nodes(question: Question, seconds: float = ANSWER_SECONDS) -> list[Reply]:
    """Ask all nodes that lend a CPU, at once; a node without one runs nothing of a study.

    Returns:
        A reply of each, in Ray's order; without an answer of those that failed, hang or are lost.

    """
    asker = _asker()
    asked: dict[Any, Reply] = {}
    for node in _lending():
        reply = Reply(
            node["NodeID"], node["NodeManagerHostname"], node["NodeManagerAddress"],
            node["Resources"], sent=time.time(),
        )  # fmt: skip
        here = NodeAffinitySchedulingStrategy(node_id=reply.node, soft=False)
        task = asker.options(scheduling_strategy=here).remote(
            question, _reply_file(question, reply)
        )
        asked[task] = reply
    deadline = time.monotonic() + seconds
    waiting = list(asked)
    while waiting:
        ended, waiting = ray.wait(waiting, timeout=max(deadline - time.monotonic(), 0.0))
        if not ended:
            break
        for task in ended:
            asked[task] = _replied(asked[task], task)
    for task in waiting:
        ray.cancel(task, force=True)
        asked[task] = replace(asked[task], failure=f"does not answer within {seconds:.0f} s")
    return list(asked.values())


def _lending() -> list[dict[str, Any]]:
    """The nodes on which something of a study can be scheduled."""
    return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]


def _asker() -> Any:
    # Inside a function, so that it is sent whole and not by the name of a module that the node may
    # lack. It holds nothing of the node: it would wait for what other jobs hold.
    @ray.remote(num_cpus=0, max_retries=1)
    def ask(question: Question, reply: str) -> Answer | str:
        try:
            from studies.cluster.probe import answer
        except ImportError as error:
            return f"wsss-studies cannot be imported there, or is another version: {error}"
        return answer(question, reply)

    return ask


def _replied(reply: Reply, task: Any) -> Reply:
    received = time.time()
    try:
        answer = ray.get(task)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        said = error_line(cause)[:300]
        return replace(
            reply, failure=f"cannot be asked: {said}", cut_off=isinstance(error, _UNREACHABLE)
        )
    if isinstance(answer, str):
        return replace(reply, failure=answer)
    return replace(reply, answer=answer, received=received)


def _still_there(replies: list[Reply], say: Callable[[str], None]) -> list[Reply]:
    """Without the nodes that were lost while they were asked, which are said."""
    cut_off = {reply.node for reply in replies if reply.cut_off}
    deadline = time.monotonic() + GONE_SECONDS
    there = {node["NodeID"] for node in _lending()}
    # A node's task fails before Ray takes the node from its list, and until then gives it work.
    while cut_off & there and time.monotonic() < deadline:
        time.sleep(0.5)
        there = {node["NodeID"] for node in _lending()}
    names = node_names(replies)
    left = [reply for reply in replies if reply.node in there]
    for lost in (reply for reply in replies if reply.node not in there):
        say(f"warning: node {names[lost.node]} was lost while it was asked")
    if not left:
        raise InputError("no node of the cluster is left that lends a CPU")
    return left


def _reply_file(question: Question, reply: Reply) -> str:
    return f"{question['token']}-{reply.node[:16]}"


@contextlib.contextmanager
def _token(question: Question) -> Iterator[None]:
    """Write the driver's file to each folder, and take it and all answers to it away at the end."""
    folders = [open_folder(where, make=True) for where in question["folders"].values()]
    names = [question["token"]]
    names += [f"{names[0]}-{node['NodeID'][:16]}" for node in _lending()]
    try:
        for folder in folders:
            folder.write(question["token"], question["token"].encode())
        yield
    finally:
        with contextlib.suppress(OSError, InputError), ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda both: both[0].delete(both[1]), product(folders, names)))


def _read_back(question: Question, replies: list[Reply]) -> None:
    """Note where a node wrote to a folder and the driver does not see it."""

    def read(reply: Reply) -> None:
        for name, facts in reply.answer["folders"].items() if reply.answer else ():
            where = question["folders"][name]
            if facts["error"] is None and not sees(where, _reply_file(question, reply)):
                facts["error"] = "does not bring to the driver what is written there"

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(read, replies))
