"""What every node of a cluster must have before anything is scheduled there: one class a check."""

from studies.cluster.checks.base import Finding, NodeCheck, NodeReport
from studies.cluster.checks.clock import ClockCheck
from studies.cluster.checks.code import CodeCheck, code_facts
from studies.cluster.checks.compiler import CompilerCheck
from studies.cluster.checks.files import ExpectedFile, FilesCheck
from studies.cluster.checks.folders import FoldersCheck
from studies.cluster.checks.gpus import GpuCheck, GpuFacts
from studies.cluster.checks.hub import HubCheck, HubFile
from studies.cluster.checks.plugins import PluginsCheck

__all__ = [
    "ClockCheck",
    "CodeCheck",
    "CompilerCheck",
    "ExpectedFile",
    "FilesCheck",
    "Finding",
    "FoldersCheck",
    "GpuCheck",
    "GpuFacts",
    "HubCheck",
    "HubFile",
    "NodeCheck",
    "NodeReport",
    "PluginsCheck",
    "code_facts",
]
