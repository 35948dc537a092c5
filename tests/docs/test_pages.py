"""README and pages: links lead somewhere, code runs, notebooks hold no outputs."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import studies

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md")
    for path in ROOT.glob(pattern)
    if "_build" not in path.parts
)
NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))
LINK = re.compile(r"\]\(([^)\s]+)\)")
MENTION = re.compile(r"`((?:docs|studies/configs|clusters|benchmarks)/[\w./-]+\.\w+)`")


def text_of(page):
    """The text of a page or notebook without its blocks of code."""
    if page.suffix == ".ipynb":
        cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
        return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def anchors(page):
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES + NOTEBOOKS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_link_within_the_checkout_leads_to_a_file_and_a_heading(page):
    broken = []
    for link in LINK.findall(text_of(page)):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_file_that_a_page_names_is_there(page):
    named = [name for name in MENTION.findall(text_of(page)) if "/my_" not in name]
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_page_has_its_place_in_the_site():
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^[\w/*]+$", index, flags=re.M)
    docs = ROOT / "docs"
    pages = {
        p.relative_to(docs) for kind in ("md", "rst", "ipynb") for p in docs.rglob(f"*.{kind}")
    }
    left_out = {
        page.as_posix()
        for page in pages
        if "_build" not in page.parts
        and page.name != "index.md"
        and not any(page.with_suffix("").match(entry) for entry in listed)
    }
    assert left_out == set()


def test_the_readme_is_short_and_opens_with_a_light_figure():
    assert 80 <= len(README.splitlines()) <= 120
    figure = re.search(r"!\[[^\]]+\]\((\S+)\)", README)
    assert figure is not None
    assert README[: figure.start()].count("\n## ") == 0
    assert (ROOT / figure[1]).stat().st_size < 300 * 1024


def code_of_the_readme():
    """The README's two blocks of Python."""
    return re.findall(r"^```python\n(.*?)^```", README, flags=re.M | re.S)


def test_the_readme_s_ten_lines_on_a_study_run(tmp_path):
    code, _ = code_of_the_readme()
    assert len([line for line in code.splitlines() if line]) <= 10
    asked = []

    class Results:
        """Stands for a study's results, so that nothing is trained here; a notebook trains."""

        def outcomes(self, *, split, rule):
            asked.append((split, rule))

        def table(self, name):
            asked.append(name)
            return self

        def to_markdown(self):
            return ""

        def figure(self, name):
            asked.append(name)

    class Front:
        """`studies` with a run that trains nothing."""

        load_study = staticmethod(studies.load_study)

        @staticmethod
        def run_study(study, results):
            asked.append(studies.plan_study(study))
            return Results()

    exec(code.replace("import studies\n", ""), {"studies": Front})
    plan, *rest = asked
    assert {trial.seed for trial in plan.trials} == {0}
    assert rest == [("test", "tuned"), "strategies", "seeds"]
    for name in ("outcomes", "table", "figure"):
        assert hasattr(studies.Results, name)


def test_the_readme_s_lines_on_a_network_run():
    import timm

    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=2, channels=(8, 8, 8, 8))
    image = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    mask = np.zeros((64, 48), bool)
    mask[20:40, 10:30] = True
    known = {"model": model, "image": image, "mask": mask}
    exec(code_of_the_readme()[1], known)
    assert known["scores"].shape == known["refined"].shape == mask.shape
    assert known["picture"].shape == image.shape


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_kept_without_outputs(notebook):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert [cell for cell in code if cell["outputs"] or cell["execution_count"]] == []
