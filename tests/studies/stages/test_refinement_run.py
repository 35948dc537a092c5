"""Chains over a trained study: shared prefixes, scores like a hand-made chain's, resume, errors."""

import errno
import sys
import types
from typing import Any

import numpy as np
import pytest

from reports.ledger.parts import read_table
from reports.results.reading import read_studies
from studies.planning.chains import MapScaling, prefix_keys, shard_key, shards
from studies.planning.planner import make_plan
from studies.spec.study import Study
from studies.stages.cams import base_scores, network_maps
from studies.stages.chain_scores import score_chains
from studies.stages.handover import FailedChain, RunContext
from studies.stages.refinement import ShardOutcome
from wsss_core.errors import InputError
from wsss_core.evaluate import ScoreHistogram, quantise, resize
from wsss_core.refine.steps.pixel import PixelAdaptive
from wsss_core.refine.steps.walk import AffinityWalk

REFINE = {
    "scales": ["multi_scale"],
    "PAR": [{"par": {"iterations": 2, "dilations": [1, 2]}}],
    "PAR twice": [
        {"par": {"iterations": 2, "dilations": [1, 2]}},
        {"par": {"iterations": 1, "dilations": [1]}},
    ],
    "SAM": ["sam"],
}


@pytest.fixture(scope="module")
def refined(run, shared_tiny, tmp_path_factory) -> Any:
    study = {**shared_tiny, "configurations": [shared_tiny["configurations"][2]], "refine": REFINE}
    return run(study, tmp_path_factory.mktemp("refined"))


def test_every_chain_that_can_run_is_scored_over_every_image(refined):
    scores = read_table(refined.results, "scores")
    counts = scores.groupby(scores["refinement"].fillna("none"))["image"].count().to_dict()
    assert counts == {"none": 16, "scales": 16, "PAR": 16, "PAR twice": 16}
    assert refined.result.remaining == 0


def test_a_chain_that_lacks_weights_is_listed_as_not_run(refined):
    (record,) = read_studies(refined.results)
    (trial,) = record.trials.values()
    assert record.all_trials[trial.configuration, 0, "SAM"].status == "not run"
    assert any("SAM is not run: no weights were given" in line for line in refined.said)


def test_scores_under_a_chain_are_those_of_the_refiner_called_by_hand(refined):
    (trial,) = refined.plan.trials
    job = next(job for job in refined.plan.jobs.values() if job.trials)
    images = job.images.load(refined.store, "test")
    raw = network_maps(job, "student", "test", images, refined.store, "cpu")
    plain = base_scores(raw, refined.plan.chains[1].cam, MapScaling("min_max", "none"))
    maps = PixelAdaptive(2, (1, 2))(np.asarray(images.images), plain)
    rows = read_table(refined.results, "scores", keys=[trial.chains["PAR"]])
    rows = rows[rows["split"] == "test"].set_index("image")
    for index, name in enumerate(images.identifiers):
        mask = images.mask(index)
        kept = maps[index].astype(np.float16)  # as the store keeps them
        expected = ScoreHistogram.from_scores(quantise(resize(kept, mask.shape))[0], mask == 1)
        np.testing.assert_array_equal(rows.loc[name, "foreground"], expected.foreground)
        np.testing.assert_array_equal(rows.loc[name, "background"], expected.background)


def test_chains_that_begin_alike_share_what_they_have_in_common(refined):
    job = next(job for job in refined.plan.jobs.values() if job.trials)
    _, par, twice = refined.plan.runnable_chains
    scaling = MapScaling("min_max", "none")
    assert prefix_keys(job, par, scaling, "test") == prefix_keys(job, twice, scaling, "test")[:2]
    kept = {folder.name for folder in (refined.store.root / "refined").iterdir()}
    expected = {
        shard_key(key, bounds)
        for split in ("tune", "test")
        for key in prefix_keys(job, twice, scaling, split)[1:]
        for bounds in shards(8)
    }
    assert kept == expected


def test_a_chain_that_failed_here_and_was_finished_elsewhere_keeps_its_result(refined):
    """As after a pause of its driver beyond the lease: the tasks fail when they go on."""
    (job,) = (job for job in refined.plan.jobs.values() if job.trials)
    context = RunContext.of(refined.plan, refined.store, refined.results)
    before = read_table(refined.results, "refined").set_index("refinement")["status"].to_dict()
    late = ShardOutcome({"PAR": FailedChain("PAR", "raised after the pause", "")}, {})
    assert score_chains(job, context, refined.store, [late]) == ()
    after = read_table(refined.results, "refined").set_index("refinement")["status"].to_dict()
    assert after == before == {"scales": "ok", "PAR": "ok", "PAR twice": "ok"}


