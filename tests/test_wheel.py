"""The wheel, built and installed elsewhere, holds all that a user runs and nothing of the tests."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("wsss_core", "reports", "studies", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("build", reason="build is missing: install the extra `dev`")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        (source / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(out)]
    done = subprocess.run([*command, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A virtual environment with the wheel, which finds its dependencies in this one."""
    home = tmp_path_factory.mktemp("elsewhere")
    venv.create(home / "venv", with_pip=False)
    python = home / "venv/bin/python"
    target = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run(
        [*install, "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)], check=True
    )
    # Behind its own packages; an editable install of this checkout comes after them too.
    Path(target, "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home


def run(home, *command):
    """Run a program of the environment in a folder of its own; return what it prints."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [home / "venv/bin" / command[0], *command[1:]],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.ci
def test_a_wheel_holds_every_file_of_the_packages_and_no_test(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in ("wsss_core", "reports", "studies")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }
    assert names == expected
    assert "studies/configs/thesis/lambda.yaml" in names


@pytest.mark.ci
def test_an_installed_wheel_plans_a_shipped_study_in_another_folder(installed):
    assert run(installed, "wsss", "--version").startswith("wsss")
    assert "18 trials" in run(installed, "wsss", "plan", "quickstart")


@pytest.mark.ci
def test_the_packages_are_imported_from_the_wheel(installed):
    code = (
        "import studies, reports, wsss_core.cams as c; print(studies.__file__, c.cams.__module__)"
    )
    file, module = run(installed, "python", "-c", code).split()
    assert Path(file).is_relative_to(installed)
    assert module.startswith("wsss_core.cams")
