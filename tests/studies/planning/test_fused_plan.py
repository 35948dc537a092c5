"""Jobs that train nothing: their keys, what they wait for, and their price."""

from pathlib import Path
from typing import Any

import pytest

from studies.cli.plan_text import describe_plan
from studies.planning.plan import Plan
from studies.planning.planner import make_plan
from studies.spec.study import Study
from studies.store.artifacts import ArtifactStore
from wsss_core.errors import InputError

Raw = dict[str, Any]


def planned(study: Raw) -> Plan:
    return make_plan(Study.model_validate(study))


def fused_plan(study: Raw, *fusions: Raw, seeds: int = 1) -> Plan:
    entries = [{"fuse": fuse} for fuse in fusions]
    rows = [*study["configurations"][:2], *entries]
    return planned({**study, "seeds": list(range(seeds)), "configurations": rows})


BOTH = {"of": ["vit", "cnn"], "how": "mean"}


def test_a_fused_job_waits_for_its_networks_and_trains_nothing(tiny: Raw) -> None:
    plan = fused_plan(tiny, BOTH)
    cnn, vit, fused = plan.jobs.values()
    assert [job.name for job in (cnn, vit)] == ["CNN alone", "ViT alone"]
    assert fused.needs == (vit.key, cnn.key)
    assert fused.trained_roles == ()
    assert fused.resources.gpus == 0


def test_networks_that_no_row_reports_are_trained_for_a_fused_row(tiny: Raw) -> None:
    jobs = list(planned({**tiny, "configurations": [{"fuse": BOTH}]}).jobs.values())
    assert [len(job.trials) for job in jobs] == [0, 0, 1]


def test_the_key_follows_from_the_networks_and_the_way_alone(tiny: Raw) -> None:
    ways = [BOTH, {**BOTH, "how": "or"}, {**BOTH, "scores": "probabilities"},
            {**BOTH, "of": ["cnn", "vit"]}]  # fmt: skip
    keys = [list(fused_plan(tiny, way).jobs)[-1] for way in ways]
    assert len(set(keys)) == len(keys)
    assert list(fused_plan({**tiny, "title": "Another", "panels": 0}, BOTH).jobs)[-1] == keys[0]
    longer = {**tiny, "training": {**tiny["training"], "epochs": 2}}
    assert list(fused_plan(longer, BOTH).jobs)[-1] not in keys


def test_an_ensemble_over_seeds_has_a_trial_for_each_block_of_seeds(tiny: Raw) -> None:
    plan = fused_plan(tiny, {"of": "vit", "how": "mean", "seeds": 2}, seeds=5)
    ensembles = [job for job in plan.jobs.values() if job.members]
    assert [(job.seed, [m.seed for m in job.members]) for job in ensembles] == [
        (0, [0, 1]),
        (2, [2, 3]),
    ]
    assert {job.key for job in ensembles for job in job.members} <= set(plan.jobs)


def test_two_rows_of_one_training_run_are_not_fused(tiny: Raw) -> None:
    with pytest.raises(InputError, match="'ViT alone' and 'vit' are one training run"):
        fused_plan(tiny, {"of": ["ViT alone", "vit"], "how": "mean"})


def test_a_plan_prices_no_training_for_fused_rows(tiny: Raw, tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "store")
    plan = fused_plan(tiny, BOTH, {**BOTH, "how": "or"})
    said = describe_plan(plan, store, tmp_path)
    assert "4 trials, 2 training runs to do: 2 passes over the training images" in said
    assert said.count("to be fused, nothing to train") == 2


def test_a_network_that_is_missing_is_made_again_for_a_fused_row(tiny: Raw, tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "store")
    plan = fused_plan(tiny, BOTH)
    cnn, vit, fused = plan.jobs.values()
    for stage, key in [("train", vit.key), *(("scores", job.trials[0].key) for job in (cnn, vit))]:
        with store.build(stage, key, {}):
            pass
    assert [job.key for job in plan.pending(store)] == [cnn.key, fused.key]


def test_the_plan_keeps_what_a_later_run_and_gc_need(tiny: Raw) -> None:
    plan = fused_plan(tiny, BOTH)
    cnn, vit, fused = plan.jobs.values()
    assert fused.artifacts["train"] == [fused.key, vit.key, cnn.key]
    row = plan.ledger_rows()[-1]
    assert (row["paradigm"], row["student"], row["baseline"]) == ("fused", "ViT + CNN", "ViT alone")
