"""Rows without training, run: against maps read from the store and fused by hand."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from reports import make_report
from reports.ledger.parts import read_table
from reports.results.comparisons import best_taught, control_comparisons
from reports.results.reading import read_studies
from reports.tables.strategies import controls_table, strategies_table
from studies.masks.recipe import MaskSelection, choose_recipe
from studies.planning import cams_key
from studies.spec.loading import load_study
from studies.store.garbage import find_garbage
from wsss_core.cams.settings import CamSettings
from wsss_core.errors import InputError

Raw = dict[str, Any]
pytestmark = pytest.mark.ci

TWO = ["ViT alone", "CNN alone"]


@pytest.fixture(scope="module")
def study(shared_tiny: Raw) -> Raw:
    fused = [
        {"name": "both", "fuse": {"of": TWO, "how": "mean"}},
        {"name": "either", "fuse": {"of": TWO, "how": "or"}},
        {"name": "seeds", "fuse": {"of": "vit", "how": "product", "seeds": 2}},
        {"name": "soup", "fuse": {"of": "vit", "how": "soup", "seeds": 2}},
    ]
    return {
        **copy.deepcopy(shared_tiny),
        "data": {**shared_tiny["data"], "steam": 0.5, "train": 32},
        "seeds": [0, 1],
        "configurations": [*shared_tiny["configurations"], *fused],
        "chains": {"CRF": ["crf"], "multi-scale": [{"multi_scale": {"scales": [1.0, 0.5]}}]},
    }


@pytest.fixture(scope="module")
def ran(study: Raw, tmp_path_factory: pytest.TempPathFactory, run: Callable[..., Any]) -> Any:
    finished = run(study, tmp_path_factory.mktemp("fused"))
    assert (finished.result.failed, finished.result.unrefined) == ({}, {})
    return finished


def job_of(ran: Any, name: str, seed: int = 0) -> Any:
    jobs = ran.plan.jobs.values()
    return next(j for j in jobs for t in j.trials if (t.configuration, t.seed) == (name, seed))


def stored(ran: Any, job: Any, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a network's maps and logits, raw, as the store keeps them."""
    with ran.store.reading("cams", cams_key(job, "student", CamSettings(), split)) as folder:
        return np.load(folder / "maps.npy"), np.load(folder / "logits.npy")


def stretched(maps: np.ndarray) -> np.ndarray:
    low, high = maps.min((-2, -1), keepdims=True), maps.max((-2, -1), keepdims=True)
    return np.asarray((maps - low) / (high - low))


@pytest.mark.parametrize(("name", "members"), [("both", TWO), ("either", TWO)])
def test_scores_are_those_of_the_stored_maps_fused_at_the_masks_resolution(
    ran: Any, name: str, members: list[str]
) -> None:
    of_members = [stored(ran, job_of(ran, one), "test") for one in members]
    logits = np.mean([logits for _, logits in of_members], axis=0)
    job = job_of(ran, name)
    images = job.images.load(ran.store, "test")
    scores = read_table(ran.results, "scores")
    scores = scores[(scores["trial_key"] == job.trials[0].key) & (scores["split"] == "test")]
    scores = scores[scores["refinement"].isna()]
    assert set(scores["network"]) == {"student"}
    for index, image in enumerate(images.identifiers):
        shape = images.mask(index).shape
        each = [
            F.interpolate(torch.tensor(stretched(maps[index].astype(np.float32)))[None], shape,
                          mode="bilinear").numpy()[0]
            for maps, _ in of_members
        ]  # fmt: skip
        fused = stretched(np.mean(each, axis=0)) if name == "both" else np.max(each, axis=0)
        whole = np.rint(fused * 255)
        whole[logits[index] <= 0] = 0
        for number, of_class in enumerate(images.classes):
            row = scores[(scores["image"] == image) & (scores["class_name"] == of_class)].iloc[0]
            assert row["logit"] == pytest.approx(logits[index, number], abs=1e-6)
            others = np.delete(whole, number, axis=0).max(axis=0)
            sure = (whole[number] > others + 1) & (whole[number] > 1)
            counted = (row["foreground"] + row["background"])[2:].sum()
            assert counted >= sure.sum()  # where this class wins beyond rounding, it is counted
            assert counted <= (whole[number] >= others - 1).sum()


