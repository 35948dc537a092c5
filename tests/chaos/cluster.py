"""A small simulated cluster on loopback, whose nodes can be lost."""

import random
from typing import Any

from ray.cluster_utils import Cluster

_NODE: dict[str, Any] = {
    "node_ip_address": "127.0.0.1",
    "object_store_memory": 80 * 2**20,
}


class LossyCluster:
    """A head that lends nothing, and nodes of one CPU.

    Args:
        nodes: how many.

    """

    def __init__(self, nodes: int = 2) -> None:
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={**_NODE, "num_cpus": 0, "include_dashboard": False},
        )
        self._nodes = [self._add() for _ in range(nodes)]

    @property
    def address(self) -> str:
        """Where drivers join."""
        return str(self._cluster.address)

    def _add(self) -> Any:
        return self._cluster.add_node(num_cpus=1, **_NODE)

    def exchange_a_node(self, random: random.Random) -> str:
        """Lose a node with all that runs on it and let another join, before or after."""
        lost = random.choice(self._nodes)
        self._nodes.remove(lost)
        before = random.random() < 0.5
        if before:
            self._nodes.append(self._add())
        self._cluster.remove_node(lost, allow_graceful=False)
        if not before:
            self._nodes.append(self._add())
        return f"a node, another joined {'before' if before else 'after'}"

    def stop(self) -> None:
        """End all of its processes."""
        self._cluster.shutdown()