def test_a_second_run_refines_nothing_and_a_new_chain_alone_is_added(refined, run, shared_tiny):
    study = {**shared_tiny, "configurations": [shared_tiny["configurations"][2]], "refine": REFINE}
    again = run(study, refined.results)
    assert any("nothing to train" in line for line in again.said)
    assert not any("times a chain" in line for line in again.said)
    study["refine"] = {**REFINE, "one more": [{"par": {"iterations": 1, "dilations": [4]}}]}
    more = run(study, refined.results)
    assert any("1 times a chain over a trial" in line for line in more.said)
    assert more.result.trained == 0


def test_a_step_of_ones_own_is_called_and_its_version_is_part_of_the_key(
    run, taught, tmp_path, monkeypatch
):
    module = types.ModuleType("own_step")
    module.VERSION = 1
    module.invert = lambda images, scores, strength: 1 - strength * scores
    monkeypatch.setitem(sys.modules, "own_step", module)
    taught["refine"] = {"own": [{"own_step:invert": {"strength": 0.5}}]}
    ran = run(taught, tmp_path)
    assert ran.result.remaining == 0
    keys = ran.plan.trials[0].chains
    module.VERSION = 2
    assert make_plan(Study.model_validate(taught)).trials[0].chains != keys


def test_a_failing_chain_is_recorded_and_keeps_no_other_from_being_scored(
    run, taught, tmp_path, monkeypatch
):
    module = types.ModuleType("bad_step")
    module.VERSION = 1
    module.beyond = lambda images, scores: scores + 5
    monkeypatch.setitem(sys.modules, "bad_step", module)
    taught["refine"] = {"bad": ["bad_step:beyond"], "good": [{"par": {"iterations": 1}}]}
    ran = run(taught, tmp_path)
    assert list(ran.result.unrefined) == ["taught, cosine global, seed 0, bad"]
    assert "expected scores of 0 to 1, got 5 to 6" in next(iter(ran.result.unrefined.values()))
    states = read_table(tmp_path, "refined").set_index("refinement")["status"].to_dict()
    assert states == {"bad": "failed", "good": "ok"}
    module.beyond = lambda images, scores: scores
    assert run(taught, tmp_path).result.unrefined == {}


AFFINITY = {"affinity": {"epochs": 1}}
NO_SUCH_LAYER = {"affinity": {"layers": [99]}}


def test_a_step_that_cannot_learn_fails_its_chains_alone_and_is_tried_once(
    run, taught, tmp_path, monkeypatch
):
    tried = []
    fit = AffinityWalk.fit

    def noted(step, *arguments, **options):
        tried.append(step.settings.layers)
        fit(step, *arguments, **options)

    monkeypatch.setattr(AffinityWalk, "fit", noted)
    taught["refine"] = {
        "bad": [NO_SUCH_LAYER],
        "bad and longer": [NO_SUCH_LAYER, {"par": {"iterations": 1}}],
        "learnt": [AFFINITY],
        "plain": [{"par": {"iterations": 1}}],
    }
    ran = run(taught, tmp_path)
    assert tried == [(99,), ()]
    assert ran.result.failed == {}
    states = read_table(tmp_path, "refined").set_index("refinement")
    assert states["status"].to_dict() == {
        "bad": "failed", "bad and longer": "failed", "learnt": "ok", "plain": "ok",
    }  # fmt: skip
    assert "99" in states["error"]["bad"]
    assert "in fit" in states["traceback"]["bad and longer"]
    scores = read_table(tmp_path, "scores")
    assert set(scores["refinement"].fillna("none")) == {"none", "learnt", "plain"}
    assert list(read_table(tmp_path, "trials")["status"]) == ["ok"]


def test_a_storage_that_is_away_while_a_step_learns_is_no_chain_s_fault(
    run, taught, tmp_path, monkeypatch
):
    def away(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "head.safetensors")

    monkeypatch.setattr(AffinityWalk, "fit", away)
    taught["refine"] = {"learnt": [AFFINITY]}
    with pytest.raises(InputError, match="no space left"):
        run(taught, tmp_path)
    assert read_table(tmp_path, "refined").empty
    monkeypatch.undo()
    assert run(taught, tmp_path).result.unrefined == {}
    assert list(read_table(tmp_path, "refined")["status"]) == ["ok"]


def test_what_a_chain_gives_does_not_depend_on_which_chain_made_its_beginning(
    run, taught, tmp_path
):
    first = {"par": {"iterations": 2, "dilations": [1, 2]}}
    long = {"long": [first, {"par": {"iterations": 1, "dilations": [1]}}]}

    def rows(refine, folder):
        ran = run({**taught, "refine": refine}, folder)
        key = list(ran.plan.trials[0].chains.values())[-1]
        return read_table(folder, "scores", keys=[key])

    alone = rows(long, tmp_path / "alone")
    after = rows({"short": [first], **long}, tmp_path / "after")
    for name in ("foreground", "background"):
        np.testing.assert_array_equal(np.stack(alone[name]), np.stack(after[name]))