def test_a_soup_is_the_network_of_the_mean_weights(ran: Any) -> None:
    soup = load_file(ran.store.fetch("train", job_of(ran, "soup").key) / "student.safetensors")
    each = [
        load_file(ran.store.fetch("train", job_of(ran, "ViT alone", seed).key)
                  / "student.safetensors")
        for seed in (0, 1)
    ]  # fmt: skip
    assert soup.keys() == each[0].keys()
    for name, value in soup.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (each[0][name] + each[1][name]) / 2)


def test_fused_rows_have_all_that_other_rows_have_and_no_epoch(ran: Any) -> None:
    (record,) = read_studies(ran.results)
    for chain in ("none", "CRF", "multi-scale"):
        assert record.states("both", chain) == {"ok": 2}
        assert record.states("seeds", chain) == {"ok": 1}
    keys = {trial.key for trial in record.of("both")}
    assert not keys & set(read_table(ran.results, "history")["trial_key"])
    assert {trial.row["epochs"] for trial in record.of("both")} == {0}


def test_a_second_run_finds_everything_done_and_gc_finds_nothing(
    ran: Any, study: Raw, run: Callable[..., Any]
) -> None:
    again = run(study, ran.results, ran.store.where)
    assert (again.result.trained, again.result.reused) == (0, len(again.plan.trials))
    unneeded = find_garbage(ran.store, older_than=0.0, unused_by=[ran.results])
    assert [one.name for one in unneeded] == []


def test_gc_keeps_the_networks_of_a_fused_row_that_a_plan_no_longer_names(
    ran: Any, study: Raw, run: Callable[..., Any], tmp_path: Path
) -> None:
    # Of the fused row alone, whose networks no row reports; then a plan without it.
    alone = {"name": "both", "fuse": {"of": ["vit", "cnn"], "how": "mean"}}
    fused = {**study, "configurations": [alone], "chains": {}}
    run(fused, tmp_path, ran.store.where)
    run({**fused, "configurations": study["configurations"][1:2]}, tmp_path, ran.store.where)
    named = {one.name for one in find_garbage(ran.store, older_than=0.0, unused_by=[tmp_path])}
    for member in job_of(ran, "both").members:
        assert not any(f"/train/{member.key}" in name for name in named)
    plans = find_garbage(ran.store, older_than=0.0, unused_by=[tmp_path], plans_only=True)
    cnn = job_of(ran, "CNN alone").key
    assert any(cnn in one.name for one in plans)


def test_taught_rows_are_compared_with_every_control_of_their_network_by_seed(ran: Any) -> None:
    (record,) = read_studies(ran.results)
    found = [c for c in control_comparisons(record) if c.class_name == record.main_class]
    assert [(c.configuration.name, c.control.name) for c in found] == [
        (taught, control)
        for taught in ("taught, cosine global", "co-trained, cosine global")
        for control in ("both", "either", "seeds", "soup")
    ]
    for one in found:
        taught, control = (
            record.by_seed(name, record.objective)
            for name in (one.configuration.name, one.control.name)
        )
        assert one.difference.by_seed == {
            seed: taught[seed] - control[seed] for seed in sorted(taught.keys() & control.keys())
        }
        assert set(one.difference.by_seed) <= ({0} if one.control.fusion.seeds > 1 else {0, 1})
    assert all(one.configuration.fusion is None for one in best_taught(record))


