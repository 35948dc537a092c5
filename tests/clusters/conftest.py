"""Two machines made of Linux namespaces, for cluster tests that are run for real.

A machine has its own processes, network, home, Ray's folders in /tmp, and an sshd that lets in a
key made for the test. So `ray stop`, which is part of starting a cluster, ends no Ray but the
test's own, nothing listens where others could reach it, and ending a machine ends all that runs on
it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("unshare", "nsenter", "ip", "ssh", "ssh-keygen", "sshd", "rsync", "flock")
HEAD, WORKER = "10.77.0.1", "10.77.0.2"


def lacking() -> list[str]:
    """What two machines need and this one has not got."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [tool for tool in TOOLS if shutil.which(tool, path=path) is None]
    if sys.platform != "linux" or os.geteuid() != 0:
        missing.append("root on Linux, for namespaces")
    elif not missing and subprocess.call(["unshare", "-nmpf", "true"], stderr=subprocess.DEVNULL):
        missing.append("leave to make namespaces")
    if importlib.util.find_spec("aiohttp_cors") is None:
        missing.append("ray[default]: pip install -e '.[cluster]'")
    return missing


@dataclass
class Machine:
    """A machine that ssh reaches at an address; the laptop is the head's other home.

    Attributes:
        folder: all that is its own.
        address: in the network of the two.
        python: whose packages its environment ~/wsss-env sees, so that nothing is downloaded.

    """

    folder: Path
    address: str
    key: Path
    python: str = sys.executable
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def laptop(self) -> Path:
        return self.folder / "laptop"

    def start(self) -> None:
        own = Path(f"/tmp/ray-{os.getuid()}")
        for made in (self.home / ".ssh", self.laptop, self.folder / "ray", self.folder / "own"):
            made.mkdir(parents=True, exist_ok=True)
        for place in (Path("/tmp/ray"), own):
            place.mkdir(exist_ok=True)
        Path("/run/sshd").mkdir(exist_ok=True)
        for folder in (self.home, self.home / ".ssh"):
            folder.chmod(0o700)
        public = self.key.with_suffix(".pub").read_text()
        (self.home / ".ssh" / "authorized_keys").write_text(public)
        (self.home / ".bashrc").touch()
        self._write_environment(self.home)
        self._write_environment(self.laptop)
        accounts = Path("/etc/passwd").read_text().splitlines()
        moved = [f"root:x:0:0:root:{self.home}:/bin/bash"]
        moved += [line for line in accounts if not line.startswith("root:")]
        (self.folder / "passwd").write_text("\n".join(moved) + "\n")
        make_key(self.folder / "host_key")
        (self.folder / "sshd_config").write_text(
            f"HostKey {self.folder}/host_key\nAuthorizedKeysFile {self.home}/.ssh/authorized_keys\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\n"
            "PermitRootLogin prohibit-password\nStrictModes no\nPidFile none\n"
        )
        inside = (
            f"mount --make-rprivate / && mount --bind {self.folder}/ray /tmp/ray && "
            f"mount --bind {self.folder}/own {own} && "
            f"mount --bind {self.folder}/passwd /etc/passwd && ip link set lo up && "
            f"exec $(command -v sshd) -D -e -f {self.folder}/sshd_config"
        )
        isolated = ["unshare", "-nmpf", "--mount-proc", "--kill-child", "bash", "-c", inside]
        log = (self.folder / "sshd.log").open("wb")
        environment = {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
        self.process = subprocess.Popen(isolated, stdout=log, stderr=log, env=environment)
        for _ in range(100):
            if "listening" in (self.folder / "sshd.log").read_text():
                return
            time.sleep(0.1)
        raise RuntimeError((self.folder / "sshd.log").read_text())

    @property
    def inside(self) -> int:
        """The process id, outside, of the first process inside."""
        assert self.process is not None
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def join(self, other: Machine) -> None:
        """Lay a cable between two machines."""
        ends = [(self, "wsss0"), (other, "wsss1")]
        first, second = (f"name {name} netns {machine.inside}" for machine, name in ends)
        sh(f"ip link add {first} type veth peer {second}")
        for machine, name in ends:
            into = f"nsenter -t {machine.inside} -n ip"
            sh(f"{into} addr add {machine.address}/24 dev {name}")
            sh(f"{into} link set {name} up")
            sh(f"{into} route add default dev {name}")

    def run(
        self,
        *command: object,
        seconds: float = 180,
        more: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on it, as on a laptop beside the cluster; stdout holds stderr too."""
        environment = {
            "HOME": str(self.laptop),
            "PATH": f"{self.laptop}/wsss-env/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "TMPDIR": str(self.folder),
            "TERM": "dumb",
            "RAY_AUTH_MODE": "token",
            "RAY_USAGE_STATS_ENABLED": "0",
            **(more or {}),
        }
        enter = ["nsenter", "-t", str(self.inside), "-n", "-p", "-m"]
        here = ["sh", "-c", 'cd "$0" && exec "$@"', ROOT, *command]
        return subprocess.run(
            [*enter, *(str(part) for part in here)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        )

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _write_environment(self, home: Path) -> None:
        """A virtual environment of its own that borrows this one's packages; pip stays offline."""
        environment = home / "wsss-env"
        sh(f"{self.python} -m venv --without-pip {environment}")
        packages = next(environment.glob("lib/python*/site-packages"))
        borrowed = [path for path in sys.path if path.endswith("site-packages")]
        (packages / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
        for name, module in (("ray", "ray.scripts.scripts"), ("pip", "pip._internal.cli.main")):
            script = environment / "bin" / name
            script.write_text(
                f"#!{environment}/bin/python\nfrom {module} import main\nraise SystemExit(main())\n"
            )
            script.chmod(0o755)
        settings = home / ".config" / "pip" / "pip.conf"
        settings.parent.mkdir(parents=True)
        # pip reads no-build-isolation the other way round than it sounds.
        settings.write_text("[global]\nno-index = true\nno-build-isolation = false\n")


def sh(command: str) -> None:
    subprocess.run(command, shell=True, check=True, capture_output=True)


def make_key(file: Path) -> Path:
    sh(f"ssh-keygen -q -t ed25519 -N '' -f {file}")
    return file


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Machine, Machine]]:
    """A head and a worker, joined by a cable; commands run on the head are as from a laptop."""
    if missing := lacking():
        pytest.skip(f"needs {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("machines")
    key = make_key(folder / "key")
    head = Machine(folder / "head", HEAD, key)
    worker = Machine(folder / "worker", WORKER, key)
    try:
        head.start()
        worker.start()
        head.join(worker)
        yield head, worker
    finally:
        head.stop()
        worker.stop()


TINY = """
study: tiny
title: Does it hold together?
data: {source: scenes, size: 32, train: 24, tune: 8, test: 8}
backbones:
  cnn: {model: resnet18, label: CNN, output_stride: 8, options: {channels: [4, 8, 16, 32]}}
  vit: {model: vit_tiny_patch16_224, label: ViT,
        options: {patch_size: 8, embed_dim: 24, depth: 1, num_heads: 3}}
training: {epochs: 1, batch_size: 8, learning_rate: 1.0e-3}
seeds: [0]
configurations:
  - {paradigm: single, student: cnn}
  - {paradigm: teacher-student, student: vit, teacher: cnn, metric: cosine, level: global}
resources: {memory_gb: 0.25}
"""


@pytest.fixture(scope="session")
def tiny_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of seconds that is on the laptop alone."""
    file = tmp_path_factory.mktemp("study") / "my_study.yaml"
    file.write_text(TINY, encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def role_commands(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], list[list[str]]]:
    """What the commands for rights in a launcher file's header call, argument by argument.

    The shell runs them with an `aws` and a `gcloud` that only write down their arguments.
    """

    def run(name: str) -> list[list[str]]:
        folder = tmp_path_factory.mktemp("commands")
        for tool in ("aws", "gcloud"):
            (folder / tool).write_text(
                '#!/bin/bash\nprintf "%s\\0" "$@" >> "$RECORD"\necho >> "$RECORD"\n'
            )
            (folder / tool).chmod(0o755)
        header = (ROOT / "clusters" / f"{name}.yaml").read_text(encoding="utf-8")
        block = header.partition("# Once, give the nodes their rights")[2].partition("# Whole")[0]
        lines = [line[4:] for line in block.splitlines() if line.startswith("#   ")]
        # A remark stands apart, in quotation marks.
        script = "\n".join(["set -euo pipefail", *(re.sub(' {3,}".*', "", line) for line in lines)])
        environment = {"PATH": f"{folder}:{os.environ['PATH']}", "RECORD": str(folder / "record")}
        subprocess.run(["bash", "-c", script], cwd=ROOT, env=environment, check=True)
        calls = (folder / "record").read_text().split("\0\n")
        return [call.split("\0") for call in calls if call]

    return run
