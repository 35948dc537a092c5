"""Every key of every shipped study and variant stays what it was: results made before are found.

`shipped_keys.json` holds the keys as revision 6d4fdaa planned them. A change that is meant to make
artifacts anew raises its stage's version in `VERSIONS` and writes the file again:

    python tests/studies/planning/test_shipped_keys.py
"""

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import yaml
from PIL import Image

from studies.planning.chains import image_features_key, shard_key
from studies.planning.planner import make_plan
from studies.search.candidates import first_jobs, parts_prefix
from studies.spec.loading import REQUIRED, load_study, required_keys, shipped_studies
from wsss_core.refine.steps.registry import STEP_KINDS

KEYS = Path(__file__).with_name("shipped_keys.json")
SHARD = (0, 64)


def cases() -> list[tuple[str, str | None]]:
    """Every shipped study as it stands, and under each of its variants."""
    found: list[tuple[str, str | None]] = []
    for name, file in shipped_studies().items():
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
        found += [(name, None), *((name, variant) for variant in raw.get("variants", {}))]
    return found


def given(name: str, variant: str | None, folder: Path) -> list[str]:
    """What has to be given on the command line: images, and weights by their content."""
    text = shipped_studies()[name].read_text(encoding="utf-8")
    raw = yaml.safe_load(text)
    holders = [raw, raw.get("variants", {}).get(variant, {})]
    changes = []
    if any(holder.get("data", {}).get("root") == REQUIRED for holder in holders):
        masked = variant == "crops" and "segment" in raw  # 25 training images have a mask there
        changes.append(f"data.root={folder / ('masked' if masked else 'crops')}")
    for network in ("cnn", "vit", *sorted(raw["backbones"].keys() - {"cnn", "vit"})):
        sections = [raw["backbones"].get(network, {}), holders[1].get(f"backbones.{network}", {})]
        if any(section.get("weights") == REQUIRED for section in sections):
            file = "cnn" if network == "cnn" else "vit"
            changes.append(f"backbones.{network}.weights={folder / file}.safetensors")
    for key in required_keys(name, [variant] if variant else []):
        if key == "segment.model.weights":
            changes.append(f"{key}={folder / 'vit'}.safetensors")
        elif key.startswith("segment."):
            changes.append(f"{key}=facebook/sam-vit-base")  # a name of the hub is in keys as it is
    return changes


def write_inputs(folder: Path) -> None:
    """A data folder of a few uncompressed pictures, and weights of a few bytes: only hashed."""
    random = np.random.default_rng(0)
    mask = np.zeros((40, 40), np.uint8)
    mask[10:20, 5:30] = 255
    files = [("train/smoke", "a"), ("train/clear", "b")]
    files += [
        (f"{split}/{kind}", "c") for split in ("tune", "test") for kind in ("images", "masks")
    ]
    for place, name in files:
        path = folder / "crops" / place
        path.mkdir(parents=True)
        masked = place.endswith("masks")
        pixels = mask if masked else random.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        options: dict[str, Any] = {"compress_level": 0} if masked else {}
        # Uncompressed: no release of zlib writes other bytes.
        Image.fromarray(pixels).save(
            path / f"{name}.{'png' if masked else 'bmp'}",
            **options,
        )
    masked = shutil.copytree(folder / "crops", folder / "masked") / "train"
    (masked / "masks" / "smoke").mkdir(parents=True)
    for number in range(25):
        shutil.copy(masked / "smoke" / "a.bmp", masked / "smoke" / f"{number}.bmp")
        shutil.copy(
            folder / "crops" / "tune" / "masks" / "c.png",
            masked / "masks" / "smoke" / f"{number}.png",
        )
    for network in ("cnn", "vit"):
        (folder / f"{network}.safetensors").write_bytes(network.encode())


def planned_keys(name: str, variant: str | None, folder: Path) -> dict[str, Any]:
    """Stage -> keys, in the plan's order."""
    variants = [variant] if variant else []
    study = load_study(name, given(name, variant, folder), variants)
    # Keys do not depend on which extras are installed.
    everywhere = {kind: replace(step, package=None) for kind, step in STEP_KINDS.items()}
    with patch.dict(STEP_KINDS, everywhere):
        plan = make_plan(study)
    searched: dict[str, Any] = {}
    if study.search is not None:
        planner, first = first_jobs(study)
        searched = {"search": {"parts": parts_prefix(planner), "train": list(first.jobs)}}
    segments = {
        f"{one.entry}, seed {job.seed}": [job.key, one.scores_key]
        for job in plan.segments
        for one in job.scorings
    }
    refined = [key for trial in plan.trials for key in trial.chains.values()]
    return {
        **searched,
        **({"segment": segments} if segments else {}),
        "images": [key for images in plan.image_sets for key in images.splits.keys.values()],
        "train": list(plan.jobs),
        "scores": {
            f"{t.configuration}, seed {t.seed}"
            + ("" if t.sweep_value is None else f", at {t.sweep_value:g}"): t.key
            for t in plan.trials
        },
        "chains": {t.key: list(t.chains.values()) for t in plan.trials if t.chains},
        "shards": [shard_key(key, SHARD) for key in refined[:4]],
        "described": [
            image_features_key(step, plan.image_sets[0].splits.size, "fingerprint", SHARD)
            for chain in plan.runnable_chains
            for step in chain.steps
        ],
    }


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


def test_the_file_holds_every_shipped_study_and_variant() -> None:
    expected = [f"{name} {variant or ''}".strip() for name, variant in cases()]
    assert list(json.loads(KEYS.read_text(encoding="utf-8"))) == expected


@pytest.mark.parametrize(("name", "variant"), cases())
def test_every_key_of_a_shipped_study_is_what_it_was(
    name: str, variant: str | None, inputs: Path
) -> None:
    recorded = json.loads(KEYS.read_text(encoding="utf-8"))[f"{name} {variant or ''}".strip()]
    assert planned_keys(name, variant, inputs) == recorded


def write() -> None:
    """Write the keys that this revision plans."""
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(Path(folder))
        found = {f"{n} {v or ''}".strip(): planned_keys(n, v, Path(folder)) for n, v in cases()}
    KEYS.write_text(json.dumps(found, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
