"""Units where workers find them, and the little of each that Tune gets.

Tune keeps the configuration of each trial in several copies for as long as it runs. So it is given
a label, and the unit lies in Ray's object store, outside the driver.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import studies.cluster.ray_start  # noqa: F401

# ruff: isort: split
import ray

from studies.planning.plan import Unit

ON_A_SHELF = 32
"""Units in one object: a worker reads a shelf to have one of them, some 100 KiB."""


class JobStore:
    """Units in Ray's object store, for as long as this object is there.

    Args:
        units: what may have to run, in any order.

    Attributes:
        shelves: for `unit_of`, in a worker.

    """

    def __init__(self, units: Iterable[Unit]) -> None:
        units = list(units)
        self._places = {unit.key: divmod(n, ON_A_SHELF) for n, unit in enumerate(units)}
        self.shelves = [
            ray.put([unit.as_config() for unit in units[start : start + ON_A_SHELF]])
            for start in range(0, len(units), ON_A_SHELF)
        ]

    def label(self, unit: Unit) -> dict[str, Any]:
        """What Tune has to know of a unit: key, resources, and its place for `unit_of`."""
        shelf, place = self._places[unit.key]
        resources = unit.resources.as_config()
        return {"key": unit.key, "resources": resources, "shelf": shelf, "place": place}


def unit_of(label: dict[str, Any], shelves: list[Any]) -> dict[str, Any]:
    """The unit of a label (`studies.planning.plan.Unit.as_config`), in a worker."""
    unit: dict[str, Any] = ray.get(shelves[label["shelf"]])[label["place"]]
    return unit
