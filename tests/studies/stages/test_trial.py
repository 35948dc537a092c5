"""What a finished trial leaves behind, against a recomputation that shares none of its code."""

import io
import json
import math
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file

import studies.runner
from reports.ledger.parts import read_table
from studies.stages.device import WorkerShare
from wsss_core.backbones import Network, build_network
from wsss_core.data.image_set import ImageSet
from wsss_core.data.scenes.scene import SceneSettings
from wsss_core.data.scenes.source import SceneSource
from wsss_core.transfer import Single

Raw = dict[str, Any]

VIT_OPTIONS = {"patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 3}
NAMES = {
    "vit": "ViT alone",
    "taught": "taught, cosine global",
    "together": "co-trained, cosine global",
}


def job_of(finished: Any, configuration: str) -> Any:
    return next(
        job
        for job in finished.plan.jobs.values()
        if configuration in [trial.configuration for trial in job.trials]
    )


def stored_vit(finished: Any, configuration: str) -> Network:
    network = build_network("vit_tiny_patch16_224", classes=1, image_size=32, options=VIT_OPTIONS)
    folder = finished.store.path("train", job_of(finished, configuration).key)
    network.load_state_dict(load_file(folder / "student.safetensors"))
    return network.eval()


def scenes(split: str) -> ImageSet:
    return SceneSource(SceneSettings(size=32), train=24, tune=8, test=8).read(split, 32)


def naive_levels(network: Network, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """255 x the score of each pixel, unrounded, float64 [N, 32, 32]; logits; raw maps."""
    batch = torch.tensor(images).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        output = network(batch)
    raw = output.activation_maps[:, 0].half().double()
    levels = []
    for one in raw:
        one = (one - one.min()) / (one.max() - one.min())
        resized = F.interpolate(one[None, None], (32, 32), mode="bilinear", align_corners=False)
        levels.append(255 * resized[0, 0].numpy())
    return np.stack(levels), output.logits[:, 0].numpy(), raw.numpy()


def sure(levels: np.ndarray) -> np.ndarray:
    """Where float32 cannot round to the other side."""
    return np.abs(levels - np.floor(levels) - 0.5) > 1e-3


@pytest.mark.parametrize("split", ["tune", "test"])
@pytest.mark.parametrize("configuration", NAMES.values())
def test_the_histograms_are_those_of_the_stored_network_counted_pixel_by_pixel(
    finished: Any, configuration: str, split: str
) -> None:
    images = scenes(split)
    levels, logits, _ = naive_levels(stored_vit(finished, configuration), images.images)
    key = job_of(finished, configuration).trials[0].key
    table = read_table(finished.results, "scores", keys=[key])
    rows = table[(table["split"] == split) & (table["network"] == "student")]
    assert len(rows) == 8
    for index, row in enumerate(rows.itertuples()):
        mask = images.mask(index)
        counts = {"foreground": [0] * 256, "background": [0] * 256}
        certain = sure(levels[index])
        for y in range(32):
            for x in range(32):
                if certain[y, x]:
                    side = "foreground" if mask[y, x] == 1 else "background"
                    counts[side][int(levels[index, y, x] + 0.5)] += 1
        foreground = np.asarray(row.foreground, np.int64)
        background = np.asarray(row.background, np.int64)
        assert foreground.sum() == (mask == 1).sum()
        assert background.sum() == (mask == 0).sum()
        # Only pixels on the verge of two levels may lie in either.
        assert (foreground >= counts["foreground"]).all()
        assert (background >= counts["background"]).all()
        assert (~certain).sum() <= 64
        assert row.logit == pytest.approx(logits[index], abs=1e-5)
        assert row.image == images.identifiers[index]
        assert row.labelled == (mask == 1).any()
        assert row.class_name == "smoke"


def test_the_raw_scores_are_kept_as_float16_on_the_network_s_own_grid(finished: Any) -> None:
    kept: list[tuple[str, np.ndarray]] = []
    for folder in (finished.store.root / "cams").iterdir():
        manifest = json.loads((folder / "manifest.json").read_text())
        kept.append((manifest["parent"], np.load(folder / "maps.npy")))
    key = job_of(finished, NAMES["vit"]).key
    own = [maps for parent, maps in kept if parent == key]
    assert [(maps.dtype, maps.shape) for maps in own] == [(np.float16, (8, 1, 4, 4))] * 2
    expected = [
        naive_levels(stored_vit(finished, NAMES["vit"]), scenes(split).images)[2]
        for split in ("tune", "test")
    ]
    for maps in own:
        assert min(np.abs(maps[:, 0] - one).max() for one in expected) < 1e-3


def test_both_networks_that_learned_together_are_scored_and_others_the_student_alone(
    finished: Any,
) -> None:
    table = read_table(finished.results, "scores")
    networks = table.groupby("trial_key")["network"].unique()
    for trial in finished.plan.trials:
        together = trial.configuration == NAMES["together"]
        assert sorted(networks[trial.key]) == (
            ["fused", "student", "teacher"] if together else ["student"]
        )


def test_a_student_learned_from_the_stored_teacher_and_left_it_as_it_was(finished: Any) -> None:
    teacher = finished.store.path("train", job_of(finished, "CNN alone").key)
    manifest = json.loads((teacher / "manifest.json").read_text())
    from wsss_core.data.file_hashes import file_hashes

    network = teacher / "student.safetensors"
    assert file_hashes([network])[0] == manifest["files"]["student.safetensors"]
    student = finished.store.path("train", job_of(finished, NAMES["taught"]).key)
    assert sorted(file.name for file in student.iterdir()) == [
        "manifest.json",
        "outcome.json",
        "student.safetensors",
    ]


def pictures(finished: Any, configuration: str) -> pd.DataFrame:
    key = job_of(finished, configuration).trials[0].key
    return read_table(finished.results, "panels", keys=[key])


def opened(content: Any) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_a_panel_shows_an_image_its_mask_and_its_scores(finished: Any) -> None:
    images = scenes("test")
    levels, _, _ = naive_levels(stored_vit(finished, NAMES["vit"]), images.images)
    rows = pictures(finished, NAMES["vit"])
    assert len(rows) == 2
    for row in rows.itertuples():
        index = images.identifiers.index(str(row.image))
        assert row.split == "test"
        np.testing.assert_array_equal(opened(row.image_png), images.images[index])
        np.testing.assert_array_equal(opened(row.mask_png), (images.mask(index) == 1) * 255)
        cam = opened(row.cam_png)
        certain = sure(levels[index])
        assert (cam[certain] == np.floor(levels[index] + 0.5)[certain]).all()


def test_every_trial_shows_the_first_and_the_last_test_image_that_holds_smoke(
    finished: Any,
) -> None:
    images = scenes("test")
    holding = [images.identifiers[i] for i in range(8) if (images.mask(i) == 1).any()]
    for trial in finished.plan.trials:
        rows = pictures(finished, trial.configuration)
        for _, shown in rows.groupby("network"):
            assert list(shown["image"]) == [holding[0], holding[-1]]


def test_the_ledger_says_on_what_and_with_what_a_trial_ran(finished: Any) -> None:
    rows = read_table(finished.results, "trials").set_index("trial_key")
    source = SceneSource(SceneSettings(size=32), train=24, tune=8, test=8)
    for job in finished.plan.jobs.values():
        (trial,) = job.trials
        row = rows.loc[trial.key]
        assert (row["configuration"], row["seed"]) == (trial.configuration, 0)
        assert row["status"] == "ok"
        assert row["train_fingerprint"] == source.fingerprint("train")
        assert row["evaluation_fingerprint"] == (
            f"{source.fingerprint('tune')}-{source.fingerprint('test')}"
        )
        assert json.loads(row["settings"])["training"]["learning_rate"] == 1e-3
        assert json.loads(row["packages"])["torch"] == metadata.version("torch")
        assert row["epochs"] == 1
        assert row["images_per_second"] > 0
        assert 10 * 2**20 < row["peak_memory_bytes"] < 100 * 2**30


def test_the_ledger_counts_the_parameters_of_what_was_trained(finished: Any) -> None:
    rows = read_table(finished.results, "trials").set_index("configuration")["parameters"]

    def stored(configuration: str, *roles: str) -> int:
        folder = finished.store.path("train", job_of(finished, configuration).key)
        counted = 0
        for role in roles:
            state = load_file(folder / f"{role}.safetensors")
            statistics = ("running_mean", "running_var", "num_batches_tracked")
            counted += sum(v.numel() for k, v in state.items() if not k.endswith(statistics))
        return counted

    assert rows["ViT alone"] == stored("ViT alone", "student")
    assert rows["CNN alone"] == stored("CNN alone", "student")
    assert rows[NAMES["taught"]] == rows["ViT alone"]
    assert rows[NAMES["together"]] == stored(NAMES["together"], "student", "teacher")


def test_the_history_has_a_row_an_epoch_with_a_transfer_loss_where_something_is_transferred(
    finished: Any,
) -> None:
    history = read_table(finished.results, "history").set_index("trial_key")
    for trial in finished.plan.trials:
        row = history.loc[trial.key]
        assert row["epoch"] == 0
        alone = trial.spec.paradigm == "single"
        assert np.isnan(row["transfer_loss"]) == alone
        transferred = 0.0 if alone else row["transfer_loss"]
        assert row["loss"] == pytest.approx(row["classification_loss"] + transferred)


def test_networks_of_one_seed_start_alike_in_every_configuration(finished: Any) -> None:
    from studies.stages.training import initial_network

    states = []
    for configuration in NAMES.values():
        job = job_of(finished, configuration)
        states.append(initial_network(job, "student", "none").state_dict())
    for state in states[1:]:
        assert all(torch.equal(states[0][name], state[name]) for name in states[0])


def test_a_part_of_the_ledger_is_the_store_s_own_byte_for_byte(finished: Any) -> None:
    for part in sorted((finished.results / "ledger").rglob("*.parquet")):
        if part.parent.name == "plan":
            continue
        kept: Path = finished.store.path("scores", part.stem) / "ledger" / part.parent.name
        assert (kept / part.name).read_bytes() == part.read_bytes()


def test_scene_trials_say_where_their_maps_lie_and_what_their_logits_hang_on(finished: Any) -> None:
    scores = read_table(finished.results, "scores")
    test = scores[(scores["split"] == "test") & (scores["network"] == "student")]
    images = finished.plan.image_sets[0].splits.load(finished.store, "test")
    for _, row in test.iterrows():
        index = images.identifiers.index(row["image"])
        mask, context = images.mask(index) == 1, images.context(index)
        assert context is not None
        if mask.any():
            assert row["context"].sum() == (context & ~mask).sum()
            assert (row["ring"] + row["context"] <= row["background"]).all()
            assert row["peak"] in ("object", "context", "ring", "elsewhere", "nowhere")
        else:
            assert row["context"] is None
            assert pd.isna(row["peak"])
        assert math.isnan(row["logit_without_object"]) == (not row["labelled"])
        assert math.isnan(row["logit_without_context"]) == (not context.any())
    tune = scores[scores["split"] == "tune"]
    assert tune["logit_without_object"].isna().all()


def test_the_fused_logit_is_the_mean_of_both_networks(finished: Any) -> None:
    scores = read_table(finished.results, "scores")
    together = scores[scores["network"] == "fused"].set_index(["trial_key", "split", "image"])
    parts = scores[scores["trial_key"].isin(together.index.get_level_values(0).unique())]
    parts = parts[parts["network"] != "fused"]
    mean = parts.groupby(["trial_key", "split", "image"])["logit"].mean()
    np.testing.assert_allclose(together["logit"], mean.loc[together.index], atol=1e-6)


def limited(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Let memory run out where more than `most` images are trained on at once."""
    whole = Single.losses

    def losses(self: Single, images: torch.Tensor, *more: Any) -> Any:
        if self.training and len(images) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(self, images, *more)

    monkeypatch.setattr(Single, "losses", losses)


@pytest.mark.ci
def test_a_trial_whose_batches_did_not_fit_says_how_many_images_it_took_at_once(
    tiny: Raw, run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny["configurations"] = tiny["configurations"][:2]
    limited(monkeypatch, 3)
    ran = run(tiny, tmp_path)
    trials = read_table(tmp_path, "trials")
    assert list(trials["status"]) == ["ok", "ok"]
    assert list(trials["micro_batch"]) == [2, 2]
    assert set(read_table(tmp_path, "history")["epoch"]) == {0}
    assert ran.result.failed == {}


def test_the_others_say_that_their_batches_were_whole(finished: Any) -> None:
    assert read_table(finished.results, "trials")["micro_batch"].isna().all()


def test_a_trial_of_which_no_image_fits_fails_and_says_what_to_change(
    tiny: Raw, run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny["configurations"] = tiny["configurations"][:1]
    run(tiny, tmp_path)  # the network is known to work
    limited(monkeypatch, 0)
    tiny["seeds"] = [1]
    run(tiny, tmp_path)
    trials = read_table(tmp_path, "trials").to_dict("records")
    (trial,) = (trial for trial in trials if trial["seed"] == 1)
    assert trial["status"] == "failed"
    assert trial["error"].startswith(
        "OutOfMemoryError: training on images of 32 x 32 px (batch_size 8) runs out of memory"
    )


def test_the_ledger_keeps_what_training_was_given_of_the_machine(
    tiny: Raw, run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scored again by another process, the trial's time is still that of the first."""
    tiny["configurations"] = tiny["configurations"][:1]

    def given(cpus: int, gpus: float) -> None:
        share = WorkerShare("cpu", cpus, gpus)
        monkeypatch.setattr(studies.scheduling.in_process, "WorkerShare", lambda device: share)

    given(cpus=3, gpus=0.25)
    run(tiny, tmp_path)
    given(cpus=1, gpus=0.0)
    tiny["panels"] = 1
    run(tiny, tmp_path)
    trials = read_table(tmp_path, "trials")
    assert list(zip(trials["cpus"], trials["gpus"], strict=True)) == [(3, 0.25)] * 2
