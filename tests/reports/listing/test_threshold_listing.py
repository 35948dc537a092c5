"""What `wsss thresholds` prints and writes, against the outcomes and the raw CAMs and masks."""

import math
import shutil

import numpy as np
import pandas as pd
import pytest

from reports.ledger.parts import read_table, write_part
from reports.listing.thresholds import (
    CHOICE_COLUMNS,
    describe_thresholds,
    list_thresholds,
    threshold_choices,
)
from reports.names import MEASURES
from reports.results.reading import read_studies
from reports.results.score_curves import CURVES
from wsss_core.errors import InputError

RULES = ("fixed", "otsu", "gaussian_mixture", "tuned", "dataset_oracle", "image_oracle")


@pytest.fixture(scope="module")
def record(ledger):
    return read_studies(ledger.results)[0]


@pytest.fixture(scope="module")
def listing(ledger, tmp_path_factory):
    out = tmp_path_factory.mktemp("listed") / "new" / "folder"
    return out, list_thresholds(ledger.results, out)


def lines_of(text, configuration):
    """The printed rows of a configuration, split at two blanks or more; keys are not repeated."""
    lines = text.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"{configuration}  "))
    end = next(n for n in range(start + 1, len(lines)) if lines[n][:1] != " ")
    return [[part for part in line.split("  ") if part.strip()] for line in lines[start:end]]


def test_every_choice_is_a_row_with_its_figures_and_price(ledger, record):
    choices = threshold_choices(record)

    assert list(choices) == list(CHOICE_COLUMNS)
    # 22 trials have scores; co-training has two networks under its two seeds that ran.
    assert len(choices) == (22 + 2) * len(RULES)
    cams = ledger.cams["L2 global", 0, "test", "student", "smoke"]
    held = ledger.masks["test", "smoke"].any(axis=(1, 2))
    found = choices.query("configuration == 'L2 global' and seed == 0").set_index("rule")
    assert tuple(found.index) == RULES
    for rule in RULES[:-1]:
        ious = [
            ((cam >= found.loc[rule, "level"]) & mask).sum()
            / ((cam >= found.loc[rule, "level"]) | mask).sum()
            for cam, mask in zip(cams[held], ledger.masks["test", "smoke"][held], strict=True)
        ]
        assert found.loc[rule, "per_image_iou"] == pytest.approx(np.mean(ious))
        assert found.loc[rule, "threshold"] == pytest.approx(found.loc[rule, "level"] / 255)
    best = found.loc["dataset_oracle", "per_image_iou"]
    for rule in RULES[:-2]:
        assert found.loc[rule, "price"] == pytest.approx(best - found.loc[rule, "per_image_iou"])


def test_the_text_shows_each_choice_in_points_beside_its_threshold(record):
    choices = threshold_choices(record).query("configuration == 'CNN alone'")
    printed = lines_of(describe_thresholds(record), "CNN alone")

    assert len(printed) == len(choices) == 3 * len(RULES)
    for parts, row in zip(printed, choices.to_dict("records"), strict=True):
        rule, threshold, level, *ious, price = [part.strip() for part in parts[-9:]]
        assert rule == row["rule"]
        if math.isnan(row["level"]):
            assert (threshold, level) == ("–", "–")
        else:
            assert threshold == f"{row['threshold']:.3f}"
            assert int(level) == row["level"]
        for text, measure in zip(ious, MEASURES, strict=True):
            if math.isnan(row[measure]):  # the per-image oracle has no level for clear images
                assert (text, rule) == ("–", "image_oracle")
            else:
                assert float(text) == pytest.approx(100 * row[measure], abs=0.051)
        if math.isnan(row["price"]):
            assert price == "–"
        else:
            assert float(price) == pytest.approx(100 * row["price"], abs=0.051)


def test_columns_of_the_text_are_aligned(record):
    lines = describe_thresholds(record).splitlines()
    header = next(line for line in lines if line.startswith("configuration"))
    at = lines.index(header)
    rows = lines[at + 1 : lines.index("", at)]
    assert len(rows) == (22 + 2) * len(RULES)
    rule_starts, price_ends = header.index("rule"), len(header)
    assert {line[rule_starts:].split()[0] for line in rows} == set(RULES)
    assert {len(line) for line in rows} == {price_ends}


def test_the_text_says_what_each_rule_peeks_at_and_averages_the_prices(record):
    text = describe_thresholds(record)
    assert "  otsu              scores and image-level labels\n" in text
    assert "  image_oracle      each test image's mask\n" in text
    healthy = threshold_choices(record).query("status == 'ok' and network == 'student'")
    for rule in RULES[:-2]:
        prices = 100 * healthy.loc[healthy["rule"] == rule, "price"]
        assert f"{prices.mean():.1f} ± {prices.std():.1f} (n\u00a0=\u00a021)" in text


