"""Which trained network, chain and threshold of a finished study pseudo masks are made with.

What is not asked for is chosen by the tune split alone, so that masks of test images stay fit to
be scored.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from typing import Any

from reports.ledger.parts import read_table
from reports.names import OPTIMAL, PLAIN
from reports.results.reading import read_studies
from reports.results.study_record import StudyRecord, TrialRecord
from reports.storage.locations import Location
from studies.planning.chains import Chain, MapScaling, fitted_state_key
from studies.planning.images import ImageSplits
from studies.planning.job import TrainingJob
from studies.store.artifacts import ArtifactStore
from wsss_core.cams.settings import CamSettings
from wsss_core.errors import InputError
from wsss_core.evaluate import level_of
from wsss_core.plugins import is_plugin, plugin_version
from wsss_core.refine.steps.registry import STEP_KINDS, check_step


@dataclass(frozen=True)
class MaskSelection:
    """What of a results folder masks are wanted of; None: chosen by the tune split.

    Attributes:
        study: the study's name; None: the only one.
        configuration: whose networks.
        seed: which of them.
        chain: the chain's name; None or "none": the plain CAM.
        rule: the threshold rule; None: that of the study's tables.
        threshold: a threshold of 0 to 1 instead of a rule's.

    """

    study: str | None = None
    configuration: str | None = None
    seed: int | None = None
    chain: str | None = None
    rule: str | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class MaskRecipe:
    """All that decides a mask, as plain values that travel to workers.

    Attributes:
        study: the study's name.
        configuration: whose network.
        seed: its seed.
        trial_key: the trial's.
        scores_key: of the scores that the threshold was chosen by.
        training: the training run of the network.
        store: where its network lies.
        chain: the refinement chain.
        scaling: how raw maps become scores.
        fits: for each step, the key of what it has learnt; None for one that learns nothing.
        rule: what chose the threshold; "given" where it was.
        level: the threshold, 0-255.

    """

    study: str
    configuration: str
    seed: int
    trial_key: str
    scores_key: str
    training: TrainingJob
    store: str
    chain: Chain
    scaling: MapScaling
    fits: tuple[str | None, ...]
    rule: str
    level: int

    @property
    def classes(self) -> list[str]:
        """The classes, in the order of their numbers in a mask."""
        return list(self.training.settings["classes"])

    def as_record(self) -> dict[str, Any]:
        """What a reader of the masks has to know, and what two runs have to share."""
        steps = [step.identity for step in self.chain.steps]
        return {
            "study": self.study,
            "configuration": self.configuration,
            "seed": self.seed,
            "trial_key": self.trial_key,
            "scores_key": self.scores_key,
            "refinement": self.chain.name,
            "chain": {"cam": self.chain.cam.as_config(), "steps": steps},
            **asdict(self.scaling),
            "rule": self.rule,
            "level": self.level,
            "threshold": self.level / 255,
        }


def choose_recipe(
    results: Location, store: ArtifactStore, wish: MaskSelection
) -> tuple[MaskRecipe, list[str]]:
    """Find what was asked for in a results folder.

    Returns:
        The recipe, and lines that say what it is and how it was chosen.

    Raises:
        InputError: no such study, configuration, seed, chain or threshold (those there are are
            named), a trial that has no network, or a store that lacks what it needs.

    """
    record = _study(read_studies(results), wish.study)
    refinement = _refinement(record, wish.chain)
    candidates = _candidates(record, refinement)
    configuration, why_configuration = _configuration(record, candidates, wish.configuration)
    of_seed = {seed: trial for (name, seed), trial in candidates.items() if name == configuration}
    seed, why_seed = _seed(record, of_seed, wish.seed, configuration)
    level, rule, why_level = _level(record, of_seed[seed], wish)

    row = record.trials[configuration, seed].row
    settings = json.loads(row["settings"])
    cam = settings.pop("cam")
    scaling = MapScaling(cam["normalisation"], cam["gating"])
    chain = Chain(PLAIN, CamSettings(**cam.get("cam", {})), ())
    if refinement != PLAIN:
        chain = _recorded_chain(results, of_seed[seed].key)
    training = TrainingJob(
        key=_job_key(store, record.trials[configuration, seed].key),
        settings=settings,
        images=ImageSplits(settings["image_size"], {"train": row["train_fingerprint"]}),
    )
    recipe = MaskRecipe(
        study=record.name,
        configuration=configuration,
        seed=seed,
        trial_key=record.trials[configuration, seed].key,
        scores_key=of_seed[seed].key,
        training=training,
        store=store.where,
        chain=chain,
        scaling=scaling,
        fits=_checked_steps(store, training, chain, scaling),
        rule=rule,
        level=level,
    )
    if len(recipe.classes) > 1:
        # Level 0 stands for "nothing competes" and is no threshold.
        recipe = replace(recipe, level=max(1, level))
    return recipe, [
        f"configuration {configuration} ({why_configuration})",
        f"seed {seed} ({why_seed})",
        f"chain {refinement}",
        f"threshold {recipe.level / 255:.3f}, level {recipe.level} ({why_level})",
    ]


def _study(records: list[StudyRecord], name: str | None) -> StudyRecord:
    names = [record.name for record in records]
    if name is None and len(records) > 1:
        raise InputError(f"several studies are there; --study: {_expected(names)}")
    if name is not None and name not in names:
        raise InputError(f"--study {name!r}: {_expected(names, name)}")
    return next(record for record in records if name in (None, record.name))


def _refinement(record: StudyRecord, name: str | None) -> str:
    if name in (None, PLAIN):
        return PLAIN
    chains = {chain.name: chain for chain in record.chains if chain.name not in (PLAIN, OPTIMAL)}
    if name not in chains:
        raise InputError(f"--chain {name!r}: {_expected([PLAIN, *chains], name)}")
    if (lacks := chains[name].lacks) is not None:
        raise InputError(f"--chain {name!r}: was not run: {lacks}")
    return name


def _candidates(record: StudyRecord, refinement: str) -> dict[tuple[str, int], TrialRecord]:
    """The trials that may be chosen, under the chain: those that ended well without and with it."""
    healthy = {place: trial for place, trial in record.trials.items() if trial.status == "ok"}
    if refinement == PLAIN:
        return healthy
    return {
        (name, seed): trial
        for (name, seed, chain), trial in record.chain_trials.items()
        if chain == refinement and trial.status == "ok" and (name, seed) in healthy
    }


def _tune_figure(record: StudyRecord, trial: TrialRecord) -> float:
    """The study's main figure of a trial on the tune split; NaN without one."""
    return trial.figure(
        record.objective, rule=record.rule, class_name=record.main_class, split="tune"
    )


