"""What a cluster's nodes have, and which training runs fit on them.

Amounts are as Ray gives them: a mapping of "CPU", "GPU" and "memory" (bytes) for each node, and for
each request.
"""

from collections.abc import Iterable, Mapping, Sequence

from studies.planning.segmentation.segments import Job
from studies.spec.resources import GIB
from wsss_core.errors import InputError

NodeAmounts = Mapping[str, float]
"""The total amounts of one node."""

Request = Mapping[str, float]
"""What one training run asks of one node, see `studies.spec.resources.Demand.asks`."""


def requests_of(jobs: Iterable[Job], nodes: Iterable[NodeAmounts]) -> dict[str, Request]:
    """Return what each job, by its key, asks of a cluster of these nodes."""
    whole = whole_gpu(nodes)
    return {job.key: job.resources.asks(whole) for job in jobs}


def whole_gpu(nodes: Iterable[NodeAmounts]) -> float:
    """Return the GPUs that `gpus: auto` stands for on a cluster: 1 if a node has a GPU, else 0."""
    return min(1.0, max((node.get("GPU", 0.0) for node in nodes), default=0.0))


def slots(asked: Request, nodes: Iterable[NodeAmounts]) -> int:
    """Return how many trials with this request fit at once, each on one node.

    >>> slots({"CPU": 2.0, "GPU": 0.1}, [{"CPU": 64, "GPU": 1}, {"CPU": 3}, {"CPU": 3, "GPU": 8}])
    11
    """
    return sum(_fitting(asked, node) for node in nodes)


def require_room(asked: Iterable[tuple[str, Request]], nodes: Sequence[NodeAmounts]) -> None:
    """Raise unless every trial fits on some node: Ray would wait for ever for room.

    Args:
        asked: pairs of a configuration's name and its request, see `Demand.asks`.
        nodes: the nodes of the cluster.

    Raises:
        InputError: the first trial that fits on no node, with the nearest node.

    """
    for name, request in asked:
        if any(_fitting(request, node) for node in nodes):
            continue

        def nearness(node: NodeAmounts, request: Request = request) -> list[float]:
            met = sum(node.get(what, 0.0) >= amount for what, amount in request.items())
            return [met, *(node.get(what, 0.0) for what in ("GPU", "CPU", "memory"))]

        nearest = max(nodes, key=nearness, default={})
        there = {what: nearest.get(what, 0.0) for what in request}
        raise InputError(
            f"resources: a trial of {name!r} asks for {_in_words(request)} on one node; "
            f"the largest node of the cluster has {_in_words(there)}"
        )


def _fitting(asked: Request, node: NodeAmounts) -> int:
    fitting = []
    for what, amount in asked.items():
        there = node.get(what, 0.0)
        if what == "GPU" and amount < 1:
            # A share lies on one GPU: the rests of several GPUs do not add up.
            fitting.append(int(there) * _times(1.0, amount) + _times(there % 1, amount))
        else:
            fitting.append(_times(there, amount))
    return min(fitting)


def _times(there: float, amount: float) -> int:
    # Ray counts in steps of 1/10000. In floating point ten shares of 0.1 would not fill a GPU.
    return round(there * 1e4) // round(amount * 1e4)


def _in_words(amounts: Request) -> str:
    said = [
        f"{amounts[what]:.3g} {what}{'' if amounts[what] == 1 else 's'}"
        for what in ("GPU", "CPU")
        if what in amounts
    ]
    return ", ".join([*said, f"{amounts['memory'] / GIB:.3g} GiB memory"])
