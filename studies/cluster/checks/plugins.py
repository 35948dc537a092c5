"""Every node must import the plug-ins of a run, in the versions that the driver has."""

from dataclasses import dataclass

from studies.cluster.checks.base import Finding, NodeCheck
from wsss_core.errors import InputError
from wsss_core.plugins import plugin_version, search_in


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
