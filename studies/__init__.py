"""What to run, and running it: study files, plans, artifacts, trials under Ray Tune.

import studies

study = studies.load_study("quickstart", {"training.epochs": 1, "seeds": [0, 1]})
print(studies.plan_study(study))
results = studies.run_study(study, "results/quickstart", in_process=True)
results.outcomes(split="test", rule="tuned")
results.table("strategies")
results.figure("seeds")
results.masks("images", "masks", in_process=True)

Importing the package loads neither Ray nor torch.
"""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from studies.masks.making import make_masks
    from studies.python_entry import plan_study, run_study
    from studies.results import Results, open_results
    from studies.spec.loading import load_study, shipped_studies
    from wsss_core.version import __version__

__all__ = [
    "Results",
    "__version__",
    "load_study",
    "make_masks",
    "open_results",
    "plan_study",
    "run_study",
    "shipped_studies",
]

__getattr__ = lazy_exports(__name__, __file__)
