"""Every node must run the driver's toolkit on packages of the same versions."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypedDict

from studies.cluster.checks.base import Finding, NodeCheck, NodeReport
from studies.stages import environment

COMPUTING = ("torch", "torchvision", "timm", "numpy")
"""Packages whose version can change a result: it has to be the driver's."""

RECORDING = ("pandas", "pyarrow")
"""Packages that write what is recorded: another version is a warning."""


class CodeFacts(TypedDict):
    """What computes; plain values, since a node with other code sends them too.

    Attributes:
        version: of the toolkit.
        source: a digest of its source files.
        revision: the Git commit of its checkout, if it is one.
        packages: see `studies.stages.environment.versions`, Python included.

    """

    version: str
    source: str
    revision: str | None
    packages: dict[str, str]


def code_facts() -> CodeFacts:
    """Return the versions of this process's toolkit and of what it computes with."""
    return {
        "version": environment.package_version(),
        "source": environment.source_digest(),
        "revision": environment.code_revision(),
        "packages": json.loads(environment.versions()),
    }


@dataclass(frozen=True)
class CodeCheck(NodeCheck[CodeFacts]):
    """Compares toolkit, Python and packages with the driver's (`here`)."""

    here: CodeFacts

    def probe(self, node: str) -> CodeFacts:
        """Return the node's versions."""
        return code_facts()

    def judge(self, facts: CodeFacts, node: NodeReport) -> Iterator[Finding]:
        """Refuse other code, another Python and other computing packages."""
        if (other := self._other_toolkit(facts)) is not None:
            yield Finding(other)
            return
        here, there = self.here["packages"], facts["packages"]
        if _minor(there["python"]) != _minor(here["python"]):
            expected = _minor(here["python"])
            yield Finding(f"Python {there['python']}, expected {expected} as on the driver")
        for package in COMPUTING + RECORDING:
            driver, found = here.get(package), there.get(package, "is not installed")
            if package in RECORDING and found != driver:
                yield Finding(f"{package} {found}, {driver} on the driver", problem=False)
            elif package in COMPUTING and _public(found) != _public(driver):
                yield Finding(f"{package} {found}, expected {driver} as on the driver")

    def _other_toolkit(self, there: CodeFacts) -> str | None:
        """Say how a node's toolkit differs, by the clearest of version, revision and digest."""
        here = self.here
        if there["version"] != here["version"]:
            return f"wsss-studies {there['version']}, expected {here['version']} as on the driver"
        if there["source"] == here["source"]:
            return None
        found, expected = (code["revision"] or code["source"] for code in (there, here))
        if found == expected:
            found, expected = there["source"], here["source"]
        return (
            f"other code of wsss-studies {there['version']} ({found}) than the driver's "
            f"({expected}); expected the same everywhere, or results differ"
        )


def _minor(python: str) -> str:
    """Return "3.11" of "3.11.7"."""
    return ".".join(python.split(".")[:2])


def _public(version: str | None) -> str | None:
    """Cut what names a build: a head without a GPU may have torch 2.15.0+cpu."""
    return version and version.partition("+")[0]
