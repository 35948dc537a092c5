"""The ledger's pictures, read when they are looked at: few of a large study's are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from reports.ledger.parts import read_table
from reports.storage.locations import Location


@dataclass(frozen=True)
class PanelParts:
    """The ``panels`` parts of a study's trials, plain and under chains.

    Attributes:
        results: The results folder.
        keys: Of the trials that have one.

    """

    results: Location
    keys: frozenset[str] = frozenset()

    def of(self, keys: Iterable[str]) -> pd.DataFrame:
        """The rows of some trials; ``part`` is the key of the part that holds them."""
        found = [
            read_table(self.results, "panels", keys=[key]).assign(part=key)
            for key in sorted(self.keys.intersection(keys))
        ]
        if not found:
            return read_table(self.results, "panels", keys=[]).assign(part="")
        return pd.concat(found, ignore_index=True)
