"""`wsss data describe`: text, page and record of a folder and of a study."""

import csv
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


class Tags(HTMLParser):
    """The tags of a page with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_a_folder_is_described_in_a_terminal(wsss: Command, smoke_folder: Path) -> None:
    ended = wsss("data", "describe", smoke_folder)
    assert (ended.code, ended.err) == (0, "")
    (line,) = re.findall(r"^train +image-level +smoke.*$", ended.out, re.MULTILINE)
    assert line.split() == ["train", "image-level", "smoke", "2", "–", "40", "x", "40"]
    assert "group, source, camera and flags of the images are unknown" in ended.out


def test_scenes_of_a_study_show_the_trap_that_they_were_made_with(
    wsss: Command, write_study: Callable[..., str], tiny: dict[str, Any]
) -> None:
    tiny["data"] |= {"train": 200, "chimney_given_smoke": 1.0, "chimney_given_clear": 0.1}
    ended = wsss("data", "describe", write_study(tiny), "--json")
    record = json.loads(ended.out)
    assert (record["schema"], record["data"], record["files"]) == ("data", "tiny", [])
    first = record["cooccurrences"][0]
    assert (first["companion"], first["class"], first["images_of"]) == (
        "chimneys",
        "smoke",
        "train",
    )
    assert first["low"] > 1.25
    trap = record["traps"][0]
    assert trap["cooccurrence"] == 0
    assert "A network may take chimneys for smoke" in trap["said"]


def test_a_sweep_over_the_data_is_described_at_its_first_value(wsss: Command) -> None:
    ended = wsss("data", "describe", "cooccurrence", "--set", "data.train=40", "--json")
    assert (
        "the study sweeps data.chimney_given_clear; this is at" in json.loads(ended.out)["notes"][0]
    )


def test_the_page_is_one_file_that_runs_and_fetches_nothing(
    wsss: Command, smoke_folder: Path, tmp_path: Path
) -> None:
    ended = wsss("data", "describe", smoke_folder, "--out", tmp_path / "out")
    page = (tmp_path / "out/data.html").read_text(encoding="utf-8")
    assert f"written: {tmp_path / 'out/data.html'}" in ended.out
    tags = Tags(page).tags
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in tags}
    policies = [at["content"] for tag, at in tags if at.get("http-equiv")]
    assert policies[0] is not None
    assert policies[0].startswith("default-src 'none'")
    sources = [at["src"] or "" for tag, at in tags if tag == "img"]
    # Train, tune, test: with smoke 2 each, without it 2, 1, 1.
    assert len(sources) == 10
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    anchors = {at["id"] for tag, at in tags if tag == "section"}
    assert {(at["href"] or "")[1:] for tag, at in tags if tag == "a"} <= anchors


def test_tables_lie_beside_the_page_with_unrounded_numbers(
    wsss: Command, smoke_folder: Path, tmp_path: Path
) -> None:
    wsss("data", "describe", smoke_folder, "--out", tmp_path / "out")
    record = json.loads((tmp_path / "out/data.json").read_text(encoding="utf-8"))
    with (tmp_path / "out/data_set.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["images"] for row in rows] == [str(row["images"]) for row in record["counts"]]
    shares = [row["object_share"] for row in record["counts"]]
    assert [row["object_share_median"] for row in rows] == [
        "" if share is None else repr(share["median"]) for share in shares
    ]
    assert any(shares)


def test_names_from_files_are_written_out_in_the_page(
    wsss: Command, smoke_folder: Path, tmp_path: Path
) -> None:
    lines = ["file,group,source"]
    for path in sorted(smoke_folder.glob("train/*/*")):
        name = path.relative_to(smoke_folder).as_posix()
        lines.append(f"{name},g,<script>alert(1)</script>")
    (smoke_folder / "groups.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    ended = wsss("data", "describe", smoke_folder, "--out", tmp_path / "out")
    assert ended.code == 0
    page = (tmp_path / "out/data.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "'nowhere' is neither a file nor a shipped study"),
        (["{folder}", "--set", "data.size=32"], "--set and --variant change a study"),
        (["smoke_crops"], "data.root has no value yet"),
        (["{folder}", "--out", "{folder}/train/smoke/a.png/out"], "cannot be written there"),
    ],
)
def test_what_cannot_be_described_is_told_in_one_line(
    wsss: Command, smoke_folder: Path, arguments: list[str], said: str
) -> None:
    given = [argument.format(folder=smoke_folder) for argument in arguments]
    ended = wsss("data", "describe", *given)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert said in ended.err
