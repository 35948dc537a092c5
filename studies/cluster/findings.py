"""The findings of all nodes together: problems, warnings, a table, a closing line."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from studies.cluster.checks import Finding, FoldersCheck, GpuCheck, GpuFacts, NodeCheck, NodeReport
from studies.formatting import aligned, in_bytes
from wsss_core.errors import InputError

_NAMED_NODES = 4

_JUDGE_AT_ONCE = 16  # nodes; the judgement of folders reads a file of each


def findings(
    checks: Sequence[NodeCheck[Any]], reports: Sequence[NodeReport]
) -> dict[Finding, list[str]]:
    """Let every check judge every node; return finding -> the names of its nodes, in order."""
    found: dict[Finding, list[str]] = {}
    names = node_names(reports)
    with ThreadPoolExecutor(_JUDGE_AT_ONCE) as pool:
        judged = pool.map(lambda report: list(_findings_on(report, checks)), reports)
        for report, on_node in zip(reports, judged, strict=True):
            for finding in on_node:
                found.setdefault(finding, []).append(names[report.node])
    return found


def _findings_on(report: NodeReport, checks: Sequence[NodeCheck[Any]]) -> Iterator[Finding]:
    if not report.facts:
        yield Finding(report.failure or "does not answer")
    for check in checks:
        if type(check) in report.facts:
            yield from check.judge(report.facts[type(check)], report)


def finding_lines(found: dict[Finding, list[str]], *, problems: bool) -> list[str]:
    """Return a line for each problem, or for each warning, which names its nodes."""
    return [
        f"{_listed(nodes)}: {finding.text}"
        for finding, nodes in found.items()
        if finding.problem == problems
    ]


def raise_problems(found: dict[Finding, list[str]], checked: int) -> None:
    """Raise InputError that lists all problems on `checked` nodes, if there are any."""
    lines = finding_lines(found, problems=True)
    if len(lines) == 1:
        raise InputError(lines[0])
    if lines:
        bad = {node for finding, nodes in found.items() if finding.problem for node in nodes}
        listed = "".join(f"\n  {line}" for line in lines)
        raise InputError(f"{len(bad)} of {checked} nodes cannot be used:{listed}")


def _listed(nodes: Sequence[str]) -> str:
    if len(nodes) == 1:
        return f"node {nodes[0]}"
    more = f" and {len(nodes) - _NAMED_NODES} more" if len(nodes) > _NAMED_NODES else ""
    return f"nodes {', '.join(nodes[:_NAMED_NODES])}{more}"


def node_names(reports: Sequence[NodeReport]) -> dict[str, str]:
    """Return Ray's id of each node -> its host, with the id where a host has several nodes."""
    hosts = [report.host for report in reports]
    return {
        r.node: r.host if hosts.count(r.host) == 1 else f"{r.host} ({r.node[:8]})" for r in reports
    }


def table(reports: Sequence[NodeReport]) -> list[str]:
    """Return one line a node under a line of headings."""
    rows = [("node", "host", "address", "CPUs", "memory", "GPUs", "disk free")]
    for report in reports:
        lent, folders = report.resources, report.facts.get(FoldersCheck, {}).values()
        cpus, memory = f"{lent.get('CPU', 0):g}", in_bytes(int(lent.get("memory", 0.0)))
        free = [folder.free for folder in folders if folder.free is not None]
        disk = in_bytes(min(free)) if free else "-"
        rows.append((report.node[:8], report.host, report.ip, cpus, memory, _gpus_of(report), disk))
    return aligned(rows).splitlines()


def _gpus_of(report: NodeReport) -> str:
    gpus = report.facts.get(GpuCheck, GpuFacts([])).gpus
    if not gpus:
        lent = report.resources.get("GPU", 0.0)
        return f"{lent:g}" if lent else "-"
    names = ", ".join(sorted({gpu.name for gpu in gpus}))
    each = " each" if len(gpus) > 1 else ""
    return f"{len(gpus)} x {names}, {in_bytes(min(gpu.free for gpu in gpus))} free{each}"


def ready_line(reports: Sequence[NodeReport]) -> str:
    """Return the line that says that all nodes are ready, and what they lend together."""
    total = {name: sum(r.resources.get(name, 0.0) for r in reports) for name in ("CPU", "GPU")}
    gpus = f", {total['GPU']:g} GPUs" if total["GPU"] else ""
    nodes = f"{len(reports)} node{'s' if len(reports) > 1 else ''}"
    return f"{nodes} ready: {total['CPU']:g} CPUs{gpus}"
