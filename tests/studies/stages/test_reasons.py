"""Reasons in a study: measured where a trial was trained, or later, and kept in the ledger."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reports.ledger.parts import read_table
from studies.planning.planner import make_plan
from studies.spec.study import Study
from studies.stages import load_network
from wsss_core.data.network_input import to_input
from wsss_core.evaluate.reasons import ReasonSettings, object_and_context

Raw = dict[str, Any]
SETTINGS = {"sigmas": [0.25, 0.75], "draws": 1, "steps": 2}


def test_reasons_leave_every_other_key_as_it_is(shared_tiny: Raw) -> None:
    def plan(**more: Any) -> Any:
        return make_plan(Study.model_validate({**shared_tiny, **more}))

    plain, asked, others = plan(), plan(reasons=True), plan(reasons={"draws": 2})
    assert [trial.key for trial in plain.trials] == [trial.key for trial in asked.trials]
    assert plan(reasons=False).score_keys() == plain.score_keys()
    assert {trial.reasons for trial in plain.trials} == {None}
    keys = {trial.reasons for trial in (*asked.trials, *others.trials)}
    assert len(keys) == 2 * len(asked.trials)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"sigmas": []}, "reasons.sigmas"),
        ({"sigmas": [0.5, 0]}, "sigmas: expected one or more above 0"),
        ({"draws": 0}, "reasons.draws"),
        ({"drawz": 1}, "drawz"),
    ],
)
def test_settings_that_cannot_be_are_named(shared_tiny: Raw, given: Raw, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Study.model_validate({**shared_tiny, "reasons": given})


def test_settings_of_the_file_are_those_of_the_measurement(shared_tiny: Raw) -> None:
    study = Study.model_validate({**shared_tiny, "reasons": SETTINGS})
    assert study.reasons is not None
    assert study.reasons.settings() == ReasonSettings((0.25, 0.75), 1, 2)


@pytest.fixture(scope="module")
def asked_later(
    finished: Any, run: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """The tiny study, finished, then asked for its reasons."""
    results = tmp_path_factory.mktemp("asked") / "results"
    shutil.copytree(finished.results, results)
    study = finished.plan.study.model_dump(by_alias=True, exclude_unset=True)
    return run({**study, "reasons": SETTINGS}, results)


@pytest.mark.ci
def test_a_finished_study_is_asked_without_training(asked_later: Any, run: Any) -> None:
    assert (asked_later.result.trained, asked_later.result.remaining) == (0, 0)
    rows = read_table(asked_later.results, "reasons")
    assert set(rows["trial_key"]) == {trial.key for trial in asked_later.plan.trials}
    assert set(rows["network"]) == {"student", "teacher"}  # both after co-training
    study = asked_later.plan.study.model_dump(by_alias=True, exclude_unset=True)
    again = run(study, asked_later.results)
    assert again.result.reused == len(again.plan.trials)


@pytest.mark.ci
def test_accuracies_are_those_of_the_saved_network_on_images_altered_by_hand(
    asked_later: Any,
) -> None:
    plan, store = asked_later.plan, asked_later.store
    rows = read_table(asked_later.results, "reasons")
    for job in plan.jobs.values():
        images = job.images.load(store, "test")
        shown = [i for i in range(len(images)) if (images.mask(i) == 1).any()]
        clear = np.flatnonzero(~images.labels[:, 0])
        network = load_network(store, job, "student").eval()
        of_job = rows[(rows["trial_key"] == job.trials[0].key) & (rows["network"] == "student")]

        def accuracy(altered: list[np.ndarray], network: torch.nn.Module = network) -> float:
            with torch.no_grad():
                logits = network(to_input(np.stack(altered))).logits
            return float((logits[:, 0] > 0).double().mean())

        altered: dict[tuple[str, float], list[np.ndarray]] = {}
        for place in shown:
            image = images.images[place]
            held, around = object_and_context(images.mask(place), 0, 32)
            altered.setdefault(("clean", 0), []).append(image)
            for name, region in (("object_grey", held), ("context_grey", around)):
                altered.setdefault((name, 0), []).append(np.where(region[..., None], 128, image))
            other = np.random.default_rng([0, place]).choice(clear)
            placed = np.where(held[..., None], image, images.images[other])
            altered.setdefault(("other_background", 0), []).append(placed)
            for strength, sigma in enumerate((0.25, 0.75)):
                noise = np.random.default_rng([0, place, strength, 0]).standard_normal(
                    image.shape, dtype=np.float32
                )
                for kind, picture in (("", image), ("clear ", images.images[other])):
                    whole = np.clip(np.rint(picture + 255 * np.float32(sigma) * noise), 0, 255)
                    for name, region in (("noisy_object", held), ("noisy_context", around)):
                        noisy = np.where(region[..., None], whole, picture)
                        altered.setdefault((kind + name, sigma), []).append(noisy)
        shares = {
            name: accuracy([one.astype(np.uint8) for one in pictures])
            for name, pictures in altered.items()
        }
        for (measure, sigma), share in shares.items():
            if measure.startswith("clear"):
                continue
            found = of_job[of_job["measure"] == measure]
            found = found[found["sigma"] == sigma] if sigma else found
            expected = (share + 1 - shares["clear " + measure, sigma]) / 2 if sigma else share
            assert found["value"].item() == pytest.approx(expected)
            assert found["images"].item() == len(shown)


@pytest.mark.ci
def test_figures_of_maps_lie_within_their_range(asked_later: Any) -> None:
    rows = read_table(asked_later.results, "reasons")
    of_maps = rows[rows["measure"].isin(["deletion_area", "insertion_area", "max_box_accuracy"])]
    assert len(of_maps) == 3 * 5  # five networks: co-training has two
    assert of_maps["value"].between(0, 1).all()


@pytest.mark.ci
def test_a_collapsed_trial_has_no_reasons_and_is_not_asked_again(
    tiny: Raw, tmp_path: Path, run: Any
) -> None:
    tiny["configurations"] = tiny["configurations"][:1]
    tiny["training"] |= {"learning_rate": 1e30}
    tiny["reasons"] = SETTINGS
    first = run(tiny, tmp_path)
    assert first.result.collapsed
    assert read_table(tmp_path, "reasons").empty
    assert run(tiny, tmp_path).result.reused == 1
