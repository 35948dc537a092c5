"""A study of two classes, from scenes to the tables: each class, their mean, one threshold."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports import make_report
from reports.ledger.parts import read_table
from reports.names import ANY_CLASS, MEAN_OF_CLASSES
from reports.results.reading import read_studies
from studies.stages.scoring import collapse_of

Raw = dict[str, Any]


@pytest.fixture(scope="module")
def two(shared_tiny: Raw, run: Callable[..., Any], tmp_path_factory: Any) -> Any:
    data = {**shared_tiny["data"], "steam": 0.5, "train": 32, "tune": 16, "test": 16}
    study = {**shared_tiny, "data": data, "configurations": shared_tiny["configurations"][:3]}
    return run(study, tmp_path_factory.mktemp("two"))


def test_every_image_has_a_row_of_each_class_and_one_of_any(two: Any) -> None:
    assert two.result.failed == {}
    scores = read_table(two.results, "scores")
    assert set(scores["class_name"]) == {"smoke", "steam", ANY_CLASS}
    assert (scores.groupby(["trial_key", "split", "image"]).size() == 3).all()


def test_a_pixel_is_marked_as_one_class_at_most(two: Any) -> None:
    scores = read_table(two.results, "scores")
    for _, rows in scores.groupby(["trial_key", "split", "image"]):
        counts = {
            row["class_name"]: row["foreground"] + row["background"] for _, row in rows.iterrows()
        }
        marked = [int(counts[name][1:].sum()) for name in ("smoke", "steam")]
        assert sum(marked) == int(counts[ANY_CLASS][1:].sum())


def test_a_class_that_is_not_predicted_takes_no_part(two: Any) -> None:
    scores = read_table(two.results, "scores")
    one = scores[scores["class_name"].isin(["smoke", "steam"]) & (scores["logit"] <= 0)]
    assert len(one)
    for _, row in one.iterrows():
        assert not (row["foreground"] + row["background"])[1:].any()


def test_tables_have_rows_of_each_class_and_of_their_mean_under_one_threshold(
    two: Any, tmp_path: Path
) -> None:
    (record,) = read_studies(two.results)
    assert record.classes == ("smoke", "steam", MEAN_OF_CLASSES)
    outcomes = record.outcomes()
    tuned = outcomes[(outcomes["rule"] == "tuned") & (outcomes["split"] == "test")]
    for _, rows in tuned.groupby("trial_key"):
        each = rows.set_index("class_name")
        assert each["level"].nunique() == 1
        mean = np.mean([each.loc[name, "per_image_iou"] for name in ("smoke", "steam")])
        assert math.isclose(each.loc[MEAN_OF_CLASSES, "per_image_iou"], mean)
    files = make_report(two.results, tmp_path)
    table = next(file for file in files.tables if file.name == "strategies.md").read_text()
    for name in ("smoke", "steam", MEAN_OF_CLASSES):
        assert table.count(f"| {name} |") == 3


def test_precision_and_recall_are_over_the_images_that_the_iou_is_over(two: Any) -> None:
    (record,) = read_studies(two.results)
    outcomes = record.outcomes()
    rows = outcomes[
        (outcomes["class_name"] != MEAN_OF_CLASSES)
        & (outcomes["precision"] > 0)
        & (outcomes["recall"] > 0)
    ]
    assert len(rows)
    for _, row in rows.iterrows():
        implied = 1 / (1 / row["precision"] + 1 / row["recall"] - 1)
        assert row["dataset_iou"] == pytest.approx(implied)


def test_a_network_that_predicts_no_class_has_not_collapsed_by_being_gated() -> None:
    random = np.random.default_rng(0)
    empty = np.zeros(256, int)
    empty[0] = 9
    rows = [
        {
            "class_name": name,
            "logit": -1 - random.random(),
            "foreground": empty,
            "background": empty,
        }
        for name in ("smoke", "steam", ANY_CLASS)
        for _ in range(20)
    ]
    assert collapse_of(rows, ("smoke", "steam"), "predicted") is None
    assert collapse_of(rows, ("smoke", "steam"), "none") == "empty CAMs"
