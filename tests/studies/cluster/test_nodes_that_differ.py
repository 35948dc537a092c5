"""Checking the nodes of a simulated cluster that differ in folders, modules and toolkits."""

import copy
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from studies.stages.environment import package_version

Raw = dict[str, Any]
ROOT = Path(__file__).parents[3]
PLUGIN = (
    "VERSION = 2\ndef far(student, teacher, level):\n    return (student - teacher).abs().mean()\n"
)


class Nodes:
    """A simulated cluster whose nodes have a working directory and modules of their own.

    A study's results lie at `/proc/self/cwd/results`: one path, which is one folder on the nodes
    that were started in the same directory, and another on those that were not.
    """

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster()
        self.shared, self.alone = folder / "shared", folder / "alone"
        self.modules = folder / "modules"
        for place in (self.shared, self.alone, self.modules):
            place.mkdir()
        (self.modules / "own_losses.py").write_text(PLUGIN)

    def add(self, where: Path, *modules: Path, **environment: str) -> Any:
        """Start a node in a directory, with folders that its workers search for modules."""
        path = os.pathsep.join(map(str, [*modules, ROOT]))
        before = Path.cwd()
        os.chdir(where)
        try:
            return self.cluster.add_node(
                num_cpus=1,
                node_ip_address="127.0.0.1",
                object_store_memory=80 * 2**20,
                include_dashboard=False,
                env_vars={"PYTHONPATH": path, **environment},
            )
        finally:
            os.chdir(before)

    def check(self, spec: Path) -> subprocess.Popen[str]:
        """`wsss plan SPEC --check` on the cluster, by a driver that is like the first node."""
        return self.wsss("plan", str(spec), "--check", "--results", "/proc/self/cwd/results")

    def wsss(self, *arguments: str) -> subprocess.Popen[str]:
        """A command on the cluster."""
        command = [
            sys.executable, "-m", "studies.cli.main", *arguments, "--address", self.cluster.address
        ]  # fmt: skip
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, [self.modules, ROOT])),
            # Ray would turn the loopback address of a cluster into that of the machine.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        }
        return subprocess.Popen(
            command, cwd=self.shared, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def checked(self, spec: Path) -> tuple[int, list[str], list[str]]:
        """Its exit code, what it said of the nodes, and its error."""
        running = self.check(spec)
        out, err = running.communicate(timeout=150)
        lines = out.splitlines()
        heads = [n for n, line in enumerate(lines) if line.split()[:2] == ["node", "host"]]
        return running.returncode, lines[heads[0] + 1 :] if heads else lines, err.splitlines()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Two nodes that are like the driver."""
    nodes = Nodes(tmp_path_factory.mktemp("nodes"))
    try:
        for _ in range(2):
            nodes.add(nodes.shared, nodes.modules)
        yield nodes
    finally:
        nodes.cluster.shutdown()


@pytest.fixture(scope="module")
def spec(shared_tiny: Raw, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with a loss of one's own."""
    study = copy.deepcopy(shared_tiny)
    row = study["configurations"][2] | {"metric": "own_losses:far"}
    study["configurations"] = [{key: row[key] for key in row if key != "level"}]
    file = tmp_path_factory.mktemp("own") / "own.yaml"
    file.write_text(yaml.safe_dump(study))
    return file


@dataclass
class Refused:
    """A check of a cluster with three nodes that cannot run the study: its end and their names."""

    code: int
    said: list[str]
    errors: list[str]
    names: dict[str, str]

    def of(self, kind: str) -> list[str]:
        """What the error says of a node."""
        begun = f"  node {socket.gethostname()} ({self.names[kind]}): "
        return [e.removeprefix(begun) for e in self.errors if e.startswith(begun)]


@pytest.fixture(scope="module")
def refused(
    nodes: Nodes, spec: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Refused]:
    older, without = (tmp_path_factory.mktemp(name) for name in ("older", "without"))
    (older / "wsss_studies-0.0.1.dist-info").mkdir()
    metadata = "Name: wsss-studies\nVersion: 0.0.1\n"
    (older / "wsss_studies-0.0.1.dist-info" / "METADATA").write_text(metadata)
    (without / "studies").mkdir()
    # An editable install would find the modules of an empty package too.
    (without / "studies" / "__init__.py").write_text("raise ModuleNotFoundError('no studies')")
    (nodes.alone / "results").mkdir()
    added = {
        "apart": nodes.add(nodes.alone),
        "older": nodes.add(nodes.shared, older, nodes.modules),
        "without": nodes.add(nodes.shared, without),
    }
    code, said, errors = nodes.checked(spec)
    yield Refused(code, said, errors, {kind: node.node_id[:8] for kind, node in added.items()})
    for node in added.values():
        nodes.cluster.remove_node(node, allow_graceful=False)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="folders differ by /proc")
