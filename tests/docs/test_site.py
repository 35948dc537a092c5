"""The site is built from a clean state, its notebooks executed, and needs no other host."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("sphinx", "furo", "myst_nb", "ipykernel")
# What a browser fetches by itself; a link that a reader may follow is another matter.
FETCHED = re.compile(
    r"<(?:script|img|iframe|source)[^>]*\ssrc=\"([^\"]+)\"|<link[^>]*\shref=\"([^\"]+)\"[^>]*>"
    r"|url\(([^)]+)\)|@import\s+[\"']([^\"']+)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    for tool in TOOLS:
        pytest.importorskip(tool, reason=f"{tool} is missing: install the extra `docs`")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-E"]
    done = subprocess.run(
        [*command, "-d", str(out / "doctrees"), str(ROOT / "docs"), str(out / "html")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    yield out / "html"
    shutil.rmtree(out)


@pytest.mark.ci
def test_the_site_is_built_without_a_warning_and_its_notebooks_show_their_results(site):
    image = (site / "notebooks/image_to_mask.html").read_text(encoding="utf-8")
    study = (site / "notebooks/study_in_python.html").read_text(encoding="utf-8")
    assert len(re.findall(r"CAM.*?: IoU 0\.\d{3} at threshold", image)) == 3
    assert image.count("<img") >= 2
    assert "balanced_accuracy" in study
    assert study.count("<img") >= 2


@pytest.mark.ci
def test_no_page_fetches_anything_from_another_host(site):
    fetched = {
        (file.name, address)
        for kind in ("html", "css")
        for file in site.rglob(f"*.{kind}")
        for match in FETCHED.findall(file.read_text(encoding="utf-8"))
        for address in match
        if re.match(r"[\"']?(?:https?:)?//", address)
    }
    assert fetched == set()


@pytest.mark.ci
def test_the_api_pages_show_what_people_call_first(site):
    for page, name in (
        ("wsss_core.cams", "wsss_core.cams.cams"),
        ("wsss_core.backbones", "wsss_core.backbones.build_network"),
        ("wsss_core.training", "wsss_core.training.train"),
        ("studies", "studies.run_study"),
        ("reports", "reports.read_studies"),
    ):
        html = (site / f"api/{page}.html").read_text(encoding="utf-8")
        assert f'id="{name}"' in html
