"""What nodes answered, held against the driver: every record here is made by hand."""

import copy
from typing import Any

import pytest

from studies.cluster.verdict import Expected, Reply, clock_skew, judge, node_names, ready, table
from wsss_core.errors import InputError

GIB = 2**30
CODE: dict[str, Any] = {
    "version": "0.1.0",
    "source": "aaaa",
    "revision": "1234567890ab",
    "packages": {
        "python": "3.11.7", "torch": "2.15.0", "torchvision": "0.29.2", "timm": "1.0.31",
        "numpy": "2.4.6", "pandas": "3.1.1", "pyarrow": "26.0.1",
    },
}  # fmt: skip
QUESTION: dict[str, Any] = {
    "import_path": "/work",
    "plugins": ["own:loss"],
    "folders": {"results": "/results", "store": "s3://bucket/store"},
    "token": ".node-check-1",
    "files": {},
    "pretrained": {},
    "gpus": True,
    "compiler": True,
}
ANSWER: dict[str, Any] = {
    "started": 100.0,
    "ended": 101.0,
    "code": CODE,
    "folders": {
        "results": {"error": None, "free": 500 * GIB},
        "store": {"error": None, "free": None},
    },
    "plugins": {"own:loss": "2"},
    "plugin_errors": {},
    "files": {},
    "to_download": [],
    "offline": False,
    "gpus": [],
    "gpu_error": None,
    "compilers": ["C", "C++"],
}
L4: dict[str, Any] = {"name": "L4", "total": 24 * GIB, "free": 23 * GIB}


def expected(**needs: Any) -> Expected:
    return Expected(QUESTION, CODE, {"own:loss": "2"}, **needs)  # type: ignore[arg-type]


def reply(host: str = "gpu-01", node: str = "", lent: float = 0, **changes: Any) -> Reply:
    """A node that is as it should be, but for some keys of its answer ("a.b" is b of a)."""
    answer = copy.deepcopy(ANSWER)
    for path, value in changes.items():
        *above, last = path.split("__")
        place = answer
        for name in above:
            place = place[name]
        place[last] = value
    resources = {"CPU": 16.0, "memory": 64.0 * GIB, **({"GPU": lent} if lent else {})}
    return Reply(
        node or f"{host}-0123456789", host, "10.0.0.1", resources, answer,  # type: ignore[arg-type]
        sent=99.0, received=102.0,
    )  # fmt: skip


def problems(*replies: Reply, against: Expected | None = None) -> list[str]:
    verdict = judge(against or expected(), replies)
    return verdict.lines(verdict.problems)


def warnings(*replies: Reply, against: Expected | None = None) -> list[str]:
    verdict = judge(against or expected(), replies)
    return verdict.lines(verdict.warnings)


def test_nodes_that_are_like_the_driver_are_neither_refused_nor_warned_of() -> None:
    nodes = [reply("a"), reply("b")]
    assert problems(*nodes) == []
    assert warnings(*nodes) == []
    judge(expected(), nodes).require_none(2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"code__version": "0.0.9"}, "wsss-studies 0.0.9, expected 0.1.0 as on the driver"),
        ({"code__source": "bbbb", "code__revision": "fedcba098765"},
         "other code of wsss-studies 0.1.0 (fedcba098765) than the driver's (1234567890ab); "
         "expected the same everywhere, or results differ"),
        ({"code__source": "bbbb"},
         "other code of wsss-studies 0.1.0 (bbbb) than the driver's (aaaa); "
         "expected the same everywhere, or results differ"),
        ({"code__source": "bbbb", "code__revision": None},
         "other code of wsss-studies 0.1.0 (bbbb) than the driver's (1234567890ab); "
         "expected the same everywhere, or results differ"),
        ({"code__packages__python": "3.12.1"}, "Python 3.12.1, expected 3.11 as on the driver"),
        ({"code__packages__torch": "2.14.1"}, "torch 2.14.1, expected 2.15.0 as on the driver"),
        ({"folders__results__error": "does not exist there"},
         "results /results does not exist there; expected one folder that all nodes share"),
        ({"plugin_errors": {"own:loss": "plug-in 'own:loss': module 'own' cannot be imported"},
          "plugins": {}},
         "plug-in 'own:loss': module 'own' cannot be imported"),
        ({"plugins": {"own:loss": "1"}}, "has version 1 of own:loss, the driver 2"),
        ({"files": {"/w.pt": "does not exist there"}}, "file /w.pt does not exist there"),
        ({"to_download": ["pretrained resnet18.a1_in1k"], "offline": True},
         "weights 'pretrained resnet18.a1_in1k' are not in its cache, and HF_HUB_OFFLINE forbids "
         "the download"),
        ({"started": 500.0, "ended": 501.0},
         "its clock is at least 399 s ahead of the driver's; expected within 300 s"),
        ({"gpus": [L4], "gpu_error": None}, "Ray lends 2 GPUs there, PyTorch sees 1"),
        ({"gpus": [], "gpu_error": "Found no NVIDIA driver"},
         "Ray lends 2 GPUs there, PyTorch sees 0: Found no NVIDIA driver"),
    ],
)  # fmt: skip
def test_what_cannot_work_names_the_node_what_was_found_and_what_was_expected(
    changes: dict[str, Any], said: str
) -> None:
    bad = reply("bad", lent=2 if "gpus" in changes else 0, **changes)
    assert problems(reply("good"), bad) == [f"node bad: {said}"]


def test_a_revision_that_differs_is_no_matter_where_the_code_is_the_same() -> None:
    wheel = reply(code__revision=None)
    changed = reply(code__revision="fedcba098765+changes")
    assert problems(wheel, changed) == []


