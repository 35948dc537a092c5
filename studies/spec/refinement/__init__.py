"""The section `chains` of a study file: chains of steps that are scored beside the plain CAM.

    refiners:                       # settings of steps by name; built-in names need none
      crf: {preset: thesis}
      strong_crf: {use: crf, preset: psa}
    chains:
      CRF: [multi_scale, crf]       # a name and its steps; a plain list is one chain without a name

A chain begins with steps that make the CAM (`CAM_STEPS`). Refiners follow. An entry with `lengths`
stands for every order of its steps, see `Orders`.
"""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from studies.spec.refinement.chains import (
        ChainEntry,
        PublishedSeeds,
        ResolvedChain,
        ResolvedStep,
        check_rows,
        named_chains,
        resolve_chain,
    )
    from studies.spec.refinement.orders import Orders
    from studies.spec.refinement.step_settings import CAM_STEPS, CONDITIONAL, STEP_SETTINGS

__all__ = [
    "CAM_STEPS",
    "CONDITIONAL",
    "STEP_SETTINGS",
    "ChainEntry",
    "Orders",
    "PublishedSeeds",
    "ResolvedChain",
    "ResolvedStep",
    "check_rows",
    "named_chains",
    "resolve_chain",
]

__getattr__ = lazy_exports(__name__, __file__)
