"""Segmenters on the true masks of images that join: whose masks, and how many are spent."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports import make_report
from studies.planning.planner import make_plan
from studies.spec.loading import load_study
from studies.spec.study import Study
from studies.stages.segmentation.selection import select_images
from studies.stages.segmentation.training import SegmentOutcome
from wsss_core.data.scenes.scene import SceneSettings, render_scene
from wsss_core.data.scenes.source import index_mask
from wsss_core.errors import InputError

Raw = dict[str, Any]
SCENES = [render_scene(SceneSettings(size=32), 3 * 10**9 + number) for number in range(6)]
"""The scenes that join, by the rule that each split counts from a start of its own."""


@pytest.fixture
def joining(segmented: Raw) -> Raw:
    return with_join(segmented)


def with_join(segmented: Raw) -> Raw:
    (cnn,) = segmented["configurations"]
    joined = {**cnn, "name": "CNN + T2", "join": True, "published": 47.99}
    segmented["configurations"] = [cnn, joined]
    segmented["join"] = {"scenes": 6}
    del segmented["chains"]
    labels = {"configuration": "CNN + T2", "rule": "otsu"}
    segmented["segment"]["entries"] = {
        "pseudo masks": {"labels": labels},
        "T1 + T2 masks": {"labels": {**labels, "masks": "joined"}},
        "T2 masks": {"labels": {"masks": "joined"}},
    }
    return segmented


@pytest.mark.slow
def test_pseudo_masks_of_one_part_and_true_masks_of_the_other_train_a_segmenter(
    segmented: Raw, tmp_path: Path, run: Callable[..., Any]
) -> None:
    ran = run(with_join(copy.deepcopy(segmented)), tmp_path / "results")
    holding = [number for number, scene in enumerate(SCENES) if scene.has_smoke]
    by_entry = {job.scorings[0].entry: job for job in ran.plan.segments}
    selection = select_images(by_entry["T1 + T2 masks"], ran.store)
    assert sorted(selection.masks) == [24 + number for number in holding]
    for number in holding:
        assert np.array_equal(selection.masks[24 + number], index_mask(SCENES[number]))
    assert len(selection.places) == 24 + 6
    outcomes = {entry: SegmentOutcome.read(ran.store, job.key) for entry, job in by_entry.items()}
    assert [one.masks_spent for one in outcomes.values()] == [0, len(holding), len(holding)]
    assert outcomes["pseudo masks"].images == 30
    page = make_report(ran.results, tmp_path / "page").markdown.read_text()
    assert "6 images with masks join the training of CNN + T2" in page
    assert "47.99" in page
    assert "true masks of the images that join + masks of CNN + T2 (Otsu)" in page


def test_masks_of_images_that_join_need_a_row_that_they_join(joining: Raw) -> None:
    entry = joining["segment"]["entries"]["T1 + T2 masks"]
    entry["labels"]["configuration"] = "CNN alone"
    with pytest.raises(InputError, match=r"labels.masks 'joined' is of images that join"):
        load_study(joining)


def test_entries_of_rows_that_are_left_out_are_left_out_too(joining: Raw) -> None:
    joining["join"] = None
    joining["segment"]["entries"]["own"] = {"labels": {"configuration": "CNN alone"}}
    plan = make_plan(Study.model_validate(joining))
    assert [job.scorings[0].entry for job in plan.segments] == ["own"]


def test_all_masks_of_a_row_with_more_images_are_of_both_parts(joining: Raw) -> None:
    joining["segment"]["entries"] = {
        "both": {"labels": {"configuration": "CNN + T2", "masks": "all"}},
        "own": {"labels": {"configuration": "CNN alone", "masks": "all"}},
    }
    both, own = (job.masks for job in make_plan(Study.model_validate(joining)).segments)
    assert both is not None
    assert own is not None
    assert both.count - own.count == sum(scene.has_smoke for scene in SCENES)
