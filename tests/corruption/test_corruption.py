"""The corruption run as a test: ten thousand damaged files, and some hundred in CI."""

from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("corruption.py")
ODD = Path(__file__).with_name("odd_inputs.py")

pytest.importorskip("transformers")


@pytest.mark.slow
def test_no_damaged_file_of_ten_thousand_is_read_as_something_else(
    passes: Callable[..., None],
) -> None:
    passes(SCRIPT, "--count", "10000", minutes=120)


@pytest.mark.ci
def test_no_damaged_file_of_every_kind_is_read_as_something_else(
    passes: Callable[..., None],
) -> None:
    passes(SCRIPT, "--count", "120", "--seed", "7", minutes=10)


@pytest.mark.slow
def test_500_mutated_studies_and_odd_inputs_are_accepted_or_refused_in_one_line(
    passes: Callable[..., None],
) -> None:
    passes(ODD, minutes=50)


@pytest.mark.ci
def test_odd_inputs_are_accepted_or_refused_in_one_line(passes: Callable[..., None]) -> None:
    passes(ODD, "--mutated", "50", minutes=10)
