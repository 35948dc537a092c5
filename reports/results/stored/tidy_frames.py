"""The figures of all trials of a study as tidy frames, some trials after another."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd

from reports.results.stored.alike import AlikeTrials, KeptFigures, tidy
from reports.results.stored.trial_record import TrialRecord

_TRIALS = 2500  # of one frame


def tidy_blocks(
    study: str,
    trials: Sequence[tuple[str, TrialRecord]],
    frame_of: Callable[[AlikeTrials, np.ndarray], pd.DataFrame],
    rows_of: Callable[[TrialRecord], pd.DataFrame | None],
    *,
    folded: bool,
) -> Iterator[pd.DataFrame]:
    """Yield rows of trials, each with the study, configuration, chain and seed of its trial.

    Args:
        study: the study's name.
        trials: with the chain of their scores; those without figures have no rows.
        frame_of: makes the rows of trials whose figures are kept together.
        rows_of: makes those of any trial; None for none.
        folded: whether rows name the fold of their trial.

    """
    found = [(chain, trial) for chain, trial in trials if trial.figures is not None]
    together = all(
        isinstance(trial.figures, KeptFigures) and trial.diagnosed is None for _, trial in found
    )
    size = _TRIALS if together else max(1, len(found))
    for start in range(0, max(1, len(found)), size):
        block, whole = found[start : start + size], None
        if together and block:
            kept = [one.figures for _, one in block if isinstance(one.figures, KeptFigures)]
            whole, counts = tidy(kept, frame_of)
        else:
            frames = [(at, rows) for at in block if (rows := rows_of(at[1])) is not None]
            block = [at for at, _ in frames]
            counts = np.array([len(rows) for _, rows in frames], np.int64)
            whole = pd.concat([rows for _, rows in frames], ignore_index=True) if frames else None
        about = {
            "study": [study for _ in block],
            "configuration": [trial.configuration for _, trial in block],
            "refinement": [chain for chain, _ in block],
            "seed": [trial.seed for _, trial in block],
            **({"fold": [trial.fold for _, trial in block]} if folded else {}),
            "trial_key": [trial.key for _, trial in block],
            "status": [trial.status for _, trial in block],
        }
        if whole is None:
            yield pd.DataFrame(columns=list(about))
            continue
        # Added once: a column added to each of thousands of frames takes minutes.
        places = np.repeat(np.arange(len(block)), counts)
        yield pd.concat([pd.DataFrame(about).take(places).reset_index(drop=True), whole], axis=1)


def whole_frame(blocks: Iterator[pd.DataFrame]) -> pd.DataFrame:
    """Return frames of equal columns, at least one, as one frame."""
    frames = list(blocks)
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
