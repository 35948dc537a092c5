"""Chains as the study file has them, and with the checked settings of every step."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from pydantic import Field, ValidationError, ValidationInfo, model_validator

from studies.spec.base import Strict
from studies.spec.refinement.orders import Orders, chain_name, check_step_form, step_name
from studies.spec.refinement.step_settings import (
    CAM_STEPS,
    CONDITIONAL,
    PREPARED_STEPS,
    STEP_SETTINGS,
    Condition,
)
from studies.spec.settings import CamChange
from wsss_core.errors import nearest, quoted
from wsss_core.plugins import is_plugin


class PublishedSeeds(Strict):
    """Another work's figures for a chain, in percent, under its worse and its best seed.

    `of` names the row that they belong to, where the study has several.
    """

    worse: float | None = Field(None, ge=0, le=100)
    best: float | None = Field(None, ge=0, le=100)
    of: str | None = None


class ChainEntry(Strict):
    """A chain as the file writes it: names of steps, or steps with their own settings.

    An entry without steps gives another work's figures for a row of `OWN_CHAIN_ROWS`. With
    `configurations` it refines the maps of these rows alone.
    """

    steps: list[str | dict[str, Any]] = Field(default_factory=list)
    published: PublishedSeeds | None = None
    configurations: list[str] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _one_name_a_step(self) -> Self:
        for step in self.steps:
            check_step_form(step)
        return self


@dataclass(frozen=True)
class ResolvedStep:
    """A refiner with all its settings.

    Attributes:
        kind: a name of `STEP_SETTINGS`, `CONDITIONAL`, or a plug-in "module:attribute".
        settings: JSON-able values for every setting of the kind; a plug-in's as given.
        then: the step that a conditional one applies to some images.
        second: of a conditional one: the steps of the second opinion.

    """

    kind: str
    settings: dict[str, Any]
    then: "ResolvedStep | None" = None
    second: "tuple[ResolvedStep, ...]" = ()

    @property
    def all_steps(self) -> "tuple[ResolvedStep, ...]":
        """The steps that compute: itself, or those inside a conditional one."""
        return (self,) if self.then is None else (self.then, *self.second)


@dataclass(frozen=True)
class ResolvedChain:
    """A chain with the settings of its steps.

    Attributes:
        name: the chain's name in tables.
        cam: changes to the study's CAM settings.
        steps: the refiners in their order.
        configurations: the rows whose maps it refines; None: all.

    """

    name: str
    cam: dict[str, Any]
    steps: tuple[ResolvedStep, ...]
    configurations: tuple[str, ...] | None = None


def named_chains(given: Any, about: ValidationInfo) -> Any:
    """Return a section `chains` as name -> entry.

    A list is one chain, named by its steps, and so is each order of an entry with `lengths`.
    """
    if isinstance(given, list):
        given = {chain_name(given): given}
    if not isinstance(given, dict):
        return given
    refiners = about.data.get("refiners", {})
    named: dict[Any, Any] = {}
    for name, entry in given.items():
        if isinstance(entry, dict) and "lengths" in entry:
            try:
                of_orders = _validated(Orders, entry)
                orders = list(of_orders.chains(refiners))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
            rows = of_orders.configurations
            added: dict[Any, Any] = {
                chain_name(steps): {"steps": steps, "configurations": rows} for steps in orders
            }
        else:
            added = {name: {"steps": entry} if isinstance(entry, list) else entry}
        twice = next((one for one in added if one in named), None)
        if twice is not None:
            raise ValueError(f"{name}: the chain {quoted(twice)} is there already")
        named |= added
    return named


def check_rows(chains: Mapping[str, ChainEntry], rows: Collection[str]) -> None:
    """Raise ValueError if an entry names a row that the study does not have.

    Args:
        chains: the section `chains`.
        rows: the names of the study's configurations.

    """
    for name, entry in chains.items():
        given = [("configurations", row) for row in entry.configurations or ()]
        if entry.published is not None and entry.published.of is not None:
            given.append(("published.of", entry.published.of))
        for key, row in given:
            if row not in rows:
                raise ValueError(
                    f"chains.{name}.{key} {quoted(row)} is no row of this study; "
                    f"nearest: {nearest(row, rows, 0)!r}"
                )


def resolve_chain(
    name: str, entry: ChainEntry, refiners: Mapping[str, dict[str, Any]]
) -> ResolvedChain:
    """Return a chain with the checked settings of every step.

    Args:
        name: the chain's name in tables.
        entry: the chain as the file writes it.
        refiners: the study's section `refiners`: name -> settings.

    Raises:
        ValueError: a step is unknown, a CAM step follows a refiner, or settings do not fit.

    """
    cam: dict[str, Any] = {}
    steps: list[ResolvedStep] = []
    for written in entry.steps:
        if isinstance(written, dict) and set(written) == {"if", "then"}:
            steps.append(_conditional_step(name, written, refiners))
            continue
        where, kind, settings = _written(name, written, refiners)
        if kind in CAM_STEPS:
            if steps:
                raise ValueError(f"{where} makes the CAM; it must precede the refiners")
            cam |= _checked(where, CamChange, {**CAM_STEPS[kind], **settings})
        else:
            steps.append(_refiner(where, kind, settings, refiners))
    of_rows = None if entry.configurations is None else tuple(entry.configurations)
    return ResolvedChain(name, cam, tuple(steps), of_rows)


def _written(
    chain: str, step: str | dict[str, Any], refiners: Mapping[str, dict[str, Any]]
) -> tuple[str, str, dict[str, Any]]:
    """Return how messages call a step, its kind and its settings."""
    name = step_name(step)
    own = next(iter(step.values())) if isinstance(step, dict) else None
    settings = {**refiners.get(name, {}), **(own or {})}
    kind = str(settings.pop("use", name))
    return f"chains.{chain}: step {name!r}", kind, settings


def _refiner(
    where: str, kind: str, settings: dict[str, Any], refiners: Mapping[str, dict[str, Any]]
) -> ResolvedStep:
    if kind in STEP_SETTINGS:
        return ResolvedStep(kind, _checked(where, STEP_SETTINGS[kind], settings))
    if is_plugin(kind):
        return ResolvedStep(kind, settings)
    known = [*CAM_STEPS, *STEP_SETTINGS, *refiners]
    near = nearest(kind, known, 0.5)
    hint = f"nearest: {near!r}" if near else f"expected one of {', '.join(known)}"
    raise ValueError(f"{where} is unknown; {hint}, or a plug-in module:attribute")


def _conditional_step(
    chain: str, written: dict[str, Any], refiners: Mapping[str, dict[str, Any]]
) -> ResolvedStep:
    """Return a step of the form `{if: ..., then: ...}`."""
    where = f"chains.{chain}: step {step_name(written)!r}"
    condition = _checked(f"{where}: if", Condition, written["if"])

    def inner(key: str, step: Any) -> ResolvedStep:
        plain = isinstance(step, str | dict) and step and set(step) != {"if", "then"}
        if not plain:
            raise ValueError(f"{where}: {key}: expected a refiner, got {quoted(step)}")
        try:
            check_step_form(step)
        except ValueError as error:
            raise ValueError(f"{where}: {key}: {error}") from error
        inside, kind, settings = _written(chain, step, refiners)
        if kind in CAM_STEPS:
            raise ValueError(f"{inside} makes the CAM of all images; expected a refiner in {key!r}")
        return _refiner(inside, kind, settings, refiners)

    second = tuple(inner("with", step) for step in condition.pop("second") or ())
    needy = next((one.kind for one in second if one.kind in PREPARED_STEPS), None)
    if needy is not None:
        raise ValueError(
            f"{where}: with: {needy} has to be prepared for all images; expected steps other than "
            f"{', '.join(PREPARED_STEPS)}"
        )
    return ResolvedStep(CONDITIONAL, condition, inner("then", written["then"]), second)


def _checked(where: str, model: type[Strict], settings: Any) -> dict[str, Any]:
    try:
        checked = _validated(model, settings)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return checked.model_dump(mode="json", exclude_none=model is CamChange)


_Part = TypeVar("_Part", bound=Strict)


def _validated(model: type[_Part], given: Any) -> _Part:
    """Return a part of a study file; raise ValueError with its first slip in a line."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
        raise ValueError(f"{path + ': ' if path else ''}{said}") from error
