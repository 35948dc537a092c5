"""The script that writes the page of the study `claim` asks what the study decides, and no more."""

import importlib.util
import sys
from pathlib import Path
from string import Template
from typing import Any

import pytest

from reports.decisions import RowPair
from studies.spec.loading import load_study

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("claim_page", DOCS / "claim_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["claim_page"] = module
    spec.loader.exec_module(module)
    return module


def compared(variant: str | None) -> set[RowPair]:
    given = {"data.root": "/x", "backbones.cnn.weights": "/y", "backbones.vit.weights": "/z"}
    study = load_study("claim", given if variant else {}, [variant] if variant else [])
    assert study.decide is not None
    rows = [name for name, _ in study.named_configurations()]
    return {RowPair(*pair) for pair in study.decide.comparisons(rows)}


def test_the_page_asks_every_comparison_of_the_scenes_and_those_of_the_crops(script: Any) -> None:
    asked = {pair for _, pair in script.QUESTIONS}
    assert asked == compared(None)
    assert compared("crops") < asked


def test_the_page_has_a_place_for_everything_that_is_written_and_nothing_else(script: Any) -> None:
    text = (DOCS / "claim_page.txt").read_text(encoding="utf-8")
    named = {match["named"] for match in Template.pattern.finditer(text)}
    assert named == {"answers", *script.STUDIES}


def test_what_was_not_run_is_said_and_has_no_number(script: Any) -> None:
    assert script.answered(None, RowPair("taught", "ViT alone")) == "not run"
    assert script.section("crops", None, "") == (
        "Not run yet: no study `claim-crops` in the results that the page was made of."
    )
