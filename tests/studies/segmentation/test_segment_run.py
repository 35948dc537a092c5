"""A study with segmenters, run in this process: numbers by hand, masks spent, resuming, slips."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import studies.stages.segmentation.job
from reports.results.comparisons import tuned_chains
from reports.results.reading import read_studies
from reports.results.segments import SegmentRecord, read_segments, segment_frame
from reports.tables.segments.segmentation import segment_results, segmentation_table
from studies.planning.planner import make_plan
from studies.spec.study import Study
from studies.stages.failures import LeaseLostError
from studies.stages.segmentation.training import _best_on_tune
from wsss_core.errors import InputError
from wsss_core.segmentation import load_segmenter

Raw = dict[str, Any]
pytestmark = pytest.mark.ci


@pytest.fixture(scope="module")
def records(ran_segments: Any) -> dict[str, SegmentRecord]:
    return {one.entry: one for one in read_segments(ran_segments.results, "tiny")}


def frame_of(results: Path) -> Any:
    return segment_frame([("tiny", None, read_segments(results, "tiny"))])


def test_every_entry_ends_well_and_is_scored_under_every_seed(
    ran_segments: Any, records: dict[str, SegmentRecord]
) -> None:
    assert ran_segments.result.segments_remaining == 0
    assert {name: dict(one.states) for name, one in records.items()} == {
        name: {"ok": 1} for name in ran_segments.plan.study.segment.entries
    }


@pytest.mark.parametrize("entry", ["pseudo masks", "4 masks", "fully supervised"])
def test_the_numbers_are_those_of_the_saved_segmenter_by_hand(
    ran_segments: Any, records: dict[str, SegmentRecord], entry: str
) -> None:
    (run,) = records[entry].runs
    artifact = ran_segments.results / "store" / "segment" / run.segment_key
    segmenter = load_segmenter(artifact / "segmenter.safetensors")
    source = ran_segments.plan.image_sets[0].source
    test = source.read("test", 32)
    with torch.no_grad():
        images = torch.from_numpy(np.asarray(test.images)).permute(0, 3, 1, 2) / 255
        predicted = segmenter(images).argmax(1).numpy()
    each, hits, union, background = [], 0, 0, [0, 0]
    for index, mask in enumerate(predicted):
        truth = test.mask(index)
        inter, over = (
            int(((mask == 1) & (truth == 1)).sum()),
            int(((mask == 1) | (truth == 1)).sum()),
        )
        if (truth == 1).any():
            each.append(inter / over)
        hits, union = hits + inter, union + over
        background[0] += int(((mask == 0) & (truth == 0)).sum())
        background[1] += int(((mask == 0) | (truth == 0)).sum())
    figures = run.figures
    assert figures["per_image_iou"] == pytest.approx(np.mean(each))
    assert figures["dataset_iou_all_images"] == pytest.approx(hits / union)
    miou = (hits / union + background[0] / background[1]) / 2
    assert figures["dataset_miou_all_images"] == pytest.approx(miou)


def test_masks_that_anything_looked_at_are_spent(
    ran_segments: Any, records: dict[str, SegmentRecord]
) -> None:
    source = ran_segments.plan.image_sets[0].source
    tuned_on = int(source.read("tune", 32).labels.any(axis=1).sum())
    there = int(source.read("train", 32).labels.any(axis=1).sum())
    assert {name: one.masks_spent for name, one in records.items()} == {
        "pseudo masks": 0,
        "pseudo masks, views": 0,
        "of the chain": tuned_on,
        "4 masks": 4,
        "4 masks + pseudo masks": 4 + tuned_on,
        "4 masks, own level": 4,
        "fully supervised": there,
    }


def test_clear_images_join_few_masks_in_their_proportion(
    ran_segments: Any, records: dict[str, SegmentRecord]
) -> None:
    labels = ran_segments.plan.image_sets[0].source.read("train", 32).labels.any(axis=1)
    clear, holding = int((~labels).sum()), int(labels.sum())
    (run,) = records["4 masks"].runs
    assert run.row["images"] == 4 + round(clear * 4 / holding)
    assert records["4 masks + pseudo masks"].runs[0].row["images"] == len(labels)


def test_pseudo_masks_of_the_tuned_chain_are_those_of_the_chain_that_is_best_on_the_tune_split(
    ran_segments: Any, run: Callable[..., Any], segmented: Raw, tmp_path: Path
) -> None:
    shutil.copytree(ran_segments.results, tmp_path / "results")
    one = {"configuration": "CNN alone"}
    kept = segmented["segment"]["entries"]["of the chain"]
    segmented["segment"]["entries"] = {
        "of the chain": kept,
        "plain": {"labels": one},
        "tuned": {"labels": {**one, "chain": "tuned chain"}},
    }
    again = run(segmented, tmp_path / "results")
    assert again.result.trained == 2
    (record,) = read_studies(tmp_path / "results")
    (chosen,) = tuned_chains(record, "CNN alone", record.main_class).values()
    name = {"none": "plain", "PAR": "of the chain"}[chosen]
    entries = {entry.entry: entry for entry in record.segments}
    found = {of: (one.runs[0].row["level"], one.runs[0].figures) for of, one in entries.items()}
    assert found["plain"] != found["of the chain"]
    assert found["tuned"] == found[name]
    deltas = {one.record.entry: one.difference for one in segment_results(record)}
    assert deltas["tuned"] == deltas[name]
    assert segmentation_table(record).rows[2][1].text == "masks of CNN alone, tuned chain (tuned)"

    before = again.plan.segments[-1].key
    segmented["chains"]["PAR, once"] = [{"par": {"iterations": 1}}]
    more = make_plan(Study.model_validate(segmented)).segments
    assert more[-1].key != before
    assert [job.key for job in more[:-1]] == [job.key for job in again.plan.segments[:-1]]


class _Maps:
    """Stands for the pseudo masks of a chain; without a figure its chain fails."""

    def __init__(self, chain: str, figure: float | None) -> None:
        self.chain, self._figure = chain, figure

    @property
    def reached(self) -> float:
        if self._figure is None:
            raise InputError(f"chain {self.chain}: it went wrong")
        return self._figure


@pytest.mark.parametrize(
    ("figures", "chosen"),
    [
        ({"none": 0.3, "CRF": None, "PAR": 0.4}, "PAR"),
        ({"none": 0.3, "CRF": 0.3, "PAR": None}, "none"),
        ({"none": None}, "none"),  # without a chain there is nothing to choose
    ],
)
def test_a_chain_that_fails_is_not_chosen_and_of_equals_none_is(
    figures: dict[str, float | None], chosen: str
) -> None:
    maps: Any = [_Maps(*one) for one in figures.items()]
    assert _best_on_tune(maps).chain == chosen


def test_views_and_a_crf_change_the_masks_of_the_same_segmenter(
    records: dict[str, SegmentRecord],
) -> None:
    plain, views = records["pseudo masks"].runs[0], records["pseudo masks, views"].runs[0]
    assert plain.segment_key == views.segment_key
    assert plain.key != views.key


def test_running_again_does_nothing_and_a_lost_score_is_made_again_without_training(
    ran_segments: Any, run: Callable[..., Any], segmented: Raw, tmp_path: Path
) -> None:
    shutil.copytree(ran_segments.results, tmp_path / "results")
    again = run(segmented, tmp_path / "results")
    assert (again.result.trained, again.result.scored) == (0, 0)
    before = frame_of(tmp_path / "results")
    key = before["scores_key"][0]
    shutil.rmtree(tmp_path / "results" / "store" / "scores" / key)
    again = run(segmented, tmp_path / "results")
    assert (again.result.trained, again.result.scored) == (0, 1)
    after = frame_of(tmp_path / "results")
    assert after.equals(before)


def test_a_segmenter_that_was_broken_off_goes_on_from_its_checkpoint_to_the_same_bits(
    ran_segments: Any,
    run: Callable[..., Any],
    segmented: Raw,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entries = segmented["segment"]["entries"]
    segmented["segment"]["entries"] = {"fully supervised": entries["fully supervised"]}
    after_record = studies.stages.segmentation.job._after_record
    seen: list[int] = []

    def break_off(job: Any, context: Any, lease: Any) -> Any:
        def on_record(record: Any) -> None:
            seen.append(record.step)
            if len(seen) == 1:
                raise LeaseLostError
            after_record(job, context, lease)(record)

        return on_record

    monkeypatch.setattr(studies.stages.segmentation.job, "_after_record", break_off)
    done = run(segmented, tmp_path / "results")
    assert seen == [2, 4]  # once each: the second try began where the first was broken off
    (key,) = (job.key for job in done.plan.segments)
    whole, resumed = (
        load_segmenter(folder / "store" / "segment" / key / "segmenter.safetensors").state_dict()
        for folder in (ran_segments.results, tmp_path / "results")
    )
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_failed_network_fails_its_segmenter_in_a_line_and_the_others_go_on(
    run: Callable[..., Any], segmented: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = segmented["segment"]["entries"]
    segmented["segment"]["entries"] = {
        name: entries[name] for name in ("pseudo masks", "fully supervised")
    }

    def fail(*given: Any, **more: Any) -> None:
        raise InputError("no training today")

    monkeypatch.setattr("studies.stages.job.train_job", fail)
    done = run(segmented, tmp_path / "results")
    assert done.result.failed == {
        "CNN alone, seed 0": "InputError: no training today",
        "segmenter pseudo masks, seed 0": (
            "RuntimeError: the network of its pseudo masks is not trained: that run failed"
        ),
    }
    states = {one.entry: dict(one.states) for one in read_segments(done.results, "tiny")}
    assert states == {"pseudo masks": {"failed": 1}, "fully supervised": {"ok": 1}}


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"model": "setr_pup", "encoder": "resnet18"}, "expected a plain ViT"),
        ({"model": "unet", "encoder": "vit_tiny_patch16_224"}, "segmenter unet over vit_tiny"),
    ],
)
def test_an_encoder_that_a_decoder_cannot_take_is_told_before_training(
    run: Callable[..., Any], segmented: Raw, tmp_path: Path, model: Raw, said: str
) -> None:
    segmented["segment"]["model"] = model
    with pytest.raises(InputError) as caught:
        run(segmented, tmp_path / "results")
    assert said in str(caught.value)
    assert str(caught.value).startswith("segmenter ")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "results" / "store").glob("train/*"))


def test_true_masks_without_a_pixel_of_a_class_are_told_before_training(
    run: Callable[..., Any], segmented: Raw, tmp_path: Path
) -> None:
    segmented["data"] |= {"steam": 0.3, "train": 60, "tune": 16, "test": 16}
    segmented["segment"]["entries"] = {"1 mask": {"labels": {"masks": 1}}}
    with pytest.raises(InputError, match=r"the 1 true masks .* hold no pixel of (smoke|steam)"):
        run(segmented, tmp_path / "results")


def test_a_plan_names_its_segmenters_and_their_artifacts(segmented: Raw) -> None:
    plan = make_plan(Study.model_validate(segmented))
    job = next(job for job in plan.segments if job.maps is not None)
    assert job.artifacts["segment"] == [job.key]
    assert job.parent in job.artifacts["train"]
