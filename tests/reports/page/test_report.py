"""The whole report: what is written, and that the ledger's text can do no harm in it."""

import csv
import errno
import hashlib
import io
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from reports import make_report
from reports.ledger.parts import read_table, write_part
from reports.listing.thresholds import list_thresholds
from wsss_core.errors import InputError

VOID = {"meta", "img", "br", "link", "input", "hr"}


class PageReader(HTMLParser):
    """Collects tags, ids, link targets, sources and text; checks that tags are closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.ids, self.targets, self.text = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "xlink:href", "action", "srcset"):
                self.targets.append(value)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read_page(path):
    reader = PageReader()
    reader.feed(path.read_text(encoding="utf-8"))
    assert reader.open == []
    return reader


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def files(ledger, tmp_path_factory):
    return make_report(ledger.results, tmp_path_factory.mktemp("report"))


def test_the_files_are_those_that_were_promised(files):
    root = files.html.parent
    names = sorted(digests(root))

    tables = [
        f"tables/{t}.{e}"
        for t in ("strategies", "chance", "diagnostics", "thresholds", "trials")
        for e in ("csv", "md", "tex")
    ]
    drawn = ("panels", "reasons", "reliance", "seeds", "thresholds", "training")
    figures = [f"figures/{name}.svg" for name in drawn]
    tidy = [
        f"tables/{name}.{ending}"
        for name in ("outcomes", "diagnostics_by_trial")
        for ending in ("csv", "parquet")
    ]
    extra = ["report.html", "report.md", *tidy]
    assert names == sorted([*tables, *figures, *extra])
    written = [files.html, files.markdown, *files.tables, *files.figures]
    assert sorted(str(path.relative_to(root)) for path in written) == names


@pytest.mark.ci
def test_an_equal_ledger_gives_equal_bytes_in_another_process(ledger, files, tmp_path):
    root = Path(__file__).parents[3]
    script = (
        f"from reports import make_report; make_report({str(ledger.results)!r}, {str(tmp_path)!r})"
    )
    subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        env={**os.environ, "PYTHONPATH": str(root), "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"},
    )

    assert digests(tmp_path) == digests(files.html.parent)


def test_writing_again_over_a_report_changes_nothing(ledger, files):
    before = digests(files.html.parent)

    make_report(ledger.results, files.html.parent)

    assert digests(files.html.parent) == before


def test_the_page_stands_alone(files):
    page = read_page(files.html)

    assert "script" not in page.tags
    assert "link" not in page.tags
    assert all(target.startswith(("#", "data:image/png;base64,")) for target in page.targets)
    assert not re.search(r"@import|url\((?!#)", files.html.read_text())


def test_a_browser_that_opens_the_page_runs_and_fetches_nothing(files):
    page = files.html.read_text()
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules["default-src"] == "'none'"
    assert "script-src" not in rules
    assert rules["img-src"] == "data:"
    assert page.index(policy[0]) < page.index("<style>")


@pytest.mark.ci
@pytest.mark.parametrize("name", ["=1+1", "+cmd", "-x", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_of_a_csv_file_is_a_formula(tmp_path, build_ledger, name):
    ledger = build_ledger(tmp_path / "results", classes=(name,))
    files = make_report(ledger.results, tmp_path / "report")
    listed = list_thresholds(ledger.results, tmp_path / "listed")
    texts = 0
    for file in (*files.tables, *listed.files):
        if file.suffix == ".csv":
            for row in csv.reader(io.StringIO(file.read_bytes().decode(), newline="")):
                for cell in row:
                    texts += cell.endswith(name.strip())
                    assert cell.lstrip()[:1] not in ("=", "@"), cell
                    if cell[:1] in ("+", "-"):
                        float(cell)
    assert texts
    outcomes = pd.read_parquet(tmp_path / "report" / "tables" / "outcomes.parquet")
    assert name in set(outcomes["class_name"])


def test_links_of_the_contents_lead_somewhere_and_ids_are_unique(files):
    page = read_page(files.html)
    sections = [target[1:] for target in page.targets if target.startswith("#")]

    assert len(page.ids) == len(set(page.ids))
    assert set(sections) <= set(page.ids)
    assert {"strategies", "reasons", "thresholds", "panels", "training", "trials"} <= set(sections)


def test_the_page_opens_with_the_question_and_the_answer(files):
    text = " ".join(" ".join(read_page(files.html).text).split())

    question = text.index("Which transfer mends a classifier that is right for the wrong reason?")
    answer = text.index("the student gains most from cosine global")
    assert question < answer < text.index("Test split, at the tuned threshold")


def test_the_page_shows_provenance_settings_and_errors(files):
    text = " ".join(read_page(files.html).text)

    assert "numpy 2.4.6, timm 1.0.22, torch 2.14.0" in text
    assert '"epochs": 12' in text
    assert "RuntimeError: out of memory <after 2 epochs> & stopped" in text
    assert "e2e2e2e2e2e2e2e2" in text


def test_trials_on_different_data_are_called_out(tmp_path, build_ledger):
    ledger = build_ledger(tmp_path / "results", seeds=(0,), counts=(3, 4))
    rows = read_table(ledger.results, "trials").astype(object)
    row = rows.where(rows.notna(), None).iloc[0].to_dict()
    row["started_at"] = row["started_at"].to_pydatetime()
    write_part(
        ledger.results, "trials", row["trial_key"], [{**row, "evaluation_fingerprint": "other"}]
    )

    text = " ".join(read_page(make_report(ledger.results, tmp_path / "out").html).text)

    assert "Trials differ in their fingerprint of the evaluation data: " in text
    assert "other (1 trials)" in text


def page_of_devices(tmp_path, build_ledger, *devices):
    ledger = build_ledger(tmp_path / "results", seeds=(0,), counts=(3, 4))
    rows = read_table(ledger.results, "trials").astype(object)
    for (_, row), device in zip(rows.where(rows.notna(), None).iterrows(), devices, strict=False):
        changed = {**row, "started_at": row["started_at"].to_pydatetime(), "device": device}
        write_part(ledger.results, "trials", row["trial_key"], [changed])
    return " ".join(read_page(make_report(ledger.results, tmp_path / "out").html).text)


def test_trials_on_different_devices_are_called_out(tmp_path, build_ledger):
    text = page_of_devices(tmp_path, build_ledger, "NVIDIA A40", "NVIDIA A40")
    assert "Trials differ in their device: NVIDIA A40 (2 trials), " in text


def test_threads_of_one_kind_of_cpu_are_not(tmp_path, build_ledger):
    devices = [f"x86_64 CPU, {threads} thread(s)" for threads in (1, 4, 1, 2, 1, 1, 1, 1)]
    text = page_of_devices(tmp_path, build_ledger, *devices)
    assert "x86_64 CPU, 4 thread(s) (1 trials)" in text
    assert "differ in their device" not in text


def test_uncommitted_changes_are_a_warning_of_their_own(tmp_path, build_ledger):
    ledger = build_ledger(tmp_path / "results", seeds=(0,), counts=(3, 4))
    rows = read_table(ledger.results, "trials").astype(object)
    row = rows.where(rows.notna(), None).iloc[0].to_dict()
    changed = {"started_at": row["started_at"].to_pydatetime(), "code_revision": "0123ab+changes"}
    write_part(ledger.results, "trials", row["trial_key"], [{**row, **changed}])
    text = " ".join(read_page(make_report(ledger.results, tmp_path / "out").html).text)
    assert "Code with uncommitted changes made trials: 0123ab+changes (1 trials)." in text


@pytest.mark.ci
def test_evil_names_are_text_in_every_format(tmp_path, build_ledger):
    evil = {
        "ViT alone": "<script>alert(1)</script>",
        "cosine global": "a_b & 5%",
        "L1 global": "![x](y)",
    }
    ledger = build_ledger(tmp_path / "results", names=evil, counts=(3, 5))
    files = make_report(ledger.results, tmp_path / "out")
    page = read_page(files.html)
    latex = (files.html.parent / "tables/strategies.tex").read_text()
    markdown = files.markdown.read_text()

    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in page.text
    assert "a_b & 5%" in page.text
    assert r"a\_b \& 5\%" in latex
    assert r"\textless{}script\textgreater{}" in latex
    assert "<script" not in markdown
    assert "![x]" not in markdown


def test_markdown_links_figures_that_exist(files):
    links = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", files.markdown.read_text())

    assert len(links) == 6
    assert all((files.markdown.parent / link).is_file() for link in links)


def test_tidy_outcomes_are_the_same_in_csv_and_parquet(files):
    folder = files.html.parent / "tables"
    comma, parquet = (
        pd.read_csv(folder / "outcomes.csv"),
        pd.read_parquet(folder / "outcomes.parquet"),
    )

    # 22 trials have scores, 2 co-training ones of two networks; 6 rules on test, 2 on tune.
    assert len(parquet) == (22 + 2) * 8
    assert not parquet.duplicated(["configuration", "seed", "network", "rule", "split"]).any()
    pd.testing.assert_frame_equal(comma, parquet, check_dtype=False)


def test_undefined_figures_are_null_in_parquet_and_never_nan(files):
    """DuckDB 2.0.1 returns or drops a NaN by the row group it lies in (its issue 25521)."""
    nulls = 0
    for file in (files.html.parent / "tables").glob("*.parquet"):
        for column in pq.read_table(file).columns:
            if pa.types.is_floating(column.type):
                nulls += column.null_count
                assert not pc.any(pc.is_nan(column)).as_py()
    assert nulls  # the price of an oracle is undefined


def test_a_folder_without_a_plan_is_an_input_error_of_one_line(tmp_path):
    with pytest.raises(InputError, match="no plan") as caught:
        make_report(tmp_path, tmp_path / "out")

    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_unreadable_part_is_named(tmp_path, build_ledger):
    ledger = build_ledger(tmp_path, seeds=(0,), counts=(3, 4))
    part = sorted((tmp_path / "ledger/scores").iterdir())[1]
    part.write_bytes(b"PAR1 not really")

    with pytest.raises(InputError, match=re.escape(str(part))):
        make_report(ledger.results, tmp_path / "out")


def test_an_out_folder_that_is_a_file_is_an_input_error(ledger, tmp_path):
    (tmp_path / "out").write_text("")

    with pytest.raises(InputError, match="cannot be written there"):
        make_report(ledger.results, tmp_path / "out")


def test_a_study_that_has_not_begun_is_a_table_of_missing_cells(tmp_path, build_ledger):
    names = (
        "CNN alone", "ViT alone", "cosine global", "cosine channel", "cosine spatial",
        "L1 global", "L2 global", "co-training",
    )  # fmt: skip
    states = {(name, seed): "missing" for name in names for seed in (0, 1)}
    ledger = build_ledger(tmp_path / "results", seeds=(0, 1), states=states, counts=(3, 4))
    files = make_report(ledger.results, tmp_path / "out")
    text = " ".join(read_page(files.html).text)

    assert "No trial of this study has scores yet." in text
    assert "Of 16 planned trials 0 are healthy (16 missing)" in text
    assert files.figures == ()


def test_scores_of_a_trial_that_was_never_sealed_do_not_count(tmp_path, build_ledger):
    ledger = build_ledger(tmp_path / "results", seeds=(0,), counts=(3, 4))
    (tmp_path / "results/ledger/trials/0200abababababab.parquet").unlink()
    text = (
        make_report(ledger.results, tmp_path / "out").html.parent / "tables/trials.md"
    ).read_text()

    (row,) = [line for line in text.splitlines() if line.startswith("| cosine global")]
    assert "| missing |" in row


@pytest.mark.ci
def test_several_studies_are_sections_with_files_of_their_own(tmp_path, build_ledger):
    build_ledger(tmp_path / "results", study="alpha", seeds=(0,), counts=(3, 4))
    build_ledger(tmp_path / "results", study="beta", seeds=(0, 1), counts=(3, 4))
    files = make_report(tmp_path / "results", tmp_path / "out")
    page = read_page(files.html)
    names = {path.name for path in files.tables}

    assert page.tags.count("article") == 2
    assert len(page.ids) == len(set(page.ids))
    assert {"1-alpha-strategies.tex", "2-beta-strategies.tex", "outcomes.csv"} <= names


def test_the_report_needs_neither_torch_nor_ray_and_the_ledger_no_matplotlib():
    script = (
        "import sys; from reports.ledger.parts import write_part; ledger = set(sys.modules); "
        "import reports.page.writing; report = set(sys.modules); "
        "assert 'matplotlib' not in ledger, 'ledger'; "
        "assert not {'torch', 'ray', 'studies', 'matplotlib.pyplot'} & report, 'report'"
    )
    root = Path(__file__).parents[3]
    subprocess.run(
        [sys.executable, "-c", script], check=True, env={**os.environ, "PYTHONPATH": str(root)}
    )


def test_a_report_that_cannot_be_written_leaves_each_file_of_the_last_one_whole(
    ledger, tmp_path, monkeypatch
):
    def files():
        return {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    make_report(ledger.results, tmp_path / "out")
    before = files()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"the report cannot be written there: .*No space left"):
        make_report(ledger.results, tmp_path / "out")
    assert files() == before
