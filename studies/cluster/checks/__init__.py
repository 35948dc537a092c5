"""What every node of a cluster must have before anything is scheduled there: one class a check."""

from studies.cluster.checks.base import Finding, NodeCheck, NodeReport
from studies.cluster.checks.clock import ClockCheck
from studies.cluster.checks.code import CodeCheck, CompilerCheck, PluginsCheck, code_facts
from studies.cluster.checks.files import ExpectedFile, FilesCheck, HubCheck, HubFile
from studies.cluster.checks.folders import FoldersCheck
from studies.cluster.checks.gpus import GpuCheck, GpuFacts

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
