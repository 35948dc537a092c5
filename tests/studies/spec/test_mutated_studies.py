"""A shipped study with faults in its file is planned, or refused in one line.

    python tests/studies/spec/test_mutated_studies.py FIRST LAST

plans the mutated studies of these seeds, and prints seed, exit code, lines of error and seconds.
"""

import contextlib
import io
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from studies.cli.main import main
from studies.spec.loading import shipped_studies

ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, 7.0, 1e308, -1e308, 1e-320, float("inf"), float("nan"),
    2**31, 2**63, 10**30, 10**400, "", " ", "no", "on", "~", "1:30", "2020-01-01", "²", "1e-1",
    "x" * 300, "x" * 5000, "\x1b[2J", "a\nb", "\u202eevil", "é", "../..", "/", "~nobody", "a::b",
    "???", "none", "pretrained", [], {}, [[]], [None], ["x", 1], {"a": 1}, {"": None}, {1: 2},
    list(range(1000)), [0, 0], [[[[[[1]]]]]], {"a": {"b": {"c": {"d": {}}}}}, "{", "]", "%", "@",
)  # fmt: skip

CHARACTERS = ":{}[],&*#?|->!%@`'\" \t\n\\0129eE.+~xé\u202e\x07"


def mutated_study(seed: int) -> str:
    """Return the text of a shipped study with one to four faults, the same for equal seeds."""
    chance = random.Random(seed)
    file = chance.choice(sorted(shipped_studies().values()))
    text = file.read_text(encoding="utf-8")
    faults = chance.randint(1, 4)
    if chance.random() < 0.5:
        study = yaml.safe_load(text)
        for _ in range(faults):
            _mutate_value(study, chance)
        return yaml.dump(study, allow_unicode=chance.random() < 0.5, sort_keys=False)
    whole = text
    for _ in range(faults):
        text = chance.choice((_deleted, _inserted, _swapped, _doubled))(text, chance)
    # Two equal lines may have been swapped.
    return _deleted(text, chance) if text == whole else text


def _deleted(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text))
    return text[:at] + text[at + chance.choice((1, 1, 2, 20)) :]


def _inserted(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text))
    return text[:at] + chance.choice(CHARACTERS) * chance.choice((1, 1, 2, 200)) + text[at:]


def _swapped(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text) - 1)
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def _doubled(text: str, chance: random.Random) -> str:
    """Write a line twice, and with it its key."""
    lines = text.splitlines(keepends=True)
    at = chance.randrange(len(lines))
    return "".join([*lines[: at + 1], *lines[at:]])


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every mapping or list with each of its keys or indices."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def _mutate_value(study: dict[str, Any], chance: random.Random) -> None:
    at, key = chance.choice([*_places(study)] or [(study, "study")])
    kind = chance.randrange(4)
    if kind == 0 and isinstance(at, dict):
        at[chance.choice((f"{key}s", str(key).upper(), "", "x" * 200, "variants"))] = at.pop(key)
    elif kind == 1:
        at[key] = [at[key]] if chance.random() < 0.5 else str(at[key])
    else:
        at[key] = chance.choice(ODD_VALUES)


def planned(seeds: range) -> Iterator[tuple[int, int, str, float]]:
    """Yield seed, exit code, what was printed as errors, and seconds of each mutated study."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "study.yaml")
        for seed in seeds:
            file.write_text(mutated_study(seed), encoding="utf-8")
            errors = io.StringIO()
            began = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
                code = main(["plan", str(file), "--results", f"{folder}/results"])
            yield seed, code, errors.getvalue(), time.perf_counter() - began


def test_equal_seeds_give_equal_faults_and_other_seeds_others() -> None:
    texts = [mutated_study(seed) for seed in range(40)]
    assert texts == [mutated_study(seed) for seed in range(40)]
    assert len(set(texts)) == 40
    assert not set(texts) & {file.read_text() for file in shipped_studies().values()}


@pytest.mark.parametrize("seed", range(40))
def test_a_mutated_study_is_planned_or_refused_in_one_line(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (_, code, errors, _) = next(planned(range(seed, seed + 1)))
    if code == 0:
        assert errors == ""
        return
    assert code == 2
    assert errors.startswith("wsss: ")
    assert errors.count("\n") == 1
    assert len(errors) < 1500


@pytest.mark.slow
def test_500_mutated_studies_are_planned_or_refused_in_one_line() -> None:
    # Five seconds each; on a machine without load they take 20 s in all.
    ended = subprocess.run(
        [sys.executable, __file__, "1000", "1500"],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=2500,
        check=True,
    )
    found = [line.split() for line in ended.stdout.splitlines()]
    assert [int(seed) for seed, *_ in found] == [*range(1000, 1500)]
    assert {(code, lines) for _, code, lines, _ in found} == {("0", "0"), ("2", "1")}


if __name__ == "__main__":
    for seed, code, errors, seconds in planned(range(int(sys.argv[1]), int(sys.argv[2]))):
        lines = errors.count("\n")
        print(seed, code, lines, f"{seconds:.2f}", flush=True)
