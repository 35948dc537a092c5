"""Where networks are compiled, every node must have the compiler that PyTorch would use."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from studies.cluster.checks.base import Finding, NodeCheck, NodeReport

# Triton (for a GPU) and PyTorch's Inductor (for a CPU) take what the environment names, or else
# one of these programs.
_COMPILERS = {"C": ("CC", ("gcc", "clang")), "C++": ("CXX", ("g++",))}


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
