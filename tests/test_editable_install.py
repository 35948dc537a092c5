"""An editable install, as `make study` makes it, is found whatever the working directory holds."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.ci
def test_a_folder_called_reports_does_not_hide_the_package(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    checkout, wheels, site = (tmp_path / name for name in ("checkout", "wheels", "site"))
    ignored = shutil.ignore_patterns("__pycache__")
    for package in ("wsss_core", "reports", "studies"):
        shutil.copytree(ROOT / package, checkout / package, ignore=ignored)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, checkout)
    wheels.mkdir()
    build = f"from setuptools.build_meta import build_editable; build_editable({str(wheels)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=checkout, check=True, capture_output=True)
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(site)
    (tmp_path / "work" / "reports").mkdir(parents=True)
    code = f"import site; site.addsitedir({str(site)!r})\nimport reports\nprint(reports.__file__)\n"
    run = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=tmp_path / "work",
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(run.stdout.strip()) == checkout / "reports" / "__init__.py"
