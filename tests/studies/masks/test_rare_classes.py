"""A study of a rare class, from scenes to masks: the network never predicts it, and all say so."""

import copy
import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from reports import make_report
from reports.listing.thresholds import describe_thresholds, threshold_record
from reports.names import MEAN_OF_CLASSES
from reports.results.reading import read_studies
from studies import open_results
from studies.masks.making import make_masks
from studies.masks.recipe import MaskSelection, choose_recipe
from wsss_core.errors import InputError

Raw = dict[str, Any]

# Steam is in 2 of the 48 training scenes, and in 2 of each of the other splits.
SCENES = {"size": 32, "train": 48, "tune": 24, "test": 24, "steam": 0.06, "seed": 3}


def values(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image)


@pytest.fixture(scope="module")
def rare(run: Callable[..., Any], shared_tiny: Raw, tmp_path_factory: Any) -> Any:
    study = copy.deepcopy(shared_tiny)
    study |= {"study": "rare", "data": {"source": "scenes", **SCENES}}
    study |= {"configurations": study["configurations"][:1], "panels": 4}
    study["training"] |= {"epochs": 6, "learning_rate": 3e-3}
    return run(study, tmp_path_factory.mktemp("rare"))


@pytest.fixture(scope="module")
def ungated(rare: Any, run: Callable[..., Any], shared_tiny: Raw, tmp_path_factory: Any) -> Any:
    """The same networks, scored without gating."""
    study = rare.plan.study.model_dump(mode="json", by_alias=True, exclude_none=True)
    study["cam"] = {"gating": "none"}
    return run(study, tmp_path_factory.mktemp("ungated"), rare.store.root)


@pytest.fixture(scope="module")
def record(rare: Any) -> Any:
    (record,) = read_studies(rare.results)
    return record


@pytest.fixture(scope="module")
def folder(rare: Any, tmp_path_factory: Any) -> Path:
    """The test images as files, and labels.csv with their true labels."""
    images = next(iter(rare.plan.jobs.values())).images.load(rare.store, "test")
    where = tmp_path_factory.mktemp("images")
    (where / "images").mkdir()
    lines = ["file,classes"]
    for index, name in enumerate(images.identifiers):
        Image.fromarray(np.asarray(images.images[index])).save(where / "images" / f"{name}.png")
        held = [c for c, there in zip(images.classes, images.labels[index], strict=True) if there]
        lines.append(f"{name}.png,{';'.join(held)}")
    (where / "labels.csv").write_text("\n".join(lines) + "\n")
    return where


def labels_of(folder: Path) -> dict[str, set[str]]:
    with (folder / "labels.csv").open() as file:
        return {r["file"]: set(filter(None, r["classes"].split(";"))) for r in csv.DictReader(file)}


def of(record: Any, rule: str, class_name: str) -> pd.Series:
    rows = record.outcomes()
    (row,) = [
        row
        for _, row in rows[rows["split"] == "test"].iterrows()
        if (row["rule"], row["class_name"]) == (rule, class_name)
    ]
    return row


def test_a_class_that_gating_takes_from_every_image_is_never_predicted(record: Any) -> None:
    assert record.states("CNN alone")["ok"] == 1
    assert of(record, "tuned", "steam")["images_with_class_gated"] == 2
    assert record.never_predicted("CNN alone", "steam") == [0]
    assert of(record, "tuned", "steam")["per_image_iou"] == 0


def test_oracles_bound_what_the_ungated_maps_reach(record: Any, ungated: Any) -> None:
    (without,) = read_studies(ungated.results)
    for rule in ("dataset_oracle", "image_oracle"):
        found, least = (of(one, rule, MEAN_OF_CLASSES) for one in (record, without))
        assert found["per_image_iou"] >= least["per_image_iou"] - 1e-12 > 0
        assert found["images_with_class_gated"] == 0
    assert of(record, "image_oracle", "steam")["per_image_iou"] > 0


def test_only_scores_under_gating_have_new_keys(rare: Any, ungated: Any) -> None:
    trained = [{job.key for job in one.plan.jobs.values()} for one in (rare, ungated)]
    assert trained[0] == trained[1]
    assert {t.key for t in rare.plan.trials}.isdisjoint(t.key for t in ungated.plan.trials)


def test_tables_thresholds_and_page_name_the_state(rare: Any, record: Any, tmp_path: Path) -> None:
    files = make_report(rare.results, tmp_path)
    tables = {file.name: file.read_text() for file in files.tables if file.suffix != ".parquet"}
    for name in ("strategies.md", "thresholds.md", "diagnostics.md", "strategies.tex"):
        assert "never predicted" in tables[name]
        assert "steam, in none of the 2 test images that hold it" in tables[name]
        assert "**0.0" not in tables[name]
    page = files.markdown.read_text()
    assert page.index("**Never predicted: steam") < page.index("## Strategies")
    assert "gates by known labels" in page
    (warned, *_) = open_results(rare.results, store=rare.store.root).warnings()
    assert warned.startswith("Never predicted: steam")
    text = describe_thresholds(record)
    tuned = next(line for line in text.splitlines() if line.endswith("never predicted"))
    assert "–" in tuned
    assert "Never predicted: steam" in text
    choices = {(c["class"], c["rule"]): c for c in threshold_record(record)["choices"]}
    assert choices["steam", "tuned"]["never_predicted"]
    assert not choices["steam", "image_oracle"]["never_predicted"]
    json.dumps(threshold_record(record)["choices"][0]["images_with_class"])


