"""The nodes' container file, as far as it can be known without building it."""

import re
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
    assert re.fullmatch(r"BASE=[a-z0-9./_-]+:[\w.-]+", steps[0][1])
    assert steps[1] == ("FROM", "${BASE}")


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
