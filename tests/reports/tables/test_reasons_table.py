"""The tables of reasons against figures computed from the maps, logits and rows themselves."""

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports import make_report
from reports.figures.reasons import noise_curves_info, reason_dots_info
from reports.ledger import write_part
from reports.ledger.parts import read_table
from reports.results.reading import read_studies
from reports.results.study_record import StudyRecord
from reports.tables.over_images import groups_table, has_groups, reasons_table

SIGMAS = (0.25, 0.75)
MISSED = ("ViT alone", 2)  # its reasons are not there


def flags_of(index: int) -> str | None:
    """Every second image is of the night, half have a context; of the last it is unknown."""
    words = ["night"] if index % 2 else []
    words += [] if index == 14 else ["context"] if index % 4 < 2 else ["no context"]
    return ";".join(words) or None


def value_of(position: int, seed: int, place: int) -> float:
    return (7 * position + 3 * seed + 2 * place) % 11 / 10


@pytest.fixture(scope="module")
def asked(ledger: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The small study, asked for its reasons: (record, ledger)."""
    results = tmp_path_factory.mktemp("asked") / "results"
    shutil.copytree(ledger.results, results)
    plan = read_table(results, "plan").to_dict("records")
    for row in plan:
        row |= {name: None for name, value in row.items() if value != value}
        key, name, seed = row["trial_key"], row["configuration"], row["seed"]
        row["reasons_key"] = "r" + key
        scores = read_table(results, "scores", keys=[key]).to_dict("records")
        if not scores:
            continue
        scores = [
            {
                k: v
                for k, v in one.items()
                if isinstance(v, np.ndarray) or (v is not None and v == v)
            }
            | {"flags": flags_of(int(one["image"][-8:-4]))}
            for one in scores
        ]
        write_part(results, "scores", key, scores)
        measures = [("clean", None), *(("noisy_object", s) for s in SIGMAS)]
        measures += [*(("noisy_context", s) for s in SIGMAS), ("object_grey", None)]
        about = {"trial_key": key, "split": "test", "class_name": "smoke", "images": 10}
        rows = [
            {**about, "network": network, "measure": measure, "sigma": sigma, "value": value}
            for place, (measure, sigma) in enumerate(measures)
            for network, value in (
                ("student", value_of(row["position"], seed, place)),
                ("teacher", 0.125),
            )
        ]
        if (name, seed) != MISSED:
            write_part(results, "reasons", "r" + key, rows)
    write_part(results, "plan", "strategies", plan)
    return read_studies(results)[0], ledger


def cells(table: Any, column: str) -> dict[str, Any]:
    at = [one.key for one in table.columns].index(column)
    return {row[0].text: row[at] for row in table.rows}


def test_sensitivity_is_the_mean_over_noise_and_then_over_seeds(asked: Any) -> None:
    record, _ = asked
    found = cells(reasons_table(record), "sensitivity")
    for position, name in ((0, "CNN alone"), (1, "ViT alone"), (2, "cosine global")):
        values = []
        for seed in (0, 1, 2):
            if (name, seed) == MISSED:
                continue
            of_seed = []
            for place in (1, 2):
                on_object, on_context = (value_of(position, seed, at) for at in (place, place + 2))
                mean = (on_object + on_context) / 2
                most = 2 * min(mean, 1 - mean)
                of_seed.append((on_context - on_object) / most if most else 0.0)
            values.append(sum(of_seed) / 2)
        assert found[name].data["n"] == len(values)
        assert found[name].data["mean"] == pytest.approx(np.mean(values))
        assert found[name].data["sd"] == pytest.approx(np.std(values, ddof=1))


def test_columns_without_any_number_are_left_out(asked: Any) -> None:
    keys = [one.key for one in reasons_table(asked[0]).columns]
    assert "object_grey" in keys
    assert "context_grey" not in keys


def test_groups_are_counted_from_labels_logits_and_flags(asked: Any) -> None:
    record, ledger = asked
    table = groups_table(record)
    masks = ledger.masks["test", "smoke"]
    held = masks.any(axis=(1, 2))
    name = "cosine global"
    for flag in ("context", "night"):
        row = next(row for row in table.rows if (row[0].text, row[1].text) == (name, flag))
        words = [set((flags_of(index) or "").split(";")) for index in range(15)]
        for column, label, has in (
            ("with_class_with_flag", True, True),
            ("with_class_without_flag", True, False),
            ("without_class_with_flag", False, True),
            ("without_class_without_flag", False, False),
        ):
            members = [
                index
                for index in range(15)
                if held[index] == label
                and (flag in words[index]) == has
                and (flag != "context" or index != 14)
            ]
            accuracies = [
                np.mean(
                    (ledger.logits[name, seed, "test", "student", "smoke"][members] > 0) == label
                )
                for seed in (0, 1, 2)
            ]
            cell = row[[one.key for one in table.columns].index(column)]
            assert cell.data["images"] == len(members)
            assert cell.data["mean"] == pytest.approx(np.mean(accuracies))


def test_iou_of_a_group_is_that_of_its_maps_at_the_tuned_level(asked: Any) -> None:
    record, ledger = asked
    name, means = "CNN alone", []
    masks = ledger.masks["test", "smoke"]
    for seed in (0, 1, 2):
        trial = record.trials[name, seed]
        level = trial.figure("level", rule="tuned", class_name="smoke")
        cams = ledger.cams[name, seed, "test", "student", "smoke"]
        ious = [
            (mask & (cam >= level)).sum() / (mask | (cam >= level)).sum()
            for index, (mask, cam) in enumerate(zip(masks, cams, strict=True))
            if mask.any() and index % 2
        ]
        means.append(np.mean(ious))
    table = groups_table(record)
    row = next(row for row in table.rows if (row[0].text, row[1].text) == (name, "night"))
    at = [one.key for one in table.columns].index("iou_with_flag")
    assert row[at].data["mean"] == pytest.approx(np.mean(means))


def test_figures_of_maps_are_those_of_their_pixels(asked: Any) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    record, ledger = asked
    masks = ledger.masks["test", "smoke"]
    holding = masks.any(axis=(1, 2))
    found = cells(reasons_table(record), "pixel_average_precision")["CNN alone"].data["mean"]
    expected = [
        metrics.average_precision_score(
            masks[holding].ravel(),
            ledger.cams["CNN alone", seed, "test", "student", "smoke"][holding].ravel(),
        )
        for seed in (0, 1, 2)
    ]
    assert found == pytest.approx(np.mean(expected))


def test_figures_show_every_trial_that_has_reasons(asked: Any) -> None:
    record, _ = asked
    dots, curves = reason_dots_info(record), noise_curves_info(record)
    assert dots is not None
    assert curves is not None
    sensitivity = next(column for column in dots.columns if column.label == "RFS")
    assert set(sensitivity.by_row["ViT alone"]) == {0, 1}
    assert curves.sigmas == SIGMAS
    on_object, on_context = curves.panels["CNN alone"][1]
    assert on_object == pytest.approx([100 * value_of(0, 1, place) for place in (1, 2)])
    assert on_context == pytest.approx([100 * value_of(0, 1, place) for place in (3, 4)])


@pytest.mark.ci
def test_the_page_has_both_sections_and_without_reasons_neither(
    asked: Any, ledger: Any, tmp_path: Path
) -> None:
    record, _ = asked
    assert has_groups(record)
    plain: StudyRecord = read_studies(ledger.results)[0]
    assert plain.reasons is None
    assert not has_groups(plain)
    assert plain.reason_by_seed("CNN alone", "clean", "smoke") == {}
    assert math.isnan(plain.reasons_of(plain.trials["CNN alone", 0]).figure("clean", "smoke"))
    assert record.reasons is not None
    for results, there in ((record.reasons.results, True), (ledger.results, False)):
        made = tmp_path / str(there)
        make_report(results, made)
        page = (made / "report.html").read_text(encoding="utf-8")
        assert ("What altered images show" in page) == there
        assert ("Accuracy in the groups of a flag" in page) == there
        assert (made / "tables" / "groups.csv").exists() == there