def test_masks_without_labels_name_the_class_and_count(
    rare: Any, folder: Path, tmp_path: Path, wsss: Callable[..., Any]
) -> None:
    said = wsss(
        *("masks", rare.results, "--images", folder / "images", "--out", tmp_path / "masks"),
        *("--in-process", "--store", rare.store.root),
    )
    assert said.code == 0
    assert "class steam is never predicted" in said.out + said.err
    written = [values(file) for file in (tmp_path / "masks").glob("*.png")]
    empty = sum(not mask.any() for mask in written)
    full = sum(bool(mask.all()) for mask in written)
    assert f"{empty} of 24 masks are empty, {full} are full; smoke is in" in said.out
    assert "steam is in 0" in said.out
    marked = json.loads((tmp_path / "masks" / "masks.json").read_text())["marked"]
    assert (marked["empty"], marked["with_class"]["steam"]) == (empty, 0)


def test_masks_gated_by_labels_hold_the_labelled_classes_and_no_others(
    rare: Any, folder: Path, tmp_path: Path, wsss: Callable[..., Any]
) -> None:
    arguments = (
        *("masks", rare.results, "--images", folder / "images", "--out", tmp_path / "masks"),
        *("--labels", folder / "labels.csv", "--in-process", "--store", rare.store.root),
    )
    said = wsss(*arguments)
    assert said.code == 0
    assert "on maps gated by labels" in said.out + said.err
    for name, held in labels_of(folder).items():
        mask = values(tmp_path / "masks" / name)
        allowed = {0} | {number for number, c in enumerate(("smoke", "steam"), 1) if c in held}
        assert set(np.unique(mask)) <= allowed
        if "steam" in held:
            assert (mask == 2).any()
        if not held:
            assert not mask.any()
    assert "steam is in 2" in said.out

    # A changed label makes the mask of that image again, and no other.
    name = next(name for name, held in labels_of(folder).items() if held == {"smoke"})
    changed = tmp_path / "changed.csv"
    text = (folder / "labels.csv").read_text()
    changed.write_text(text.replace(f"{name},smoke", f"{name},"))
    again = wsss(*(changed if one == folder / "labels.csv" else one for one in arguments))
    assert "1 masks written" in again.out
    assert not values(tmp_path / "masks" / name).any()


def test_the_threshold_is_tuned_on_maps_gated_by_labels(rare: Any) -> None:
    labelled, _ = choose_recipe(rare.results, rare.store, MaskSelection(labelled=True))
    assert labelled.scaling.gating == "labels"
    assert labelled.as_record()["gating"] == "labels"
    assert labelled.never_predicted == ()
    plain, _ = choose_recipe(rare.results, rare.store, MaskSelection())
    assert plain.never_predicted == ("steam",)


def test_labels_may_be_given_in_python_and_by_path(rare: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for place in ("a", "b"):
        (tmp_path / "images" / place).mkdir()
        source = sorted((folder / "images").glob("*.png"))[0]
        (tmp_path / "images" / place / "x.png").write_bytes(source.read_bytes())
    given = {"a/x.png": ["steam"], "b/x.png": []}
    made = make_masks(
        rare.results,
        tmp_path / "images",
        tmp_path / "masks",
        labels=given,
        store=rare.store.root,
        in_process=True,
    )
    assert made.counts.with_class == {"smoke": 0, "steam": 1}
    with pytest.raises(InputError, match="have the same name"):
        make_masks(
            rare.results,
            tmp_path / "images",
            tmp_path / "other",
            labels={"x.png": ["steam"]},
            store=rare.store.root,
            in_process=True,
        )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda lines: [lines[0], *lines[4:]], r"labels: 3 of 24 images are not listed, the first"),
        (
            lambda lines: [*lines[:-1], lines[-1].split(",")[0] + ",steem"],
            r"line 25: class 'steem'",
        ),
        (lambda lines: [*lines, lines[1]], r"line 26: file .* is listed twice"),
        (lambda lines: ["name,classes", *lines[1:]], r"expected CSV with columns file, classes"),
    ],
)
def test_labels_that_do_not_fit_are_refused_in_a_line(
    rare: Any,
    folder: Path,
    tmp_path: Path,
    wsss: Callable[..., Any],
    change: Callable[[list[str]], list[str]],
    expected: str,
) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(change((folder / "labels.csv").read_text().splitlines())) + "\n")
    arguments: dict[str, Any] = {"labels": table, "store": rare.store.root, "in_process": True}
    with pytest.raises(InputError, match=expected) as raised:
        make_masks(rare.results, folder / "images", tmp_path / "masks", **arguments)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("threshold", "kind"), [(1.0, "empty"), (0.0, "full")])
def test_masks_that_are_all_empty_or_all_full_are_warned_of(
    rare: Any, folder: Path, tmp_path: Path, listening: Any, threshold: float, kind: str
) -> None:
    said: list[str] = []
    one = tmp_path / "images"
    one.mkdir()
    name = next(name for name, held in labels_of(folder).items() if held == {"smoke"})
    (one / name).write_bytes((folder / "images" / name).read_bytes())
    labels = {name: [] if kind == "empty" else ["smoke"]}
    with listening(said.append):
        make_masks(
            rare.results,
            one,
            tmp_path / "masks",
            threshold=threshold,
            labels=labels,
            store=rare.store.root,
            in_process=True,
        )
    assert any(line.startswith(f"warning: 1 of 1 masks are {kind}") for line in said)