def _configuration(
    record: StudyRecord, candidates: dict[tuple[str, int], TrialRecord], asked: str | None
) -> tuple[str, str]:
    names = [one.name for one in record.configurations]
    with_trial = [name for name in names if any(name == place[0] for place in candidates)]
    if asked is not None:
        if asked not in names:
            raise InputError(f"--configuration {asked!r}: {_expected(names, asked)}")
        if asked not in with_trial:
            raise InputError(
                f"--configuration {asked!r}: no seed of it ended well; {_expected(with_trial)}"
            )
        return asked, "as asked"
    if not with_trial:
        raise InputError(f"{record.name}: no trial ended well, so there is nothing to make masks")
    if len(names) == 1:
        return names[0], "the only one"
    means = {}
    for name in with_trial:
        of_name = [trial for place, trial in candidates.items() if place[0] == name]
        figures = [_tune_figure(record, trial) for trial in of_name]
        known = [figure for figure in figures if not math.isnan(figure)]
        if known:
            means[name] = sum(known) / len(known)
    if not means:
        raise InputError(f"no figures of the tune split; --configuration: {_expected(names)}")
    best = max(means, key=lambda name: means[name])
    return best, (
        f"of {len(with_trial)} the best by {record.objective} on the tune split, "
        f"{means[best]:.4f} in the mean over seeds"
    )


