"""How a study file writes steps, and the entry of `chains` that stands for every order of some.

chains:
  orders: {steps: [multi_scale, fusion, crf, par], lengths: [1, 2, 3]}
"""

import math
from collections.abc import Iterator, Mapping
from itertools import combinations, permutations
from typing import Annotated, Any

from pydantic import Field

from studies.spec.base import Strict
from studies.spec.refinement.step_settings import CAM_STEPS
from wsss_core.errors import quoted


def check_step_form(step: str | dict[str, Any]) -> None:
    """Raise ValueError unless a step is a name, a name with settings, or `{if: ..., then: ...}`."""
    if isinstance(step, str) or set(step) == {"if", "then"}:
        return
    if len(step) != 1 or not isinstance(next(iter(step.values())), dict | None):
        raise ValueError(
            f"a step with settings has one name: {{crf: {{...}}}}, or 'if' and 'then'; "
            f"got {quoted(step)}"
        )


MOST_ORDERS = 2000
"""The most chains that one entry with `lengths` may stand for."""


class Orders(Strict):
    """An entry of `chains` that stands for many: every order of its steps, of the given lengths.

    Steps that make the CAM come first in every chain, and their own order changes nothing, so each
    such set counts once. Chains are named by their steps. Those that begin alike share what they
    have in common, so shorter ones cost no steps of their own beside longer ones.
    """

    steps: list[str | dict[str, Any]] = Field(min_length=2)
    lengths: list[Annotated[int, Field(ge=1)]] = Field(min_length=1)
    configurations: list[str] | None = Field(None, min_length=1)

    def chains(self, refiners: Mapping[str, Any]) -> Iterator[list[str | dict[str, Any]]]:
        """Yield the steps of each chain, short ones first.

        Args:
            refiners: the study's section `refiners`, which may give steps other names.

        Raises:
            ValueError: a step is there twice, steps contradict each other, a length is too large,
                or there are more than `MOST_ORDERS` chains.

        """
        for step in self.steps:
            check_step_form(step)
        names = [step_name(step) for step in self.steps]
        if len(set(names)) < len(names):
            raise ValueError("a step is given twice; name another way to use it in `refiners`")
        if max(self.lengths) > len(names) or len(set(self.lengths)) < len(self.lengths):
            raise ValueError(f"lengths: expected different numbers from 1 to {len(names)}")
        kinds = [_step_kind(name, refiners) for name in names]
        makers = [step for step, kind in zip(self.steps, kinds, strict=True) if kind in CAM_STEPS]
        others = [step for step in self.steps if step not in makers]
        set_by: dict[str, str] = {}
        for kind in (kind for kind in kinds if kind in CAM_STEPS):
            for key in CAM_STEPS[kind]:
                if set_by.setdefault(key, kind) != kind:
                    raise ValueError(
                        f"{set_by[key]} and {kind} exclude each other; take two entries with "
                        "`lengths`"
                    )
        splits = [
            (first, length - first)
            for length in sorted(self.lengths)
            for first in range(min(length, len(makers)) + 1)
            if length - first <= len(others)
        ]
        count = sum(math.comb(len(makers), a) * math.perm(len(others), b) for a, b in splits)
        if count > MOST_ORDERS:
            raise ValueError(f"these are {count} chains; expected at most {MOST_ORDERS}")
        for first, rest in splits:
            for beginning in combinations(makers, first):
                for order in permutations(others, rest):
                    yield [*beginning, *order]


def _step_kind(name: str, refiners: Mapping[str, Any]) -> str:
    named = refiners.get(name)
    return str(named.get("use", name)) if isinstance(named, dict) else name


def chain_name(steps: list[Any]) -> str:
    """Return the name of a chain that is named by its steps."""
    return " + ".join(map(step_name, steps))


def step_name(step: Any) -> str:
    """Return the name of a step as a study file writes it."""
    if not isinstance(step, dict) or not step:
        return str(step)
    if set(step) != {"if", "then"}:
        return str(next(iter(step)))
    condition = step["if"] if isinstance(step["if"], dict) else {}
    bounds = [f"{key} {condition[key]}" for key in ("above", "below") if key in condition]
    return f"{step_name(step['then'])} if {condition.get('score')} {' and '.join(bounds)}"
