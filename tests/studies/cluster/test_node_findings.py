"""What nodes report, compared with the driver: every report here is made by hand."""

from dataclasses import replace
from typing import Any

import pytest

import studies.cluster.checks.folders
from studies.cluster.checks.base import Finding, NodeCheck, NodeReport
from studies.cluster.checks.clock import ClockCheck, clock_skew
from studies.cluster.checks.code import CodeCheck, CodeFacts, CompilerCheck, PluginsCheck
from studies.cluster.checks.files import FilesCheck
from studies.cluster.checks.folders import FolderFacts, FoldersCheck
from studies.cluster.checks.gpus import Gpu, GpuCheck, GpuFacts
from studies.cluster.findings import (
    finding_lines,
    findings,
    node_names,
    raise_problems,
    ready_line,
    table,
)
from wsss_core.errors import InputError

GIB = 2**30
CODE: CodeFacts = {
    "version": "0.1.0",
    "source": "aaaa",
    "revision": "1234567890ab",
    "packages": {
        "python": "3.11.7",
        "torch": "2.15.0",
        "torchvision": "0.29.2",
        "timm": "1.0.31",
        "numpy": "2.4.6",
        "pandas": "3.1.1",
        "pyarrow": "26.0.1",
    },
}
CHECKS: list[NodeCheck[Any]] = [
    CodeCheck(CODE),
    FoldersCheck({"results": "/results", "store": "s3://bucket/store"}),
    PluginsCheck({"own:loss": "2"}, "/work"),
    FilesCheck({}),
    ClockCheck(),
]
SOUND = {"results": FolderFacts(None, 500 * GIB), "store": FolderFacts(None)}
L4 = Gpu("L4", 24 * GIB, 23 * GIB)
Facts = dict[type[NodeCheck[Any]], Any]


@pytest.fixture(autouse=True)
def _driver_sees_the_files_of_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies.cluster.checks.folders, "sees", lambda where, name: True)


def report(
    host: str = "gpu-01", node: str = "", lent: float = 0, facts: Facts | None = None,
    started: float = 100.0, ended: float = 101.0,
) -> NodeReport:  # fmt: skip
    """A node that is as it should be, but for some facts."""
    sound: Facts = {
        CodeCheck: CODE, FoldersCheck: SOUND, PluginsCheck: [], FilesCheck: [], ClockCheck: None
    }  # fmt: skip
    resources = {"CPU": 16.0, "memory": 64.0 * GIB, **({"GPU": lent} if lent else {})}
    return NodeReport(
        node or f"{host}-0123456789",
        host,
        "10.0.0.1",
        resources,
        {**sound, **(facts or {})},
        sent=99.0,
        received=102.0,
        started=started,
        ended=ended,
    )


def code(packages: dict[str, str] | None = None, **changes: Any) -> Facts:
    """Facts of a node whose versions differ."""
    return {CodeCheck: {**CODE, **changes, "packages": {**CODE["packages"], **(packages or {})}}}


def problems(*reports: NodeReport, checks: list[NodeCheck[Any]] = CHECKS) -> list[str]:
    return finding_lines(findings(checks, reports), problems=True)


def warnings(*reports: NodeReport, checks: list[NodeCheck[Any]] = CHECKS) -> list[str]:
    return finding_lines(findings(checks, reports), problems=False)


OTHER_PLUGIN = "has version 1 of own:loss, the driver has version 2"
WITH_OTHER_PLUGIN: Facts = {PluginsCheck: [Finding(OTHER_PLUGIN)]}


def test_nodes_that_are_like_the_driver_are_neither_refused_nor_warned_of() -> None:
    nodes = [report("a"), report("b")]
    assert problems(*nodes) == []
    assert warnings(*nodes) == []
    raise_problems(findings(CHECKS, nodes), 2)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (code(version="0.0.9"), "wsss-studies 0.0.9, expected 0.1.0 as on the driver"),
        (
            code(source="bbbb", revision="fedcba098765"),
            "other code of wsss-studies 0.1.0 (fedcba098765) than the driver's (1234567890ab); "
            "expected the same everywhere, or results differ",
        ),
        (
            code(source="bbbb"),
            "other code of wsss-studies 0.1.0 (bbbb) than the driver's (aaaa); "
            "expected the same everywhere, or results differ",
        ),
        (
            code(source="bbbb", revision=None),
            "other code of wsss-studies 0.1.0 (bbbb) than the driver's (1234567890ab); "
            "expected the same everywhere, or results differ",
        ),
        (code({"python": "3.12.1"}), "Python 3.12.1, expected 3.11 as on the driver"),
        (code({"torch": "2.14.1"}), "torch 2.14.1, expected 2.15.0 as on the driver"),
        (
            {FoldersCheck: {**SOUND, "results": FolderFacts("does not exist there")}},
            "results /results does not exist there; expected one folder that all nodes share",
        ),
        ({PluginsCheck: [Finding("plug-in 'own:loss': no")]}, "plug-in 'own:loss': no"),
    ],
)
def test_what_cannot_work_names_the_node_what_was_found_and_what_was_expected(
    facts: Facts, said: str
) -> None:
    assert problems(report("good"), report("bad", facts=facts)) == [f"node bad: {said}"]