def test_trials_without_scores_are_named_with_what_became_of_them(record):
    last = describe_thresholds(record).splitlines()[-2:]
    assert last == [
        "no scores: L2 global, seed 1 (failed)",
        "no scores: co-training, seed 2 (missing)",
    ]


def test_choices_and_curves_are_written_as_parquet(record, listing):
    out, made = listing
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in made.files)
    written = pd.read_parquet(out / "threshold_choices.parquet")
    pd.testing.assert_frame_equal(written, threshold_choices(record), check_dtype=False)
    assert len(pd.read_csv(out / "threshold_choices.csv")) == len(written)

    curves = pd.read_parquet(out / "threshold_curves.parquet")
    keys = ["configuration", "refinement", "seed", "network", "class_name", "split", "level"]
    assert not curves.duplicated(keys).any()
    assert len(curves) == (22 + 2) * 2 * 256
    at_oracle = written.query("rule == 'dataset_oracle'").merge(
        curves.query("split == 'test'"), on=[*keys[:5], "level"], suffixes=("", "_of_curve")
    )
    assert len(at_oracle) == 24
    for name in CURVES:
        np.testing.assert_allclose(at_oracle[f"{name}_of_curve"], at_oracle[name])


@pytest.fixture(scope="module")
def refined(ledger, tmp_path_factory):
    """The ledger with a chain that scores "CNN alone", seed 0, as "ViT alone" was."""
    results = shutil.copytree(ledger.results, tmp_path_factory.mktemp("refined") / "results")
    trial, key = "0000abababababab", "cc" * 8
    named = {"trial_key": trial, "refinement": "CRF", "scores_key": key}
    write_part(
        results, "refinements", "strategies", [{"study": "strategies", "position": 0, **named}]
    )
    ended = read_table(results, "trials", keys=[trial])["started_at"].iloc[0]
    write_part(results, "refined", key, [{**named, "status": "ok", "ended_at": ended}])
    scores = read_table(results, "scores", keys=["0100abababababab"]).astype(object)
    scores = scores.where(scores.notna(), None).assign(trial_key=trial, refinement="CRF")
    write_part(results, "scores", key, scores.to_dict("records"))
    return results


def test_a_refined_trial_has_rows_and_curves_of_its_own(refined, tmp_path):
    made = list_thresholds(refined, tmp_path)
    choices = pd.read_parquet(tmp_path / "threshold_choices.parquet")
    curves = pd.read_parquet(tmp_path / "threshold_curves.parquet")
    figures = ["per_image_iou", "dataset_iou", "dataset_miou", "price"]

    assert set(choices["refinement"]) == {"none", "CRF"}
    chain = choices.query("refinement == 'CRF'")
    assert set(chain["configuration"]) == {"CNN alone"}
    donor = choices.query("configuration == 'ViT alone' and seed == 0 and refinement == 'none'")
    np.testing.assert_allclose(chain[figures], donor[figures])
    assert len(curves.query("refinement == 'CRF'")) == 2 * 256
    header = next(line for line in made.text.splitlines() if line.startswith("configuration"))
    assert header.split()[:3] == ["configuration", "chain", "seed"]
    assert [line.split()[:2] for line in made.text.splitlines() if line.startswith("CRF")] == [
        ["CRF", rule] for rule in RULES[:-2]
    ]


def test_of_several_classes_each_and_their_mean_are_printed(tmp_path, build_ledger):
    ledger = build_ledger(tmp_path, classes=("smoke", "steam"), seeds=(0,), counts=(3, 6))
    text = describe_thresholds(read_studies(ledger.results)[0])
    printed = lines_of(text, "CNN alone")
    assert len(printed) == 3 * len(RULES)
    firsts = [parts[:-9] for parts in printed if len(parts) > 9]
    assert [parts[-1].strip() for parts in firsts] == ["smoke", "steam", "mean over classes"]


def test_a_study_without_any_scores_says_so_and_leaves_empty_files(tmp_path, build_ledger):
    states = {(name, 0): "failed" for name in ("CNN alone", "ViT alone", "L1 global", "L2 global",
              "cosine global", "cosine channel", "cosine spatial", "co-training")}  # fmt: skip
    ledger = build_ledger(tmp_path, seeds=(0,), states=states, counts=(3, 3))
    made = list_thresholds(ledger.results, tmp_path / "out")
    assert "no trial has scores yet" in made.text
    assert made.text.count("(failed)") == 8
    assert [len(pd.read_parquet(file)) for file in made.files[1:]] == [0, 0]


def test_a_folder_that_cannot_be_written_is_named(ledger, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"file: the thresholds cannot be written there"):
        list_thresholds(ledger.results, tmp_path / "file")
