"""What someone gets who does not know the command line yet."""

from collections.abc import Callable
from importlib import metadata
from typing import Any

import pytest

import studies
from studies.spec.loading import shipped_studies

Command = Callable[..., Any]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("runs quickstart", "wsss: unknown command 'runs'; did you mean 'run'?"),
        ("trian", "wsss: unknown command 'trian'; expected studies, data, plan, run, "),
        ("version", "wsss: unknown command 'version'; did you mean '--version'?"),
        ("--versoin", "wsss: unknown option '--versoin'; did you mean '--version'?"),
        ("gc s", "wsss: unknown command 'gc'; did you mean 'wsss store gc'?"),
        ("store lst s", "wsss store: unknown command 'lst'; did you mean 'list'?"),
        ("quickstart", "wsss: unknown command 'quickstart'; a study is run with: wsss run quick"),
        ("thesis/lambda", "wsss: unknown command 'thesis/lambda'; a study is run with: wsss run t"),
        ("my.yaml", "wsss: unknown command 'my.yaml'; a study is run with: wsss run my.yaml"),
        ("plan x --chekc", "wsss plan: unknown option '--chekc'; did you mean '--check'?"),
        ("run x --check", "wsss run: unknown option '--check', which is one of wsss plan"),
        ("run x --epochs=3", "wsss run: unknown option '--epochs'; see wsss run --help"),
        ("masks r --imags=d", "wsss masks: unknown option '--imags'; did you mean '--images'?"),
        ("store gc s --dlete", "wsss store gc: unknown option '--dlete'; did you mean '--delete'?"),
        ("run x 3", "wsss run: unexpected 3; see wsss run --help"),
        ("run x -f", "wsss run: unexpected -f; see wsss run --help"),
        ("help stor", "wsss: unknown command 'stor'; did you mean 'store'?"),
        (
            "studies quikstart",
            "wsss: 'quikstart' is not a shipped study; did you mean 'quickstart'?",
        ),
    ],
)
def test_an_unknown_word_is_told_with_what_was_meant(wsss: Command, words: str, said: str) -> None:
    ended = wsss(*words.split())
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(said)
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        "masks r --images i --out o --refinement CRF --in-proc",
        "plan no_such_study --set a=--b --chec",
        "status --wat 1 -- --odd-folder",
    ],
)
def test_older_spellings_beginnings_of_options_and_values_are_no_unknown_words(
    wsss: Command, words: str
) -> None:
    ended = wsss(*words.split())
    assert ended.code == 2
    assert not ended.err.partition(": ")[2].startswith("unknown ")


@pytest.mark.parametrize("words", [[], ["data"], ["store"], ["weights"]])
def test_a_command_without_its_rest_prints_its_help_aside(wsss: Command, words: list[str]) -> None:
    ended, help_of = wsss(*words), wsss(*words, "--help")
    assert (ended.code, ended.out, ended.err) == (2, "", help_of.out)


@pytest.mark.parametrize("words", [[], ["run"], ["store"], ["store", "verify"], ["help"]])
def test_help_prints_the_help_of_a_command(wsss: Command, words: list[str]) -> None:
    ended = wsss("help", *words)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == wsss(*words, "--help").out


def test_the_versions_are_those_of_the_installed_packages(wsss: Command) -> None:
    ended = wsss("--version")
    assert (ended.code, ended.err) == (0, "")
    found = dict(line.split(" ", 1) for line in ended.out.splitlines())
    assert next(iter(found.items())) == ("wsss-studies", studies.__version__)
    for name in ("torch", "ray", "timm", "optuna"):
        assert found[name] == metadata.version(name)


def test_the_shipped_studies_are_a_line_each(wsss: Command) -> None:
    ended = wsss("studies")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert [line.split()[0] for line in lines[1 : lines.index("")]] == list(shipped_studies())
    (quickstart,) = [line for line in lines if line.startswith("quickstart ")]
    assert " 18 = 9 x 2 seeds " in quickstart
    assert " about 5 minutes on two CPU cores " in quickstart
    assert quickstart.endswith("Which knowledge transfer mends a ViT that is right for the wrong "
                               "reason?")  # fmt: skip
    (searched,) = [line for line in lines if line.startswith("search ")]
    assert " 10 = 2 x 5 seeds, after a search of 40 " in searched
    assert " quick, crops, thesis " in searched


def test_a_shipped_study_shows_its_header_and_what_its_variants_need(wsss: Command) -> None:
    ended = wsss("studies", "thesis/postprocessing")
    file = shipped_studies()["thesis/postprocessing"]
    comment = [line for line in file.read_text(encoding="utf-8").splitlines() if line[:1] == "#"]
    said = ended.out.splitlines()
    assert said[1] == str(file)
    assert said[3 : 3 + len(comment)] == [line[2:] for line in comment]
    rows = {line.split("  ")[0]: line for line in said if line.startswith("wsss run")}
    crops = rows["wsss run thesis/postprocessing --variant crops"]
    assert "data.root, backbones.cnn.weights, backbones.vit.weights" in crops
    assert "3 = 1 x 3 seeds, each with 17 chains" in crops
