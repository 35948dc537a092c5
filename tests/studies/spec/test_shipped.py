"""What the files of shipped studies say of themselves, and which keys a study still needs."""

from pathlib import Path

import pytest

from studies.spec.loading import required_keys, shipped_studies
from studies.spec.shipped import paragraphs, shipped_study
from wsss_core.errors import InputError

FILE = """
study: s
data: {source: folder, root: "???"}
backbones: {cnn: {model: resnet18, weights: "???"}}
configurations: [{paradigm: single, student: cnn, name: "???"}]
variants:
  scenes: {data: {source: scenes}}
  random: {backbones.cnn.weights: none, training: {epochs: "???"}}
"""


@pytest.mark.parametrize(
    ("variants", "needed"),
    [
        ([], ["data.root", "backbones.cnn.weights", "configurations.0.name"]),
        (["scenes"], ["backbones.cnn.weights", "configurations.0.name"]),
        (["scenes", "random"], ["configurations.0.name", "training.epochs"]),
    ],
)
def test_a_study_needs_the_keys_that_no_variant_gives(
    tmp_path: Path, variants: list[str], needed: list[str]
) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(FILE, encoding="utf-8")
    assert required_keys(str(file), variants) == needed


@pytest.mark.parametrize("name", shipped_studies())
def test_the_header_of_a_shipped_study_says_what_it_asks_and_costs_and_how_to_run_it(
    name: str,
) -> None:
    study = shipped_study(name)
    said = paragraphs(study.header)
    assert said.keys() >= {"Asks", "Cost", "Command", "Quick"}
    assert study.cost == said["Cost"]
    assert "minutes on two CPU cores" in study.time
    assert len(study.time) < 40
    assert f"wsss run {name}" in said["Command"]


def test_a_paragraph_goes_on_where_its_lines_are_indented() -> None:
    header = (
        "Title.\n\nAsks     One\n         two.\nA sentence of the title's kind.\nCost     3:\n   x"
    )
    assert paragraphs(header) == {"Asks": "One two.", "Cost": "3:"}


def test_a_study_that_is_not_shipped_is_an_input_error() -> None:
    with pytest.raises(InputError, match="'serch' is not a shipped study; did you mean 'search'"):
        shipped_study("serch")
