"""The nodes' container file, as far as it can be known without building it."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = ROOT / "clusters" / "Containerfile"
KNOWN = {
    *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL"),
    *("ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
}


@pytest.fixture(scope="module")
def steps() -> list[tuple[str, str]]:
    """Instruction and argument of every step, continued lines joined."""
    lines = [
        line
        for line in FILE.read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined]


def copied(steps: list[tuple[str, str]]) -> list[str]:
    return [source for name, rest in steps if name == "COPY" for source in rest.split()[:-1]]


def test_every_instruction_is_known(steps):
    assert {name for name, _ in steps} <= KNOWN


def test_the_base_is_an_argument(steps):
    assert steps[0][0] == "ARG"
    # Its registry is named, so that no setting of a machine picks another one; a tag or a digest.
    image = r"docker\.io/[a-z0-9./_-]+(:[\w.-]+|@sha256:[0-9a-f]{64})"
    assert re.fullmatch(f"BASE={image}", steps[0][1])
    assert steps[1] == ("FROM", "${BASE}")


PODMAN = """#!/bin/bash
printf '%s\\0' "$@" >> "$RECORD"; echo >> "$RECORD"
case "$1 $2" in
    "image inspect") echo "docker.io/library/python@sha256:DIGEST" ;;
    "push --digestfile") echo "sha256:OURS" > "$3" ;;
esac
"""


def test_the_headers_commands_build_from_a_digest_and_print_that_of_the_result(steps, tmp_path):
    (tmp_path / "podman").write_text(PODMAN)
    (tmp_path / "podman").chmod(0o755)
    header = FILE.read_text(encoding="utf-8").partition("\nARG ")[0]
    commands = [
        line.lstrip("# ")
        for line in header.splitlines()
        if line.startswith(("#            podman ", "#            base="))
    ]
    assert len(commands) == 4
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "RECORD": str(tmp_path / "record")}
    said = subprocess.run(
        ["bash", "-euc", "\n".join(commands)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    calls = [call.split("\0") for call in (tmp_path / "record").read_text().split("\0\n") if call]
    assert [call[0] for call in calls] == ["pull", "image", "build", "push"]
    assert f"BASE={calls[0][1]}" == steps[0][1], "the pulled image is the file's base"
    assert calls[1][-1] == calls[0][1]
    assert "BASE=docker.io/library/python@sha256:DIGEST" in calls[2]
    assert said.stdout == "sha256:OURS\n"


def test_what_is_copied_is_there_and_is_what_the_package_is_built_from(steps):
    assert [source for source in copied(steps) if not (ROOT / source).exists()] == []
    packages = re.search(r"include = \[(.*)\]", (ROOT / "pyproject.toml").read_text())
    assert packages is not None
    assert {part.strip('"* ') for part in packages[1].split(",")} <= set(copied(steps))


def test_the_build_sees_what_is_copied_and_nothing_else(steps):
    ignored = (ROOT / "clusters" / "Containerfile.dockerignore").read_text().splitlines()
    patterns = [line for line in ignored if line and not line.startswith("#")]
    assert patterns[0] == "*"
    assert {line[1:] for line in patterns if line.startswith("!")} == set(copied(steps))


def test_the_container_runs_as_a_user_and_asks_for_the_token(steps):
    assert [rest for name, rest in steps if name == "USER"][-1] == "ray"
    assert any(name == "ENV" and "RAY_AUTH_MODE=token" in rest for name, rest in steps)


def test_the_versions_are_those_that_were_tested(steps):
    installs = [rest for name, rest in steps if name == "RUN" and "pip install" in rest]
    assert installs
    assert all("-c constraints.txt" in rest for rest in installs)


def test_root_installs_and_the_container_runs_as_a_user_with_a_number(steps):
    users = [rest for name, rest in steps if name == "USER"]
    assert users[-1] == "ray"
    assert "root" not in users
    assert any("useradd --create-home --uid 1000 ray" in rest for _, rest in steps)
    after = [name for name, _ in steps[[name for name, _ in steps].index("USER") :]]
    assert "COPY" not in after, "what is copied later would be root's"
    assert not any("sudo" in rest or "chmod u+s" in rest for _, rest in steps)