@pytest.mark.parametrize("name", ["torch", "torchvision"])
def test_the_build_of_a_package_may_differ_its_version_not(name: str) -> None:
    version = CODE["packages"][name]
    assert problems(reply(**{f"code__packages__{name}": f"{version}+cu130"})) == []
    assert len(problems(reply(**{f"code__packages__{name}": f"{version}.1"}))) == 1


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
    question: Any = {**QUESTION, "gpus": gpus}
    node = reply(lent=lent, compilers=there, gpus=[L4] * lent)
    found = judge(Expected(question, CODE, {"own:loss": "2"}), [node]).problems
    assert list(found) == ([] if said is None else [f"{said}, which training.compile needs"])
    question["compiler"] = False
    assert judge(Expected(question, CODE, {"own:loss": "2"}), [node]).problems == {}


def test_a_node_with_other_code_is_told_that_and_nothing_else() -> None:
    other = reply(code__version="0.0.9", plugins={}, files={"/w": "is gone"})
    assert problems(other) == ["node gpu-01: wsss-studies 0.0.9, expected 0.1.0 as on the driver"]
    assert warnings(reply(code__version="0.0.9", to_download=["x"])) == []


def test_a_node_that_did_not_answer_is_a_problem_with_its_reason() -> None:
    silent = Reply(
        "n" * 16, "gpu-09", "10.0.0.9", {"CPU": 1.0}, failure="does not answer within 9 s"
    )
    assert problems(reply(), silent) == ["node gpu-09: does not answer within 9 s"]


def test_every_problem_of_every_node_is_listed_and_what_nodes_have_in_common_once() -> None:
    lacking = {"files__/w.pth": "does not exist there"}
    nodes = [
        reply("a", **lacking, folders__store__error="cannot be used there: PermissionError: no"),
        reply("b", **lacking),
        reply("c"),
        reply("d", plugins={"own:loss": "1"}),
    ]
    with pytest.raises(InputError) as raised:
        judge(expected(), nodes).require_none(len(nodes))
    assert str(raised.value).splitlines() == [
        "3 of 4 nodes cannot be used:",
        "  node a: store s3://bucket/store cannot be used there: PermissionError: no; expected one "
        "folder that all nodes share",
        "  nodes a, b: file /w.pth does not exist there",
        "  node d: has version 1 of own:loss, the driver 2",
    ]


def test_a_single_problem_is_one_line() -> None:
    with pytest.raises(InputError) as raised:
        judge(expected(), [reply("a"), reply("b", plugins={"own:loss": "1"})]).require_none(2)
    assert str(raised.value) == "node b: has version 1 of own:loss, the driver 2"


def test_of_very_many_nodes_the_first_are_named_and_the_rest_counted() -> None:
    nodes = [reply(f"n{number}", plugins={"own:loss": "1"}) for number in range(40)]
    (line,) = problems(*nodes)
    assert line == "nodes n0, n1, n2, n3 and 36 more: has version 1 of own:loss, the driver 2"


def test_a_node_is_called_by_its_host_and_by_its_id_where_a_host_has_several() -> None:
    nodes = [reply("a", "11111111xx"), reply("b", "22222222xx"), reply("b", "33333333xx")]
    assert list(node_names(nodes).values()) == ["a", "b (22222222)", "b (33333333)"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"code__packages__pandas": "2.9.0"}, "pandas 2.9.0, 3.1.1 on the driver"),
        ({"folders__results__free": GIB}, "results /results has 1.0 GiB free"),
        ({"to_download": ["pretrained resnet18.a1_in1k"]},
         "weights 'pretrained resnet18.a1_in1k' are not in its cache; its first trial will "
         "download them"),
        ({"started": 120.0, "ended": 121.0},
         "its clock is at least 19 s ahead of the driver's; times in the ledger will be off by "
         "that"),
        ({"started": 80.0, "ended": 81.0},
         "its clock is at least 19 s behind the driver's; times in the ledger will be off by that"),
    ],
)  # fmt: skip
def test_what_may_work_is_a_warning_and_no_problem(changes: dict[str, Any], said: str) -> None:
    odd = reply("odd", **changes)
    assert warnings(reply("fine"), odd) == [f"node odd: {said}"]
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
    one = Reply("n", "h", "ip", {}, ANSWER, sent=sent, received=received)  # type: ignore[arg-type]
    assert clock_skew(one) == skew


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
    node = reply("g", lent=1)
    assert node.answer is not None
    node.answer["gpus"] = [{"name": "L4", "total": 24 * GIB, "free": free}]
    against = expected(gpu_needs={share: peak})
    assert warnings(node, against=against) == [f"node g: {line}" for line in said]
    assert problems(node, against=against) == []


def test_the_table_has_a_row_a_node_with_what_ray_lends_and_what_was_found() -> None:
    many = Reply("22222222xx", "gpu-02", "10.0.0.2", {"CPU": 8.0, "GPU": 2.0, "memory": 2.0 * GIB})
    seen = reply("gpu-01", "11111111xx", lent=1)
    assert seen.answer is not None
    seen.answer["gpus"] = [L4, {**L4, "free": 7 * GIB}]
    assert table([seen, many]) == [
        "node      host    address   CPUs  memory    GPUs                       disk free",
        "11111111  gpu-01  10.0.0.1  16    64.0 GiB  2 x L4, 7.0 GiB free each  500.0 GiB",
        "22222222  gpu-02  10.0.0.2  8     2.0 GiB   2                          -",
    ]


def test_the_verdict_counts_nodes_and_what_they_lend_together() -> None:
    assert ready([reply()]) == "1 node ready: 16 CPUs"
    assert ready([reply("a", lent=4), reply("b")]) == "2 nodes ready: 32 CPUs, 4 GPUs"
