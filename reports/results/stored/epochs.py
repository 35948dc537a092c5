"""The epochs of trials: read when they are asked for, as a page shows those of few trials."""

from collections.abc import ItemsView, Iterator, Mapping

import pandas as pd

from reports.ledger.parts import part_name, read_table, table_folder
from reports.pairing import Pair
from reports.storage import Location


class EpochsByTrial(Mapping[tuple[str, Pair], pd.DataFrame]):
    """Rows of the table `history` by configuration and seed (and fold) of their trials.

    Args:
        results: the results folder.
        keys: the key of each trial.

    """

    def __init__(self, results: Location, keys: Mapping[tuple[str, Pair], str]) -> None:
        self._results = results
        there = table_folder(results, "history").listing() if keys else {}
        self._keys = {at: key for at, key in keys.items() if part_name(key) in there}

    def __getitem__(self, at: tuple[str, Pair]) -> pd.DataFrame:
        return read_table(self._results, "history", keys=[self._keys[at]])

    def __iter__(self) -> Iterator[tuple[str, Pair]]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def items(self) -> ItemsView[tuple[str, Pair], pd.DataFrame]:
        """Return the epochs of every trial; they are read together."""
        whole = read_table(self._results, "history", keys=set(self._keys.values()))
        epochs = dict(iter(whole.groupby("trial_key")))
        return {at: epochs[key] for at, key in self._keys.items() if key in epochs}.items()
