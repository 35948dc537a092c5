"""Every node's clock must be near the driver's."""

from collections.abc import Iterator
from dataclasses import dataclass

from studies.cluster.checks.base import Finding, NodeCheck, NodeReport

CLOCK_WARNING, CLOCK_ERROR = 2.0, 300.0
"""Seconds between the clocks of a node and the driver. No decision of a run compares clocks (a
lease is watched by whether its heartbeat changes), so a skew spoils only the times in the ledger
and in `wsss status`. From five minutes on Kerberos, and with it a mounted NFS, refuses a node; from
fifteen minutes on S3 does."""


@dataclass(frozen=True)
class ClockCheck(NodeCheck[None]):
    """Compares the times of a probe by the node's clock with those by the driver's."""

    def probe(self, node: str) -> None:
        """Do nothing: every report holds the node's times."""

    def judge(self, facts: None, node: NodeReport) -> Iterator[Finding]:
        """Refuse a skew beyond `CLOCK_ERROR`; warn of one beyond `CLOCK_WARNING`."""
        skew = clock_skew(node)
        if abs(skew) <= CLOCK_WARNING:
            return
        direction = "ahead of" if skew > 0 else "behind"
        text = f"its clock is at least {abs(skew):.0f} s {direction} the driver's"
        if abs(skew) > CLOCK_ERROR:
            yield Finding(f"{text}; expected within {CLOCK_ERROR:.0f} s")
        else:
            yield Finding(f"{text}; times in the ledger will be off by that", problem=False)


def clock_skew(node: NodeReport) -> float:
    """Return by how many seconds a node's clock is ahead, at the least; 0 if it may be right.

    The probe ran between sending and answer. So its beginning, by the node's clock, is not before
    the sending unless the clock is behind, and its end is not after the answer unless the clock is
    ahead.

    >>> times = {"started": 100.0, "ended": 101.0}
    >>> clock_skew(NodeReport("n", "h", "ip", {}, sent=99.0, received=101.2, **times))
    0.0
    >>> clock_skew(NodeReport("n", "h", "ip", {}, sent=89.0, received=91.0, **times))
    10.0
    >>> clock_skew(NodeReport("n", "h", "ip", {}, sent=107.0, received=110.0, **times))
    -7.0
    """
    ahead = node.ended - node.received
    behind = node.sent - node.started
    return max(ahead, 0.0) if ahead >= behind else -max(behind, 0.0)
