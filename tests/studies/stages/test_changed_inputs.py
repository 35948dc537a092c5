"""Files that change between a plan and its training are refused, not filed under its keys."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import studies.preflight
from studies.planning.planner import make_plan
from studies.spec.study import Study
from studies.stages.training import initial_network
from studies.store import ArtifactStore
from wsss_core.backbones import build_network
from wsss_core.errors import InputError

Raw = dict[str, Any]


def digest(file: Path) -> str:
    return hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()


def write_weights(study: Raw, seed: int, file: Path) -> None:
    options = study["backbones"]["cnn"]["options"]
    torch.manual_seed(seed)
    network = build_network("resnet18", classes=1, image_size=32, options=options)
    torch.save(network.encoder.extractor.state_dict(), file)  # type: ignore[union-attr]


def test_weights_that_were_replaced_after_the_plan_are_not_trained_from(
    tiny: Raw, tmp_path: Path
) -> None:
    file = tmp_path / "weights.pth"
    write_weights(tiny, 1, file)
    tiny["backbones"]["cnn"]["weights"] = str(file)
    plan = make_plan(Study.model_validate(tiny))
    job = next(job for job in plan.jobs.values() if job.weights["student"] == str(file))
    initial_network(job, "student", str(file))
    planned = digest(file)
    write_weights(tiny, 2, file)
    with pytest.raises(InputError) as caught:
        initial_network(job, "student", str(file))
    assert str(caught.value) == (
        f"weights file {file} changed since the plan: its digest was {planned} and is "
        f"{digest(file)}; run again to plan with the new file"
    )


def test_an_image_that_was_replaced_after_the_plan_is_not_decoded_into_the_store(
    folder_study: Raw, smoke_folder: Path, tmp_path: Path
) -> None:
    plan = make_plan(Study.model_validate(folder_study))
    image = next(file for file in sorted(smoke_folder.glob("train/*/*")))
    Image.new("RGB", (40, 40), "green").save(image)
    store = ArtifactStore(tmp_path / "store")
    with pytest.raises(InputError, match=rf"^{re.escape(str(image))}: changed while it was read"):
        plan.image_sets[0].decode(store)
    assert not any(store.has("images", key) for key in plan.image_sets[0].splits.keys.values())


COUNTED = """
from wsss_core.data.scenes.source import SceneSource
from wsss_core.data.scenes.scene import SceneSettings
VERSION = 1
class Source(SceneSource):
    content = 0
    def fingerprint(self, split):
        return f"{super().fingerprint(split)}{self.content}"
def images():
    return Source(SceneSettings(size=32), train=24, tune=8, test=8)
"""


def test_images_of_a_plug_in_that_change_after_the_plan_are_refused(
    tiny: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "counted_images.py").write_text(COUNTED)
    monkeypatch.chdir(tmp_path)
    tiny["data"] = {"source": "plugin", "factory": "counted_images:images", "size": 32}
    images = make_plan(Study.model_validate(tiny)).image_sets[0]
    images.source.content = 1  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"^data, split train: changed while it was read"):
        images.decode(ArtifactStore(tmp_path / "store"))


def test_trials_whose_weights_change_during_a_run_fail_and_name_them(
    run: Callable[..., Any], tiny: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "weights.pth"
    write_weights(tiny, 1, file)
    tiny["backbones"]["cnn"]["weights"] = str(file)
    check = studies.preflight.preflight

    def replaced(*given: Any) -> None:
        check(*given)
        write_weights(tiny, 2, file)

    monkeypatch.setattr(studies.preflight, "preflight", replaced)
    failed = run(tiny, tmp_path / "results").result.failed
    assert set(failed) == {
        f"{name}, seed 0"
        for name in ("CNN alone", "taught, cosine global", "co-trained, cosine global")
    }
    assert f"weights file {file} changed since the plan" in failed["CNN alone, seed 0"]
