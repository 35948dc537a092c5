"""The recipe of masks: chosen by the tune split alone, or by the user."""

import dataclasses
import shutil
from typing import Any

import numpy as np
import pytest

from reports.ledger.parts import read_table, write_part
from reports.names import PLAIN
from reports.results.reading import read_studies
from studies.masks.recipe import MaskRecipe, MaskSelection, choose_recipe
from wsss_core.errors import InputError
from wsss_core.refine.steps.registry import STEP_KINDS

Raw = dict[str, Any]


def test_configuration_and_seed_are_chosen_by_the_tune_split_and_never_by_the_test_split(
    crops, tmp_path
):
    shutil.copytree(crops.ran.results / "ledger", tmp_path / "ledger")

    def tell(split: str, good: str) -> None:
        """Rewrite scores: `good` is perfect on a split, the others are wrong everywhere."""
        for key in read_table(tmp_path, "trials")["trial_key"]:
            rows = read_table(tmp_path, "scores", keys=[key]).to_dict("records")
            for row in rows:
                if row["split"] == split:
                    area = [row["foreground"].sum(), row["background"].sum()]
                    first = 200 if key == good else 0
                    row["foreground"], row["background"] = np.zeros((2, 256), int)
                    row["context"] = row["ring"] = None
                    row["foreground"][first], row["background"][200 - first] = area
            write_part(tmp_path, "scores", key, [_without_nan(row) for row in rows])

    keys = {(t.configuration, t.seed): t.key for t in crops.ran.plan.trials}
    tell("tune", keys["CNN alone", 1])
    for misleading in keys.values():
        tell("test", misleading)
        recipe, said = choose_recipe(tmp_path, crops.ran.store, MaskSelection())
        assert (recipe.configuration, recipe.seed) == ("CNN alone", 1)
    assert said[0].startswith("configuration CNN alone (of 2 the best by per_image_iou on the tune")
    assert said[1] == "seed 1 (of 2 the best by per_image_iou on the tune split)"


def test_only_trials_that_ended_well_are_chosen(crops, tmp_path):
    shutil.copytree(crops.ran.results / "ledger", tmp_path / "ledger")
    trials = {(t.configuration, t.seed): t.key for t in crops.ran.plan.trials}

    def refused(**selection: Any) -> str:
        with pytest.raises(InputError) as raised:
            choose_recipe(tmp_path, crops.ran.store, MaskSelection(**selection))
        return str(raised.value)

    def fail(*place: Any) -> None:
        (row,) = read_table(tmp_path, "trials", keys=[trials[place]]).to_dict("records")
        write_part(
            tmp_path, "trials", row["trial_key"], [_without_nan({**row, "status": "failed"})]
        )

    fail("CNN alone", 0)
    recipe, said = choose_recipe(
        tmp_path, crops.ran.store, MaskSelection(configuration="CNN alone", chain="PAR")
    )
    assert recipe.seed == 1
    assert said[:2] == [
        "configuration CNN alone (as asked)", "seed 1 (the only one that ended well)"
    ]  # fmt: skip
    of_seed = {"configuration": "CNN alone", "seed": 0}
    assert refused(**of_seed) == "--seed 0 did not end well: expected one of 1"
    fail("CNN alone", 1)
    begins = "--configuration 'CNN alone' did not end well: expected one of ViT alone"
    assert refused(**of_seed) == begins
    fail("ViT alone", 0)
    fail("ViT alone", 1)
    assert "no trial ended well" in refused()


def _without_nan(row: Raw) -> Raw:
    return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in row.items()}


def test_a_given_threshold_is_the_smallest_level_that_reaches_it(crops, tmp_path):
    recipe = crops.job(tmp_path, MaskSelection(seed=0, threshold=0.3)).recipe
    assert (recipe.level, recipe.rule) == (77, "given")  # 76 / 255 < 0.3 <= 77 / 255


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"configuration": "CNN alon"}, "--configuration 'CNN alon': nearest: 'CNN alone'; exp"),
        ({"seed": 7}, "--seed 7: expected one of 0, 1"),
        ({"chain": "PAX"}, "--chain 'PAX': nearest: 'PAR'; expected one of none, PAR, "),
        ({"chain": "SAM"}, "--chain 'SAM': was not run: no weights were given"),
        ({"rule": "tunned"}, "--rule 'tunned': chose no level here; nearest: 'tuned'"),
        ({"rule": "image_oracle"}, "--rule 'image_oracle': chose no level here"),
        ({"study": "crop"}, "--study 'crop': nearest: 'crops'"),
        ({"threshold": 1.5}, "--threshold 1.5: expected a value from 0 to 1"),
        ({"threshold": 0.5, "rule": "fixed"}, "--threshold and --rule: expected one of them"),
    ],
)
def test_a_slip_names_what_there_is(crops, tmp_path, wish, said):
    with pytest.raises(InputError, match=said):
        crops.job(tmp_path, MaskSelection(**wish))


def test_the_tuned_chain_is_the_one_that_is_best_on_the_tune_split_for_the_network(crops):
    (record,) = read_studies(crops.ran.results)
    asked = {"configuration": "CNN alone", "seed": 1}

    def chosen(chain: str) -> tuple[MaskRecipe, list[str]]:
        selection = MaskSelection(chain=chain, **asked)
        return choose_recipe(crops.ran.results, crops.ran.store, selection)

    def reached(chain: str) -> float:
        figures = record.by_seed("CNN alone", record.objective, chain=chain, split="tune")
        return figures[1]

    ran = [PLAIN, *(one.name for one in record.chains if one.lacks is None)]
    best = max(ran, key=reached)
    recipe, said = chosen("tuned chain")
    assert recipe == chosen(best)[0]
    assert f"chain {best} (the best on the tune split)" in said


def test_refinement_is_the_old_spelling_of_chain(crops, wsss, tmp_path):
    for option in ("--chain", "--refinement"):
        ended = wsss(
            "masks", crops.ran.results, "--images", crops.images, "--out", tmp_path / "masks",
            option, "PAX",
        )  # fmt: skip
        assert ended.code == 2
        assert "--chain 'PAX': nearest: 'PAR'" in ended.err


def test_another_store_is_refused(crops, wsss, tmp_path):
    ended = wsss(
        "masks", crops.ran.results, "--store", tmp_path / "other", "--images", crops.images,
        "--out", tmp_path / "masks",
    )  # fmt: skip
    assert ended.code == 2
    assert "expected, as --store, the store that the study was run with" in ended.err


def test_a_step_whose_version_was_raised_since_is_refused(crops, tmp_path, monkeypatch):
    monkeypatch.setitem(STEP_KINDS, "par", dataclasses.replace(STEP_KINDS["par"], version=99))
    with pytest.raises(InputError, match="refiner par: the study was run with its version 1, here"):
        crops.job(tmp_path, MaskSelection(chain="PAR twice"))
