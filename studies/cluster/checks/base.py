"""What a check of a node consists of, and what comes back from a node.

A check is made in the driver, holds what it needs and travels to every node. It probes the node
there and judges in the driver what its probe found. Only a node with the driver's own code unpacks
checks (`studies.cluster.check`), so needs and facts may be classes of this package.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

Facts = TypeVar("Facts")


@dataclass(frozen=True)
class Finding:
    """A sentence about a node that is not as it should be.

    Attributes:
        text: the sentence, without the node's name.
        problem: whether the node cannot be used; else the finding is a warning.

    """

    text: str
    problem: bool = True


class NodeCheck(Generic[Facts]):
    """A check of every node; subclasses are frozen dataclasses of what the check needs."""

    @contextlib.contextmanager
    def prepared(self, nodes: Sequence[str]) -> Iterator[None]:
        """Keep ready, in the driver, what the probes on the nodes (Ray's ids) look for."""
        yield

    def probe(self, node: str) -> Facts:
        """Look around on a node (Ray's id) and return what is there."""
        raise NotImplementedError

    def judge(self, facts: Facts, node: "NodeReport") -> Iterable[Finding]:
        """Return what is wrong with a node; called in the driver, while `prepared`.

        By default the facts are findings already: most checks hold all that they compare with.
        """
        return cast("Iterable[Finding]", facts)


@dataclass(frozen=True)
class NodeReport:
    """What is known of a node after its probe.

    Attributes:
        node: Ray's id of it.
        host: its name.
        ip: its address.
        resources: what Ray lends there: CPU, GPU, memory in bytes.
        facts: kind of check -> what its probe found; empty if the node does not answer, of a node
            with other code those of `CodeCheck` alone.
        failure: why the node does not answer.
        cut_off: whether the node cannot be reached any more.
        sent: the driver's clock when it sent the probe, in seconds of the epoch.
        received: the driver's clock when the answer came.
        started: the node's clock when the probe began.
        ended: the node's clock when the probe ended.

    """

    node: str
    host: str
    ip: str
    resources: dict[str, float]
    facts: dict[type[NodeCheck[Any]], Any] = field(default_factory=dict)
    failure: str | None = None
    cut_off: bool = False
    sent: float = 0.0
    received: float = 0.0
    started: float = 0.0
    ended: float = 0.0
