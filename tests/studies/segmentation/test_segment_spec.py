"""The section `segment` of a study file: what it takes, and the line that says what is wrong."""

import copy
from pathlib import Path
from typing import Any

import pytest

from studies.planning.planner import make_plan
from studies.spec.loading import load_study
from studies.spec.study import Study
from wsss_core.data.file_hashes import file_hashes
from wsss_core.errors import InputError
from wsss_core.segmentation.settings import FitSettings, LossSettings

Raw = dict[str, Any]


def changed(study: Raw, path: str, value: Any) -> Raw:
    at = study["segment"]
    *parents, last = path.split("/")
    for step in parents:
        at = at.setdefault(step, {})
    at[last] = value
    return study


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("entries/4 masks/labels", "mask", "expected a valid dictionary"),
        ("entries/4 masks/labels", {}, "expected masks, or the configuration"),
        ("entries/4 masks/labels", {"masks": 4, "chain": "PAR"}, "'chain' is of pseudo masks"),
        ("entries/4 masks/labels/masks", 0, "expected greater than 0"),
        ("entries/pseudo masks/labels/configuration", "CNN aloof", "nearest: 'CNN alone'"),
        ("entries/of the chain/labels/chain", "PARR", "nearest: 'PAR'"),
        ("entries/pseudo masks/labels/chain", "tuned chain", "at its tuned threshold; expected tu"),
        ("entries/pseudo masks/labels/rule", "otsy", "nearest: 'otsu'"),
        ("entries/pseudo masks/labels/rule", "image_oracle", "images that are scored"),
        ("entries/4 masks/training/stepz", 3, "unknown key 'stepz'; nearest: 'steps'"),
        ("training/loss", {"termz": {}}, "unknown key 'termz'; nearest: 'terms'"),
        ("training/loss", {"terms": {"dicey": 1.0}}, "loss 'dicey': expected one of"),
        ("model/model", "unett", "segmenter 'unett' is unknown; did you mean unet?"),
        ("model/encoder", "", "segmenter unet needs an encoder"),
        ("predict/scales", [0], "expected numbers above 0"),
        ("predict/crf", "pas", "expected 'thesis'"),
        ("overlap", 0, "expected greater than 0"),
    ],
)
def test_a_slip_is_told_in_a_line_that_names_its_key(
    segmented: Raw, path: str, value: Any, said: str
) -> None:
    with pytest.raises(InputError) as caught:
        load_study(changed(segmented, path, value))
    message = str(caught.value)
    assert said in message
    assert "segment." in message
    assert "\n" not in message


def test_an_entry_changes_single_settings_of_the_shared_training(segmented: Raw) -> None:
    changed(segmented, "entries/4 masks/training", {"steps": 9, "loss": {"terms": {"dice": 1.0}}})
    segment = load_study(segmented).segment
    assert segment is not None
    given: dict[str, Any] = {"batch_size": 4, "optimizer": "adamw", "learning_rate": 0.002}
    given |= {"record_every": 2}
    assert segment.fit_of(segment.entries["fully supervised"]) == FitSettings(steps=4, **given)
    assert segment.fit_of(segment.entries["4 masks"]) == FitSettings(
        steps=9, loss=LossSettings({"dice": 1.0}), **given
    )


def test_a_null_of_an_entry_turns_off_what_all_entries_share(segmented: Raw) -> None:
    changed(segmented, "training/ema", 0.9)
    changed(segmented, "entries/4 masks/training", {"ema": None})
    segment = load_study(segmented).segment
    assert segment is not None
    assert segment.fit_of(segment.entries["4 masks"]).ema is None
    assert segment.fit_of(segment.entries["fully supervised"]).ema == 0.9


def test_more_masks_than_there_are_is_told_with_their_number(segmented: Raw) -> None:
    changed(segmented, "entries/4 masks/labels/masks", 400)
    with pytest.raises(InputError, match=r"400 masks, but \d+ training images have one"):
        make_plan(Study.model_validate(segmented))


def test_a_folder_without_train_masks_is_named(segmented: Raw, smoke_folder: Path) -> None:
    segmented["data"] = {"source": "folder", "root": str(smoke_folder), "size": 32}
    with pytest.raises(InputError) as caught:
        make_plan(Study.model_validate(segmented))
    assert str(caught.value).startswith("segment.entries.4 masks.labels.masks: no training image")
    assert f"{smoke_folder}/train/masks" in str(caught.value)


def test_a_key_holds_what_decides_the_masks_and_no_names(segmented: Raw) -> None:
    def keys(study: Raw) -> dict[str, str]:
        plan = make_plan(Study.model_validate(study))
        return {one.entry: job.key for job in plan.segments for one in job.scorings}

    before = keys(segmented)
    renamed = copy.deepcopy(segmented)
    renamed["chains"] = {"refined": renamed["chains"]["PAR"]}
    renamed["segment"]["entries"]["of the chain"]["labels"]["chain"] = "refined"
    assert keys(renamed) == before
    # A fixed threshold is nothing to a rule that chooses one; the objective is to a tuned rule.
    moved = copy.deepcopy(segmented)
    moved["thresholds"] = {"fixed": 0.5, "objective": "dataset_iou"}
    after = keys(moved)
    differing = {name for name in before if before[name] != after[name]}
    assert differing == {"of the chain", "4 masks + pseudo masks", "4 masks, own level"}
    # How masks are predicted is nothing to training: the two entries share a segmenter.
    assert before["pseudo masks"] == before["pseudo masks, views"]
    assert len(set(before.values())) == len(before) - 1


def test_a_setting_at_its_default_is_in_no_key(segmented: Raw) -> None:
    before = [job.key for job in make_plan(Study.model_validate(segmented)).segments]
    changed(segmented, "training/momentum", 0.9)
    changed(segmented, "training/loss", {"terms": {"cross_entropy": 1.0}})
    assert [job.key for job in make_plan(Study.model_validate(segmented)).segments] == before


def test_maps_that_are_fused_of_several_networks_are_refused_by_name(segmented: Raw) -> None:
    segmented["configurations"] += [
        {"paradigm": "single", "student": "vit"},
        {"name": "both", "fuse": {"of": ["CNN alone", "ViT alone"], "how": "mean"}},
    ]
    changed(segmented, "entries/pseudo masks/labels/configuration", "both")
    with pytest.raises(InputError, match=r"labels\.configuration 'both' is no configuration"):
        load_study(segmented)


def test_a_model_s_weights_are_read_once_for_all_entries_and_folds(
    segmented: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "encoder.safetensors"
    weights.write_bytes(b"of an encoder")
    read: list[Path] = []

    def hashed(files: list[Path]) -> list[str]:
        read.extend(files)
        return file_hashes(files)

    monkeypatch.setattr("studies.planning.segmentation.segment_plan.file_hashes", hashed)
    segmented["folds"] = {"by": "group", "k": 2}
    plan = make_plan(Study.model_validate(changed(segmented, "model/weights", str(weights))))
    assert read == [weights]
    assert {job.settings["model"]["weights"] for job in plan.segments} == set(
        file_hashes([weights])
    )
    assert {job.weights for job in plan.segments} == {str(weights)}


def test_weights_that_are_not_there_are_named_with_the_first_entry_that_has_them(
    segmented: Raw, tmp_path: Path
) -> None:
    missing = {**segmented["segment"]["model"], "weights": str(tmp_path / "away")}
    for entry in ("4 masks", "fully supervised"):
        changed(segmented, f"entries/{entry}/model", missing)
    with pytest.raises(InputError, match=r"segment\.entries\.4 masks\.model\.weights: file .*away"):
        make_plan(Study.model_validate(segmented))
