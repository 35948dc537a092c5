"""Which cores refinement may take while trials on GPUs wait for theirs, node by node.

A trial starts when a GPU and its cores are free on one node. Tasks of one core that wait in Ray's
queue take every core as soon as it is free: with a long queue of refinement, GPUs would stand idle
behind it. So no more tasks are given to a node than its trials leave cores, and each goes to a node
by name.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from studies.planning import NodeAmounts, Request, slots

NODES_S = 5.0
"""Seconds between two looks at the nodes, which come and go."""


class SpareCores:
    """Counts the cores that trials leave to tasks of one core.

    Args:
        asked: what the study's trials ask for, see `Demand.asks`. Those without
            a GPU are left out: they and refinement want the same, and either may come first.
        nodes: says what each node has now, by its id.

    """

    def __init__(
        self,
        asked: Iterable[Request],
        nodes: Callable[[], Mapping[str, NodeAmounts]],
    ) -> None:
        on_gpus = (request for request in asked if "GPU" in request)
        self._asked = list(
            {tuple(sorted(request.items())): request for request in on_gpus}.values()
        )
        self._nodes = nodes
        self._spare: dict[str, int] = {}
        self._taken: Counter[str] = Counter()
        self._next_look = 0.0

    @property
    def counted(self) -> bool:
        """Whether trials on GPUs need cores at all."""
        return bool(self._asked)

    def take(self) -> str | None:
        """Take a core of the node with the most to spare; return the node, or None."""
        if time.monotonic() >= self._next_look:
            self._spare = {
                node: spare_cores(has, self._asked) for node, has in self._nodes().items()
            }
            self._next_look = time.monotonic() + NODES_S
        free = {node: spare - self._taken[node] for node, spare in self._spare.items()}
        node = max(free, key=lambda name: free[name], default=None)
        if node is None or free[node] < 1:
            return None
        self._taken[node] += 1
        return node

    def give_back(self, node: str) -> None:
        """Give a core back, as its task has ended."""
        self._taken[node] -= 1


def spare_cores(node: NodeAmounts, asked: Iterable[Request]) -> int:
    """Return the cores of a node that trials on its GPUs can never use at once.

    >>> spare_cores({"CPU": 64, "GPU": 8, "memory": 1e12}, [{"CPU": 4, "GPU": 1, "memory": 1e9}])
    32
    >>> spare_cores({"CPU": 16}, [{"CPU": 4, "GPU": 1}])
    16
    """
    wanted = max((slots(one, [node]) * one["CPU"] for one in asked), default=0.0)
    return int(node.get("CPU", 0.0) - wanted)
