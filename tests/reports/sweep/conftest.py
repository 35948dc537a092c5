"""Records of a study over its sweep, with known figures."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reports.names import PLAIN
from reports.results.outcomes import OUTCOME_COLUMNS, TrialFigures
from reports.results.study_record import ConfigurationRecord, PanelParts, StudyRecord, TrialRecord

SWEEP = "P(chimney | clear)"
VALUES = (0.05, 0.5, 0.95)
SEEDS = (0, 1, 2, 3)
NAMES = ("alone", "cosine", "L1", "co-training")


def configuration(name: str) -> ConfigurationRecord:
    blank = dict.fromkeys(ConfigurationRecord.__dataclass_fields__)
    given = {"paradigm": "single", "student": "vit", "fixed_threshold": 0.3}
    return ConfigurationRecord(**{**blank, **given, "name": name})


def make_record(
    value: float | None,
    trials: Mapping[str, Mapping[int, tuple[float, float] | str]],
    *,
    sweep: str | None = SWEEP,
    rule: str = "tuned",
    objective: str = "per_image_iou",
) -> StudyRecord:
    """A record of trials: (IoU, balanced accuracy) of a healthy one, or how it ended instead.

    The fixed threshold reaches half of the IoU of the tuned one.
    """
    made = {}
    for name, by_seed in trials.items():
        for seed, ended in by_seed.items():
            figures, status = None, "ok"
            if isinstance(ended, str):
                status = ended
            else:
                rows = [
                    {
                        "network": "student", "class_name": "smoke", "split": "test", "rule": rule_,
                        objective: share * ended[0], "balanced_accuracy": ended[1],
                    }
                    for rule_, share in (("tuned", 1.0), ("fixed", 0.5))
                ]  # fmt: skip
                outcomes = pd.DataFrame(rows, columns=list(OUTCOME_COLUMNS))
                figures = TrialFigures(outcomes, {})
            made[name, seed, PLAIN] = TrialRecord(f"{name}-{seed}", name, seed, status, {}, figures)
    return StudyRecord(
        name="cooccurrence",
        title="?",
        objective=objective,
        rule=rule,
        configurations=tuple(configuration(name) for name in trials),
        seeds=tuple(sorted({seed for by_seed in trials.values() for seed in by_seed})),
        classes=("smoke",) if any(trial.figures for trial in made.values()) else (),
        all_trials=made,
        history={},
        panels=PanelParts(Path()),
        sweep=sweep,
        sweep_value=value,
    )


@pytest.fixture(scope="session")
def record_at():
    """The maker of a record at one value of the sweep."""
    return make_record


@pytest.fixture(scope="session")
def shares():
    """IoU and accuracy by (value, name, seed): falling steeply, a little, not, and rising."""
    random = np.random.default_rng(0)
    slopes = {"alone": -0.35, "cosine": -0.12, "L1": 0.0, "co-training": 0.1}
    return {
        (value, name, seed): (
            0.5 + slopes[name] * value + random.normal(0, 0.02),
            0.95 - 0.1 * value + random.normal(0, 0.01),
        )
        for value in VALUES
        for name in NAMES
        for seed in SEEDS
    }


@pytest.fixture(scope="session")
def records(shares):
    """In falling order of the sweep; one trial failed in the middle, one collapsed at an end."""
    lost = {(0.5, "cosine", 2): "failed", (0.95, "L1", 1): "collapsed"}
    made = []
    for value in reversed(VALUES):
        trials = {
            name: {seed: lost.get((value, name, seed), shares[value, name, seed]) for seed in SEEDS}
            for name in NAMES
        }
        made.append(make_record(value, trials))
    alone, *taught = made[0].configurations
    named = (alone, *(replace(one, baseline="alone") for one in taught))
    return [replace(record, configurations=named) for record in made]