def test_a_package_that_a_node_lacks_is_named() -> None:
    packages = {name: version for name, version in CODE["packages"].items() if name != "timm"}
    lacking = report(facts={CodeCheck: {**CODE, "packages": packages}})
    said = "node gpu-01: timm is not installed, expected 1.0.31 as on the driver"
    assert problems(lacking) == [said]


def test_a_folder_whose_new_files_do_not_arrive_at_the_driver_is_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        studies.cluster.checks.folders, "sees", lambda where, name: where == "/results"
    )
    assert problems(report()) == [
        "node gpu-01: store s3://bucket/store does not show the driver what the node writes there; "
        "expected one folder that all nodes share"
    ]


def test_a_clock_that_is_minutes_off_is_a_problem() -> None:
    off = report("off", started=500.0, ended=501.0)
    said = "its clock is at least 399 s ahead of the driver's; expected within 300 s"
    assert problems(report(), off) == [f"node off: {said}"]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (GpuFacts([L4]), "Ray lends 2 GPUs there, PyTorch sees 1"),
        (
            GpuFacts([], "Found no NVIDIA driver"),
            "Ray lends 2 GPUs there, PyTorch sees 0: Found no NVIDIA driver",
        ),
    ],
)
def test_gpus_that_pytorch_does_not_see_are_a_problem(facts: GpuFacts, said: str) -> None:
    node = report(lent=2, facts={GpuCheck: facts})
    assert problems(report("good"), node, checks=[GpuCheck()]) == [f"node gpu-01: {said}"]


def test_a_revision_that_differs_is_no_matter_where_the_code_is_the_same() -> None:
    wheel = report(facts=code(revision=None))
    changed = report(facts=code(revision="fedcba098765+changes"))
    assert problems(wheel, changed) == []


@pytest.mark.parametrize("name", ["torch", "torchvision"])
def test_the_build_of_a_package_may_differ_its_version_not(name: str) -> None:
    version = CODE["packages"][name]
    assert problems(report(facts=code({name: f"{version}+cu130"}))) == []
    assert len(problems(report(facts=code({name: f"{version}.1"})))) == 1


@pytest.mark.parametrize(
    ("gpus", "lent", "there", "said"),
    [
        (True, 1, ["C++"], "no C compiler (gcc or clang, or what CC names)"),
        (True, 1, ["C"], None),
        (True, 0, [], None),  # no trial runs there
        (False, 0, ["C"], "no C++ compiler (g++, or what CXX names)"),
        (False, 0, ["C++"], None),
    ],
)
def test_where_networks_are_compiled_the_kernels_of_the_device_need_a_compiler(
    gpus: bool, lent: int, there: list[str], said: str | None
) -> None:
    node = report(lent=lent, facts={CompilerCheck: there})
    found = findings([CompilerCheck(gpus)], [node])
    texts = [] if said is None else [f"{said}, which training.compile needs"]
    assert [finding.text for finding in found] == texts


def test_a_node_with_other_code_is_told_that_and_nothing_else() -> None:
    other = replace(report(), facts=code(version="0.0.9", packages={"pandas": "2.9.0"}))
    assert problems(other) == ["node gpu-01: wsss-studies 0.0.9, expected 0.1.0 as on the driver"]
    assert warnings(other) == []


def test_a_node_that_did_not_answer_is_a_problem_with_its_reason() -> None:
    silent = NodeReport(
        "n" * 16, "gpu-09", "10.0.0.9", {"CPU": 1.0}, failure="does not answer within 9 s"
    )
    assert problems(report(), silent) == ["node gpu-09: does not answer within 9 s"]


def test_every_problem_of_every_node_is_listed_and_what_nodes_have_in_common_once() -> None:
    lacking: Facts = {FilesCheck: [Finding("file /w.pth does not exist there")]}
    refused = FolderFacts("cannot be used there: PermissionError: no")
    nodes = [
        report("a", facts={**lacking, FoldersCheck: {**SOUND, "store": refused}}),
        report("b", facts=lacking),
        report("c"),
        report("d", facts=WITH_OTHER_PLUGIN),
    ]
    with pytest.raises(InputError) as raised:
        raise_problems(findings(CHECKS, nodes), len(nodes))
    assert str(raised.value).splitlines() == [
        "3 of 4 nodes cannot be used:",
        "  node a: store s3://bucket/store cannot be used there: PermissionError: no; expected one "
        "folder that all nodes share",
        "  nodes a, b: file /w.pth does not exist there",
        f"  node d: {OTHER_PLUGIN}",
    ]


