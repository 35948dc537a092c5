"""What is checked before anything is trained: images, networks, weights."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from studies.preflight.images_check import kept_findings
    from studies.preflight.network_check import check_networks
    from studies.preflight.study_check import preflight

__all__ = [
    "check_networks",
    "kept_findings",
    "preflight",
]

__getattr__ = lazy_exports(__name__, __file__)
