"""Commands load what they use: the modules that a fresh interpreter holds after one."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HEAVY = {"torch", "torchvision", "timm", "ray", "optuna", "transformers", "matplotlib", "scipy"}
READERS = {"pandas", "pyarrow"}


def loaded_by(*arguments: str, cwd: Path) -> set[str]:
    """The top-level modules that are loaded once a command has ended."""
    code = (
        "import sys\n"
        "from studies.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit:\n    pass\n"
        "print('loaded:', *{name.split('.')[0] for name in sys.modules})\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(run.stdout.rpartition("loaded:")[2].split())


@pytest.mark.parametrize(
    ("arguments", "beyond"),
    [
        (["--help"], HEAVY | READERS | {"numpy", "pydantic", "yaml"}),
        (["--version"], HEAVY | READERS | {"numpy", "pydantic"}),
        (["studies"], HEAVY | READERS),
        (["run", "--help"], HEAVY | READERS | {"numpy", "pydantic", "yaml"}),
        (["plan", "quickstart", "--set", "training.epoch=1"], HEAVY | READERS),
        (["run", "quickstart", "--set", "configurations.0.metrik=cosine"], HEAVY | READERS),
        (["plan", "quickstart"], HEAVY | {"pandas"}),
        (["plan", "thesis/postprocessing"], HEAVY | {"pandas"}),
    ],
    ids=lambda given: " ".join(sorted(given)) if isinstance(given, list) else None,
)
def test_a_command_leaves_out_what_it_does_not_use(
    arguments: list[str], beyond: set[str], tmp_path: Path
) -> None:
    assert loaded_by(*arguments, cwd=tmp_path) & beyond == set()