def _seed(
    record: StudyRecord, trials: dict[int, TrialRecord], asked: int | None, configuration: str
) -> tuple[int, str]:
    if asked is not None:
        if asked not in trials:
            state = record.trials.get((configuration, asked))
            ended = f" is {state.status}" if state is not None else ""
            raise InputError(
                f"--seed {asked}{ended}: {_expected([str(s) for s in sorted(trials)])}"
            )
        return asked, "as asked"
    if len(trials) == 1:
        return next(iter(trials)), "the only one that ended well"
    figures = {seed: _tune_figure(record, trial) for seed, trial in sorted(trials.items())}
    known = {seed: figure for seed, figure in figures.items() if not math.isnan(figure)}
    if not known:
        raise InputError(
            f"no figures of the tune split; --seed: {_expected([str(s) for s in figures])}"
        )
    best = max(known, key=lambda seed: known[seed])
    return best, f"of {len(trials)} the best by {record.objective} on the tune split"


def _level(record: StudyRecord, trial: TrialRecord, wish: MaskSelection) -> tuple[int, str, str]:
    """The threshold's level, the rule's name, and how it was chosen, in words."""
    if wish.threshold is not None:
        if wish.rule is not None:
            raise InputError("--threshold and --rule: expected one of them")
        if not 0 <= wish.threshold <= 1:
            raise InputError(f"--threshold {wish.threshold}: expected a value from 0 to 1")
        return level_of(wish.threshold), "given", "as given"
    rule = wish.rule or record.rule
    level = trial.figure("level", rule=rule, class_name=record.main_class)
    if math.isnan(level):
        assert trial.figures is not None
        rows = trial.figures.outcomes
        known = rows.loc[rows["level"].notna() & (rows["class_name"] == record.main_class), "rule"]
        names = list(dict.fromkeys(known))
        raise InputError(f"--rule {rule!r}: chose no level here; {_expected(names, rule)}")
    return int(level), rule, f"rule {rule}"


def _recorded_chain(results: Location, scores_key: str) -> Chain:
    """The chain of a trial as the study planned it."""
    listed = read_table(results, "refinements")
    found = listed.loc[listed["scores_key"] == scores_key, "chain"]
    if not len(found) or not isinstance(found.iloc[0], str):
        raise InputError(
            f"{results}: its ledger does not say what the chain consists of; run the study again "
            "with this release"
        )
    return Chain.from_record(found.iloc[0])


def _job_key(store: ArtifactStore, trial_key: str) -> str:
    if not store.has("scores", trial_key):
        raise InputError(
            f"{store.where}: does not hold the trial {trial_key}; expected, as --store, the store "
            "that the study was run with"
        )
    key = str(store.manifest("scores", trial_key).parent)
    if not store.has("train", key):
        raise InputError(f"{store.where}: the trained network {key} is no longer there")
    return key


def _checked_steps(
    store: ArtifactStore, training: TrainingJob, chain: Chain, scaling: MapScaling
) -> tuple[str | None, ...]:
    """See that every step can run as it did; the key of what each has learnt."""
    fits: list[str | None] = []
    for step in chain.steps:
        if is_plugin(step.kind):
            version: Any = plugin_version("refine", step.kind)
        elif step.kind in STEP_KINDS:
            version = STEP_KINDS[step.kind].version
        else:
            raise InputError(f"refiner {step.kind!r}: this release has no such step")
        if version != step.identity["version"]:
            raise InputError(
                f"refiner {step.kind}: the study was run with its version "
                f"{step.identity['version']}, here is version {version}; run the study again"
            )
        check_step(step.kind, step.arguments)
        fits.append(None)
        if step.needs_fitted_state:
            key = fitted_state_key(training, chain, step, scaling)
            if not store.has("fits", key):
                raise InputError(f"{store.where}: what {step.kind} has learnt is not there ({key})")
            fits[-1] = key
    return tuple(fits)


def _expected(names: Collection[str], given: str | None = None) -> str:
    near = difflib.get_close_matches(given, list(names), n=1) if given else []
    hint = f"nearest: {near[0]!r}; " if near else ""
    return f"{hint}expected one of {', '.join(names) or '(none is there)'}"
