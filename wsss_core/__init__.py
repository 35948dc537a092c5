"""The method: distillation losses, class activation maps, evaluation. Usable without Ray.

Importing the package is cheap: `wsss_core.evaluate` and `wsss_core.data.scenes` need NumPy alone,
torch is loaded only by the rooms that compute with it.
"""