class TestACluster:
    def test_nodes_that_are_alike_are_ready(self, nodes: Nodes, spec: Path) -> None:
        code, said, errors = nodes.checked(spec)
        assert (errors, code) == ([], 0)
        assert len(said) == 3
        assert said[2] == "2 nodes ready: 2 CPUs"

    def test_a_node_that_is_lost_during_the_check_is_left_out(
        self, nodes: Nodes, spec: Path, tmp_path: Path
    ) -> None:
        asked = tmp_path / "asked"
        hanging = f"from pathlib import Path\nimport time\nPath({str(asked)!r}).touch()\n"
        (tmp_path / "own_losses.py").write_text(hanging + "time.sleep(300)\n")
        node = nodes.add(nodes.shared, tmp_path)
        running = nodes.check(spec)
        deadline = time.monotonic() + 120
        while not asked.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        nodes.cluster.remove_node(node, allow_graceful=False)
        out, errors = running.communicate(timeout=150)
        assert (errors, running.returncode) == ("", 0)
        lost = [line for line in out.splitlines() if "was lost during the check" in line]
        assert len(lost) == 1
        assert node.node_id[:8] in lost[0]
        assert out.splitlines()[-1] == "2 nodes ready: 2 CPUs"

    def test_masks_are_made_by_nodes_that_share_their_folders_alone(
        self, nodes: Nodes, run: Any, tiny: Raw
    ) -> None:
        here = Path("/proc/self/cwd")
        tiny["configurations"] = tiny["configurations"][:1]
        before = Path.cwd()
        os.chdir(nodes.shared)
        try:
            run(tiny, here / "trained")
        finally:
            os.chdir(before)
        for number in range(4):
            (nodes.shared / "images").mkdir(exist_ok=True)
            Image.new("RGB", (40, 40), (number, 0, 0)).save(
                nodes.shared / "images" / f"{number}.png"
            )
        command = (
            "masks", str(here / "trained"), "--images", str(here / "images"),
            "--out", str(here / "masks"), "--batch", "1",
        )  # fmt: skip
        apart = nodes.add(nodes.alone)
        try:
            out, errors = (refused := nodes.wsss(*command)).communicate(timeout=150)
        finally:
            nodes.cluster.remove_node(apart, allow_graceful=False)
        assert refused.returncode == 2, out + errors
        head, *lines = errors.splitlines()
        assert head == "wsss: 1 of 3 nodes cannot be used:"
        masks, image, network = (line.partition("): ")[2] for line in lines)
        shared = "expected one folder that all nodes share"
        assert masks == f"masks {here / 'masks' / '.unfinished'} does not exist there; {shared}"
        assert image == f"file {here / 'images' / '0.png'} does not exist there"
        assert network.startswith(f"file {here / 'trained' / 'store' / 'train'}/")
        assert not list((nodes.shared / "masks").glob("*.png"))
        out, errors = (made := nodes.wsss(*command)).communicate(timeout=150)
        # Ray itself says on standard error that it can restart an actor; all else would be ours.
        ours = [line for line in errors.splitlines() if "core_worker.cc" not in line]
        assert (ours, made.returncode) == ([], 0)
        assert "2 nodes ready: 2 CPUs" in out
        assert len(list((nodes.shared / "masks").glob("*.png"))) == 4

    def test_nodes_that_differ_are_counted_and_the_others_not_named(self, refused: Refused) -> None:
        assert refused.code == 2
        assert len(refused.said) == 5, "a row a node and no closing line"
        assert refused.errors[0] == "wsss: 3 of 5 nodes cannot be used:"
        assert len(refused.errors) == 1 + sum(len(refused.of(kind)) for kind in refused.names)

    def test_a_node_with_folders_of_its_own_and_no_plug_in_is_named_with_all_of_it(
        self, refused: Refused, nodes: Nodes
    ) -> None:
        results, store, plugin = refused.of("apart")
        shared = "expected one folder that all nodes share"
        lacks = "is another folder there: it lacks the driver's file"
        assert results == f"results /proc/self/cwd/results {lacks}; {shared}"
        assert store == f"store /proc/self/cwd/results/store does not exist there; {shared}"
        assert plugin.startswith("plug-in 'own_losses:far': module 'own_losses' cannot be imported")
        assert list((nodes.alone / "results").iterdir()) == []

    def test_a_node_with_an_older_toolkit_is_told_so_alone(self, refused: Refused) -> None:
        expected = package_version()
        assert refused.of("older") == [f"wsss-studies 0.0.1, expected {expected} as on the driver"]

    def test_a_node_without_the_toolkit_is_told_so_alone(self, refused: Refused) -> None:
        (said,) = refused.of("without")
        assert said.startswith("wsss-studies cannot be imported there, or is another version: ")
