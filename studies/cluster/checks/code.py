"""Every node must run the driver's code: toolkit, packages and plug-ins of the same versions.

Where networks are compiled, it also must have the compiler that PyTorch would use.
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypedDict

from studies.cluster.checks.base import Finding, NodeCheck, NodeReport
from studies.stages import environment
from studies.store.origin import versions
from wsss_core.errors import InputError
from wsss_core.plugins import plugin_version, search_in

COMPUTING = ("torch", "torchvision", "timm", "numpy")
"""Packages whose version can change a result: it has to be the driver's."""

RECORDING = ("pandas", "pyarrow")
"""Packages that write what is recorded: another version is a warning."""


# Triton (for a GPU) and PyTorch's Inductor (for a CPU) take what the environment names, or else
# one of these programs.
_COMPILERS = {"C": ("CC", ("gcc", "clang")), "C++": ("CXX", ("g++",))}


class CodeFacts(TypedDict):
    """What computes; plain values, since a node with other code sends them too.

    Attributes:
        version: of the toolkit.
        source: a digest of its source files.
        revision: the Git commit of its checkout, if it is one.
        packages: see `studies.store.origin.versions`, Python included.

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
        "packages": json.loads(versions()),
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


@dataclass(frozen=True)
class PluginsCheck(NodeCheck[list[Finding]]):
    """Imports plug-ins on a node and compares their versions.

    Attributes:
        versions: name -> version on the driver.
        import_path: a folder that is searched for them too.

    """

    versions: dict[str, str]
    import_path: str

    def probe(self, node: str) -> list[Finding]:
        """Return why plug-ins cannot be imported, and those of other versions."""
        search_in(self.import_path)
        found = []
        for name, here in self.versions.items():
            try:
                if (there := plugin_version("plug-in", name)) != here:
                    text = f"has version {there} of {name}, the driver has version {here}"
                    found.append(Finding(text))
            except InputError as error:
                found.append(Finding(str(error)))
        return found


@dataclass(frozen=True)
class CompilerCheck(NodeCheck[list[str]]):
    """Looks for compilers; `gpus` says whether trials run on GPUs. Finds "C", "C++" or both."""

    gpus: bool

    def probe(self, node: str) -> list[str]:
        """Return the languages that the node has a compiler for."""
        found = []
        for language, (variable, names) in _COMPILERS.items():
            named = os.environ.get(variable, "").split()[:1]
            if any(shutil.which(name) for name in named or names):
                found.append(language)
        return found

    def judge(self, facts: list[str], node: NodeReport) -> Iterator[Finding]:
        """Refuse a node without a compiler: kernels are C for a GPU, C++ for a CPU."""
        if not self.gpus and "C++" not in facts:
            yield Finding("no C++ compiler (g++, or what CXX names), which training.compile needs")
        if self.gpus and node.resources.get("GPU", 0.0) > 0 and "C" not in facts:
            yield Finding(
                "no C compiler (gcc or clang, or what CC names), which training.compile needs"
            )
