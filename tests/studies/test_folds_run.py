"""A study with folds, run: two cameras, each held out once, from the plan to the page and masks."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import studies
from reports import make_report
from reports.ledger.parts import read_table, table_folder
from reports.ledger.schema import SCHEMAS
from reports.pairing import FoldedSeed
from reports.results.comparisons import balanced_accuracy, tuned_chains
from reports.results.reading import read_studies
from studies.masks.making import make_masks
from studies.status.reading import Watcher
from studies.status.text import describe_status, status_record
from wsss_core.errors import InputError

Raw = dict[str, Any]
pytestmark = pytest.mark.ci

CLIPS = {"north": ("n1", "n2", "n3"), "south": ("s1", "s2", "s3")}


def write_cameras(root: Path, clear: str = "") -> Path:
    """Two cameras with three clips each; each clip has two images with the class, one without.

    No image of the camera `clear` holds the class.
    """
    random = np.random.default_rng(0)
    rows = ["file,group,camera"]
    for split in ("train", "tune", "test"):
        for camera, clips in CLIPS.items():
            for clip in clips:
                for number in range(3):
                    holds = number > 0 and camera != clear
                    kind = ("smoke" if split == "train" else "images") if holds else "clear"
                    pixels = random.integers(0, 90, (32, 32, 3), np.uint8)
                    mask = np.zeros((32, 32), np.uint8)
                    if holds:
                        mask[8:20, 10:24] = 255
                        pixels[mask > 0] += 120
                    for folder, content in ((kind, pixels), ("masks", mask)):
                        if folder == "masks" and (split == "train" or not holds):
                            continue
                        path = root / split / folder / f"{clip}-{number}.png"
                        path.parent.mkdir(parents=True, exist_ok=True)
                        Image.fromarray(content).save(path)
                    rows.append(f"{split}/{kind}/{clip}-{number}.png,{clip},{camera}")
    (root / "groups.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="module")
def study(shared_tiny: Raw, tmp_path_factory: pytest.TempPathFactory) -> Raw:
    root = write_cameras(tmp_path_factory.mktemp("cameras"))
    return {
        **shared_tiny,
        "data": {"source": "folder", "root": str(root), "size": 32},
        "folds": {"by": "camera", "k": "all"},
        "seeds": [0, 1],
        "configurations": shared_tiny["configurations"][:3],
        "chains": {"CRF": ["crf"]},
    }


@pytest.fixture(scope="module")
def ran(study: Raw, tmp_path_factory: pytest.TempPathFactory, run: Callable[..., Any]) -> Any:
    finished = run(study, tmp_path_factory.mktemp("folded"))
    assert (finished.result.failed, finished.result.unrefined) == ({}, {})
    return finished


def test_each_camera_is_scored_by_networks_that_never_saw_it(ran: Any) -> None:
    results = studies.open_results(ran.results)
    outcomes = results.outcomes()
    assert sorted(set(zip(outcomes["seed"], outcomes["fold"], strict=True))) == [
        (0, 1), (0, 2), (1, 1), (1, 2),
    ]  # fmt: skip
    for fold, clips in ((1, CLIPS["north"]), (2, CLIPS["south"])):
        keys = results.trials.loc[results.trials["fold"] == fold, "trial_key"]
        scores = read_table(ran.results, "scores", keys=keys)
        of = {split: set(rows["group"]) for split, rows in scores.groupby("split")}
        assert of["test"] == set(clips)
        assert not of["tune"] & of["test"]
        assert scores.loc[scores["split"] == "test", "image"].nunique() == 2 * 3 * 3


def test_running_again_finds_all_done_and_the_ledger_keeps_folds_of_trials(
    ran: Any, study: Raw, run: Callable[..., Any]
) -> None:
    again = run(study, ran.results)
    assert (again.result.trained, again.result.reused) == (0, 12)
    trials = read_table(ran.results, "trials")
    assert sorted(trials["fold"].unique()) == [1, 2]


def test_the_record_pairs_trials_by_seed_and_fold(ran: Any) -> None:
    (record,) = read_studies(ran.results)
    assert record.pairs == tuple(FoldedSeed(s, f) for s in (0, 1) for f in (1, 2))
    assert [fold.held_out for fold in record.folds] == [("north",), ("south",)]
    outcomes = record.outcomes()
    rows = outcomes[
        (outcomes["rule"] == "tuned")
        & (outcomes["split"] == "test")
        & (outcomes["refinement"] == "none")
        & (outcomes["configuration"] == "ViT alone")
    ]
    expected = {
        FoldedSeed(seed, fold): iou
        for seed, fold, iou in rows[["seed", "fold", "per_image_iou"]].itertuples(index=False)
    }
    assert record.by_seed("ViT alone", "per_image_iou") == expected
    assert (record.extent.images, record.extent.groups) == (36, 6)


def test_the_page_has_a_section_and_a_table_of_folds(ran: Any, tmp_path: Path) -> None:
    files = make_report(ran.results, tmp_path)
    page = files.markdown.read_text()
    assert "Leave one camera out" in page
    assert "36 test images of 6 groups" in page
    assert "Nadeau and Bengio 2003" in page
    assert "fingerprint of the evaluation data" not in page  # no warning: folds differ in theirs
    table = studies.open_results(ran.results).table("folds")
    frame = table.frame
    assert frame["held out"].tolist()[:3] == ["north", "south", "2 folds"]
    (record,) = read_studies(ran.results)
    reached = record.by_seed("CNN alone", "per_image_iou")
    of_fold = [(reached[FoldedSeed(0, f)] + reached[FoldedSeed(1, f)]) / 2 for f in (1, 2)]
    measured = table.numbers["per_image_iou_mean"].tolist()[:3]
    assert measured == pytest.approx([*of_fold, sum(of_fold) / 2])


def test_status_names_folds(ran: Any) -> None:
    (status,) = Watcher(ran.results, ran.store.where).look()
    assert "ViT alone              ✓✓ ✓✓" in describe_status(status)
    found = [(c["name"], c["fold"], c["seeds"]) for c in status_record(status)["configurations"]]
    assert found[:2] == [("CNN alone", f, {"0": "done", "1": "done"}) for f in (1, 2)]


def test_masks_ask_for_the_fold_and_say_what_it_left_out(ran: Any, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(np.full((20, 20, 3), 90, np.uint8)).save(images / "a.png")
    said = r"--fold: tiny has networks of 2 folds, .* one of 1 \(without north\), 2 \(without south"
    with pytest.raises(InputError, match=said):
        make_masks(ran.results, images, tmp_path / "out", in_process=True)
    with pytest.raises(InputError, match="--fold 3: tiny has networks of 2 folds"):
        make_masks(ran.results, images, tmp_path / "out", fold=3, in_process=True)
    make_masks(ran.results, images, tmp_path / "out", fold=2, in_process=True)
    make_masks(
        ran.results, images, tmp_path / "tuned", fold=2, chain="tuned chain", in_process=True
    )
    trials = studies.open_results(ran.results).trials.set_index("trial_key")
    (study,) = read_studies(ran.results)
    for out in ("out", "tuned"):
        settings = json.loads((tmp_path / out / "masks.json").read_text())["settings"]
        assert trials.loc[settings["trial_key"], "fold"] == 2
    pair = FoldedSeed(settings["seed"], 2)
    chosen = tuned_chains(study, settings["configuration"], study.main_class)
    assert settings["refinement"] == chosen[pair]


def test_a_ledger_from_before_folds_is_read(finished: Any, tmp_path: Path) -> None:
    for table in ("plan", "trials", "scores"):
        for name in table_folder(finished.results, table).listing():
            part = finished.results / "ledger" / table / name
            whole = pq.read_table(part)
            old = whole.drop_columns([c for c in ("fold", "fold_about") if c in whole.column_names])
            metadata = {**old.schema.metadata, b"schema_version": b"5"}
            target = tmp_path / "ledger" / table / name
            target.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(old.replace_schema_metadata(metadata), target)
    assert "fold" in SCHEMAS["plan"].names
    (record,) = read_studies(tmp_path)
    assert (record.folds, record.pairs) == ((), record.seeds)
    assert all(trial.status == "ok" for trial in record.trials.values())


def test_a_network_at_chance_is_judged_by_groups_where_images_share_them(ran: Any) -> None:
    (record,) = read_studies(ran.results)
    assert record.extent.of_class == {"smoke": (6, 6)}  # each clip has images with and without
    name = record.configurations[0].name
    by_groups = balanced_accuracy(record, name, "smoke")
    alone = replace(record.extent, groups=36, of_class={"smoke": (24, 12)})
    by_images = balanced_accuracy(replace(record, extent=alone), name, "smoke")
    assert by_groups.mean == by_images.mean
    assert by_groups.high - by_groups.low > by_images.high - by_images.low


def test_a_class_that_a_fold_lacks_is_said_and_other_folds_have_their_figures(
    shared_tiny: Raw, tmp_path: Path, run: Callable[..., Any]
) -> None:
    data = {"source": "folder", "root": str(write_cameras(tmp_path / "data", "south")), "size": 32}
    study = {
        **shared_tiny,
        "data": data,
        "folds": {"by": "camera", "k": "all"},
        "configurations": shared_tiny["configurations"][:1],
    }
    finished = run(study, tmp_path / "results")
    assert (
        "  class 'smoke' is in no test image of fold 2; it has no IoU of the class" in finished.said
    )
    assert (
        "  class 'smoke' is in no train image of fold 1; its networks cannot learn the class"
        in (finished.said)
    )
    page = make_report(tmp_path / "results", tmp_path / "page").markdown.read_text()
    assert "No train image of fold 1 holds smoke." in page
    (record,) = read_studies(tmp_path / "results")
    assert {trial.status for trial in record.trials.values()} <= {"ok", "collapsed"}
    assert FoldedSeed(0, 2) not in record.by_seed("CNN alone", record.objective, rule="fixed")
