"""`wsss status` is called often, so it loads nothing that takes long to load."""

import subprocess
import sys
from datetime import UTC, datetime

import pytest

from reports.ledger.parts import write_part
from reports.storage.opening import open_folder
from studies.store.leases import Leases

HEAVY = ("torch", "torchvision", "timm", "ray", "optuna", "matplotlib", "pandas", "scipy",
         "pydantic", "yaml", "PIL")  # fmt: skip


@pytest.fixture
def results(tmp_path):
    """A study of two trials, the first done, with a chain over it and a search."""
    plan = {
        "study": "tiny", "study_title": "Which is best?", "position": 0, "configuration": "ViT",
        "paradigm": "single", "student": "ViT", "fixed_threshold": 0.3, "settings": "{}",
        "objective": "per_image_iou", "family": "vit", "search_trials": 2,
    }  # fmt: skip
    write_part(tmp_path, "plan", "tiny", [
        {**plan, "seed": seed, "trial_key": f"k{seed}", "artifacts": f'{{"train": ["u{seed}"]}}'}
        for seed in (0, 1)
    ])  # fmt: skip
    write_part(tmp_path, "trials", "k0", [{
        "trial_key": "k0", "configuration": "ViT", "seed": 0, "status": "ok", "settings": "{}",
        "package_version": "0", "packages": "{}", "started_at": datetime(2026, 1, 2, tzinfo=UTC),
        "seconds_training": 9.0, "seconds_scoring": 1.0,
    }])  # fmt: skip
    write_part(tmp_path, "refinements", "tiny", [{
        "study": "tiny", "trial_key": "k0", "refinement": "CRF", "position": 0,
        "scores_key": "c0", "chain": "{}",
    }])  # fmt: skip
    write_part(tmp_path, "refined", "c0", [{
        "scores_key": "c0", "trial_key": "k0", "refinement": "CRF", "status": "ok",
        "ended_at": datetime(2026, 1, 2, tzinfo=UTC),
    }])  # fmt: skip
    write_part(tmp_path, "search", "tiny.0", [{
        "study": "tiny", "number": 0, "configuration": "cosine", "parameters": "{}", "seed": 8,
        "objective": 0.5, "state": "complete",
    }])  # fmt: skip
    return tmp_path


@pytest.mark.parametrize("option", ["--all", "--json"])
def test_the_command_loads_no_heavy_library(results, option):
    code = (
        "import sys\nfrom studies.cli.main import main\n"
        f"code = main(['status', {str(results)!r}, {option!r}])\n"
        f"print(code, sorted(set({HEAVY!r}) & {{name.split('.')[0] for name in sys.modules}}))"
    )
    with Leases(open_folder(results / "store", make=True)).take("train", "u1"):
        ran = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
    assert "CRF" in ran.stdout
    assert "1 running" in ran.stdout or '"running": 1' in ran.stdout
    assert ran.stdout.splitlines()[-1] == "0 []"