def test_the_page_lists_controls_with_what_they_are_made_of(ran: Any, tmp_path: Path) -> None:
    (record,) = read_studies(ran.results)
    table = controls_table(record)
    made = {row[1].text: row[2].text for row in table.rows}
    assert made == {
        "both": "ViT alone + CNN alone, mean",
        "either": "ViT alone + CNN alone, or",
        "seeds": "2 seeds of ViT alone, product",
        "soup": "2 seeds of ViT alone, soup",
    }
    assert "blocks share no network" in " ".join(table.notes)
    make_report(ran.results, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Teaching, or two opinions?" in page


def test_a_row_under_few_of_the_seeds_is_never_the_best(ran: Any) -> None:
    (record,) = read_studies(ran.results)
    for row in strategies_table(record).rows:
        if row[0].text in ("seeds", "soup"):
            assert not any(cell.best for cell in row)


def test_masks_are_not_made_by_several_networks(ran: Any) -> None:
    recipe, _ = choose_recipe(ran.results, ran.store, MaskSelection())
    assert recipe.configuration not in ("both", "either", "seeds")
    with pytest.raises(InputError, match="--configuration 'both' fuses several networks: expected"):
        choose_recipe(ran.results, ran.store, MaskSelection(configuration="both"))
    soup, _ = choose_recipe(ran.results, ran.store, MaskSelection(configuration="soup"))
    assert soup.training.key == job_of(ran, "soup").key


def test_a_collapsed_network_gives_a_fused_row_a_state_and_no_number(
    study: Raw, run: Callable[..., Any], tmp_path: Path
) -> None:
    ruined = copy.deepcopy(study)
    ruined["backbones"]["cnn"]["training"] = {"learning_rate": 1e20, "epochs": 2}
    ruined |= {"seeds": [0], "chains": {}}
    ruined["configurations"] = [study["configurations"][place] for place in (0, 1, 4)]
    ended = run(ruined, tmp_path)
    (error,) = {value for name, value in ended.result.collapsed.items() if "both" in name}
    assert error.startswith("its member resnet18, single, seed 0 collapsed: ")
    (record,) = read_studies(tmp_path)
    assert record.states("both") == {"collapsed": 1}
    assert record.by_seed("both", record.objective) == {}


def test_a_failed_network_gives_a_fused_row_a_failure(
    study: Raw, run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import studies.stages.training as training

    whole = training.build_paradigm

    def failing(job: Any, *teachers: Any) -> Any:
        if job.settings["student"]["model"] == "resnet18" and job.paradigm == "single":
            raise RuntimeError("out of luck")
        return whole(job, *teachers)

    monkeypatch.setattr(training, "build_paradigm", failing)
    fewer = {**study, "seeds": [0], "chains": {}}
    fewer["configurations"] = [study["configurations"][place] for place in (0, 1, 4)]
    ended = run(fewer, tmp_path)
    assert ended.result.failed == {
        "CNN alone, seed 0": "RuntimeError: out of luck",
        "both, seed 0": "RuntimeError: its member resnet18, single, seed 0 is not trained: that "
        "training run failed",
    }


def test_the_study_of_a_results_folder_says_what_a_row_is_fused_of(ran: Any) -> None:
    plan = read_table(ran.results, "plan")
    settings = json.loads(plan.loc[plan["configuration"] == "seeds", "settings"].iloc[0])
    assert settings["fuse"]["of"] == ["ViT alone"]
    assert (settings["fuse"]["how"], settings["fuse"]["seeds"]) == ("product", 2)


def test_rows_are_fused_on_each_fold_and_at_each_value_of_a_sweep(study: Raw) -> None:
    from studies.planning.planner import make_plan

    swept = {**study, "sweep": {"key": "data.chimney_given_clear", "values": [0.1, 0.9]}}
    plan = make_plan(load_study(swept))
    for job in plan.jobs.values():
        assert all(member.images == job.images for member in job.members)
    assert sum(bool(job.members) for job in plan.jobs.values()) == 2 * (2 + 2 + 1 + 1)
