"""The ledger's pictures, read on request: a page shows few of a large study's pictures."""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from reports.ledger.parts import read_table
from reports.storage import Location


@dataclass(frozen=True)
class PanelParts:
    """The parts of the table `panels` of a study's trials, plain and under chains.

    Attributes:
        results: the results folder.
        keys: the keys of the trials that have one.

    """

    results: Location
    keys: frozenset[str] = frozenset()

    def of(self, keys: Iterable[str]) -> pd.DataFrame:
        """Read the rows of some trials; the column `part` is the key of their part."""
        found = [
            read_table(self.results, "panels", keys=[key]).assign(part=key)
            for key in sorted(self.keys.intersection(keys))
        ]
        if not found:
            return read_table(self.results, "panels", keys=[]).assign(part="")
        return pd.concat(found, ignore_index=True)