def test_a_single_problem_is_one_line() -> None:
    nodes = [report("a"), report("b", facts=WITH_OTHER_PLUGIN)]
    with pytest.raises(InputError) as raised:
        raise_problems(findings(CHECKS, nodes), 2)
    assert str(raised.value) == f"node b: {OTHER_PLUGIN}"


def test_of_very_many_nodes_the_first_are_named_and_the_rest_counted() -> None:
    nodes = [report(f"n{number}", facts=WITH_OTHER_PLUGIN) for number in range(40)]
    (line,) = problems(*nodes)
    assert line == f"nodes n0, n1, n2, n3 and 36 more: {OTHER_PLUGIN}"


def test_a_node_is_called_by_its_host_and_by_its_id_where_a_host_has_several() -> None:
    nodes = [report("a", "11111111xx"), report("b", "22222222xx"), report("b", "33333333xx")]
    assert list(node_names(nodes).values()) == ["a", "b (22222222)", "b (33333333)"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"facts": code({"pandas": "2.9.0"})}, "pandas 2.9.0, 3.1.1 on the driver"),
        (
            {"facts": {FoldersCheck: {**SOUND, "results": FolderFacts(None, GIB)}}},
            "results /results has 1.0 GiB free",
        ),
        (
            {"started": 120.0, "ended": 121.0},
            "its clock is at least 19 s ahead of the driver's; times in the ledger will be off by "
            "that",
        ),
        (
            {"started": 80.0, "ended": 81.0},
            "its clock is at least 19 s behind the driver's; times in the ledger will be off by "
            "that",
        ),
    ],
)
def test_what_may_work_is_a_warning_and_no_problem(changes: dict[str, Any], said: str) -> None:
    odd = report("odd", **changes)
    assert warnings(report("fine"), odd) == [f"node odd: {said}"]
    assert problems(odd) == []


@pytest.mark.parametrize(
    ("sent", "received", "skew"),
    [
        (99.0, 102.0, 0.0),  # 100..101 by the node lies within
        (101.5, 104.5, -1.5),  # it began 1.5 s before it was asked, by the driver's clock
        (95.0, 98.0, 3.0),  # it ended 3 s after its answer came
        (60.0, 200.0, 0.0),  # so slow that nothing can be said
    ],
)
def test_the_skew_of_a_clock_is_no_more_than_the_round_trip_proves(
    sent: float, received: float, skew: float
) -> None:
    assert clock_skew(replace(report(), sent=sent, received=received)) == skew


@pytest.mark.parametrize(
    ("share", "peak", "free", "said"),
    [
        (0.5, 0, 23 * GIB, []),
        (1.0, 0, 23 * GIB, []),  # a little is always taken
        (0.5, 11 * GIB, 23 * GIB, []),
        (0.5, 13 * GIB, 23 * GIB, ["a trial's 0.5 of GPU 0 (L4) is 12.0 GiB; trials like these "
                                   "took 13.0 GiB before"]),
        (0.5, 0, 3 * GIB, ["a trial's 0.5 of GPU 0 (L4) is 12.0 GiB; 3.0 GiB are free, others "
                           "hold the rest"]),
        (1.0, 0, 20 * GIB, ["a trial's 1 of GPU 0 (L4) is 24.0 GiB; 20.0 GiB are free, others "
                            "hold the rest"]),
    ],
)  # fmt: skip
def test_a_gpu_that_may_be_too_small_for_a_trials_share_is_a_warning(
    share: float, peak: int, free: int, said: list[str]
) -> None:
    node = report("g", lent=1, facts={GpuCheck: GpuFacts([replace(L4, free=free)])})
    checks: list[NodeCheck[Any]] = [GpuCheck({share: peak})]
    assert warnings(node, checks=checks) == [f"node g: {line}" for line in said]
    assert problems(node, checks=checks) == []


def test_the_table_has_a_row_a_node_with_what_ray_lends_and_what_was_found() -> None:
    lent = {"CPU": 8.0, "GPU": 2.0, "memory": 2.0 * GIB}
    many = NodeReport("22222222xx", "gpu-02", "10.0.0.2", lent)
    gpus = GpuFacts([L4, replace(L4, free=7 * GIB)])
    seen = report("gpu-01", "11111111xx", lent=1, facts={GpuCheck: gpus})
    assert table([seen, many]) == [
        "node      host    address   CPUs  memory    GPUs                       disk free",
        "11111111  gpu-01  10.0.0.1  16    64.0 GiB  2 x L4, 7.0 GiB free each  500.0 GiB",
        "22222222  gpu-02  10.0.0.2  8     2.0 GiB   2                          -",
    ]


def test_the_closing_line_counts_nodes_and_what_they_lend_together() -> None:
    assert ready_line([report()]) == "1 node ready: 16 CPUs"
    assert ready_line([report("a", lent=4), report("b")]) == "2 nodes ready: 32 CPUs, 4 GPUs"
