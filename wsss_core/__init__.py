"""The method: distillation losses, class activation maps, evaluation. Usable without Ray.

Importing the package is cheap: `wsss_core.evaluate` and `wsss_core.data.scenes` need NumPy alone,
torch is loaded only by the rooms that compute with it.
"""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.version import __version__

__all__ = ["__version__"]

__getattr__ = lazy_exports(__name__, __file__)
