"""Commands that know of segmenters: plan, status, report, Results, and the store's upkeep."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studies.planning.planner import make_plan
from studies.results import open_results
from studies.spec.study import Study
from studies.status.reading import Watcher
from studies.status.text import describe_status
from studies.store import ArtifactStore, find_garbage, verify, verify_ledger

Raw = dict[str, Any]
pytestmark = pytest.mark.ci


@pytest.fixture
def copied(ran_segments: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ran_segments.results, tmp_path / "results"))


def test_a_plan_says_what_is_left_of_each_segmenter_and_prices_it(
    copied: Path, segmented: Raw, wsss: Callable[..., Any], write_study: Callable[[Raw], str]
) -> None:
    file = write_study(segmented)
    done = wsss("plan", file, "--results", copied)
    assert "segmenters, 0 segmentation runs to do:" in done.out
    assert done.out.count("; 4 true masks") == 3
    segmented["segment"]["training"]["steps"] = 400
    longer = wsss("plan", write_study(segmented), "--results", copied)
    assert "segmenters, 6 segmentation runs to do:" in longer.out
    (trials,) = (line for line in longer.out.splitlines() if line.startswith("  trials "))
    assert "segmenters" in trials


def test_a_status_counts_segmenters_and_names_the_failed_ones(copied: Path) -> None:
    (status,) = Watcher(copied).look()
    assert [(one.name, one.done) for one in status.segments][:1] == [("pseudo masks", 1)]
    text = describe_status(status)
    assert "segmenters:\n  pseudo masks            1 done" in text
    assert text.endswith("nothing is left to do")
    key = open_results(copied).segmentation()["scores_key"][3]
    (copied / "ledger" / "segmented" / f"{key}.parquet").unlink()
    (status,) = Watcher(copied).look()
    assert describe_status(status).endswith("all trained; 1 segmentation runs to do")
    assert not status.ended


def test_results_hold_a_row_for_each_segmenter_and_the_table_its_difference_to_the_maps(
    copied: Path,
) -> None:
    results = open_results(copied)
    frame = results.segmentation().set_index("entry")
    assert frame["status"].eq("ok").all()
    maps = results.outcomes("test", "tuned", chain="PAR")["per_image_iou"].iloc[0]
    numbers = results.table("segmentation").numbers.set_index("entry")
    own = frame.loc["of the chain", "per_image_iou"]
    assert numbers.loc["of the chain", "delta_mean"] == pytest.approx(own - maps)
    assert (
        numbers.loc["fully supervised", "masks_spent"]
        == frame.loc["fully supervised", "masks_spent"]
    )


def test_the_page_shows_the_segmenters(copied: Path, tmp_path: Path) -> None:
    files = open_results(copied).report(tmp_path / "report")
    assert 'id="segmentation"' in files.html.read_text()
    assert {"segmentation.csv", "segmentation.md"} <= {table.name for table in files.tables}
    assert "masks_worth.svg" in {figure.name for figure in files.figures}


def test_the_store_keeps_what_segmenters_need_and_finds_nothing_wrong(copied: Path) -> None:
    store = ArtifactStore(copied / "store")
    assert find_garbage(store, older_than=0, unused_by=[copied]) == []
    found = verify(store)
    assert (found.corrupt, found.orphans) == ({}, {})
    assert verify_ledger(copied, store).missing == {}


def test_a_segmenter_that_no_plan_names_any_more_can_go_and_its_images_stay(
    copied: Path, segmented: Raw, run: Callable[..., Any]
) -> None:
    entries = segmented["segment"]["entries"]
    segmented["segment"]["entries"] = {"4 masks": entries["4 masks"]}
    run(segmented, copied)
    store = ArtifactStore(copied / "store")
    kept = {job.key for job in make_plan(Study.model_validate(segmented)).segments}
    garbage = find_garbage(store, older_than=0, unused_by=[copied], plans_only=True)
    gone = {one.name.rpartition("/")[2] for one in garbage if "/segment/" in one.name}
    assert gone == store.finished("segment") - kept
    assert not any("/images/" in one.name for one in garbage)
    # The ledger still holds their trials, which keep them without --plans-only.
    assert find_garbage(store, older_than=0, unused_by=[copied]) == []
